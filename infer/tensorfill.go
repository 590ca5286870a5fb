package infer

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/float16"
)

// number is what tensors and columns have in common.
type number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// tensorSource is the column that an input is filled from, in one batch.
type tensorSource struct {
	in      *boundInput
	col     arrow.Array
	flat    []byte // the column's rows as the tensor's are; nil: they lie in another way
	scratch []byte // of a row
}

func newTensorSource(in *boundInput, col arrow.Array) *tensorSource {
	s := &tensorSource{in: in, col: col}
	if in.plain {
		s.flat = flatRows(col, in.Type.size())
	}
	return s
}

// flatRows are the bytes of a column of numbers in lists of fixed size, however deep, which lie
// one behind the other; nil: there are nulls in a row that is none itself.
func flatRows(col arrow.Array, width int) []byte {
	leaf, from, n := col, 0, col.Len()
	for {
		if leaf != col && nullsWithin(col, leaf, from, n/col.Len()) {
			return nil
		}
		list, ok := leaf.(*array.FixedSizeList)
		if !ok {
			break
		}
		first, end := list.ValueOffsets(from)
		leaf, from, n = list.ListValues(), int(first), n*int(end-first)
	}
	if n == 0 {
		return nil
	}
	from = (leaf.Data().Offset() + from) * width
	return leaf.Data().Buffers()[1].Bytes()[from : from+n*width]
}

// nullsWithin says whether a row of col that is not null has nulls further down, where each row has
// size values from from on.
func nullsWithin(col, inner arrow.Array, from, size int) bool {
	if inner.NullN() == 0 {
		return false
	}
	bits, at := inner.NullBitmapBytes(), inner.Data().Offset()+from
	for row := range col.Len() {
		if col.IsValid(row) && bitutil.CountSetBits(bits, at+row*size, size) < size {
			return true
		}
	}
	return false
}

// check says why a row cannot be put into the tensor.
func (s *tensorSource) check(row int) error {
	if s.flat != nil {
		return nil
	}
	leaf, from, n, err := rowOf(s.col, row, s.in.dims)
	if err != nil || !narrows(s.in.Type, leaf.DataType()) {
		return err
	}
	if s.scratch == nil {
		s.scratch = make([]byte, s.in.rowBytes())
	}
	return convertTo(s.scratch, s.in.Type, leaf, from, n)
}

// narrows says whether whole numbers of a column may be out of the range of an input.
func narrows(kind ElementType, from arrow.DataType) bool {
	of := elementOf(from)
	return !kind.isFloat() && kind != of && of != Bool
}

// whole gives the bytes of rows where they lie one behind the other already.
func (s *tensorSource) whole(rows []int32) []byte {
	first, last := int(rows[0]), int(rows[len(rows)-1])
	if s.flat == nil || last-first+1 != len(rows) {
		return nil
	}
	size := s.in.rowBytes()
	return s.flat[first*size : (last+1)*size]
}

// fill writes rows into a tensor, and copies of the last one behind them, as many as it has room
// for.
func (s *tensorSource) fill(to []byte, rows []int32) error {
	size := s.in.rowBytes()
	n := len(rows) * size
	if all := s.whole(rows); all != nil {
		copy(to, all)
	} else {
		for k, row := range rows {
			if err := s.fillRow(to[k*size:(k+1)*size], int(row)); err != nil {
				return err
			}
		}
	}
	for at := n; at < len(to); at += size {
		copy(to[at:], to[n-size:n])
	}
	return nil
}

// fillRow writes the numbers of a row into a tensor's row.
func (s *tensorSource) fillRow(dst []byte, row int) error {
	if s.flat != nil {
		copy(dst, s.flat[row*len(dst):])
		return nil
	}
	leaf, from, n, err := rowOf(s.col, row, s.in.dims)
	if err != nil {
		return err
	}
	return convertTo(dst, s.in.Type, leaf, from, n)
}

// rowOf finds the numbers of a row of a column: as many as a tensor's row of those dimensions has,
// none of them null.
func rowOf(col arrow.Array, row int, dims []int64) (leaf arrow.Array, from, n int, err error) {
	leaf, from, n, err = rowSpan(col, row, dims)
	if err != nil {
		return nil, 0, 0, err
	}
	size := 1
	for _, d := range dims {
		size *= int(d)
	}
	if n != size {
		return nil, 0, 0, fmt.Errorf("has %d numbers, the model wants %d", n, size)
	}
	if leaf.NullN() > 0 {
		for i := range n {
			if leaf.IsNull(from + i) {
				return nil, 0, 0, fmt.Errorf("number %d of its list is null", i)
			}
		}
	}
	return leaf, from, n, nil
}

// rowSpan finds the numbers of a row below its lists. Where there are as many lists as
// dimensions, each must be as long as its dimension.
func rowSpan(col arrow.Array, row int, dims []int64) (leaf arrow.Array, from, n int, err error) {
	nested := len(shapeOf(col.DataType()).dims) == len(dims)
	leaf, from, n = col, row, 1
	for depth := 0; ; depth++ {
		list, ok := leaf.(array.ListLike)
		if !ok {
			return leaf, from, n, nil
		}
		if n == 0 {
			leaf, from = list.ListValues(), 0
			continue
		}
		for i := range n {
			if depth > 0 && list.IsNull(from+i) {
				return nil, 0, 0, fmt.Errorf("list %d of its list is null", i)
			}
			start, end := list.ValueOffsets(from + i)
			if nested && end-start != dims[depth] {
				return nil, 0, 0, fmt.Errorf("has %d numbers in dimension %d, the model wants %d", end-start, depth+1, dims[depth])
			}
		}
		first, _ := list.ValueOffsets(from)
		_, last := list.ValueOffsets(from + n - 1)
		leaf, from, n = list.ListValues(), int(first), int(last-first)
	}
}

func convertTo(dst []byte, kind ElementType, leaf arrow.Array, from, n int) error {
	if n == 0 {
		return nil
	}
	switch kind {
	case Int8:
		return convert(cells[int8](dst), leaf, from, n)
	case Int16:
		return convert(cells[int16](dst), leaf, from, n)
	case Int32:
		return convert(cells[int32](dst), leaf, from, n)
	case Int64:
		return convert(cells[int64](dst), leaf, from, n)
	case Uint8:
		return convert(cells[uint8](dst), leaf, from, n)
	case Uint16:
		return convert(cells[uint16](dst), leaf, from, n)
	case Uint32:
		return convert(cells[uint32](dst), leaf, from, n)
	case Uint64:
		return convert(cells[uint64](dst), leaf, from, n)
	case Float32:
		return convert(cells[float32](dst), leaf, from, n)
	case Float64:
		return convert(cells[float64](dst), leaf, from, n)
	case Float16:
		if halves, ok := leaf.(*array.Float16); ok {
			copy(cells[float16.Num](dst), halves.Values()[from:from+n])
			return nil
		}
		wide := make([]float32, n)
		if err := convert(wide, leaf, from, n); err != nil {
			return err
		}
		for i, x := range wide {
			cells[float16.Num](dst)[i] = float16.New(x)
		}
		return nil
	case Bool:
		return convert(dst, leaf, from, n)
	}
	return fmt.Errorf("an input of %s cannot be filled", kind) // refused when it was bound
}

// convert writes numbers of a column in the type of the tensor.
func convert[D number](dst []D, leaf arrow.Array, from, n int) error {
	switch a := leaf.(type) {
	case *array.Int8:
		return change(dst, a.Int8Values()[from:from+n])
	case *array.Int16:
		return change(dst, a.Int16Values()[from:from+n])
	case *array.Int32:
		return change(dst, a.Int32Values()[from:from+n])
	case *array.Int64:
		return change(dst, a.Int64Values()[from:from+n])
	case *array.Uint8:
		return change(dst, a.Uint8Values()[from:from+n])
	case *array.Uint16:
		return change(dst, a.Uint16Values()[from:from+n])
	case *array.Uint32:
		return change(dst, a.Uint32Values()[from:from+n])
	case *array.Uint64:
		return change(dst, a.Uint64Values()[from:from+n])
	case *array.Float32:
		return change(dst, a.Float32Values()[from:from+n])
	case *array.Float64:
		return change(dst, a.Float64Values()[from:from+n])
	case *array.Float16:
		for i, h := range a.Values()[from : from+n] {
			dst[i] = D(h.Float32())
		}
		return nil
	case *array.Boolean:
		for i := range n {
			dst[i] = 0
			if a.Value(from + i) {
				dst[i] = 1
			}
		}
		return nil
	}
	return fmt.Errorf("a column of %s holds no numbers", leaf.DataType()) // refused when it was bound
}

// change converts numbers; whole numbers must come through unchanged where the tensor has
// whole numbers.
func change[D, S number](dst []D, src []S) error {
	half := 0.5
	whole := D(half) == 0 && S(half) == 0
	for i, s := range src {
		d := D(s)
		if whole && (S(d) != s || (d < 0) != (s < 0)) {
			return fmt.Errorf("%v is out of the range of the model's input", s)
		}
		dst[i] = d
	}
	return nil
}
