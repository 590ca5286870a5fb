package overlap

import "fmt"

// resource is what an operation keeps busy.
type resource struct {
	kind   Kind // CopyIn, Compute, CopyOut, Note; 0: nothing, it takes no time
	device int
}

// node is an operation in the graph.
type node struct {
	of    resource
	share float64 // of a batch's time on the resource
	after []int   // nodes before it in the list
}

// Graph is what waited for what in a recorded run.
type Graph struct {
	nodes   []node
	batches int
}

// Batches is how many batches the run had.
func (g *Graph) Batches() int { return g.batches }

// none is the batch of work that belongs to none: what a program does to warm up.
const none = -1

// builder walks through a record in its order.
type builder struct {
	ops     []Op
	nodes   []node
	batch   []int          // of each operation
	of      map[int][]int  // the operations of each batch
	numbers map[uint64]int // batches by their notes' numbers
	last    map[uint64]int // the last operation of each stream
	seen    map[uint64]int // of each stream: the last operation that the host saw done
	blocked map[uint64]int // of each thread: the last time that it blocked
	memory  spans[int]     // whose batch's bytes lie where
}

// NewGraph makes a graph of a record: every operation of a run, in order. Each note is the CPU's
// work for one batch, with the memory that it writes; each batch has a copy in, a launch and a
// copy out. A record in which one is missing, or failed, is an error.
func NewGraph(ops []Op) (*Graph, error) {
	b := &builder{
		ops: ops, nodes: make([]node, len(ops)), batch: make([]int, len(ops)), of: map[int][]int{}, numbers: map[uint64]int{},
		last: map[uint64]int{}, seen: map[uint64]int{}, blocked: map[uint64]int{},
	}
	for i := range ops {
		if err := b.add(i); err != nil {
			return nil, err
		}
	}
	if err := b.share(); err != nil {
		return nil, err
	}
	return &Graph{nodes: b.nodes, batches: len(b.numbers)}, nil
}

func (b *builder) add(i int) error {
	op := &b.ops[i]
	if op.ID != uint64(i+1) || op.After > uint64(i) || op.Failed {
		return fmt.Errorf("overlap: operation %d (%s) stands in place %d, waits for %d, failed: %t: the record is not whole",
			op.ID, op.Kind, i+1, op.After, op.Failed)
	}
	var after []int
	if op.Stream != 0 {
		if prev, ok := b.last[op.Stream]; ok {
			after = append(after, prev)
		}
		b.last[op.Stream] = i
	}
	if op.Kind == Wait && op.After != 0 {
		after = append(after, int(op.After-1))
	}
	if at, ok := b.blocked[op.Thread]; ok && op.Kind != Note {
		after = append(after, at)
	}
	if op.Kind == Observe && op.After != 0 {
		done := int(op.After - 1)
		stream := b.ops[done].Stream
		b.seen[stream] = max(b.seen[stream], done)
		if op.Blocking {
			after = append(after, done)
			b.blocked[op.Thread] = i
		}
	}
	if err := b.follow(i); err != nil {
		return err
	}
	b.nodes[i].after = append(after, b.waited(i)...)
	for _, m := range op.Buffers {
		if m.Write && op.Kind != Free {
			b.memory.set(m, b.batch[i])
		}
	}
	return nil
}

// follow finds the batch of an operation: a note's number, or whose bytes it reads.
func (b *builder) follow(i int) error {
	op := &b.ops[i]
	b.batch[i] = none
	if op.Kind == Note {
		if _, twice := b.numbers[op.Number]; twice {
			return fmt.Errorf("overlap: two notes (the second is operation %d) are of batch %d", op.ID, op.Number)
		}
		b.batch[i] = len(b.numbers)
		b.numbers[op.Number] = b.batch[i]
	}
	for _, m := range op.Buffers {
		if b.batch[i] == none && !m.Write && op.Kind != Free {
			b.batch[i] = b.holder(m)
		}
	}
	if n := b.batch[i]; n != none {
		b.of[n] = append(b.of[n], i)
	}
	return nil
}

// holder is the batch whose bytes lie in m, the first if there are several, or none.
func (b *builder) holder(m Buffer) int {
	first, last := b.memory.over(m)
	for _, x := range b.memory[first:last] {
		if x.value != none {
			return x.value
		}
	}
	return none
}

// waited lists what an operation's memory had been waited for.
func (b *builder) waited(i int) []int {
	op := &b.ops[i]
	if op.Kind == Free {
		return nil
	}
	var after []int
	earlier := map[int]bool{}
	for _, m := range op.Buffers {
		first, last := b.memory.over(m)
		for _, x := range b.memory[first:last] {
			earlier[x.value] = true
		}
	}
	delete(earlier, none)
	for n := range earlier {
		for _, p := range b.of[n] {
			if p != i && b.known(p, i) {
				after = append(after, p)
			}
		}
	}
	return after
}

// known says whether the program waited for p before it asked for i: the CPU's work for a batch
// was done before the batch was handed on, and gets its memory when the batch before is through;
// of the device's work the host knows what it saw.
func (b *builder) known(p, i int) bool {
	if b.ops[p].Kind == Note || b.ops[i].Kind == Note {
		return true
	}
	seen, ok := b.seen[b.ops[p].Stream]
	return ok && seen >= p
}

// share gives each operation its part of its batch's time.
func (b *builder) share() error {
	sums := map[[2]int]float64{}
	weigh := func(op *Op) float64 {
		if op.Kind == CopyIn || op.Kind == CopyOut {
			return float64(op.Bytes)
		}
		return 1
	}
	timed := func(k Kind) bool { return k == CopyIn || k == Compute || k == CopyOut || k == Note }
	for i := range b.ops {
		if op := &b.ops[i]; timed(op.Kind) && b.batch[i] != none {
			sums[[2]int{b.batch[i], int(op.Kind)}] += weigh(op)
		}
	}
	for number, n := range b.numbers {
		for _, k := range []Kind{CopyIn, Compute, CopyOut} {
			if sums[[2]int{n, int(k)}] == 0 {
				return fmt.Errorf("overlap: batch %d has no %s: the record is not whole, or its memory cannot be followed", number, k)
			}
		}
	}
	for i := range b.ops {
		if op := &b.ops[i]; timed(op.Kind) && b.batch[i] != none {
			b.nodes[i].of = resource{op.Kind, max(op.Device, 0)}
			b.nodes[i].share = weigh(op) / sums[[2]int{b.batch[i], int(op.Kind)}]
		}
	}
	return nil
}
