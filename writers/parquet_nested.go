package writers

import (
	"bytes"
	"cmp"
	"fmt"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// nestedChunks is a column of a row group that arrow has encoded: a file of this column
// alone, whose chunks hold no positions and so may stand anywhere.
type nestedChunks struct {
	raw  []byte
	meta *metadata.FileMetaData
}

// encodeNested has arrow write a column. It is called by any goroutine, once for each.
func (e *parquetEncoder) encodeNested(i int) error {
	c, field := &e.cols[i], e.f.schema.Field(i)
	var out bytes.Buffer
	if err := e.arrowFile(&out, field, c.pieces, e.mem(i)); err != nil {
		return fmt.Errorf("column %q: %w", field.Name, err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(out.Bytes()))
	if err != nil {
		return fmt.Errorf("column %q: %w", field.Name, err)
	}
	// arrow lets some of its own errors drop; then rows are missing here.
	if r.NumRows() != e.rows || r.NumRowGroups() != 1 {
		return fmt.Errorf("column %q: %d of %d rows were encoded", field.Name, r.NumRows(), e.rows)
	}
	c.nested = nestedChunks{out.Bytes(), r.MetaData()}
	return nil
}

func (e *parquetEncoder) arrowFile(out *bytes.Buffer, field arrow.Field, pieces []arrow.Array, mem memory.Allocator) (err error) {
	props := parquet.NewWriterProperties(append(e.f.props[:len(e.f.props):len(e.f.props)], parquet.WithAllocator(mem))...)
	fw, err := pqarrow.NewFileWriter(arrow.NewSchema([]arrow.Field{field}, nil), out, props, pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem)))
	if err != nil {
		return err
	}
	defer func() {
		// Only so it gives its memory back.
		if cerr := fw.Close(); err == nil {
			err = cerr
		}
	}()
	fw.NewRowGroup()
	col := arrow.NewChunked(field.Type, pieces)
	defer col.Release()
	return fw.WriteColumnChunked(col, 0, e.rows)
}

// writeNested writes the chunks of a nested column, and says how many bytes they are
// uncompressed.
func (e *parquetEncoder) writeNested(from nestedChunks, group *metadata.RowGroupMetaDataBuilder) (raw int64, err error) {
	for _, chunk := range from.meta.RowGroups[0].Columns {
		meta := chunk.MetaData
		begin := meta.DataPageOffset
		if meta.DictionaryPageOffset != nil {
			begin = *meta.DictionaryPageOffset
			at := e.at
			meta.DictionaryPageOffset = &at
		}
		meta.DataPageOffset += e.at - begin
		// They come out of a map, in any order.
		sort.Slice(meta.EncodingStats, func(i, k int) bool {
			a, b := meta.EncodingStats[i], meta.EncodingStats[k]
			return cmp.Or(cmp.Compare(a.PageType, b.PageType), cmp.Compare(a.Encoding, b.Encoding)) < 0
		})
		to := group.NextColumnChunk().Contents()
		to.MetaData, to.FileOffset = meta, 0
		_, _ = e.w.Write(from.raw[begin : begin+meta.TotalCompressedSize])
		e.at += meta.TotalCompressedSize
		raw += meta.TotalUncompressedSize
	}
	return raw, nil
}
