package infer_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
)

// books is an Env that counts what it is told, and fails the test if anything stays.
type books struct {
	mem *memory.CheckedAllocator

	mu      sync.Mutex
	charged [stage.Purposes]int64
	counts  map[stage.Counter]int64
}

func newBooks(t testing.TB) *books {
	b := &books{mem: testkit.Allocator(t), counts: map[stage.Counter]int64{}}
	t.Cleanup(func() {
		for p, n := range b.charged {
			require.Zero(t, n, "charged for %s", stage.Purpose(p))
		}
	})
	return b
}

func (b *books) env() stage.Env {
	return stage.Env{
		Alloc: func(int) memory.Allocator { return b.mem },
		Charge: func(p stage.Purpose, n int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.charged[p] += n
		},
		Count: func(c stage.Counter, n int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.counts[c] += n
		},
	}
}

func (b *books) held(p stage.Purpose) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.charged[p]
}

// leakChecks fails the test if goroutines or C memory stay behind.
func leakChecks(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		require.Zero(t, cmem.HeldAll(), "bytes of C memory")
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				buf := make([]byte, 1<<20)
				t.Fatalf("goroutines were left behind:\n%s", buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

func open(t testing.TB, c infer.Config) *infer.Model {
	t.Helper()
	if c.Library == "" {
		c.Library = testkit.ORTLibrary(t)
	}
	leakChecks(t)
	m, err := infer.Open(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func miniLM(t testing.TB) *infer.Model { return open(t, infer.Config{Path: testkit.MiniLM(t)}) }

// textRecord is a record of one column; nil stands for null.
func textRecord(mem memory.Allocator, texts ...*string) arrow.Record {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for _, s := range texts {
		if s == nil {
			b.AppendNull()
		} else {
			b.Append(*s)
		}
	}
	col := b.NewArray()
	defer col.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	return array.NewRecord(schema, []arrow.Array{col}, int64(len(texts)))
}

func pointers(texts []string) []*string {
	out := make([]*string, len(texts))
	for i := range texts {
		out[i] = &texts[i]
	}
	return out
}

// chain is the two workers of a text task.
type chain struct {
	t              testing.TB
	tokens, model  stage.Worker
	tokNeed, mNeed stage.Need
}

// openChain binds a task to a schema and opens a worker of each stage.
func openChain(t testing.TB, task stage.Task, schema *arrow.Schema, env stage.Env) *chain {
	t.Helper()
	first, second := bindTask(t, task, schema)
	c := &chain{t: t, tokNeed: first.Need, mNeed: second.Need}
	var err error
	c.tokens, err = first.Open(t.Context(), env)
	require.NoError(t, err)
	c.model, err = second.Open(t.Context(), env)
	require.NoError(t, err)
	return c
}

func bindTask(t testing.TB, task stage.Task, schema *arrow.Schema) (first, second *stage.Bound) {
	t.Helper()
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	require.Len(t, stages, 2)
	first, err = stages[0].Bind([]*arrow.Schema{schema})
	require.NoError(t, err)
	second, err = stages[1].Bind([]*arrow.Schema{first.Schema})
	require.NoError(t, err)
	return first, second
}

func (c *chain) close() {
	require.NoError(c.t, c.tokens.Close())
	require.NoError(c.t, c.model.Close())
}

// process gives what one worker makes of a record. It takes over rec.
func process(ctx context.Context, w stage.Worker, in stage.Batch) (arrow.Record, error) {
	defer in.Release()
	var out arrow.Record
	err := w.Process(ctx, in, func(o stage.Output) error {
		out = o.Record
		return nil
	})
	return out, err
}

// run takes a record through both workers.
func (c *chain) run(ctx context.Context, rec arrow.Record) (arrow.Record, error) {
	ids, err := process(ctx, c.tokens, stage.NewBatch(rec, stage.Origin{}))
	if err != nil {
		return nil, err
	}
	return process(ctx, c.model, stage.NewBatch(ids, stage.Origin{}))
}

// vectorsOf are the rows of a column of embeddings; nil: null.
func vectorsOf(col arrow.Array) [][]float32 {
	list := col.(*array.FixedSizeList)
	dim := int(list.DataType().(*arrow.FixedSizeListType).Len())
	values := list.ListValues().(*array.Float32).Float32Values()
	out := make([][]float32, list.Len())
	for i := range out {
		if list.IsValid(i) {
			at := i + list.Data().Offset()
			out[i] = append([]float32(nil), values[at*dim:(at+1)*dim]...)
		}
	}
	return out
}

// far is the greatest difference of two vectors' components.
func far(a, b []float32) float64 {
	worst := 0.0
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

func requireNear(t testing.TB, want, got [][]float32, tolerance float64) {
	t.Helper()
	require.Len(t, got, len(want))
	worst, at := 0.0, 0
	for i := range want {
		if d := far(want[i], got[i]); d > worst {
			worst, at = d, i
		}
	}
	require.LessOrEqual(t, worst, tolerance, "row %d", at)
}

// readNPY reads an array of float32 with two dimensions (NPY format version 1, C order).
func readNPY(t testing.TB, path string) [][]float32 {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	head := 10 + int(binary.LittleEndian.Uint16(raw[8:]))
	require.Contains(t, string(raw[:head]), "'<f4'")
	shape := regexp.MustCompile(`\((\d+), (\d+)\)`).FindSubmatch(raw[:head])
	n, _ := strconv.Atoi(string(shape[1]))
	dim, _ := strconv.Atoi(string(shape[2]))
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, dim)
		require.NoError(t, binary.Read(bytes.NewReader(raw[head+i*dim*4:]), binary.LittleEndian, out[i]))
	}
	return out
}

func readIDs(t testing.TB, path string) [][]int32 {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	var out [][]int32
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ IDs []int32 }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		out = append(out, line.IDs)
	}
	require.NoError(t, lines.Err())
	return out
}

// copyFolder copies a model folder.
func copyFolder(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(from))
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}
