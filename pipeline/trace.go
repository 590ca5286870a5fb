package pipeline

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"
)

// tracer writes tasks in the Trace Event Format (JSON array form) that Chrome and Perfetto
// read: one lane for each worker. A nil tracer does nothing.
type tracer struct {
	mu    sync.Mutex
	w     *bufio.Writer
	began time.Time
	any   bool
	err   error
}

// countersPid keeps the counters apart from the operators, whose numbers are small.
const countersPid = 1 << 20

type traceEvent struct {
	Name string         `json:"name"`
	Ph   string         `json:"ph"`
	Ts   int64          `json:"ts"` // microseconds
	Dur  int64          `json:"dur,omitempty"`
	Pid  int            `json:"pid"`
	Tid  int            `json:"tid"`
	Args map[string]any `json:"args,omitempty"`
}

func newTracer(w io.Writer) *tracer {
	if w == nil {
		return nil
	}
	return &tracer{w: bufio.NewWriter(w), began: time.Now()}
}

// task records one task of a worker.
func (t *tracer) task(o *operator, worker int, at time.Time, d time.Duration, in, out int) {
	if t == nil {
		return
	}
	t.write(traceEvent{
		Name: o.name, Ph: "X", Ts: at.Sub(t.began).Microseconds(), Dur: max(d.Microseconds(), 1),
		Pid: o.index, Tid: worker, Args: map[string]any{"rows_in": in, "rows_out": out},
	})
}

// name says what the lanes of an operator are.
func (t *tracer) name(o *operator) {
	if t == nil {
		return
	}
	t.write(traceEvent{Name: "process_name", Ph: "M", Pid: o.index, Args: map[string]any{"name": o.name}})
	t.write(traceEvent{Name: "process_sort_index", Ph: "M", Pid: o.index, Args: map[string]any{"sort_index": o.index}})
}

// counters records numbers that change over time.
func (t *tracer) counters(name string, values map[string]any) {
	if t == nil || len(values) == 0 {
		return
	}
	t.write(traceEvent{Name: name, Ph: "C", Ts: time.Since(t.began).Microseconds(), Pid: countersPid, Args: values})
}

func (t *tracer) write(ev traceEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	raw, err := json.Marshal(ev)
	if err == nil {
		sep := ",\n"
		if !t.any {
			t.any, sep = true, "[\n"
		}
		if _, err = t.w.WriteString(sep); err == nil {
			_, err = t.w.Write(raw)
		}
	}
	if t.err == nil {
		t.err = err
	}
}

func (t *tracer) close() error {
	if t == nil {
		return nil
	}
	end := "\n]\n"
	if !t.any {
		end = "[]\n"
	}
	if _, err := t.w.WriteString(end); err != nil && t.err == nil {
		t.err = err
	}
	if err := t.w.Flush(); err != nil && t.err == nil {
		t.err = err
	}
	return t.err
}
