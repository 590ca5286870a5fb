package sim

import (
	"math/rand/v2"
	"slices"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

// Pack makes sets of an operator's tasks, as a packer of rows does: for every so many blocks
// that come, and for what is left when no more can come, a set of so many tasks, each of which
// reads a share of all of them. What the tasks yield are parts; the last of them makes one block
// of all parts, which goes on.
type Pack struct {
	Blocks, Tasks int
}

// packer is the sets of an operator.
type packer struct {
	filling []*block // of the next set
	sets    map[int64]*set
	nextSet int64
}

type set struct {
	id    int64
	from  []*block
	left  int   // tasks that are not done
	hand  int   // tasks that have not handed in their parts
	parts int64 // bytes that were yielded
	kept  int64 // of them, that were accepted
	out   *simTask
	done  bool
}

func (o *opState) add(bytes int64) *simTask {
	t := &simTask{Task: Task{ID: o.next, Bytes: bytes}}
	o.next++
	o.tasks[t.ID] = t
	return t
}

// readers is how many will have to finish with a block.
func (o *Op) readers(b *block) int {
	if o.Pack.Blocks > 0 {
		return 1
	}
	return b.cut
}

// fill puts a block into the set that is being filled.
func (m *simulation) fill(i int, b *block) {
	o := &m.ops[i]
	if o.stopped {
		m.free([]*block{b})
		return
	}
	if o.filling = append(o.filling, b); len(o.filling) == m.cfg.Ops[i].Pack.Blocks {
		m.closeSet(i)
	}
}

func (m *simulation) closeSet(i int) {
	o, tasks := &m.ops[i], m.cfg.Ops[i].Pack.Tasks
	s := &set{id: o.nextSet, from: o.filling, left: tasks, hand: tasks}
	o.filling = nil
	o.nextSet++
	o.sets[s.id] = s
	bytes := int64(0)
	for _, b := range s.from {
		bytes += b.bytes
	}
	for range tasks {
		t := o.add(bytes / int64(tasks))
		t.set = s
		m.push(sched.Event{Kind: sched.Ready, Op: i, Task: t.ID, Set: s.id, Bytes: t.Bytes})
	}
}

// flushSets closes what is left where nothing more can come, and says whether there was any.
func (m *simulation) flushSets() (any bool) {
	ended := make([]bool, len(m.ops))
	for i := range m.ops {
		o := &m.ops[i]
		ended[i] = true
		for k := range i {
			if slices.Contains(m.cfg.Ops[k].Next, i) {
				ended[i] = ended[i] && ended[k]
			}
		}
		if ended[i] && len(o.filling) > 0 {
			m.closeSet(i)
			any = true
		}
		ended[i] = ended[i] && (o.stopped || len(o.tasks)+len(o.sets)+len(o.filling) == 0)
	}
	return any
}

// handIn says that a task whose own work is done has its set's left to do: it was the last.
func (t *simTask) handIn() bool {
	if t.set == nil || t.last {
		return false
	}
	if t.set.hand--; t.set.hand > 0 {
		return false
	}
	t.last = true
	bytes := max(t.set.parts, 1)
	t.plan = append(t.plan, Yield{Reserve: bytes, Bytes: bytes})
	return true
}

// yieldsPart counts what a task yields into its set, if it is a part.
func (t *simTask) yieldsPart(bytes int64) bool {
	if t.set == nil || t.last {
		return false
	}
	t.set.parts += bytes
	return true
}

// setDone takes a task that is done out of its set. With the last one goes what the set has read
// and kept.
func (m *simulation) setDone(i int, t *simTask) {
	s := t.set
	if s == nil {
		return
	}
	if t.last {
		s.out = t
	}
	if s.left--; s.left > 0 {
		return
	}
	s.done = true
	m.free(s.from)
	m.freeParts(i, s)
	if m.cfg.Ops[i].Order {
		m.deliverSets(i)
	} else {
		delete(m.ops[i].sets, s.id)
	}
}

func (m *simulation) freeParts(i int, s *set) {
	if s.kept > 0 {
		m.exist(-s.kept)
		m.push(sched.Event{Kind: sched.Free, Op: i, Bytes: s.kept, Part: true})
		s.kept = 0
	}
}

// deliverSets passes on what has its turn.
func (m *simulation) deliverSets(i int) {
	o := &m.ops[i]
	for s := o.sets[o.head]; s != nil && s.done; s = o.sets[o.head] {
		delete(o.sets, o.head)
		o.head++
		m.flush(i, s.out)
	}
}

// dropSets lets go of the sets of an operator that is stopped. What its tasks still hold is let
// go of with them.
func (m *simulation) dropSets(i int) {
	o := &m.ops[i]
	m.free(o.filling)
	o.filling = nil
	for id := range o.nextSet {
		if s := o.sets[id]; s != nil {
			m.dropSet(i, s)
		}
	}
	clear(o.sets)
}

func (m *simulation) dropSet(i int, s *set) {
	if !s.done {
		m.free(s.from)
		m.freeParts(i, s)
	}
	if s.out == nil {
		return
	}
	for _, b := range s.out.out {
		m.push(sched.Event{Kind: sched.Free, Op: i, Bytes: b.bytes})
	}
}

// WithSets has some operators of a random job pack what they read. It gives the number of blocks
// that reach sinks then.
func WithSets(cfg Config, seed uint64) (Config, int64) {
	rng := rand.New(rand.NewPCG(seed, 19))
	for i := 1; i < len(cfg.Ops)-1; i++ {
		if o := &cfg.Ops[i]; o.Tasks == 0 && rng.IntN(2) == 0 {
			o.Pack = Pack{Blocks: 1 + rng.IntN(6), Tasks: 1 + rng.IntN(6)}
			if o.Window > 0 { // of sets there are fewer than of tasks
				o.Window = int64(1 + rng.IntN(3))
			}
		}
	}
	blocks := make([]int64, len(cfg.Ops)) // that come
	for i, o := range cfg.Ops {
		tasks := blocks[i] + int64(o.Tasks)
		gives := int64(0)
		if len(o.Next) > 0 {
			gives = tasks * int64(len(o.Work(Task{})))
		}
		if o.Pack.Blocks > 0 {
			gives = (blocks[i] + int64(o.Pack.Blocks) - 1) / int64(o.Pack.Blocks)
		}
		for _, n := range o.Next {
			blocks[n] += gives
		}
	}
	return cfg, blocks[len(cfg.Ops)-1]
}
