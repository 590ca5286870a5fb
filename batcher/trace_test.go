package batcher_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

var rewrite = flag.Bool("rewrite", false, "write what the traces give now into testdata")

// TestTraces plays the scripts in testdata. A script is steps, each of commands, a line
// of dashes and what they print:
//
//	policy rows=4 bytes=100 cost=64 lookahead=16 buckets=8,16 delay=5ms window=1000
//	push id=1 costs=3,4,5 sizes=10,10,20      or: push id=1 rows=10 bytes=100
//	flush
//	held
//	due now=7ms oldest=1ms
//
// `go test ./batcher -run Traces -rewrite` writes them anew.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.trace")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".trace"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			got := play(t, string(raw))
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(raw), got, "run with -rewrite and look at the difference")
		})
	}
}

// play gives the script with what its steps print now.
func play(t *testing.T, script string) string {
	var b *batcher.Batcher
	var out strings.Builder
	for _, step := range strings.Split(strings.TrimSpace(script), "\n\n") {
		commands, _, _ := strings.Cut(step, "\n----")
		out.WriteString(commands + "\n----\n")
		for _, line := range strings.Split(commands, "\n") {
			if !strings.HasPrefix(line, "#") {
				out.WriteString(command(t, &b, line))
			}
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func command(t *testing.T, b **batcher.Batcher, line string) string {
	words := strings.Fields(line)
	args := map[string]string{}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		args[name] = value
	}
	switch words[0] {
	case "policy":
		window := batcher.WindowBytes
		if n := number[int64](t, args["window"]); n != 0 {
			window = n
		}
		made, err := batcher.NewBounded(policyOf(t, args), window)
		if err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		*b = made
		return ""
	case "push":
		return show((*b).Push(blockOf(t, args)))
	case "flush":
		return show((*b).Flush())
	case "held":
		rows, bytes := (*b).Held()
		oldest, ok := (*b).Oldest()
		return fmt.Sprintf("held: %d rows, %d bytes, oldest in block %d (%t)\n", rows, bytes, oldest, ok)
	case "due":
		wait, ok := (*b).Due(moment(t, args["now"]), moment(t, args["oldest"]))
		return fmt.Sprintf("due: in %v (%t)\n", wait, ok)
	}
	require.Fail(t, "no such command", line)
	return ""
}

func policyOf(t *testing.T, args map[string]string) stage.Policy {
	return stage.Policy{
		MaxRows: number[int](t, args["rows"]), MaxBytes: number[int64](t, args["bytes"]), MaxCost: number[int64](t, args["cost"]),
		LookAheadRows: number[int](t, args["lookahead"]), Buckets: numbers[int32](t, args["buckets"]), MaxDelay: moment(t, args["delay"]),
	}
}

func blockOf(t *testing.T, args map[string]string) batcher.Block {
	b := batcher.Block{
		ID: number[int64](t, args["id"]), Rows: number[int](t, args["rows"]), Bytes: number[int64](t, args["bytes"]),
		Costs: numbers[int32](t, args["costs"]), Sizes: numbers[int64](t, args["sizes"]),
	}
	b.Rows = max(b.Rows, len(b.Costs), len(b.Sizes))
	return b
}

func number[N int | int32 | int64](t *testing.T, s string) N {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return N(n)
}

func numbers[N int | int32 | int64](t *testing.T, s string) []N {
	if s == "" {
		return nil
	}
	var out []N
	for _, f := range strings.Split(s, ",") {
		out = append(out, number[N](t, f))
	}
	return out
}

func moment(t *testing.T, s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	require.NoError(t, err)
	return d
}

func show(all []batcher.Batch) string {
	var out strings.Builder
	for _, b := range all {
		fmt.Fprintf(&out, "window %d: %d rows, %d bytes, cost %d padded to %d (longest %d):", b.Window, b.Rows, b.Bytes, b.Cost, b.PaddedCost, b.Longest)
		for _, p := range b.Picks {
			if p.Rows == nil {
				fmt.Fprintf(&out, " %d[%d:%d]", p.Block, p.From, p.To)
			} else {
				fmt.Fprintf(&out, " %d%v", p.Block, p.Rows)
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}
