// Command penstock is Penstock's contestant of the benchmarks: it runs a task through the public packages and prints a
// report of its moments and checksums as one line of JSON.
//
//	penstock scan  -input DIR               Parquet → identity MapBatches → checksum of every column
//	penstock write -input DIR -output DIR   Parquet → identity MapBatches → Parquet
//	penstock lines -input DIR               lines of text → checksum
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/writers"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type settings struct {
	input, output string
	batch         int
	config        pipeline.Config
	stats         bool
}

func run(args []string) (err error) {
	if len(args) == 0 {
		return errors.New("usage: penstock scan|write|lines -input DIR [-output DIR]")
	}
	var s settings
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&s.input, "input", "", "folder that is read")
	flags.StringVar(&s.output, "output", "", "folder that is written")
	flags.IntVar(&s.batch, "batch", 4096, "rows per batch of the identity stage")
	flags.BoolVar(&s.config.Unordered, "unordered", false, "let rows come out in any order")
	flags.Int64Var(&s.config.MemoryLimit, "memory", 0, "memory limit in bytes; 0: the default")
	flags.Int64Var(&s.config.BlockBytes, "block", 0, "block size in bytes; 0: the default")
	flags.BoolVar(&s.stats, "stats", false, "print the statistics to standard error")
	cpu := flags.String("cpuprofile", "", "write a CPU profile to this file")
	heap := flags.String("memprofile", "", "write a profile of allocations to this file")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	task, ok := map[string]func(context.Context, settings, *report) error{"scan": scan, "write": write, "lines": lines}[args[0]]
	if !ok {
		return fmt.Errorf("there is no task %q: scan, write or lines", args[0])
	}
	stop, err := profile(*cpu, *heap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	r := newReport()
	if err := task(context.Background(), s, r); err != nil {
		return err
	}
	r.End = now()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// identity is the stage that is measured: it gives what it is given.
func identity(_ context.Context, in arrow.Record, _ memory.Allocator) (arrow.Record, error) {
	in.Retain()
	return in, nil
}

func parquet(s settings) *pipeline.Dataset {
	return pipeline.Read(readers.Parquet(readers.ParquetConfig{Files: readers.Paths(s.input)})).
		MapBatches("identity", identity, pipeline.StageConfig{BatchSize: s.batch})
}

func scan(ctx context.Context, s settings, r *report) error {
	return consume(ctx, parquet(s), s, r)
}

func lines(ctx context.Context, s settings, r *report) error {
	text := readers.TextConfig{Files: readers.Paths(filepath.Join(s.input, "*.txt")), KeepEmpty: true}
	return consume(ctx, pipeline.Read(readers.Text(text)), s, r)
}

func consume(ctx context.Context, d *pipeline.Dataset, s settings, r *report) error {
	var last pipeline.Stats
	s.config.Progress = func(st pipeline.Stats) { last = st }
	sums := checksum{}
	for rec, err := range d.Batches(ctx, s.config) {
		if err != nil {
			return err
		}
		if r.Rows == 0 {
			r.First, r.FirstRows = now(), rec.NumRows()
		}
		if err := sums.add(rec); err != nil {
			return err
		}
		r.Rows += rec.NumRows()
		r.Last = now()
	}
	r.Checksum = sums.result()
	return s.explain(last)
}

func write(ctx context.Context, s settings, r *report) error {
	sink, err := writers.Files(writers.Config{Path: s.output, Format: writers.Parquet, Mode: writers.Overwrite, Compression: writers.Snappy})
	if err != nil {
		return err
	}
	stats, err := parquet(s).Write(ctx, sink, s.config)
	if err != nil {
		return err
	}
	r.Rows = stats.Rows
	return s.explain(stats)
}

func (s settings) explain(stats pipeline.Stats) error {
	if !s.stats {
		return nil
	}
	text, err := json.MarshalIndent(stats, "", " ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stderr, string(text))
	return err
}

// profile starts what is asked for; stop writes it.
func profile(cpu, heap string) (stop func() error, err error) {
	var out *os.File
	if cpu != "" {
		if out, err = os.Create(cpu); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(out); err != nil {
			return nil, err
		}
	}
	return func() error {
		if out != nil {
			pprof.StopCPUProfile()
			if err := out.Close(); err != nil {
				return err
			}
		}
		if heap == "" {
			return nil
		}
		out, err := os.Create(heap)
		if err != nil {
			return err
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(out, 0), out.Close())
	}, nil
}
