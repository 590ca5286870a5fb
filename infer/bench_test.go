package infer

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"
	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
)

// benchModel is MiniLM with two workers, and batches of 64 tokenised messages.
type benchModel struct {
	model   *Model
	workers []stage.Worker
	batches []arrow.Record
	rows    int
}

func newBenchModel(b *testing.B) *benchModel {
	ctx := b.Context()
	m, err := Open(ctx, Config{Path: testkit.MiniLM(b), Library: testkit.ORTLibrary(b)})
	require.NoError(b, err)
	task, err := m.Embed(EmbedConfig{Column: "text"})
	require.NoError(b, err)
	stages, err := task.Expand(stage.Placement{})
	require.NoError(b, err)
	text := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	first, err := stages[0].Bind([]*arrow.Schema{text})
	require.NoError(b, err)
	second, err := stages[1].Bind([]*arrow.Schema{first.Schema})
	require.NoError(b, err)
	out := &benchModel{model: m}
	tokens, err := first.Open(ctx, stage.Env{})
	require.NoError(b, err)
	for _, rec := range messages(b, text, 64) {
		out.rows += int(rec.NumRows())
		require.NoError(b, tokens.Process(ctx, stage.NewBatch(rec, stage.Origin{}), func(o stage.Output) error {
			out.batches = append(out.batches, o.Record)
			return nil
		}))
	}
	for range 2 {
		w, err := second.Open(ctx, stage.Env{})
		require.NoError(b, err)
		out.workers = append(out.workers, w)
	}
	b.Cleanup(func() {
		for _, w := range out.workers {
			require.NoError(b, w.Close())
		}
		require.NoError(b, m.Close())
	})
	return out
}

// messages are the example's, in batches.
func messages(b *testing.B, schema *arrow.Schema, batch int) []arrow.Record {
	file, err := os.Open(filepath.Join(testkit.Root(b), "examples", "messages.txt"))
	require.NoError(b, err)
	defer file.Close()
	var out []arrow.Record
	text := array.NewStringBuilder(memory.DefaultAllocator)
	flush := func() {
		if text.Len() > 0 {
			n := int64(text.Len())
			out = append(out, array.NewRecord(schema, []arrow.Array{text.NewArray()}, n))
		}
	}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if text.Append(lines.Text()); text.Len() == batch {
			flush()
		}
	}
	flush()
	return out
}

// spent is the time that something took, and the CPU time of the process meanwhile, which
// tells more on a machine that others use too.
type spent struct{ wall, cpu time.Duration }

func (s *spent) add(o spent) { s.wall, s.cpu = s.wall+o.wall, s.cpu+o.cpu }

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inParallel runs f over all batches from two goroutines.
func (m *benchModel) inParallel(b *testing.B, f func(worker, batch int) error) spent {
	start, cpu := time.Now(), cpuTime(b)
	next := make(chan int, len(m.batches))
	for i := range m.batches {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for w := range m.workers {
		wg.Go(func() {
			for i := range next {
				if err := f(w, i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return spent{time.Since(start), cpuTime(b) - cpu}
}

func (m *benchModel) embed(w, i int) error {
	return m.workers[w].Process(context.Background(), stage.NewBatch(m.batches[i], stage.Origin{}), func(o stage.Output) error {
		o.Record.Release()
		return nil
	})
}

// bareRun is a run with its tensors made beforehand: what ONNX Runtime does by itself.
type bareRun struct{ inputs, outputs []ort.Value }

// bareRuns are the runs that a worker makes of a batch.
func (m *benchModel) bareRuns(b *testing.B, i int) []bareRun {
	c := m.workers[0].(*textWorker).callers[0]
	list := m.batches[i].Column(0).(*array.List)
	ids := list.ListValues().(*array.Int32).Int32Values()
	var rows []row
	for r := range list.Len() {
		rows = append(rows, row{ids: ids[list.Offsets()[r]:list.Offsets()[r+1]], at: int32(r)})
	}
	sortRows(rows)
	var out []bareRun
	start := int32(0)
	for _, end := range c.planner.cut(rows, c.budget, 0) {
		group := rows[start:end]
		start = end
		n, length := len(group), longest(group)
		var run bareRun
		for _, in := range c.spec.inputs {
			data := make([]int64, n*length)
			fillAs(data, in.role, group, block{rows: n, length: length}, func(v int32) int64 { return int64(v) })
			t, err := ort.NewTensor(ort.NewShape(int64(n), int64(length)), data)
			require.NoError(b, err)
			run.inputs = append(run.inputs, t)
		}
		t, err := ort.NewEmptyTensor[float32](ort.NewShape(int64(n), int64(length), int64(c.spec.dim)))
		require.NoError(b, err)
		run.outputs = []ort.Value{t}
		out = append(out, run)
	}
	return out
}

// BenchmarkAgainstBare runs the same runs through our workers and through ONNX Runtime
// alone, in turn, so that the machine's other load hits both. vs_bare is the ratio of the
// rates, vs_bare_cpu that of the CPU time they need.
func BenchmarkAgainstBare(b *testing.B) {
	m := newBenchModel(b)
	runs := make([][]bareRun, len(m.batches))
	for i := range runs {
		runs[i] = m.bareRuns(b, i)
	}
	session := m.workers[0].(*textWorker).callers[0].runner.(*cpuRunner).session.ort
	bare := func(_, i int) error {
		for _, r := range runs[i] {
			if err := session.Run(r.inputs, r.outputs); err != nil {
				return err
			}
		}
		return nil
	}
	m.inParallel(b, m.embed)
	m.inParallel(b, bare)
	var ours, theirs spent
	for b.Loop() {
		ours.add(m.inParallel(b, m.embed))
		theirs.add(m.inParallel(b, bare))
	}
	rows := float64(m.rows * b.N)
	b.ReportMetric(rows/ours.wall.Seconds(), "rows/s")
	b.ReportMetric(rows/theirs.wall.Seconds(), "bare_rows/s")
	b.ReportMetric(theirs.wall.Seconds()/ours.wall.Seconds(), "vs_bare")
	b.ReportMetric(theirs.cpu.Seconds()/ours.cpu.Seconds(), "vs_bare_cpu")
	b.ReportMetric(ours.cpu.Seconds()*1000/rows, "cpu_ms/row")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkProcess shows what a batch allocates: nothing that grows with its rows.
func BenchmarkProcess(b *testing.B) {
	m := newBenchModel(b)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, m.embed(0, 0))
	}
}
