package main

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"
)

func TestByteSumAddsEveryByte(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		b := make([]byte, n)
		var want uint64
		for i := range b {
			b[i] = byte(255 - rng.IntN(1+n%7)) // near the largest, where sums would overflow
			want += uint64(b[i])
		}
		require.Equal(t, want, byteSum(b), "%d bytes", n)
	}
}

// The checksum must not depend on how rows are cut, and must see every value.
func TestChecksumOfSlicesIsThatOfTheWhole(t *testing.T) {
	rec := sample(t, 1000, -1)
	whole := checksum{}
	require.NoError(t, whole.add(rec))
	cut := checksum{}
	for at := int64(0); at < rec.NumRows(); {
		end := min(at+1+at%37, rec.NumRows())
		part := rec.NewSlice(at, end)
		require.NoError(t, cut.add(part))
		part.Release()
		at = end
	}
	require.Equal(t, whole.result(), cut.result())
	for col := range int(rec.NumCols()) {
		other := checksum{}
		require.NoError(t, other.add(sample(t, 1000, col)))
		require.NotEqual(t, whole.result()[rec.ColumnName(col)], other.result()[rec.ColumnName(col)], rec.ColumnName(col))
	}
}

// sample makes n rows, some null; one value of the column changed differs.
func sample(t *testing.T, n, changed int) arrow.Record {
	t.Helper()
	names := []string{"i64", "i32", "f64", "f32", "bool", "time", "text"}
	types := []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Float64,
		arrow.PrimitiveTypes.Float32, arrow.FixedWidthTypes.Boolean, arrow.FixedWidthTypes.Timestamp_us, arrow.BinaryTypes.String}
	fields := make([]arrow.Field, len(names))
	for i := range names {
		fields[i] = arrow.Field{Name: names[i], Type: types[i], Nullable: true}
	}
	rb := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer rb.Release()
	rng := rand.New(rand.NewPCG(3, 4))
	for row := range n {
		for col := range names {
			v := int64(rng.IntN(1 << 30))
			if col == changed && row == n/2 {
				v++
			}
			if rng.IntN(10) == 0 && row != n/2 {
				rb.Field(col).AppendNull()
				continue
			}
			appendValue(rb.Field(col), v)
		}
	}
	rec := rb.NewRecord()
	t.Cleanup(rec.Release)
	return rec
}

func appendValue(b array.Builder, v int64) {
	switch b := b.(type) {
	case *array.Int64Builder:
		b.Append(-v)
	case *array.Int32Builder:
		b.Append(-int32(v))
	case *array.Float64Builder:
		b.Append(float64(v) / 3)
	case *array.Float32Builder:
		b.Append(float32(v%1000) / 3)
	case *array.BooleanBuilder:
		b.Append(v%2 == 0)
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	case *array.StringBuilder:
		b.Append(string(rune('a'+v%26)) + "some text"[:v%9])
	}
}
