package pipeline

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/penstock-data/penstock/stage"
)

// tracer writes tasks in the Trace Event Format (JSON array form) that Chrome and Perfetto
// read: one lane for each worker of an operator, and a few for each actor on a device. A nil
// tracer does nothing.
type tracer struct {
	mu    sync.Mutex
	w     *bufio.Writer
	began time.Time
	any   bool
	lanes int // of actors, that are named
	err   error
}

// What has no operator's number, which are small.
const (
	devicesPid  = 1 << 19 // the first device
	countersPid = 1 << 20
)

type traceEvent struct {
	Name string         `json:"name"`
	Ph   string         `json:"ph"`
	Ts   float64        `json:"ts"` // microseconds, as Dur
	Dur  float64        `json:"dur,omitempty"`
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
		Name: o.name, Ph: "X", Ts: whole(at.Sub(t.began)), Dur: max(whole(d), 1),
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

// nameLanes makes lanes for an actor, beside those of others on the device, and gives the first.
func (t *tracer) nameLanes(o *operator, actor, device int) int {
	t.mu.Lock()
	first := t.lanes
	t.lanes += stage.Lanes
	t.mu.Unlock()
	pid := devicesPid + device
	t.write(traceEvent{Name: "process_name", Ph: "M", Pid: pid, Args: map[string]any{"name": fmt.Sprintf("GPU %d", device)}})
	t.write(traceEvent{Name: "process_sort_index", Ph: "M", Pid: pid, Args: map[string]any{"sort_index": pid}})
	for l := range stage.Lanes {
		tid := first + l
		t.write(traceEvent{Name: "thread_name", Ph: "M", Pid: pid, Tid: tid,
			Args: map[string]any{"name": fmt.Sprintf("%s %d: %s", o.name, actor, stage.Lane(l))}})
		t.write(traceEvent{Name: "thread_sort_index", Ph: "M", Pid: pid, Tid: tid, Args: map[string]any{"sort_index": tid}})
	}
	return first
}

// deviceRun records a run in the lanes of its actor. Spans are short, and are told to the nanosecond:
// rounded, one would overlap the next.
func (t *tracer) deviceRun(first int, r stage.DeviceRun) {
	const micro = float64(time.Microsecond)
	for l, s := range r.Spans {
		if s.Duration > 0 {
			t.write(traceEvent{Name: stage.Lane(l).String(), Ph: "X", Ts: float64(s.Begin.Sub(t.began)) / micro, Dur: float64(s.Duration) / micro,
				Pid: devicesPid + r.Device, Tid: first + l})
		}
	}
}

// whole is a time in microseconds.
func whole(d time.Duration) float64 { return float64(d.Microseconds()) }

// counters records numbers that change over time.
func (t *tracer) counters(name string, values map[string]any) {
	if t == nil || len(values) == 0 {
		return
	}
	t.write(traceEvent{Name: name, Ph: "C", Ts: whole(time.Since(t.began)), Pid: countersPid, Args: values})
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
