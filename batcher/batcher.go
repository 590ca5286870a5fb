package batcher

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-data/penstock/stage"
)

// WindowBytes is what a window of [New] may hold.
const WindowBytes int64 = 256 << 20

// Block is a run of rows to batch.
type Block struct {
	// ID is the caller's name for the block; the picks bear it.
	ID   int64
	Rows int
	// Bytes is the size of all rows. Where Sizes is nil it is spread over them evenly:
	// then batches bounded in bytes depend on how rows of unlike size were cut into
	// blocks.
	Bytes int64
	Sizes []int64 // of each row; nil: see Bytes
	Costs []int32 // of each row; nil: every row costs 1. A negative cost counts as 0
}

// Pick is rows of one block, in the order of the block.
type Pick struct {
	Block    int64
	From, To int32   // rows [From, To), where Rows is nil
	Rows     []int32 // the rows, ascending; nil: a range
}

// Len is the number of rows picked.
func (p Pick) Len() int {
	if p.Rows != nil {
		return len(p.Rows)
	}
	return int(p.To - p.From)
}

// Batch is rows to be worked on together, in the order in which they came.
type Batch struct {
	// Window counts up. The batches of one window come out of one Push or Flush, one
	// behind the other. In order of arrival each batch is a window.
	Window     int64
	Picks      []Pick
	Rows       int
	Bytes      int64
	Cost       int64 // of all rows
	Longest    int32 // the dearest row's cost, rounded up to a bucket
	PaddedCost int64 // Rows × Longest: what the batch really costs
}

// Batcher is the state: the rows that came and are in no batch yet. It is used by one
// goroutine at a time.
type Batcher struct {
	policy      stage.Policy
	windowBytes int64
	overhead    float64 // see the constant
	next        int64   // number of the next window

	open   open   // in order of arrival: the batch that is being filled
	window window // with look-ahead: the window that is being filled
}

// New makes a batcher whose windows hold up to [WindowBytes]. It fails if the policy
// makes no sense.
func New(p stage.Policy) (*Batcher, error) { return NewBounded(p, WindowBytes) }

// NewBounded makes a batcher whose windows hold up to windowBytes, or one row, or what
// one batch may hold if that is more. The bound is a setting of the job and nothing that
// changes while it runs, or else results would depend on it.
func NewBounded(p stage.Policy, windowBytes int64) (*Batcher, error) {
	if err := validate(p, windowBytes); err != nil {
		return nil, err
	}
	return &Batcher{policy: p, windowBytes: max(windowBytes, p.MaxBytes), overhead: overhead}, nil
}

func validate(p stage.Policy, windowBytes int64) error {
	var all []error
	bad := func(name string, value int64) {
		if value < 0 {
			all = append(all, fmt.Errorf("batcher: %s is %d: use 0 for no bound", name, value))
		}
	}
	bad("MaxRows", int64(p.MaxRows))
	bad("MaxBytes", p.MaxBytes)
	bad("MaxCost", p.MaxCost)
	bad("LookAheadRows", int64(p.LookAheadRows))
	bad("MaxDelay", int64(p.MaxDelay))
	if windowBytes <= 0 {
		all = append(all, fmt.Errorf("batcher: a window of %d bytes holds nothing", windowBytes))
	}
	for i, b := range p.Buckets {
		if b <= 0 || i > 0 && b <= p.Buckets[i-1] {
			all = append(all, fmt.Errorf("batcher: Buckets are %v: they have to be positive and ascending", p.Buckets))
			break
		}
	}
	if p.LookAheadRows > 0 && p.MaxRows == 0 && p.MaxBytes == 0 && p.MaxCost == 0 {
		all = append(all, errors.New("batcher: LookAheadRows needs a bound to cut by: MaxRows, MaxBytes or MaxCost"))
	}
	return errors.Join(all...)
}

// Push adds a block behind all others, and gives the batches that are complete now. It
// keeps nothing of blk.
func (b *Batcher) Push(blk Block) []Batch {
	r := rows{Block: blk, buckets: b.policy.Buckets}
	switch {
	case blk.Rows == 0:
		return nil
	case b.policy.LookAheadRows > 0:
		return b.fillWindow(r)
	case b.policy.MaxBytes == 0 && b.policy.MaxCost == 0:
		return b.cutByRows(r)
	case blk.Sizes == nil && blk.Costs == nil:
		return b.cutEven(r)
	default:
		return b.cut(r)
	}
}

// Flush gives the batches that hold all that is left, as at the end of a group of
// splits: rows before it and rows after it never share a window.
func (b *Batcher) Flush() []Batch {
	if b.policy.LookAheadRows > 0 {
		return b.closeWindow(nil)
	}
	return b.closeOpen(nil)
}

// Held is how many rows and bytes came and are in no batch yet.
func (b *Batcher) Held() (rows int, bytes int64) {
	return b.open.rows + b.window.rows(), b.open.bytes + b.window.bytes
}

// Oldest names the block of the row that has been held for longest; false: none is held.
func (b *Batcher) Oldest() (block int64, ok bool) {
	switch {
	case len(b.open.picks) > 0:
		return b.open.picks[0].Block, true
	case len(b.window.parts) > 0:
		return b.window.parts[0].block, true
	}
	return 0, false
}

// Due is the rule of delay for serving: how long what is held may still wait for
// company. At 0 it is time to Flush. oldest is when the oldest held row came ([Batcher.Oldest]) and
// now is the present, both on one clock. It is false if nothing waits: no row is held,
// or the policy has no MaxDelay.
func (b *Batcher) Due(now, oldest time.Duration) (wait time.Duration, ok bool) {
	if n, _ := b.Held(); n == 0 || b.policy.MaxDelay == 0 {
		return 0, false
	}
	return max(oldest+b.policy.MaxDelay-now, 0), true
}
