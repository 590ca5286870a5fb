// A program of somebody else's module: it embeds a JSON Lines file.
//
//	consumer IN.jsonl OUT MODEL LIBRARY
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/writers"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, in, out, folder, library string) error {
	model, err := infer.Open(ctx, infer.Config{Path: folder, Library: library})
	if err != nil {
		return err
	}
	defer model.Close()
	embed, err := model.Embed(infer.EmbedConfig{Column: "text"})
	if err != nil {
		return err
	}
	sink, err := writers.Files(writers.Config{Path: out, Format: writers.JSONL})
	if err != nil {
		return err
	}
	rows := pipeline.Read(readers.JSONL(readers.JSONLConfig{Files: readers.Paths(in)}))
	if _, err := rows.Run(embed, pipeline.StageConfig{}).Write(ctx, sink, pipeline.Config{}); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}
