// Command tokenizer is Penstock's side of the benchmark of tokenisers: texts of a column to a column of lists of ids, on
// one core.
//
//	GOMAXPROCS=1 tokenizer bpe -input FOLDER -passes 5
//
// The folder holds texts.jsonl and the tokenizer.json of each task as TASK.json. All texts are tokenised once to warm up
// and to sum up the ids, then as often as passes says between the begin and the end that are reported.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sys/unix"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// batchRows is the number of rows of a batch, here and on the library's side.
const batchRows = 1024

// report is what benchmarks/harness reads.
type report struct {
	Begin     float64           `json:"begin"`
	First     *float64          `json:"first"`
	Last      *float64          `json:"last"`
	End       float64           `json:"end"`
	FirstRows int               `json:"first_rows"`
	Rows      int               `json:"rows"`
	CPU       float64           `json:"cpu"` // seconds between begin and end
	Checksum  map[string]string `json:"checksum"`
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: tokenizer TASK -input FOLDER [-passes N]"))
	}
	flags := flag.NewFlagSet("tokenizer", flag.ExitOnError)
	input := flags.String("input", "", "folder of texts.jsonl and TASK.json")
	passes := flags.Int("passes", 5, "how often all texts are tokenised between begin and end")
	if err := flags.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	r, err := run(filepath.Join(*input, os.Args[1]+".json"), filepath.Join(*input, "texts.jsonl"), *passes)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "tokenizer:", err)
	os.Exit(1)
}

func run(file, texts string, passes int) (*report, error) {
	tok, err := tokenize.Open(file)
	if err != nil {
		return nil, err
	}
	if tok, err = tok.With(tokenize.Config{MaxTokens: tokenize.Unlimited}); err != nil {
		return nil, err
	}
	batches, rows, err := read(texts)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	bound, err := tokenize.NewStage(tok, tokenize.StageConfig{Column: "text"}).Bind([]*arrow.Schema{batches[0].Schema()})
	if err != nil {
		return nil, err
	}
	worker, err := bound.Open(ctx, stage.Env{})
	if err != nil {
		return nil, err
	}
	pass := func(take func(*array.List)) error {
		for _, b := range batches {
			if err := worker.Process(ctx, stage.NewBatch(b, stage.Origin{}), func(o stage.Output) error {
				take(o.Record.Column(0).(*array.List))
				o.Record.Release()
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}
	sum := sha256.New()
	if err := pass(func(l *array.List) { hash(sum.Write, l) }); err != nil {
		return nil, err
	}
	r := &report{Rows: rows * passes, Checksum: map[string]string{"ids": hex.EncodeToString(sum.Sum(nil))}}
	used := cpu()
	r.Begin = now()
	for range passes {
		if err := pass(func(*array.List) {}); err != nil {
			return nil, err
		}
	}
	r.End = now()
	r.CPU = cpu() - used
	return r, nil
}

// hash writes the length and the ids of each row, as little-endian numbers of 32 bits.
func hash(write func([]byte) (int, error), l *array.List) {
	ids := l.ListValues().(*array.Int32).Int32Values()
	var out []byte
	for i := range l.Len() {
		lo, hi := l.ValueOffsets(i)
		out = binary.LittleEndian.AppendUint32(out[:0], uint32(hi-lo))
		for _, id := range ids[lo:hi] {
			out = binary.LittleEndian.AppendUint32(out, uint32(id))
		}
		_, _ = write(out) // a hash takes all that it is given
	}
}

// read makes batches of the texts of a file of JSON lines.
func read(path string) (batches []arrow.Record, rows int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var row struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, 0, fmt.Errorf("%s: line %d: %w", path, rows+1, err)
		}
		b.Field(0).(*array.StringBuilder).Append(row.Text)
		if rows++; rows%batchRows == 0 {
			batches = append(batches, b.NewRecord())
		}
	}
	if rows%batchRows != 0 {
		batches = append(batches, b.NewRecord())
	}
	if rows == 0 {
		return nil, 0, fmt.Errorf("%s holds no texts", path)
	}
	return batches, rows, lines.Err()
}

// now is on the clock that Python's time.monotonic reads.
func now() float64 { return clock(unix.CLOCK_MONOTONIC) }

func cpu() float64 { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0
	}
	return float64(t.Sec) + float64(t.Nsec)/1e9
}
