package pipeline

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// joinKind is how several inputs come together.
type joinKind uint8

const (
	noJoin joinKind = iota
	union
	zip
)

func (k joinKind) String() string { return [...]string{"none", "union", "zip"}[k] }

// ErrRowCounts ends a zip whose sides have different numbers of rows.
var ErrRowCounts = errors.New("pipeline: the sides of a zip have different numbers of rows")

func (b *binder) join(n joinNode) *planNode {
	out := &planNode{name: n.label(), join: n.kind}
	for _, side := range n.sides {
		if in := b.dataset(side); in != nil {
			out.in = append(out.in, in)
		}
	}
	if len(out.in) < len(n.sides) {
		return nil
	}
	var err error
	if n.kind == union {
		out.schema, err = unionSchema(out.in)
	} else {
		out.schema = zipSchema(out.in[0].schema, out.in[1].schema)
	}
	if err != nil {
		b.fault(n, err)
		return nil
	}
	return out
}

// unionSchema is that of the first side. The others must have its columns, in its order.
func unionSchema(sides []*planNode) (*arrow.Schema, error) {
	first := sides[0].schema
	for i, side := range sides[1:] {
		if side.schema.NumFields() != first.NumFields() {
			return nil, fmt.Errorf("side %d has %d columns, and the first has %d: bring them together with Select", i+1, side.schema.NumFields(), first.NumFields())
		}
		for c, f := range first.Fields() {
			g := side.schema.Field(c)
			if f.Name != g.Name || !arrow.TypeEqual(f.Type, g.Type) {
				return nil, fmt.Errorf("column %d of side %d is %q (%s), and of the first %q (%s)", c, i+1, g.Name, g.Type, f.Name, f.Type)
			}
		}
	}
	return first, nil
}

func zipSchema(a, b *arrow.Schema) *arrow.Schema {
	fields := append([]arrow.Field{}, a.Fields()...)
	taken := map[string]bool{}
	for _, f := range fields {
		taken[f.Name] = true
	}
	for _, f := range b.Fields() {
		for taken[f.Name] {
			f.Name += "_1"
		}
		taken[f.Name] = true
		fields = append(fields, f)
	}
	meta := a.Metadata()
	return arrow.NewSchema(fields, &meta)
}

// junction is where the outputs of several operators come together. It has no worker: it only
// rearranges blocks, in the loop.
//
// A side whose blocks cannot be used yet is paused, so that it does not fill the memory: the
// later sides of a union until the earlier ones have ended, and the side of a zip that is ahead.
type junction struct {
	kind   joinKind
	schema *arrow.Schema
	sides  []*side
	out    outlet
	at     int   // of a union: the side whose turn it is
	group  int64 // of the block that went out last
	last   int64 // group of the block of the side that went last
	rows   int64 // that went out, of a zip
}

// side is one input of a junction.
type side struct {
	up     *upstream // what makes its blocks
	queue  []*block
	failed []*stage.RowError // before the first of queue, which may be yet to come
	at     int               // rows of queue[0] that were paired, of a zip
	ended  bool
	paused bool
}

func (j *junction) input(r *run, port int, b *block) {
	if j.out.stopped {
		r.doneWith(b, b.left)
		return
	}
	j.sides[port].queue = append(j.sides[port].queue, b)
	j.move(r)
}

// reject takes failed rows at their place in the order of a side.
func (j *junction) reject(r *run, port int, group int64, failed []*stage.RowError) {
	s := j.sides[port]
	if n := len(s.queue); n > 0 {
		s.queue[n-1].failed = append(s.queue[n-1].failed, failed...)
		return
	}
	if j.kind == zip || port > j.at {
		s.failed = append(s.failed, failed...)
		return
	}
	r.forwardFailed(&j.out, j.group, failed)
}

func (j *junction) end(r *run, port int) {
	j.sides[port].ended = true
	j.move(r)
}

func (j *junction) move(r *run) {
	if j.out.stopped {
		return
	}
	if j.kind == union {
		j.moveUnion(r)
	} else {
		j.moveZip(r)
	}
	j.pause(r)
}

func (j *junction) moveUnion(r *run) {
	for j.at < len(j.sides) {
		s := j.sides[j.at]
		queue, failed := s.queue, s.failed
		s.queue, s.failed = nil, nil
		r.forwardFailed(&j.out, j.group, failed)
		for _, b := range queue {
			if b.group != j.last && !r.cfg.Unordered { // without order, groups would come mixed: there is but one
				j.last = b.group
				j.group++
			}
			b.group = j.group
			b.replace(array.NewRecord(j.schema, b.batch.Record().Columns(), b.batch.Record().NumRows()))
			r.forward(&j.out, b)
		}
		if !s.ended {
			return
		}
		j.at++
		j.last = -1 // a side is a group of its own
	}
	r.endOutlet(&j.out)
}

func (j *junction) moveZip(r *run) {
	a, b := j.sides[0], j.sides[1]
	for len(a.queue) > 0 && len(b.queue) > 0 && !j.out.stopped {
		j.passFailed(r)
		n := min(a.queue[0].batch.NumRows()-a.at, b.queue[0].batch.NumRows()-b.at)
		j.rows += int64(n)
		r.forward(&j.out, j.pair(r, a, b, n))
	}
	for k, s := range j.sides {
		if other := j.sides[1-k]; len(s.queue) > 0 && other.ended && len(other.queue) == 0 && !j.out.stopped {
			r.fail(fmt.Errorf("%w: side %d ended after %d rows, and side %d has more", ErrRowCounts, 1-k, j.rows, k))
		}
	}
	if a.ended && b.ended && len(a.queue) == 0 && len(b.queue) == 0 {
		j.passFailed(r)
		r.endOutlet(&j.out)
	}
}

// passFailed passes on what failed before the heads of a zip's sides. Both heads are there, or
// nothing more comes: so the place of these rows in the order does not hang on which side was
// faster.
func (j *junction) passFailed(r *run) {
	for _, s := range j.sides {
		failed := s.failed
		s.failed = nil
		r.forwardFailed(&j.out, j.group, failed)
	}
}

// pair makes a block of the next n rows of both sides. It holds no bytes of its own: with its
// last row the rows that it is made of are done with.
func (j *junction) pair(r *run, a, b *side, n int) *block {
	left, right := a.queue[0], b.queue[0]
	l := left.batch.Record().NewSlice(int64(a.at), int64(a.at+n))
	q := right.batch.Record().NewSlice(int64(b.at), int64(b.at+n))
	defer l.Release()
	defer q.Release()
	cols := append(append([]arrow.Array{}, l.Columns()...), q.Columns()...)
	origin := stage.ZipOrigins(left.batch.Origin().Slice(a.at, a.at+n), right.batch.Origin().Slice(b.at, b.at+n))
	out := &block{
		item:  item{batch: stage.NewBatch(array.NewRecord(j.schema, cols, int64(n)), origin), group: left.group},
		owner: left.owner, left: n,
		made: []pick{{block: left, from: a.at, to: a.at + n}, {block: right, from: b.at, to: b.at + n}},
	}
	j.group = left.group
	for _, s := range []*side{a, b} {
		if s.at += n; s.at == s.queue[0].batch.NumRows() {
			s.failed = append(s.failed, s.queue[0].failed...)
			s.queue, s.at = s.queue[1:], 0
		}
	}
	return out
}

// stop lets go of what waits: nobody wants it any more.
func (j *junction) stop(r *run) {
	j.out.stopped = true
	for _, s := range j.sides {
		for _, b := range s.queue {
			r.doneWith(b, b.batch.NumRows()-s.at)
			s.at = 0
		}
		s.queue = nil
	}
}

// pause holds back the sides whose blocks could only wait.
func (j *junction) pause(r *run) {
	for k, s := range j.sides {
		wait := len(s.queue) > 0 && (j.kind == zip || k > j.at)
		if j.kind == union {
			wait = k > j.at
		}
		if wait == s.paused {
			continue
		}
		s.paused = wait
		kind := sched.Unpause
		if wait {
			kind = sched.Pause
		}
		for _, o := range s.up.ops {
			r.push(sched.Event{Kind: kind, Op: o.index})
		}
	}
}
