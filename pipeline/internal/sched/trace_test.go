package sched_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

var update = flag.Bool("update", false, "write the recorded decisions anew")

// TestRecordedDecisions plays the scripts in testdata. A line of a script is a part of the
// graph ("memory", "cpus", "op"), a number of events that are applied at once, divided by
// ";", or the word "show". What follows from it stands below, indented. The scheduler is
// asked to settle after each line, unless it has accepted a block: what that leads to comes
// first, and "settle" says that there is no more of it.
func TestRecordedDecisions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.trace")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".trace"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			p := &player{t: t}
			var out []string
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				if strings.HasPrefix(line, "  ") {
					continue
				}
				out = append(out, line)
				for _, answer := range p.play(line) {
					out = append(out, "  "+answer)
				}
			}
			got := strings.Join(out, "\n") + "\n"
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			require.Equal(t, string(text), got, "go test ./pipeline/internal/sched -run Recorded -update writes it anew")
		})
	}
}

type player struct {
	t   *testing.T
	cfg sched.Config
	s   *sched.Scheduler
}

func (p *player) play(line string) []string {
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(line, "#") {
		return nil
	}
	switch words[0] {
	case "memory", "cpus", "gpus":
		p.limit(words)
		return nil
	case "op":
		p.op(words[1:])
		return nil
	}
	if p.s == nil {
		p.s = sched.New(p.cfg)
	}
	switch words[0] {
	case "show":
		return p.show()
	}
	if line == "settle" {
		return p.settle(nil)
	}
	var events []sched.Event
	for _, text := range strings.Split(line, ";") {
		events = append(events, p.event(strings.Fields(text)))
	}
	return p.settle(p.s.Apply(events...))
}

// settle goes on until there is nothing more to do, or a block was accepted.
func (p *player) settle(acts []sched.Action) (out []string) {
	for {
		out = append(out, p.actions(acts)...)
		if slices.ContainsFunc(acts, func(a sched.Action) bool { return a.Kind == sched.Accept }) {
			return out
		}
		if acts = p.s.Settle(); len(acts) == 0 {
			return out
		}
	}
}

func (p *player) number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	require.NoError(p.t, err)
	return n
}

func (p *player) limit(words []string) {
	switch n := p.number(words[1]); words[0] {
	case "memory":
		p.cfg.Memory = int64(n)
	case "cpus":
		p.cfg.CPUs = n
	case "gpus":
		p.cfg.GPUs = int(n)
	}
}

// op reads "NAME [in=N] [cpu=N] [gpu=N] [workers=N] [max=N] [calls=N] [window=N] [estimate=N]
// [generator] [sets] [ordered] [sink]".
func (p *player) op(words []string) {
	o := sched.Op{Name: words[0], CPU: 1, Output: true}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "in":
			o.In = append(o.In, int(p.number(value)))
		case "cpu":
			o.CPU = p.number(value)
		case "gpu":
			o.GPU = p.number(value)
		case "max":
			o.Max = int(p.number(value))
		case "workers":
			o.Workers = int(p.number(value))
		case "calls":
			o.Calls = int(p.number(value))
		case "window":
			o.Window = int64(p.number(value))
		case "estimate":
			o.Estimate = int64(p.number(value))
		case "generator":
			o.Generator = true
		case "sets":
			o.Sets = true
		case "ordered":
			o.Ordered = true
		case "sink":
			o.Output = false
		default:
			require.Fail(p.t, "unknown", "%q of an operator", w)
		}
	}
	p.cfg.Ops = append(p.cfg.Ops, o)
}

var kinds = map[string]sched.EventKind{
	"ready": sched.Ready, "up": sched.WorkerUp, "down": sched.WorkerDown, "opening": sched.WorkerOpening,
	"yield": sched.Yield, "reserve": sched.Reserve, "done": sched.Done, "free": sched.Free,
	"stop": sched.Stop, "pause": sched.Pause, "unpause": sched.Unpause, "limit": sched.LimitChange, "tick": sched.Tick,
	"lost": sched.DeviceLost, "returned": sched.Returned,
}

// event reads "KIND OP [TASK] [WORKER] [BYTES]", those that the kind has, and "on=WORKER" of a
// pinned task, "took=SECONDS", "set=SET", "part".
func (p *player) event(words []string) sched.Event {
	kind, ok := kinds[words[0]]
	require.True(p.t, ok, "unknown event %q", words[0])
	ev := sched.Event{Kind: kind}
	var numbers []int64
	for k, w := range words[1:] {
		switch {
		case k == 0 && kind != sched.LimitChange && kind != sched.Tick && kind != sched.DeviceLost:
			ev.Op = slices.IndexFunc(p.cfg.Ops, func(o sched.Op) bool { return o.Name == w })
			require.GreaterOrEqual(p.t, ev.Op, 0, "unknown operator %q", w)
		case strings.HasPrefix(w, "on="):
			ev.Pin, ev.Worker = true, int(p.number(w[3:]))
		case strings.HasPrefix(w, "took="):
			ev.Seconds = p.number(w[5:])
		case strings.HasPrefix(w, "set="):
			ev.Set = int64(p.number(w[4:]))
		case w == "part":
			ev.Part = true
		default:
			numbers = append(numbers, int64(p.number(w)))
		}
	}
	switch kind {
	case sched.Ready:
		if ev.Task = numbers[0]; len(numbers) > 1 {
			ev.Bytes = numbers[1]
		}
	case sched.Done, sched.Returned:
		ev.Task = numbers[0]
	case sched.DeviceLost:
		ev.Device = int(numbers[0])
	case sched.Tick:
		ev.Seconds = float64(numbers[0])
	case sched.Yield, sched.Reserve:
		ev.Task, ev.Bytes = numbers[0], numbers[1]
	case sched.WorkerUp, sched.WorkerDown:
		ev.Worker = int(numbers[0])
	case sched.Free, sched.LimitChange:
		ev.Bytes = numbers[0]
	}
	return ev
}

func (p *player) actions(acts []sched.Action) (out []string) {
	for _, a := range acts {
		if a.Kind == sched.OpenWorker || a.Kind == sched.CloseWorker {
			verb := map[sched.ActionKind]string{sched.OpenWorker: "open", sched.CloseWorker: "close"}[a.Kind]
			out = append(out, fmt.Sprintf("%s %s %d, device %d", verb, p.cfg.Ops[a.Op].Name, a.Worker, a.Device))
			continue
		}
		if a.Kind == sched.NoPlace {
			out = append(out, "no place for "+p.cfg.Ops[a.Op].Name)
			continue
		}
		text := fmt.Sprintf("%s %s %d on %d", [...]string{"start", "accept", "resume"}[a.Kind], p.cfg.Ops[a.Op].Name, a.Task, a.Worker)
		if a.Alone {
			text += " alone"
		}
		out = append(out, text)
	}
	return out
}

func (p *player) show() (out []string) {
	for i, o := range p.cfg.Ops {
		st := p.s.State(i)
		rule := string(st.Rule)
		if rule == "" {
			rule = "-"
		}
		out = append(out, fmt.Sprintf("%s: %d queued, %d running, %d waiting, holds %d, reserved %d: %s",
			o.Name, st.Queued, st.Running, st.Waiting, st.Held, st.Reserved, rule))
	}
	return append(out, fmt.Sprintf("%d bytes used, %g CPU free, %d alone", p.s.Used(), p.s.CPUFree(), p.s.Alone()))
}
