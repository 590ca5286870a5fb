package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
)

func TestGrouped(t *testing.T) {
	for want, n := range map[string]int64{"0": 0, "999": 999, "1,000": 1000, "-1,234,567": -1234567, "-123": -123, "12,345,678": 12345678} {
		assert.Equal(t, want, grouped(n))
	}
}

func TestOneLine(t *testing.T) {
	assert.Equal(t, "a b c·d··e", oneLine("a\nb\tc\x1bd\x00\xffe"))
	assert.LessOrEqual(t, len(oneLine(strings.Repeat("é", 10000))), 4003)
}

// TestTableFits: whatever is in the rows, no line is wider than the terminal, and narrow
// columns are not cut for the sake of wide ones.
func TestTableFits(t *testing.T) {
	names := []string{"id", "text", "a name that is long", "日本語"}
	rows := [][]string{
		{"1", strings.Repeat("word ", 40), "x", strings.Repeat("日本", 50)},
		{"1234567", "short", "", "null"},
	}
	for _, width := range []int{40, 60, 80, 200, 0} {
		var out bytes.Buffer
		(&app{stdout: &out, width: width}).print(names, rows)
		most := width
		if most == 0 {
			most = plainWidth
		}
		for _, line := range strings.Split(out.String(), "\n") {
			assert.LessOrEqual(t, text.StringWidth(line), most, line)
		}
		if width != 40 {
			assert.Contains(t, out.String(), "1234567")
		}
	}
}

func TestSummaryLine(t *testing.T) {
	s := pipeline.Stats{Rows: 512, Elapsed: 3200 * time.Millisecond}
	s.Memory.PeakRSS = 312 << 20
	s.Operators = []pipeline.OperatorStats{{Counters: map[stage.Counter]int64{stage.Tokens: 71, stage.PaddedTokens: 100}}}
	assert.Equal(t, "512 rows in 3.2 s · 160 rows/s · padding efficiency 0.71 · peak memory 312 MiB · 0 errors", summaryLine(s))
	s.Operators[0].Name, s.Operators[0].BatchSize = "embed", 256
	assert.Equal(t, "512 rows in 3.2 s · 160 rows/s · padding efficiency 0.71 · batch size 256 found for embed · peak memory 312 MiB · 0 errors", summaryLine(s))
	s.Operators[0].BatchSize = 0
	s.Operators[0].Actors = []pipeline.ActorStats{{Device: 1, DeviceTime: pipeline.DeviceTime{Runs: 9, Wait: 500 * time.Millisecond,
		CopyIn: 120 * time.Millisecond, Compute: 1500 * time.Millisecond, CopyOut: 30 * time.Millisecond, Padding: 375 * time.Millisecond}}}
	assert.Equal(t, "512 rows in 3.2 s · 160 rows/s · padding efficiency 0.71 · embed on 1 GPU actor: 25 % waiting for input, 75 % computing, 25 % of that padding; "+
		"H2D 120 ms, D2H 30 ms · peak memory 312 MiB · 0 errors", summaryLine(s))
	s.Operators[0].Actors = nil
	s.Devices = []pipeline.DeviceLoad{{Device: 1, Busy: 0.913, MaxUsed: 3 << 30, Memory: 80 << 30, Watts: 251.4}, {Device: 2, Busy: -1, MaxUsed: 1 << 30, Memory: 80 << 30, Watts: -1}}
	assert.Equal(t, "512 rows in 3.2 s · 160 rows/s · padding efficiency 0.71 · GPU 1 91 % busy, 3 GiB of 80 GiB in use, 251 W · "+
		"GPU 2 1 GiB of 80 GiB in use · peak memory 312 MiB · 0 errors", summaryLine(s))
	s = pipeline.Stats{Rows: 1, Failed: 1200, Elapsed: 20 * time.Millisecond}
	s.Memory.Peak = 1 << 20
	assert.Equal(t, "1 row in 20 ms · 50 rows/s · peak memory 1 MiB · 1,200 errors (see _errors)", summaryLine(s))
}

// TestGPUTimesAreReported: in all, and by actor; operators without GPUs say nothing of them.
func TestGPUTimesAreReported(t *testing.T) {
	one := pipeline.DeviceTime{Runs: 2, Wait: time.Second, CopyIn: 2 * time.Second, Compute: 3 * time.Second, CopyOut: 4 * time.Second, Padding: 1500 * time.Millisecond}
	s := pipeline.Stats{Operators: []pipeline.OperatorStats{{Name: "read"}, {Name: "embed", Actors: []pipeline.ActorStats{{Device: 0, DeviceTime: one}, {Device: 3, DeviceTime: one}}}},
		Devices: []pipeline.DeviceLoad{{Device: 3, Name: "A", Samples: 2, Busy: 0, MaxUsed: 5, Memory: 9, Watts: -1, MaxWatts: -1}}}
	r := report(&job.Job{}, job.Result{Stats: s})
	raw, err := json.Marshal(r.GPUs)
	require.NoError(t, err)
	assert.Equal(t, `[{"device":3,"name":"A","samples":2,"busy":0,"max_used_bytes":5,"memory_bytes":9}]`, string(raw), "what is not known is left out")
	raw, err = json.Marshal(r.Operators)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(raw), `"gpu"`))
	const each = `"runs":2,"wait_seconds":1,"h2d_seconds":2,"compute_seconds":3,"d2h_seconds":4,"padding_seconds":1.5,"padding_share":0.5,"busy_share":0.75}`
	assert.Contains(t, string(raw), `"gpu":{"runs":4,"wait_seconds":2,"h2d_seconds":4,"compute_seconds":6,"d2h_seconds":8,"padding_seconds":3,"padding_share":0.5,`+
		`"busy_share":0.75,"actors":[{"device":0,`+each+`,{"device":3,`+each+`]}`)
}

// TestNotesAreTold: before the summary, or in it where it is for programs.
func TestNotesAreTold(t *testing.T) {
	res := job.Result{Stats: pipeline.Stats{Operators: []pipeline.OperatorStats{{Name: "embed", Notes: []string{"parts are slow"}}}}}
	for stats, want := range map[string]string{"text": "penstock: embed: parts are slow\n", "json": ""} {
		var out, told bytes.Buffer
		(&app{stdout: &out, stderr: &told}).summary(&job.Job{}, res, &jobFlags{Stats: stats})
		assert.Equal(t, want, told.String())
		assert.Equal(t, stats == "json", strings.Contains(out.String(), `"notes":["parts are slow"]`))
	}
}

func TestLostDevicesAreTold(t *testing.T) {
	lost := pipeline.LostDevice{Device: stage.Placement{Device: stage.CUDA, Index: 1}, Err: errors.New("illegal address"), Left: []stage.Placement{{Device: stage.CUDA}}}
	res := job.Result{Stats: pipeline.Stats{Lost: []pipeline.LostDevice{lost}}}
	const line = "device cuda:1 lost: illegal address; its work went to cuda:0"
	for stats, want := range map[string]string{"text": "penstock: " + line + "\n", "json": ""} {
		var out, told bytes.Buffer
		(&app{stdout: &out, stderr: &told}).summary(&job.Job{}, res, &jobFlags{Stats: stats})
		assert.Equal(t, want, told.String())
		assert.Equal(t, stats == "json", strings.Contains(out.String(), `"lost_devices":["`+line+`"]`))
	}
}

// TestLines: one line in ten seconds, and none for the end.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := &lines{out: &out, every: 10 * time.Second}
	for i := range 121 {
		at := time.Duration(i) * 200 * time.Millisecond
		l.update(pipeline.Stats{Elapsed: at, Rows: int64(i) * 20, InputTotal: 4000, LimitedBy: "embed: 2 workers 99 % busy",
			Memory: pipeline.MemoryStats{RSS: 1 << 30, Limit: 2 << 30}})
	}
	l.update(pipeline.Stats{Elapsed: time.Minute, Done: true})
	l.end(true)
	assert.Equal(t, "penstock: 10s: 1,000 of 4,000 rows · 100 rows/s · about 30s left · memory 1 GiB of 2 GiB · limited by embed: 2 workers 99 % busy\n"+
		"penstock: 20s: 2,000 of 4,000 rows · 100 rows/s · about 20s left · memory 1 GiB of 2 GiB · limited by embed: 2 workers 99 % busy\n", out.String())
}

// TestBars draws a job and leaves the terminal as a finished picture.
func TestBars(t *testing.T) {
	var out bytes.Buffer
	b := &bars{out: &out}
	s := pipeline.Stats{Elapsed: time.Second, InputTotal: 100, LimitedBy: "embed: 2 workers 99 % busy"}
	s.Operators = []pipeline.OperatorStats{{Name: "read", Kind: "source", OutRows: 50}, {Name: "embed", Kind: "stage", OutRows: 20, Workers: 2},
		{Name: "write", Kind: "sink", InRows: 10}}
	b.update(s)
	b.update(s)
	b.end(true)
	for _, want := range []string{"read", "embed ×2", "write", "rows/s"} {
		assert.Contains(t, out.String(), want)
	}

	out.Reset()
	b = &bars{out: &out}
	b.update(pipeline.Stats{Done: true, Operators: s.Operators}) // over before anything was drawn
	b.end(true)
	assert.Empty(t, out.String())
}
