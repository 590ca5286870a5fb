package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/assert"

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
	s = pipeline.Stats{Rows: 1, Failed: 1200, Elapsed: 20 * time.Millisecond}
	s.Memory.Peak = 1 << 20
	assert.Equal(t, "1 row in 20 ms · 50 rows/s · peak memory 1 MiB · 1,200 errors (see _errors)", summaryLine(s))
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
