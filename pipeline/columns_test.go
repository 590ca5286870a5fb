package pipeline

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

// columnTypes are what rows are carried, joined and picked in.
var columnTypes = []arrow.DataType{
	arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
	arrow.BinaryTypes.String, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeString,
	arrow.FixedWidthTypes.Timestamp_us, arrow.FixedWidthTypes.Date32,
	&arrow.FixedSizeBinaryType{ByteWidth: 3}, &arrow.Decimal128Type{Precision: 20, Scale: 2},
	arrow.ListOf(arrow.PrimitiveTypes.Int32), arrow.LargeListOf(arrow.BinaryTypes.String),
	arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32),
	arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int16, Nullable: true}, arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}),
	arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64),
	&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String},
	&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
	arrow.ListOf(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}),
	arrow.ListOf(arrow.ListOf(arrow.FixedWidthTypes.Boolean)),
	arrow.Null,
}

// randomColumn makes a column with nulls, as a slice that starts inside its buffers.
func randomColumn(rng *rand.Rand, dt arrow.DataType, n int, mem memory.Allocator) arrow.Array {
	b := array.NewBuilder(mem, dt)
	defer b.Release()
	pad := rng.IntN(9)
	for range n + pad + 2 {
		appendRandom(rng, b)
	}
	whole := b.NewArray()
	defer whole.Release()
	return array.NewSlice(whole, int64(pad), int64(pad+n))
}

func appendRandom(rng *rand.Rand, b array.Builder) {
	if rng.IntN(5) == 0 {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.NullBuilder:
		b.AppendNull()
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte{byte(rng.IntN(256)), 2, 3})
	case *array.BinaryBuilder:
		b.Append([]byte(fmt.Sprint(rng.IntN(1000))))
	case *array.ListBuilder:
		b.Append(true)
		appendSome(rng, b.ValueBuilder(), rng.IntN(4))
	case *array.LargeListBuilder:
		b.Append(true)
		appendSome(rng, b.ValueBuilder(), rng.IntN(4))
	case *array.FixedSizeListBuilder:
		b.Append(true)
		appendSome(rng, b.ValueBuilder(), 3)
	case *array.MapBuilder:
		b.Append(true)
		for i := range rng.IntN(3) {
			b.KeyBuilder().(*array.StringBuilder).Append(fmt.Sprint("k", i))
			appendRandom(rng, b.ItemBuilder())
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(rng, b.FieldBuilder(i))
		}
	case *array.BinaryDictionaryBuilder:
		_ = b.AppendString(fmt.Sprint("d", rng.IntN(20)))
	default:
		text := map[bool]string{true: "true", false: "false"}[rng.IntN(2) == 0]
		switch b.Type().ID() {
		case arrow.TIMESTAMP:
			text = "2026-11-24T01:02:03"
		case arrow.DATE32:
			text = "2026-11-24"
		case arrow.BOOL:
		default:
			text = fmt.Sprint(rng.IntN(100))
		}
		if err := b.AppendValueFromString(text); err != nil {
			panic(err)
		}
	}
}

func appendSome(rng *rand.Rand, b array.Builder, n int) {
	for range n {
		appendRandom(rng, b)
	}
}

func values(t *testing.T, col arrow.Array) []string {
	t.Helper()
	out := make([]string, col.Len())
	for i := range out {
		raw, err := json.Marshal(col.GetOneForMarshal(i))
		require.NoError(t, err)
		if out[i] = string(raw); col.IsNull(i) {
			out[i] = "null"
		}
	}
	return out
}

func TestTakeAndJoinOfEveryType(t *testing.T) {
	for _, dt := range columnTypes {
		t.Run(dt.String(), func(t *testing.T) {
			mem := testkit.Allocator(t)
			rng := rand.New(rand.NewPCG(9, uint64(dt.ID())))
			for range 60 {
				checkTake(t, rng, dt, mem)
				checkJoin(t, rng, dt, mem)
			}
		})
	}
}

func checkTake(t *testing.T, rng *rand.Rand, dt arrow.DataType, mem memory.Allocator) {
	t.Helper()
	n := 1 + rng.IntN(80)
	col := randomColumn(rng, dt, n, mem)
	defer col.Release()
	rows := []int32{}
	for range rng.IntN(2 * n) {
		rows = append(rows, int32(rng.IntN(n)))
	}
	got, err := takeRows(col, rows, mem)
	require.NoError(t, err)
	defer got.Release()
	have := values(t, col)
	want := make([]string, len(rows))
	for i, r := range rows {
		want[i] = have[r]
	}
	require.Equal(t, want, values(t, got))
}

func checkJoin(t *testing.T, rng *rand.Rand, dt arrow.DataType, mem memory.Allocator) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: dt, Nullable: true}}, nil)
	var recs []arrow.Record
	var want []string
	for range 1 + rng.IntN(4) {
		col := randomColumn(rng, dt, 1+rng.IntN(40), mem)
		want = append(want, values(t, col)...)
		recs = append(recs, array.NewRecord(schema, []arrow.Array{col}, int64(col.Len())))
		col.Release()
	}
	got, err := concatRecords(recs, mem)
	require.NoError(t, err)
	require.Equal(t, want, values(t, got.Column(0)))
	got.Release()
	for _, r := range recs {
		r.Release()
	}
}
