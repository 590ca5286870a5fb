package pipeline

import (
	"time"

	"github.com/penstock-data/penstock/batcher"
)

// AutoBatch as StageConfig.BatchSize lets the executor find the batch size by what it
// measures. Batches then depend on time, so results that depend on their batch may differ in
// their last bits from run to run.
const AutoBatch = -1

// The search starts small, doubles as long as that brings at least minGain more rows a second,
// and tries again from time to time, since the rows may have changed.
const (
	firstBatch  = 16
	mostBatch   = 64 << 10
	minGain     = 1.05
	trialTasks  = 4   // that a size is judged by
	retryAfter  = 256 // tasks after which it looks at its neighbours again
	batchShare  = 16  // a batch takes no more than this part of the memory for blocks
	keptMeasure = 0.5 // how much of the old rate stays when a size is measured again
)

// autoCutter cuts rows in their order into batches of a size that it searches for.
type autoCutter struct {
	maxBytes int64 // of a batch
	size     int
	best     int // the size of the best rate so far
	rate     float64
	rows     float64 // of the trial
	busy     time.Duration
	tasks    int
	settled  int // tasks since it settled; 0: it is searching

	picks []batcher.Pick
	held  int
	bytes int64
}

func newAutoCutter(memory int64) *autoCutter {
	return &autoCutter{size: firstBatch, best: firstBatch, maxBytes: max(memory/batchShare, 1)}
}

func (c *autoCutter) push(_ *block, in batcher.Block) []batcher.Batch {
	var out []batcher.Batch
	each := max(in.Bytes/int64(in.Rows), 1)
	for at := 0; at < in.Rows; {
		room := max(1, min(c.size-c.held, int((c.maxBytes-c.bytes)/each)))
		n := min(in.Rows-at, room)
		c.picks = append(c.picks, batcher.Pick{Block: in.ID, From: int32(at), To: int32(at + n)})
		c.held += n
		c.bytes += int64(n) * each
		at += n
		if c.held >= c.size || c.bytes+each > c.maxBytes {
			out = append(out, c.flush()...)
		}
	}
	return out
}

func (c *autoCutter) flush() []batcher.Batch {
	if c.held == 0 {
		return nil
	}
	out := []batcher.Batch{{Picks: c.picks, Rows: c.held, Bytes: c.bytes}}
	c.picks, c.held, c.bytes = nil, 0, 0
	return out
}

// observe takes in how long a task of so many rows took. Only full batches of the size on
// trial count.
func (c *autoCutter) observe(rows int, busy time.Duration) {
	if rows != c.size || busy <= 0 {
		return
	}
	c.rows += float64(rows)
	c.busy += busy
	c.tasks++
	if c.settled > 0 {
		if c.settled++; c.settled > retryAfter {
			c.settled = 0
			c.rate = c.rate*keptMeasure + c.measured()*(1-keptMeasure)
			c.try(min(2*c.best, mostBatch))
		}
		return
	}
	if c.tasks < trialTasks {
		return
	}
	rate := c.measured()
	if rate < c.rate*minGain { // it brings nothing: the size before stays
		c.settled = 1
		c.try(c.best)
		return
	}
	c.best, c.rate = c.size, rate
	if c.size == mostBatch {
		c.settled = 1
	}
	c.try(min(2*c.size, mostBatch))
}

func (c *autoCutter) measured() float64 { return c.rows / c.busy.Seconds() }

func (c *autoCutter) try(size int) {
	c.size, c.rows, c.busy, c.tasks = size, 0, 0, 0
}
