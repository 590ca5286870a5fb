package readers

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// parquetColumn decodes one field of a row group. Arrow's readers decode the leaves, one
// after the other on the calling goroutine, and what they are nested in is put together
// here, from the levels that Parquet stores with each value. (Arrow's own reader of structs
// decodes on goroutines, where a damaged page would end the process; that of lists of
// fixed size takes a null among them for damage.)
type parquetColumn struct {
	node   *pqarrow.SchemaField
	leaves map[int]*pqarrow.ColumnReader // by Parquet column
	order  []int
	flat   *flatColumn // in their place, where the field is a leaf of a common kind
}

// leaves are the Parquet columns of a field. (IsLeaf takes a group for column 0.)
func leaves(f *pqarrow.SchemaField, into []int) []int {
	if len(f.Children) == 0 {
		return append(into, f.ColIndex)
	}
	for i := range f.Children {
		into = leaves(&f.Children[i], into)
	}
	return into
}

// column makes the decoder of field i.
func (f *parquetFile) column(ctx context.Context, i, group int) (*parquetColumn, error) {
	c := &parquetColumn{node: &f.nodes[i], leaves: map[int]*pqarrow.ColumnReader{}}
	c.order = leaves(c.node, nil)
	for _, leaf := range c.order {
		r, err := f.arrow.GetFieldReader(ctx, leaf, map[int]bool{leaf: true}, []int{group})
		if err != nil {
			return nil, err
		}
		c.leaves[leaf] = r
	}
	return c, nil
}

// next decodes n rows: into mem, if the column is flat, and into ordinary memory otherwise.
func (c *parquetColumn) next(n int64, mem memory.Allocator) (arrow.Array, error) {
	if c.flat != nil {
		return c.flat.next(int(n), mem)
	}
	for _, leaf := range c.order {
		if err := c.leaves[leaf].LoadBatch(n); err != nil {
			return nil, err
		}
	}
	data, err := c.build(c.node, n)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	if have := int64(data.Len()); have != n {
		return nil, fmt.Errorf("the column ends %d rows early: the file is corrupt or cut short", n-have)
	}
	return array.MakeFromData(data), nil
}

var errLevels = errors.New("the data is corrupt: its levels do not fit its values")

// build makes the array of a node, of at most bound values.
func (c *parquetColumn) build(node *pqarrow.SchemaField, bound int64) (arrow.ArrayData, error) {
	switch {
	case len(node.Children) == 0:
		return c.leaf(node, bound)
	case node.Field.Type.ID() == arrow.STRUCT:
		return c.group(node, bound)
	}
	return c.list(node, bound)
}

func (c *parquetColumn) leaf(node *pqarrow.SchemaField, bound int64) (arrow.ArrayData, error) {
	chunked, err := c.leaves[node.ColIndex].BuildArray(bound)
	if err != nil {
		return nil, err
	}
	defer chunked.Release()
	arr, err := concatenate(chunked)
	if err != nil {
		return nil, err
	}
	defer arr.Release()
	if err := checkIndices(arr); err != nil {
		return nil, err
	}
	arr.Data().Retain()
	return arr.Data(), nil
}

// levels gives the reader of a leaf below node that has the levels of node's values, and
// whether there is a list between them, so that it has others too.
func (c *parquetColumn) levels(node *pqarrow.SchemaField) (leaf *pqarrow.ColumnReader, repeated bool) {
	for node.Field.Type.ID() == arrow.STRUCT && len(node.Children) > 0 {
		node = plainest(node)
	}
	return c.leaves[leaves(node, nil)[0]], len(node.Children) > 0
}

// plainest is the child of a struct that leads to a leaf without a list, or the first.
func plainest(node *pqarrow.SchemaField) *pqarrow.SchemaField {
	for i := range node.Children {
		at := &node.Children[i]
		for at.Field.Type.ID() == arrow.STRUCT && len(at.Children) > 0 {
			at = plainest(at)
		}
		if len(at.Children) == 0 {
			return &node.Children[i]
		}
	}
	return &node.Children[0]
}

func (c *parquetColumn) group(node *pqarrow.SchemaField, bound int64) (arrow.ArrayData, error) {
	leaf, repeated := c.levels(node)
	valid := file.ValidityBitmapInputOutput{ReadUpperBound: bound, Read: bound}
	if bound > 0 && (repeated || node.Field.Nullable) {
		valid.ValidBits = make([]byte, bitutil.BytesForBits(bound))
		if err := structLevels(leaf, repeated, node.LevelInfo, &valid); err != nil {
			return nil, err
		}
	}
	children := make([]arrow.ArrayData, 0, len(node.Children))
	defer func() { releaseData(children) }()
	for i := range node.Children {
		child, err := c.build(&node.Children[i], bound)
		if err != nil {
			return nil, err
		}
		children = append(children, child)
	}
	if !node.Field.Nullable && !repeated {
		valid.Read = int64(children[0].Len())
	}
	for _, child := range children {
		if int64(child.Len()) != valid.Read {
			return nil, errLevels
		}
	}
	return array.NewData(node.Field.Type, int(valid.Read), []*memory.Buffer{bitmap(valid)}, children, int(valid.NullCount), 0), nil
}

func structLevels(leaf *pqarrow.ColumnReader, repeated bool, info file.LevelInfo, valid *file.ValidityBitmapInputOutput) error {
	def, err := leaf.GetDefLevels()
	if err != nil {
		return err
	}
	if !repeated {
		file.DefLevelsToBitmap(def, info, valid)
		return nil
	}
	rep, err := leaf.GetRepLevels()
	if err != nil {
		return err
	}
	return file.DefRepLevelsToBitmap(def, rep, info, valid)
}

// bitmap is nil where nothing is null.
func bitmap(valid file.ValidityBitmapInputOutput) *memory.Buffer {
	if valid.NullCount == 0 {
		return nil
	}
	return memory.NewBufferBytes(valid.ValidBits[:bitutil.BytesForBits(valid.Read)])
}

func (c *parquetColumn) list(node *pqarrow.SchemaField, bound int64) (arrow.ArrayData, error) {
	leaf, _ := c.levels(&node.Children[0])
	def, err := leaf.GetDefLevels()
	if err != nil {
		return nil, err
	}
	rep, err := leaf.GetRepLevels()
	if err != nil {
		return nil, err
	}
	valid := file.ValidityBitmapInputOutput{ReadUpperBound: bound}
	if node.Field.Nullable {
		valid.ValidBits = make([]byte, bitutil.BytesForBits(bound))
	}
	offsets := make([]int32, bound+1)
	if err := file.DefRepLevelsToListInfo(def, rep, node.LevelInfo, &valid, offsets); err != nil {
		return nil, err
	}
	offsets = offsets[:valid.Read+1]
	last := offsets[valid.Read]
	elems, err := c.build(&node.Children[0], int64(last)+valid.NullCount)
	if err != nil {
		return nil, err
	}
	defer elems.Release()
	if elems.Len() != int(last) {
		return nil, errLevels
	}
	if fixed, ok := node.Field.Type.(*arrow.FixedSizeListType); ok {
		return fixList(offsets, valid, elems, fixed)
	}
	buffers := []*memory.Buffer{bitmap(valid), memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))}
	return array.NewData(node.Field.Type, int(valid.Read), buffers, []arrow.ArrayData{elems}, int(valid.NullCount), 0), nil
}

// fixList makes a list of fixed size. Where it is null it has no elements, but Arrow has
// room for them there too.
func fixList(offsets []int32, valid file.ValidityBitmapInputOutput, elems arrow.ArrayData, want *arrow.FixedSizeListType) (arrow.ArrayData, error) {
	values := array.MakeFromData(elems)
	defer values.Release()
	n, size := int(valid.Read), int(want.Len())
	isNull := func(i int) bool { return valid.NullCount > 0 && !bitutil.BitIsSet(valid.ValidBits, i) }
	parts := []arrow.Array{array.NewSlice(values, 0, 0)}
	defer func() { release(parts) }()
	for i := 0; i < n; {
		j, null := i, isNull(i)
		for ; j < n && isNull(j) == null; j++ {
			if have := int(offsets[j+1] - offsets[j]); !null && have != size {
				return nil, fmt.Errorf("a list has %d elements, but the file's schema says %d", have, size)
			}
		}
		if null {
			parts = append(parts, array.MakeArrayOfNull(memory.DefaultAllocator, elems.DataType(), (j-i)*size))
		} else {
			parts = append(parts, array.NewSlice(values, int64(offsets[i]), int64(offsets[j])))
		}
		i = j
	}
	joined, err := array.Concatenate(parts, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer joined.Release()
	return array.NewData(want, n, []*memory.Buffer{bitmap(valid)}, []arrow.ArrayData{joined.Data()}, int(valid.NullCount), 0), nil
}

// checkIndices makes sure that the indices of a dictionary column are within it: those of
// a damaged page need not be.
func checkIndices(arr arrow.Array) error {
	d, ok := arr.(*array.Dictionary)
	if !ok {
		return nil
	}
	for i := range d.Len() {
		if at := d.GetValueIndex(i); d.IsValid(i) && (at < 0 || at >= d.Dictionary().Len()) {
			return fmt.Errorf("the data is corrupt: index %d of a dictionary of %d values", at, d.Dictionary().Len())
		}
	}
	return nil
}

// concatenate makes one array of chunks. Those may have dictionaries of their own, which
// are put one behind the other. (Arrow 17 unifies them, and then writes the places of nulls
// over other indices.)
func concatenate(chunked *arrow.Chunked) (arrow.Array, error) {
	chunks := chunked.Chunks()
	if len(chunks) == 0 {
		return array.MakeArrayOfNull(memory.DefaultAllocator, chunked.DataType(), 0), nil
	}
	if len(chunks) == 1 {
		chunks[0].Retain()
		return chunks[0], nil
	}
	dict, ok := chunked.DataType().(*arrow.DictionaryType)
	if !ok {
		return array.Concatenate(chunks, memory.DefaultAllocator)
	}
	values := make([]arrow.Array, len(chunks))
	indices := array.NewInt32Builder(memory.DefaultAllocator)
	defer indices.Release()
	base := 0
	for k, c := range chunks {
		d := c.(*array.Dictionary)
		for i := range d.Len() {
			if d.IsNull(i) {
				indices.AppendNull()
			} else {
				indices.Append(int32(base + d.GetValueIndex(i)))
			}
		}
		values[k] = d.Dictionary()
		base += values[k].Len()
	}
	all, err := array.Concatenate(values, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer all.Release()
	at := indices.NewArray()
	defer at.Release()
	return array.NewDictionaryArray(dict, at, all), nil
}

func releaseData(all []arrow.ArrayData) {
	for _, d := range all {
		d.Release()
	}
}

// close gives the buffers of the leaves back. They are ordinary memory, so nothing is
// lost if a reader that failed halfway cannot do that.
func (c *parquetColumn) close() {
	if c.flat != nil {
		c.flat.pages.chunk.close()
	}
	defer func() { _ = recover() }()
	for _, r := range c.leaves {
		r.Release()
	}
}
