package readers

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
)

// bytesFile is a file in memory.
type bytesFile struct{ *bytes.Reader }

func (bytesFile) Close() error { return nil }

// fuzzedKind is a kind of column that FuzzFlatColumn decodes.
type fuzzedKind struct {
	typ  arrow.DataType
	phys parquet.Type
}

var fuzzedKinds = []fuzzedKind{
	{arrow.BinaryTypes.String, parquet.Types.ByteArray},
	{arrow.BinaryTypes.LargeBinary, parquet.Types.ByteArray},
	{arrow.PrimitiveTypes.Int64, parquet.Types.Int64},
	{arrow.PrimitiveTypes.Float32, parquet.Types.Float},
	{arrow.FixedWidthTypes.Boolean, parquet.Types.Boolean},
}

// fuzzedColumn makes n rows of kind k, each third one null where nulls are allowed.
func fuzzedColumn(k fuzzedKind, n int, nulls bool) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, k.typ)
	defer b.Release()
	for i := range n {
		v := i * i % 17
		switch b := b.(type) {
		case *array.StringBuilder:
			b.Append(fmt.Sprint("value ", v))
		case *array.BinaryBuilder:
			b.Append(bytes.Repeat([]byte{byte(i)}, 9*v))
		case *array.Int64Builder:
			b.Append(int64(v) << 30)
		case *array.Float32Builder:
			b.Append(float32(v) / 3)
		case *array.BooleanBuilder:
			b.Append(v%3 == 0)
		}
		if nulls && i%3 == 1 {
			b.AppendNull()
		}
	}
	return b.NewArray()
}

// chunkOf is the column as the chunk of a file that Arrow writes.
func chunkOf(t testing.TB, col arrow.Array, nulls bool, props ...parquet.WriterProperty) []byte {
	t.Helper()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "x", Type: col.DataType(), Nullable: nulls}}, nil), []arrow.Array{col}, int64(col.Len()))
	defer rec.Release()
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &buf, parquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	r, err := file.NewParquetReader(bytes.NewReader(buf.Bytes()))
	require.NoError(t, err)
	meta, err := r.MetaData().RowGroup(0).ColumnChunk(0)
	require.NoError(t, err)
	start := meta.DataPageOffset()
	if meta.HasDictionaryPage() {
		start = meta.DictionaryPageOffset()
	}
	return buf.Bytes()[start : start+meta.TotalCompressedSize()]
}

// decodeChunk decodes rows of a chunk, step at a time, and looks at every value.
func decodeChunk(chunk []byte, k fuzzedKind, optional bool, rows, step int, codec compress.Compression, mem memory.Allocator) (out []string, err error) {
	in := &input{File: bytesFile{bytes.NewReader(chunk)}, ctx: context.Background()}
	c := &flatColumn{typ: k.typ, phys: k.phys, mem: &bookedMemory{env: stage.Env{}}}
	c.width, _ = flatWidth(k.typ, k.phys)
	c.pages = flatPages{optional: optional, left: int64(rows), most: 1 << 20, chunk: newChunk(in, 0, int64(len(chunk)), 4096, nil),
		cutter: func() *pageCutter { return nil }}
	if codec == compress.Codecs.Snappy {
		c.pages.codec, _ = compress.GetCodec(codec)
		c.pages.snappy = true
	}
	defer func() {
		// Of damage within a page the codec panics, and the reader makes an error of that.
		if p := recover(); p != nil && codec == compress.Codecs.Snappy {
			err = fmt.Errorf("%v", p)
		} else if p != nil {
			panic(p)
		}
	}()
	for done := 0; done < rows; {
		n := min(step, rows-done)
		arr, err := c.next(n, mem)
		if err != nil {
			return out, err
		}
		for i := range n {
			out = append(out, arr.ValueStr(i))
		}
		arr.Release()
		done += n
	}
	return out, nil
}

// Whatever stands in a column chunk, its decoder ends with values or with an error, and gives
// all memory back.
func FuzzFlatColumn(f *testing.F) {
	codecs := []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy}
	for k, kind := range fuzzedKinds {
		for _, nulls := range []bool{false, true} {
			col := fuzzedColumn(kind, 40, nulls)
			for i, codec := range codecs {
				for _, version := range []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2} {
					for _, dict := range []bool{false, true} {
						chunk := chunkOf(f, col, nulls, parquet.WithCompression(codec), parquet.WithDataPageVersion(version), parquet.WithDictionaryDefault(dict),
							parquet.WithDataPageSize(128), parquet.WithBatchSize(16))
						got, err := decodeChunk(chunk, kind, nulls, col.Len(), 7, codec, memory.DefaultAllocator)
						require.NoError(f, err)
						for row, v := range got {
							require.Equal(f, col.ValueStr(row), v)
						}
						f.Add(chunk, byte(k), byte(i), nulls, uint16(col.Len()), uint16(7))
					}
				}
			}
		}
	}
	for k, encoding := range []parquet.Encoding{parquet.Encodings.DeltaByteArray, parquet.Encodings.DeltaLengthByteArray, parquet.Encodings.DeltaBinaryPacked} {
		chunk := chunkOf(f, fuzzedColumn(fuzzedKinds[k], 40, false), false, parquet.WithDictionaryDefault(false), parquet.WithEncoding(encoding))
		got, err := decodeChunk(chunk, fuzzedKinds[k], false, 40, 7, compress.Codecs.Uncompressed, memory.DefaultAllocator)
		require.NoError(f, err)
		require.Len(f, got, 40)
		f.Add(chunk, byte(k), byte(0), false, uint16(40), uint16(7))
	}
	f.Fuzz(func(t *testing.T, chunk []byte, kind, codec byte, nulls bool, rows, step uint16) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		_, _ = decodeChunk(chunk, fuzzedKinds[int(kind)%len(fuzzedKinds)], nulls, int(rows), int(step)+1, codecs[int(codec)%2], mem)
		mem.AssertSize(t, 0)
	})
}
