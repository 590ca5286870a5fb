package pipeline

import (
	"time"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

// StageIDs is what names a plan in the fingerprint of its job.
func StageIDs(d *Dataset) []stage.StageID { return d.stageIDs(stage.Placement{}) }

// AutoCutter is the search for a batch size, without an executor.
type AutoCutter struct {
	c  *autoCutter
	id int64
}

func NewAutoCutter(memory int64) *AutoCutter { return &AutoCutter{c: newAutoCutter(memory)} }

// Push gives the sizes of the batches that a block completes.
func (a *AutoCutter) Push(rows int, bytes int64) []int {
	a.id++
	var out []int
	for _, b := range a.c.push(nil, batcher.Block{ID: a.id, Rows: rows, Bytes: bytes}) {
		out = append(out, b.Rows)
	}
	return out
}

func (a *AutoCutter) Observe(rows int, busy time.Duration) { a.c.observe(rows, busy) }

// LimitedBy says what limited a job.
func LimitedBy(s Stats, cpus int) string { return limitedBy(s, cpus) }

// OperatorOpen is o with workers that were open for so long.
func OperatorOpen(o OperatorStats, open time.Duration) OperatorStats {
	o.open = open
	return o
}
