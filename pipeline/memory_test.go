package pipeline

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// texts is n strings of one size over one buffer of zeros, which takes no memory until it is
// looked at.
func texts(n, size int) arrow.Array {
	offsets := make([]int32, n+1)
	for i := range offsets {
		offsets[i] = int32(i * size)
	}
	data := array.NewData(arrow.BinaryTypes.String, n, []*memory.Buffer{
		nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets)), memory.NewBufferBytes(make([]byte, n*size)),
	}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

func TestColumnsPast2GiBAreRefusedByName(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "page", Type: arrow.BinaryTypes.String}}, nil)
	col := texts(300, 1<<20)
	defer col.Release()
	rec := array.NewRecord(schema, []arrow.Array{col}, 300)
	defer rec.Release()
	_, err := concatRecords([]arrow.Record{rec, rec, rec, rec, rec, rec, rec}, memory.DefaultAllocator)
	require.ErrorContains(t, err, `column "page"`)
	require.ErrorContains(t, err, "2100 rows")
	require.ErrorContains(t, err, "2 GiB")
}

func TestBatchesAreCutBefore2GiB(t *testing.T) {
	c := cutterOf(stage.Need{Batch: stage.Policy{MaxRows: 1 << 30}}, 1<<40)
	require.NotNil(t, c)
	rec := texts(300, 1<<20)
	defer rec.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "page", Type: arrow.BinaryTypes.String}}, nil)
	whole := array.NewRecord(schema, []arrow.Array{rec}, 300)
	defer whole.Release()
	var rows []int64
	for i := range 8 {
		b := &block{bytes: recordBytes(whole), left: 300}
		for _, cut := range c.push(b, batcher.Block{ID: int64(i), Rows: b.left, Bytes: b.bytes}) {
			rows = append(rows, cut.Bytes)
		}
	}
	require.NotEmpty(t, rows)
	for _, bytes := range rows {
		assert.LessOrEqual(t, bytes, int64(batchBytes))
	}
}

// oneRow is a source of one row of many bytes.
type oneRow struct{ bytes int }

var oneRowSchema = arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)

func (oneRow) ID() stage.StageID { return stage.StageID{Name: "one row", Version: "1"} }
func (s oneRow) Plan(context.Context, stage.ScanRequest) (stage.Scan, error) {
	return s, nil
}
func (oneRow) Schema() *arrow.Schema { return oneRowSchema }
func (oneRow) Residual() expr.Expr   { return nil }
func (oneRow) Splits(context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		yield(stage.Split{ID: "a#0", Path: "dir/a.bin", Base: 41, Rows: -1, Bytes: -1}, nil)
	}
}
func (s oneRow) Open(context.Context, stage.Env, stage.Split, int64) (stage.Reader, error) {
	return &oneRowReader{bytes: s.bytes}, nil
}

type oneRowReader struct{ bytes int }

func (r *oneRowReader) Next(context.Context, int64) (stage.Batch, error) {
	col := texts(1, r.bytes)
	defer col.Release()
	split := &stage.Split{ID: "a#0", Path: "dir/a.bin", Base: 41}
	return stage.NewBatch(array.NewRecord(oneRowSchema, []arrow.Array{col}, 1), stage.RowRange(split, 0, 1)), nil
}
func (*oneRowReader) Close() error { return nil }

func TestARowLargerThanTheLimitIsNamed(t *testing.T) {
	_, err := Read(oneRow{65 << 20}).Count(context.Background(), Config{MemoryLimit: 64 << 20})
	require.ErrorIs(t, err, ErrTooLarge)
	for _, part := range []string{"dir/a.bin", "row 41", fmt.Sprint(64 << 20), "raise it"} {
		require.ErrorContains(t, err, part)
	}
}
