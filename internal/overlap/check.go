package overlap

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Check looks for work in a record that uses the same memory, one of it writing, with nothing
// that orders it: not a stream, not an event that a stream waited for, and not the host having
// seen the first done before it asked for the second. On a slower or a faster device such work
// goes wrong. The CPU's work, as far as it is noted, and page-locked memory that is given back
// are held to the same rule. The error lists what was found, at most the first ten.
func Check(ops []Op) error {
	c := checker{ops: ops, clocks: make([]clock, len(ops)), streams: map[uint64]clock{}, host: clock{}}
	for i := range ops {
		if op := &ops[i]; op.ID != uint64(i+1) || op.After > uint64(i) {
			return fmt.Errorf("overlap: operation %d stands in place %d and waits for %d: the record is not whole", op.ID, i+1, op.After)
		}
		c.add(i)
	}
	return errors.Join(c.found...)
}

const mostFound = 10

// clock says for each stream up to which operation all is known to be done.
type clock map[uint64]int

// join adds what another clock knows.
func (c clock) join(other clock) {
	for stream, i := range other {
		if had, ok := c[stream]; !ok || i > had {
			c[stream] = i
		}
	}
}

// use is who used a piece of memory: who wrote it last, and who has read it since.
type use struct {
	writer  int // -1: nobody
	readers []int
}

type checker struct {
	ops     []Op
	clocks  []clock // of each operation in a stream: what is done when it is
	streams map[uint64]clock
	host    clock // what the host has seen done
	memory  spans[use]
	found   []error
}

func (c *checker) add(i int) {
	op := &c.ops[i]
	before := c.host
	switch {
	case op.Stream != 0:
		before = c.streams[op.Stream]
		if before == nil {
			before = clock{}
		}
		before.join(c.host)
		if op.Kind == Wait && op.After != 0 {
			before.join(c.clocks[op.After-1])
		}
		c.streams[op.Stream] = before
	case op.Kind == Observe && op.After != 0:
		c.host.join(c.clocks[op.After-1])
	}
	for _, m := range op.Buffers {
		c.touch(i, m, before)
	}
	if op.Stream != 0 {
		before[op.Stream] = i
		c.clocks[i] = maps.Clone(before)
	}
}

// touch holds the use of m by operation i against those before it. before is what is done then.
func (c *checker) touch(i int, m Buffer, before clock) {
	op := &c.ops[i]
	ordered := func(p int) bool {
		if c.ops[p].Stream == 0 || p == i { // the CPU's work was done when the host asked for more
			return true
		}
		done, ok := before[c.ops[p].Stream]
		return ok && done >= p
	}
	if op.Kind == Free && op.Blocking { // the driver waited for all work
		c.memory.cut(m)
		return
	}
	at := m.Address
	for _, x := range c.memory.cut(m) {
		if at < x.from {
			c.memory.set(Buffer{Address: at, Bytes: x.from - at}, first(i, m.Write))
		}
		at = x.to
		u := x.value
		if u.writer >= 0 && !ordered(u.writer) {
			c.report(i, u.writer, m)
		}
		if m.Write {
			for _, r := range u.readers {
				if !ordered(r) {
					c.report(i, r, m)
				}
			}
			u = first(i, true)
		} else if !slices.Contains(u.readers, i) {
			u.readers = append(slices.Clip(u.readers), i)
		}
		c.memory.set(Buffer{Address: x.from, Bytes: x.to - x.from}, u)
	}
	if end := m.Address + m.Bytes; at < end {
		c.memory.set(Buffer{Address: at, Bytes: end - at}, first(i, m.Write))
	}
	if op.Kind == Free {
		c.memory.cut(m)
	}
}

// first is memory that nobody used before operation i.
func first(i int, write bool) use {
	if write {
		return use{writer: i}
	}
	return use{writer: -1, readers: []int{i}}
}

func (c *checker) report(i, earlier int, m Buffer) {
	if len(c.found) == mostFound {
		return
	}
	does := map[bool]string{false: "reads", true: "writes"}[m.Write]
	if c.ops[i].Kind == Free {
		does = "gives back"
	}
	c.found = append(c.found, fmt.Errorf("overlap: %s %s %d bytes at %#x that %s uses, and nothing orders the two",
		c.name(i), does, m.Bytes, m.Address, c.name(earlier)))
}

func (c *checker) name(i int) string {
	op := &c.ops[i]
	switch op.Kind {
	case Note:
		return fmt.Sprintf("operation %d (the CPU's for batch %d)", op.ID, op.Number)
	case Free:
		return fmt.Sprintf("operation %d (free)", op.ID)
	}
	return fmt.Sprintf("operation %d (%s on stream %#x of device %d)", op.ID, op.Kind, op.Stream, op.Device)
}
