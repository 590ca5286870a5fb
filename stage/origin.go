package stage

import (
	"fmt"
	"slices"
	"strings"
)

// Origin tells for every row of a batch which row of which split it comes from. It is
// run-length coded: rows that stand in their split one behind the other cost nothing.
// An Origin is immutable and may be shared.
//
// A row made by a flat-map carries an ordinal per flat-map it went through, so that two
// children of one row differ. A row made by a zip has an Origin on each side: these are
// lanes, and what is said of "the" row is lane 0. A source that is used twice in a plan
// counts as two inputs.
type Origin struct {
	lanes [][]segment // never empty lanes; no lane: no rows
	n     int
}

// segment is a run of rows of one split.
type segment struct {
	split    *Split
	input    int32
	n        int32
	start    int64     // row i is start+i where rows is nil
	rows     []int64   // the rows one by one
	ordinals [][]int32 // [flat-map level][row]; the outermost flat-map first
}

// RowID names one row.
type RowID struct {
	Split    *Split // shared; not to be changed
	Input    int32  // which source of the plan
	Row      int64  // physical row in the split, from 0
	Ordinals []int32
}

// FileRow is the row counted from the start of the split's file, or -1 if unknown.
func (id RowID) FileRow() int64 {
	if id.Split == nil || id.Split.Base < 0 {
		return -1
	}
	return id.Split.Base + id.Row
}

// String gives the split, the row and the ordinals: "part-0.parquet#rg1:17.0.3".
func (id RowID) String() string {
	var b strings.Builder
	if id.Split != nil {
		b.WriteString(id.Split.ID)
	}
	fmt.Fprintf(&b, ":%d", id.Row)
	for _, o := range id.Ordinals {
		fmt.Fprintf(&b, ".%d", o)
	}
	return b.String()
}

// RowRange is the Origin of n rows of s from physical row start on.
func RowRange(s *Split, start int64, n int) Origin {
	if n == 0 {
		return Origin{}
	}
	return Origin{n: n, lanes: [][]segment{{{split: s, n: int32(n), start: start}}}}
}

// RowList is the Origin of the given physical rows of s. It keeps rows.
func RowList(s *Split, rows []int64) Origin {
	n := len(rows)
	if n == 0 {
		return Origin{}
	}
	if isRange(rows) {
		return RowRange(s, rows[0], n)
	}
	return Origin{n: n, lanes: [][]segment{{{split: s, n: int32(n), rows: rows}}}}
}

// Len is the number of rows.
func (o Origin) Len() int { return o.n }

// Lanes is the number of sides: 1, or more after a zip.
func (o Origin) Lanes() int { return len(o.lanes) }

// Lane is side k alone.
func (o Origin) Lane(k int) Origin { return Origin{n: o.n, lanes: o.lanes[k : k+1]} }

// At names row i on lane 0. It takes time in the number of runs before it.
func (o Origin) At(i int) RowID {
	for _, s := range o.lanes[0] {
		if i < int(s.n) {
			return s.at(i)
		}
		i -= int(s.n)
	}
	panic("stage: row is outside the origin")
}

// All gives every row's name on lane 0, in order.
func (o Origin) All() func(yield func(int, RowID) bool) {
	return func(yield func(int, RowID) bool) {
		if o.n == 0 {
			return
		}
		at := 0
		for _, s := range o.lanes[0] {
			for i := range int(s.n) {
				if !yield(at, s.at(i)) {
					return
				}
				at++
			}
		}
	}
}

// WithInput marks every row as coming from source input of the plan. Readers leave that
// to whoever runs them.
func (o Origin) WithInput(input int32) Origin {
	return o.eachLane(func(lane []segment) []segment {
		out := slices.Clone(lane)
		for i := range out {
			out[i].input = input
		}
		return out
	})
}

// Slice is rows [from, to).
func (o Origin) Slice(from, to int) Origin {
	if from == 0 && to == o.n {
		return o
	}
	if from == to {
		return Origin{}
	}
	out := o.eachLane(func(lane []segment) []segment { return sliceLane(lane, from, to) })
	out.n = to - from
	return out
}

// Take is the rows of idx, in that order; an index may come more than once.
func (o Origin) Take(idx []int32) Origin {
	if len(idx) == 0 {
		return Origin{}
	}
	if isIdentity(idx, o.n) {
		return o
	}
	out := o.eachLane(func(lane []segment) []segment { return takeLane(lane, idx, nil) })
	out.n = len(idx)
	return out
}

// Children is the Origin of rows made by a flat-map: row i is child ordinal[i] of row
// parent[i].
func (o Origin) Children(parent, ordinal []int32) Origin {
	if len(parent) == 0 {
		return Origin{}
	}
	out := o.eachLane(func(lane []segment) []segment { return takeLane(lane, parent, ordinal) })
	out.n = len(parent)
	return out
}

// Parents is the Origin that the rows had before the last flat-map that they went through: each
// loses its last ordinal. Rows that went through none stay as they are.
func (o Origin) Parents() Origin {
	return o.eachLane(func(lane []segment) []segment {
		out := slices.Clone(lane)
		for i := range out {
			if n := len(out[i].ordinals); n > 0 {
				out[i].ordinals = out[i].ordinals[:n-1]
			}
		}
		return out
	})
}

// SameParent says whether two rows are children of one row by the last flat-map.
func (id RowID) SameParent(other RowID) bool {
	n := len(id.Ordinals)
	return n > 0 && n == len(other.Ordinals) && id.Row == other.Row && id.Input == other.Input && id.Split == other.Split &&
		slices.Equal(id.Ordinals[:n-1], other.Ordinals[:n-1])
}

// ConcatOrigins puts the rows of several origins one behind the other. All that have
// rows must have the same number of lanes.
func ConcatOrigins(all ...Origin) Origin {
	var out Origin
	for _, o := range all {
		if o.n == 0 {
			continue
		}
		if out.n == 0 {
			out = Origin{n: o.n, lanes: slices.Clone(o.lanes)}
			for k := range out.lanes {
				out.lanes[k] = slices.Clone(o.lanes[k])
			}
			continue
		}
		if len(o.lanes) != len(out.lanes) {
			panic("stage: origins of different lanes joined")
		}
		out.n += o.n
		for k := range out.lanes {
			for _, s := range o.lanes[k] {
				out.lanes[k] = appendSegment(out.lanes[k], s)
			}
		}
	}
	return out
}

// ZipOrigins puts the lanes of two origins of the same length side by side.
func ZipOrigins(a, b Origin) Origin {
	if a.n != b.n {
		panic("stage: origins of different length zipped")
	}
	return Origin{n: a.n, lanes: slices.Concat(a.lanes, b.lanes)}
}

func (o Origin) eachLane(f func([]segment) []segment) Origin {
	out := Origin{n: o.n, lanes: make([][]segment, len(o.lanes))}
	for k, lane := range o.lanes {
		out.lanes[k] = f(lane)
	}
	return out
}

func (s segment) row(i int) int64 {
	if s.rows != nil {
		return s.rows[i]
	}
	return s.start + int64(i)
}

func (s segment) at(i int) RowID {
	id := RowID{Split: s.split, Input: s.input, Row: s.row(i)}
	if len(s.ordinals) > 0 {
		id.Ordinals = make([]int32, len(s.ordinals))
		for l, level := range s.ordinals {
			id.Ordinals[l] = level[i]
		}
	}
	return id
}

func (s segment) slice(from, to int) segment {
	out := s
	out.n = int32(to - from)
	if s.rows != nil {
		out.rows = s.rows[from:to]
	} else {
		out.start = s.start + int64(from)
	}
	if len(s.ordinals) > 0 {
		out.ordinals = make([][]int32, len(s.ordinals))
		for l, level := range s.ordinals {
			out.ordinals[l] = level[from:to]
		}
	}
	return out
}

func sliceLane(lane []segment, from, to int) []segment {
	var out []segment
	at := 0
	for _, s := range lane {
		lo, hi := max(from-at, 0), min(to-at, int(s.n))
		if lo < hi {
			out = append(out, s.slice(lo, hi))
		}
		at += int(s.n)
	}
	return out
}

// appendSegment adds s to lane, joined with the last run where the two are one.
func appendSegment(lane []segment, s segment) []segment {
	if k := len(lane); k > 0 {
		last := &lane[k-1]
		if last.rows == nil && s.rows == nil && len(last.ordinals) == 0 && len(s.ordinals) == 0 &&
			last.split == s.split && last.input == s.input && last.start+int64(last.n) == s.start {
			last.n += s.n
			return lane
		}
	}
	return append(lane, s)
}

// takeLane picks rows by index, with one more ordinal level where ordinal is not nil.
// Rows that follow each other in one split become one run again.
func takeLane(lane []segment, idx, ordinal []int32) []segment {
	starts := make([]int32, len(lane)+1)
	for i, s := range lane {
		starts[i+1] = starts[i] + s.n
	}
	find := func(row int32, hint int) int {
		if starts[hint] <= row && row < starts[hint+1] {
			return hint
		}
		k, found := slices.BinarySearch(starts, row)
		if !found {
			k--
		}
		return k
	}
	var out []segment
	seg := 0
	for i := 0; i < len(idx); {
		seg = find(idx[i], seg)
		j := i + 1
		for j < len(idx) && starts[seg] <= idx[j] && idx[j] < starts[seg+1] {
			j++
		}
		var ord []int32
		if ordinal != nil {
			ord = ordinal[i:j]
		}
		out = append(out, lane[seg].take(idx[i:j], starts[seg], ord))
		i = j
	}
	return out
}

func (s segment) take(idx []int32, base int32, ordinal []int32) segment {
	out := segment{split: s.split, input: s.input, n: int32(len(idx)), start: s.row(int(idx[0] - base))}
	out.rows = make([]int64, len(idx))
	dense := true
	for i, r := range idx {
		out.rows[i] = s.row(int(r - base))
		dense = dense && out.rows[i] == out.start+int64(i)
	}
	if dense {
		out.rows = nil
	}
	for _, level := range s.ordinals {
		picked := make([]int32, len(idx))
		for i, r := range idx {
			picked[i] = level[r-base]
		}
		out.ordinals = append(out.ordinals, picked)
	}
	if ordinal != nil {
		out.ordinals = append(out.ordinals, ordinal)
	}
	return out
}

func isRange(rows []int64) bool {
	for i, r := range rows {
		if r != rows[0]+int64(i) {
			return false
		}
	}
	return true
}

func isIdentity(idx []int32, n int) bool {
	if len(idx) != n {
		return false
	}
	for i, r := range idx {
		if int(r) != i {
			return false
		}
	}
	return true
}
