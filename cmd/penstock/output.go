package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
)

// plainWidth is how wide tables are where there is no terminal.
const plainWidth = 120

// table prints rows, cut to the width of the terminal.
func (a *app) table(recs []arrow.Record) {
	if len(recs) == 0 {
		return
	}
	names := make([]string, recs[0].NumCols())
	for i, f := range recs[0].Schema().Fields() {
		names[i] = f.Name
	}
	var rows [][]string
	for _, rec := range recs {
		for r := range int(rec.NumRows()) {
			row := make([]string, len(names))
			for c := range names {
				row[c] = cell(rec.Column(c), r)
			}
			rows = append(rows, row)
		}
	}
	a.print(names, rows)
}

func (a *app) print(names []string, rows [][]string) {
	widths := a.widths(names, rows)
	t := table.NewWriter()
	t.SetOutputMirror(a.stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	cut := func(cells []string) table.Row {
		row := make(table.Row, len(cells))
		for i, s := range cells {
			row[i] = text.Snip(s, widths[i], "…")
		}
		return row
	}
	t.AppendHeader(cut(names))
	for _, row := range rows {
		t.AppendRow(cut(row))
	}
	t.Render()
}

// widths shares the terminal out: narrow columns get what they need, wide ones what is
// left, in equal parts.
func (a *app) widths(names []string, rows [][]string) []int {
	need := make([]int, len(names))
	for i, name := range names {
		need[i] = max(text.StringWidth(name), 1)
		for _, row := range rows {
			need[i] = max(need[i], text.StringWidth(row[i]))
		}
	}
	left := a.width
	if left <= 0 {
		left = plainWidth
	}
	left -= 3*len(names) + 1 // borders and padding
	got := make([]int, len(names))
	for open := len(names); open > 0; {
		share, settled := max(left/open, 4), 0
		for i := range names {
			if got[i] == 0 && need[i] <= share {
				got[i] = need[i]
				left -= need[i]
				settled++
			}
		}
		if open -= settled; settled == 0 {
			for i := range names {
				if got[i] == 0 {
					got[i] = share
				}
			}
			break
		}
	}
	return got
}

// cell is a value on one line. A list of floats is shown by its first value and its length.
func cell(col arrow.Array, i int) string {
	if col.IsNull(i) {
		return "null"
	}
	switch c := col.(type) {
	case *array.Float32:
		return strconv.FormatFloat(float64(c.Value(i)), 'g', 4, 32)
	case *array.Float64:
		return strconv.FormatFloat(c.Value(i), 'g', 6, 64)
	case *array.FixedSizeList:
		from, to := c.ValueOffsets(i)
		if v, ok := c.ListValues().(*array.Float32); ok && to > from {
			return fmt.Sprintf("[%.2f, … %d]", v.Value(int(from)), to-from)
		}
	}
	return oneLine(col.ValueStr(i))
}

// oneLine replaces what would break a table or a terminal.
func oneLine(s string) string {
	const most = 1000 // no terminal is wider
	if len(s) > 4*most {
		s = s[:4*most]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}

// grouped writes a number with commas between its thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted is a number of things.
func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return grouped(n) + " " + thing + "s"
}

// summary is the last line of a job.
func (a *app) summary(j *job.Job, res job.Result, f *jobFlags) {
	out := j.Sink.Path
	switch {
	case f.Stats == "json":
		a.json(report(j, res))
	case f.Quiet:
	case res.Ignored:
		fmt.Fprintf(a.stdout, "%s exists and was left as it is (mode ignore)\n", out)
	default:
		for _, lost := range res.Stats.Lost {
			fmt.Fprintln(a.stderr, "penstock: "+lost.String())
		}
		for _, o := range res.Stats.Operators {
			for _, note := range o.Notes {
				fmt.Fprintln(a.stderr, "penstock: "+o.Name+": "+note)
			}
		}
		fmt.Fprintln(a.stdout, summaryLine(res.Stats)+" → "+out)
	}
}

func summaryLine(s pipeline.Stats) string {
	parts := []string{
		counted(s.Rows, "row") + " in " + seconds(s.Elapsed),
		grouped(int64(float64(s.Rows)/max(s.Elapsed.Seconds(), 1e-6))) + " rows/s",
	}
	if padding := efficiency(s); padding > 0 {
		parts = append(parts, fmt.Sprintf("padding efficiency %.2f", padding))
	}
	for _, o := range s.Operators {
		if o.BatchSize > 0 {
			parts = append(parts, fmt.Sprintf("batch size %d found for %s", o.BatchSize, o.Name))
		}
		if t := o.DeviceTime(); t.Runs > 0 {
			parts = append(parts, fmt.Sprintf("%s on %s: %.0f %% waiting for input, %.0f %% computing, %.0f %% of that padding; H2D %s, D2H %s", o.Name,
				counted(int64(len(o.Actors)), "GPU actor"), 100*(1-t.BusyShare()), 100*t.BusyShare(), 100*t.PaddingShare(), seconds(t.CopyIn), seconds(t.CopyOut)))
		}
	}
	for _, d := range s.Devices {
		parts = append(parts, loadText(d))
	}
	parts = append(parts, "peak memory "+job.Size(peakMemory(s)).String())
	if nulls := s.Counter(stage.NullInputs); nulls > 0 {
		parts = append(parts, grouped(nulls)+" null")
	}
	if s.Failed == 0 {
		return strings.Join(append(parts, "0 errors"), " · ")
	}
	return strings.Join(append(parts, counted(s.Failed, "error")+" (see _errors)"), " · ")
}

// loadText says what a GPU did, as far as its driver tells.
func loadText(d pipeline.DeviceLoad) string {
	text := fmt.Sprintf("GPU %d", d.Device)
	if d.Busy >= 0 {
		text += fmt.Sprintf(" %.0f %% busy,", 100*d.Busy)
	}
	text += fmt.Sprintf(" %s of %s in use", job.Size(max(d.MaxUsed, 0)), job.Size(d.Memory))
	if d.Watts >= 0 {
		text += fmt.Sprintf(", %.0f W", d.Watts)
	}
	return text
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// efficiency is the share of the tokens that a model saw which were not padding; 0 where
// there was no model.
func efficiency(s pipeline.Stats) float64 {
	if padded := s.Counter(stage.PaddedTokens); padded > 0 {
		return float64(s.Counter(stage.Tokens)) / float64(padded)
	}
	return 0
}

func peakMemory(s pipeline.Stats) int64 { return max(s.Memory.PeakRSS, s.Memory.Peak) }

// jobReport is the summary for programs.
type jobReport struct {
	Output            string           `json:"output"`
	Ignored           bool             `json:"ignored,omitempty"`
	Rows              int64            `json:"rows"`
	InputRows         int64            `json:"input_rows"`
	Errors            int64            `json:"errors"`
	Parts             int              `json:"parts"`
	Seconds           float64          `json:"seconds"`
	RowsPerSecond     float64          `json:"rows_per_second"`
	PaddingEfficiency float64          `json:"padding_efficiency,omitempty"`
	PeakMemoryBytes   int64            `json:"peak_memory_bytes"`
	Memory            memoryReport     `json:"memory"`
	CPUSeconds        float64          `json:"cpu_seconds"`
	LimitedBy         string           `json:"limited_by,omitempty"`
	LostDevices       []string         `json:"lost_devices,omitempty"` // a line for each
	Operators         []operatorReport `json:"operators"`
	GPUs              []loadReport     `json:"gpus,omitempty"` // where NVML tells
}

// loadReport is what a GPU did while the job ran, whoever had it do so. What its driver does not
// tell is left out.
type loadReport struct {
	Device   int      `json:"device"`
	Name     string   `json:"name"`
	Samples  int      `json:"samples"`
	Busy     *float64 `json:"busy,omitempty"`
	MaxUsed  *int64   `json:"max_used_bytes,omitempty"`
	Memory   int64    `json:"memory_bytes"`
	Watts    *float64 `json:"watts,omitempty"`
	MaxWatts *float64 `json:"max_watts,omitempty"`
}

// known is a number that was told.
func known[T int64 | float64](v T) *T {
	if v < 0 {
		return nil
	}
	return &v
}

// memoryReport is in bytes: the process before the job, and the most that was charged, in all
// and to each purpose.
type memoryReport struct {
	Limit     int64            `json:"limit_bytes"`
	Baseline  int64            `json:"baseline_bytes"`
	Peak      int64            `json:"peak_charged_bytes"`
	Alone     int64            `json:"alone"` // turns over the limit, since nothing else could run
	ByPurpose map[string]int64 `json:"peak_by_purpose,omitempty"`
}

type operatorReport struct {
	Name           string                  `json:"name"`
	Kind           string                  `json:"kind"`
	Workers        int                     `json:"workers"`
	BatchSize      int                     `json:"batch_size,omitempty"` // that was found
	InputRows      int64                   `json:"input_rows"`
	OutputRows     int64                   `json:"output_rows"`
	Errors         int64                   `json:"errors"`
	Tasks          int64                   `json:"tasks"`
	OutputBytes    int64                   `json:"output_bytes"`
	QueuedBytes    int64                   `json:"queued_bytes"`
	PeakBytes      int64                   `json:"peak_bytes"`
	BusySeconds    float64                 `json:"busy_seconds"`
	BlockedSeconds float64                 `json:"blocked_seconds"` // for room for what was made
	WaitingSeconds float64                 `json:"waiting_seconds"` // for work
	ServiceRate    float64                 `json:"rows_per_busy_second"`
	Throttled      map[string]int64        `json:"throttled,omitempty"` // looks at which a rule kept it waiting
	Counters       map[stage.Counter]int64 `json:"counters,omitempty"`
	GPU            *gpuReport              `json:"gpu,omitempty"` // where it ran on GPUs
	Notes          []string                `json:"notes,omitempty"`
}

// gpuReport is the time of actors on GPUs, by the GPUs' own events.
type gpuReport struct {
	gpuTime
	Actors []gpuActor `json:"actors"`
}

type gpuActor struct {
	Device int `json:"device"`
	gpuTime
}

// gpuTime splits a GPU's time: copies go on while another run computes.
type gpuTime struct {
	Runs           int64   `json:"runs"`
	WaitSeconds    float64 `json:"wait_seconds"` // for input
	CopyInSeconds  float64 `json:"h2d_seconds"`
	ComputeSeconds float64 `json:"compute_seconds"`
	CopyOutSeconds float64 `json:"d2h_seconds"`
	PaddingSeconds float64 `json:"padding_seconds"` // of compute
	PaddingShare   float64 `json:"padding_share"`   // likewise
	BusyShare      float64 `json:"busy_share"`      // compute of compute and wait
}

func gpuTimes(t pipeline.DeviceTime) gpuTime {
	return gpuTime{t.Runs, t.Wait.Seconds(), t.CopyIn.Seconds(), t.Compute.Seconds(), t.CopyOut.Seconds(), t.Padding.Seconds(), t.PaddingShare(), t.BusyShare()}
}

func reportGPU(o pipeline.OperatorStats) *gpuReport {
	if len(o.Actors) == 0 {
		return nil
	}
	r := &gpuReport{gpuTime: gpuTimes(o.DeviceTime())}
	for _, a := range o.Actors {
		r.Actors = append(r.Actors, gpuActor{a.Device, gpuTimes(a.DeviceTime)})
	}
	return r
}

func report(j *job.Job, res job.Result) jobReport {
	s := res.Stats
	r := jobReport{Output: j.Sink.Path, Ignored: res.Ignored, Rows: s.Rows, InputRows: s.InputRows, Errors: s.Failed, Parts: s.Parts,
		Seconds: s.Elapsed.Seconds(), RowsPerSecond: float64(s.Rows) / max(s.Elapsed.Seconds(), 1e-6), PaddingEfficiency: efficiency(s),
		PeakMemoryBytes: peakMemory(s),
		Memory:          memoryReport{s.Memory.Limit, s.Memory.Baseline, s.Memory.Peak, s.Memory.Alone, s.Memory.PeakByPurpose},
		CPUSeconds:      s.CPU.Seconds(), LimitedBy: s.LimitedBy, Operators: []operatorReport{}}
	for _, lost := range s.Lost {
		r.LostDevices = append(r.LostDevices, lost.String())
	}
	for _, o := range s.Operators {
		r.Operators = append(r.Operators, operatorReport{o.Name, o.Kind, o.Workers, o.BatchSize, o.InRows, o.OutRows, o.Failed, o.Tasks, o.OutBytes,
			o.QueuedBytes, o.PeakBytes, o.Busy.Seconds(), o.Blocked.Seconds(), o.Waiting.Seconds(), o.ServiceRate(), o.Throttled, o.Counters, reportGPU(o), o.Notes})
	}
	for _, d := range s.Devices {
		r.GPUs = append(r.GPUs, loadReport{d.Device, d.Name, d.Samples, known(d.Busy), known(d.MaxUsed), d.Memory, known(d.Watts), known(d.MaxWatts)})
	}
	return r
}

// json prints a value for programs, on one line.
func (a *app) json(v any) {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // plain data: what can fail is the pipe behind stdout, whose reader has left
}
