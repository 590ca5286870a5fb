package readers_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

func Example() {
	dir, err := os.MkdirTemp("", "readers")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	rows := `{"id": 1, "text": "hello"}` + "\n" + `{"id": 2, "text": "again"}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "a.jsonl"), []byte(rows), 0o666); err != nil {
		panic(err)
	}

	ctx := context.Background()
	src, err := readers.Open(ctx, readers.Config{Files: readers.Paths(dir)})
	if err != nil {
		panic(err)
	}
	scan, err := src.Plan(ctx, stage.ScanRequest{Columns: []string{"text"}})
	if err != nil {
		panic(err)
	}
	for split, err := range scan.Splits(ctx) {
		if err != nil {
			panic(err)
		}
		r, err := scan.Open(ctx, stage.Env{}, split, 0)
		if err != nil {
			panic(err)
		}
		for {
			batch, err := r.Next(ctx, 0)
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(err)
			}
			fmt.Println(batch.Record().Column(0))
			batch.Release()
		}
		r.Close()
	}
	// Output: ["hello" "again"]
}
