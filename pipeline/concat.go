package pipeline

import (
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// concatRecords puts records of one schema one behind the other.
func concatRecords(recs []arrow.Record, mem memory.Allocator) (arrow.Record, error) {
	schema := recs[0].Schema()
	cols := make([]arrow.Array, 0, schema.NumFields())
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	rows := int64(0)
	for _, r := range recs {
		rows += r.NumRows()
	}
	for i := range schema.NumFields() {
		parts := make([]arrow.ArrayData, len(recs))
		for k, r := range recs {
			parts[k] = r.Column(i).Data()
		}
		if err := joinable(parts); err != nil {
			return nil, fmt.Errorf("column %q: %w", schema.Field(i).Name, err)
		}
		data, err := concatData(parts, mem)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", schema.Field(i).Name, err)
		}
		cols = append(cols, array.MakeFromData(data))
		data.Release()
	}
	return array.NewRecord(schema, cols, rows), nil
}

// concatData joins arrays of one type. Types with a dictionary inside are joined by our own
// code: arrow's mixes up indices where dictionaries differ and there are nulls.
func concatData(parts []arrow.ArrayData, mem memory.Allocator) (arrow.ArrayData, error) {
	dt := parts[0].DataType()
	if !hasDictionary(dt) {
		return concatPlain(parts, mem)
	}
	j := joiner{parts: parts, mem: mem}
	defer j.release()
	j.validity()
	switch dt := dt.(type) {
	case *arrow.DictionaryType:
		return j.dictionary(dt)
	case *arrow.ListType, *arrow.MapType:
		return j.list()
	case *arrow.FixedSizeListType:
		return j.nested(int(dt.Len()))
	case *arrow.StructType:
		return j.nested(1)
	}
	return nil, fmt.Errorf("columns of %s cannot be joined", dt)
}

func hasDictionary(dt arrow.DataType) bool {
	if dt.ID() == arrow.DICTIONARY {
		return true
	}
	if nested, ok := dt.(arrow.NestedType); ok {
		for _, f := range nested.Fields() {
			if hasDictionary(f.Type) {
				return true
			}
		}
	}
	return false
}

func concatPlain(parts []arrow.ArrayData, mem memory.Allocator) (arrow.ArrayData, error) {
	arrs := make([]arrow.Array, len(parts))
	for i, p := range parts {
		arrs[i] = array.MakeFromData(p)
		defer arrs[i].Release()
	}
	out, err := array.Concatenate(arrs, mem)
	if err != nil {
		return nil, err
	}
	defer out.Release()
	out.Data().Retain()
	return out.Data(), nil
}

// joiner makes the buffers of joined arrays. array.NewData takes references of its own.
type joiner struct {
	parts []arrow.ArrayData
	mem   memory.Allocator
	n     int
	nulls int
	bits  *memory.Buffer // nil: nothing is null
	kept  []interface{ Release() }
}

func (j *joiner) release() {
	for _, k := range j.kept {
		k.Release()
	}
}

func (j *joiner) buffer(bytes int) *memory.Buffer {
	b := memory.NewResizableBuffer(j.mem)
	b.Resize(bytes)
	j.kept = append(j.kept, b)
	return b
}

func (j *joiner) validity() {
	for _, p := range j.parts {
		j.n += p.Len()
		j.nulls += p.NullN()
	}
	if j.nulls == 0 {
		return
	}
	j.bits = j.buffer(int(bitutil.BytesForBits(int64(j.n))))
	clear(j.bits.Bytes())
	at := 0
	for _, p := range j.parts {
		for i := range p.Len() {
			if b := p.Buffers()[0]; p.NullN() == 0 || b == nil || bitutil.BitIsSet(b.Bytes(), p.Offset()+i) {
				bitutil.SetBit(j.bits.Bytes(), at+i)
			}
		}
		at += p.Len()
	}
}

// dictionary joins the dictionaries to one without repeats, and the indices to it.
func (j *joiner) dictionary(dt *arrow.DictionaryType) (arrow.ArrayData, error) {
	unifier, err := array.NewDictionaryUnifier(j.mem, dt.ValueType)
	if err != nil {
		return nil, err
	}
	defer unifier.Release()
	moved := make([][]int32, len(j.parts)) // where each value of a part's dictionary went
	for k, p := range j.parts {
		dict := array.MakeFromData(p.Dictionary())
		buf, err := unifier.UnifyAndTranspose(dict)
		dict.Release()
		if err != nil {
			return nil, err
		}
		j.kept = append(j.kept, buf)
		moved[k] = arrow.Int32Traits.CastFromBytes(buf.Bytes())
	}
	dict, err := unifier.GetResultWithIndexType(dt.IndexType)
	if err != nil {
		return nil, fmt.Errorf("join dictionaries: %w", err)
	}
	j.kept = append(j.kept, dict)
	width := dt.IndexType.(arrow.FixedWidthDataType).BitWidth() / 8
	out := j.buffer(j.n * width)
	at := 0
	for k, p := range j.parts {
		from := p.Buffers()[1].Bytes()
		for i := range p.Len() {
			index := readIndex(from, p.Offset()+i, width)
			if j.bits != nil && !bitutil.BitIsSet(j.bits.Bytes(), at) {
				index = 0
			} else {
				index = uint64(moved[k][index])
			}
			writeIndex(out.Bytes(), at, width, index)
			at++
		}
	}
	return array.NewDataWithDictionary(dt, j.n, []*memory.Buffer{j.bits, out}, j.nulls, 0, dict.Data().(*array.Data)), nil
}

// readIndex and writeIndex take indices as unsigned little-endian numbers: those of a
// dictionary are never negative.
func readIndex(b []byte, at, width int) (n uint64) {
	for i := width - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[at*width+i])
	}
	return n
}

func writeIndex(b []byte, at, width int, n uint64) {
	for i := range width {
		b[at*width+i] = byte(n >> (8 * i))
	}
}

func (j *joiner) list() (arrow.ArrayData, error) {
	out := j.buffer(4 * (j.n + 1))
	to := arrow.Int32Traits.CastFromBytes(out.Bytes())
	var children []arrow.ArrayData
	at, total := 0, int64(0)
	for _, p := range j.parts {
		off := offsets32(p)
		first, last := int64(0), int64(0)
		if p.Len() > 0 {
			first, last = int64(off[p.Offset()]), int64(off[p.Offset()+p.Len()])
		}
		for i := range p.Len() {
			to[at] = int32(total + int64(off[p.Offset()+i]) - first)
			at++
		}
		if total += last - first; total > math.MaxInt32 {
			return nil, errTooLong
		}
		children = append(children, j.slice(p.Children()[0], first, last))
	}
	to[j.n] = int32(total)
	child, err := concatData(children, j.mem)
	if err != nil {
		return nil, err
	}
	defer child.Release()
	return array.NewData(j.parts[0].DataType(), j.n, []*memory.Buffer{j.bits, out}, []arrow.ArrayData{child}, j.nulls, 0), nil
}

// nested joins arrays whose children have each items for a row.
func (j *joiner) nested(each int) (arrow.ArrayData, error) {
	var kids []arrow.ArrayData
	for c := range j.parts[0].Children() {
		var children []arrow.ArrayData
		for _, p := range j.parts {
			children = append(children, j.slice(p.Children()[c], int64(p.Offset()*each), int64((p.Offset()+p.Len())*each)))
		}
		kid, err := concatData(children, j.mem)
		if err != nil {
			return nil, err
		}
		j.kept = append(j.kept, kid)
		kids = append(kids, kid)
	}
	return array.NewData(j.parts[0].DataType(), j.n, []*memory.Buffer{j.bits}, kids, j.nulls, 0), nil
}

func (j *joiner) slice(d arrow.ArrayData, from, to int64) arrow.ArrayData {
	s := array.NewSliceData(d, from, to)
	j.kept = append(j.kept, s)
	return s
}
