// Command pack cuts texts into batches as the engine's packer does by default: the lengths of
// the texts in tokens come as a JSON list on standard input, and a list of batches goes out,
// each a list of the numbers of its texts.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run() error {
	var costs []int32
	if err := json.NewDecoder(os.Stdin).Decode(&costs); err != nil {
		return fmt.Errorf("read lengths: %w", err)
	}
	b, err := batcher.New(stage.Policy{MaxCost: 1024, LookAheadRows: 2048})
	if err != nil {
		return err
	}
	var out [][]int32
	for _, batch := range append(b.Push(batcher.Block{Rows: len(costs), Costs: costs}), b.Flush()...) {
		var rows []int32
		for _, p := range batch.Picks {
			for i := range p.Len() {
				if p.Rows != nil {
					rows = append(rows, p.Rows[i])
				} else {
					rows = append(rows, p.From+int32(i))
				}
			}
		}
		out = append(out, rows)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
