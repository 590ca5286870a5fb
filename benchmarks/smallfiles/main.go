// Command smallfiles reads all text files below a folder and prints, as JSON, when the first row
// came out, when the last, and how much memory the process held on the way.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
)

type report struct {
	First     float64 `json:"first_row_seconds"` // from the start of the process
	Seconds   float64 `json:"seconds"`
	Rows      int64   `json:"rows"`
	TenthRSS  int64   `json:"rss_after_a_tenth"`
	LastRSS   int64   `json:"rss_at_the_end"`
	PeakBytes int64   `json:"peak_rss_bytes"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: smallfiles FOLDER FILES")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(folder, files string) error {
	var n int64
	if _, err := fmt.Sscan(files, &n); err != nil {
		return fmt.Errorf("the number of files: %w", err)
	}
	var r report
	began := time.Now()
	src := readers.Text(readers.TextConfig{Files: readers.Paths(folder)})
	for rec, err := range pipeline.Read(src).Batches(context.Background(), pipeline.Config{}) {
		if err != nil {
			return err
		}
		if r.Rows == 0 {
			r.First = time.Since(began).Seconds()
		}
		if r.Rows += rec.NumRows(); r.TenthRSS == 0 && r.Rows >= n/10 {
			r.TenthRSS = status("VmRSS")
		}
	}
	r.Seconds, r.LastRSS, r.PeakBytes = time.Since(began).Seconds(), status("VmRSS"), status("VmHWM")
	return json.NewEncoder(os.Stdout).Encode(r)
}

// status is a size that the kernel tells of this process, in bytes; 0 where it does not.
func status(key string) int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
