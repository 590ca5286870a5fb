// Command copy copies Parquet files to Parquet under a memory limit and prints, as JSON, what
// the kernel and the ledger say of its memory.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/writers"
)

// result is what is printed.
type result struct {
	Rows     int64   `json:"rows"`
	Seconds  float64 `json:"seconds"`
	PeakRSS  int64   `json:"peak_rss_bytes"` // the kernel's high-water mark
	Baseline int64   `json:"baseline_bytes"`
	Charged  int64   `json:"peak_charged_bytes"`
	Samples  int     `json:"samples"`
	// The largest share of RSS that the ledger could not attribute while RSS was over
	// 200 MiB, and the sample in which it was.
	Unattributed float64              `json:"unattributed_share"`
	Worst        pipeline.MemoryStats `json:"worst_sample"`
	Largest      pipeline.MemoryStats `json:"largest_sample"`
}

func main() {
	in := flag.String("in", "", "file or folder to read")
	out := flag.String("out", "", "folder to write")
	limit := flag.Int64("limit", 256, "memory limit, MiB")
	over := flag.Int64("over", 200, "MiB of RSS from which on the unattributed share counts")
	trace := flag.Bool("trace", false, "print every sample")
	flag.Parse()
	if err := run(*in, *out, *limit<<20, *over<<20, *trace); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in, out string, limit, over int64, trace bool) error {
	debug.SetMemoryLimit(pipeline.GoMemoryLimit(limit))
	src, err := readers.Open(context.Background(), readers.Config{Files: readers.Files{Paths: []string{in}}})
	if err != nil {
		return err
	}
	sink, err := writers.Files(writers.Config{Path: out, Mode: writers.Overwrite, Format: writers.Parquet})
	if err != nil {
		return err
	}
	var r result
	look := func(s pipeline.Stats) {
		debug.SetMemoryLimit(s.Memory.GoLimit)
		m := s.Memory
		r.Samples++
		if share := float64(m.Unattributed()) / float64(max(m.RSS, 1)); m.RSS > over && share >= r.Unattributed {
			r.Unattributed, r.Worst = share, m
		}
		if m.RSS > r.Largest.RSS {
			r.Largest = m
		}
		if trace {
			fmt.Fprintf(os.Stderr, "rss %d base %d charged %d garbage %d rest %d %v go %d\n",
				m.RSS>>20, m.Baseline>>20, m.Used>>20, m.Garbage>>20, m.Unattributed()>>20, m.ByPurpose, m.GoLimit>>20)
		}
	}
	cfg := pipeline.Config{MemoryLimit: limit, Progress: look, ProgressEvery: 20 * time.Millisecond}
	stats, err := pipeline.Read(src).Write(context.Background(), sink, cfg)
	if err != nil {
		return err
	}
	r.Rows, r.Seconds, r.PeakRSS = stats.Rows, stats.Elapsed.Seconds(), stats.Memory.PeakRSS
	r.Baseline, r.Charged = stats.Memory.Baseline, stats.Memory.Peak
	return json.NewEncoder(os.Stdout).Encode(r)
}
