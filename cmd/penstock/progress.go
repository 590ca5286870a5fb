package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
)

// observer shows how a job goes on. end is called once, after the last update.
type observer interface {
	update(pipeline.Stats)
	end(ok bool)
}

func (a *app) progress(f *jobFlags) observer {
	switch {
	case f.Quiet || f.Progress == "none":
		return silence{}
	case f.Progress == "bar" || f.Progress == "auto" && a.bars:
		return &bars{out: a.stderr, color: a.color}
	}
	return &lines{out: a.stderr, every: 10 * time.Second}
}

type silence struct{}

func (silence) update(pipeline.Stats) {}
func (silence) end(bool)              {}

// lines writes a line every so often.
type lines struct {
	out   io.Writer
	every time.Duration
	next  time.Duration
}

func (l *lines) update(s pipeline.Stats) {
	if l.next == 0 {
		l.next = l.every
	}
	if s.Elapsed < l.next || s.Done {
		return
	}
	l.next = s.Elapsed + l.every
	fmt.Fprintln(l.out, "penstock: "+progressLine(s))
}

func (l *lines) end(bool) {}

func progressLine(s pipeline.Stats) string {
	rate := float64(s.Rows) / s.Elapsed.Seconds()
	parts := []string{fmt.Sprintf("%s: %s rows", s.Elapsed.Round(time.Second), grouped(s.Rows))}
	if s.InputTotal > 0 {
		parts[0] = fmt.Sprintf("%s: %s of %s rows", s.Elapsed.Round(time.Second), grouped(s.Rows), grouped(s.InputTotal))
	}
	parts = append(parts, grouped(int64(rate))+" rows/s")
	if left := s.InputTotal - s.Rows; s.InputTotal > 0 && left > 0 && rate > 0 {
		parts = append(parts, "about "+time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second).String()+" left")
	}
	return strings.Join(append(parts, jobLine(s)), " · ")
}

// jobLine is what is said of the job as a whole.
func jobLine(s pipeline.Stats) string {
	used := max(s.Memory.RSS, s.Memory.Used)
	line := fmt.Sprintf("memory %s of %s", job.Size(used), job.Size(s.Memory.Limit))
	if s.Failed > 0 {
		line += fmt.Sprintf(" · %s skipped", grouped(s.Failed))
	}
	if s.LimitedBy != "" {
		line += " · limited by " + s.LimitedBy
	}
	return line
}

// bars draws a bar for each operator. What it waits for (the first rows of a longer job)
// comes with the first update; a job that is over by then is not drawn.
type bars struct {
	out      io.Writer
	color    bool
	writer   progress.Writer
	trackers []*progress.Tracker
	done     chan struct{} // closed when the last frame was drawn
}

func (b *bars) update(s pipeline.Stats) {
	if b.writer == nil {
		if s.Done || len(s.Operators) == 0 {
			return
		}
		b.start(s)
	}
	width := 0
	for _, o := range s.Operators {
		width = max(width, text.StringWidth(o.Name))
	}
	for i, o := range s.Operators {
		if i == len(b.trackers) {
			break
		}
		t := b.trackers[i]
		if s.InputTotal > 0 {
			t.UpdateTotal(max(s.InputTotal, rowsOf(o)))
		}
		t.SetValue(rowsOf(o))
		t.UpdateMessage(fmt.Sprintf("%s ×%-2d %9s", text.Pad(o.Name, width, ' '), max(o.Workers, o.Running), job.Size(o.QueuedBytes)))
	}
	b.writer.SetPinnedMessages(jobLine(s))
}

// rowsOf are the rows that an operator has done.
func rowsOf(o pipeline.OperatorStats) int64 {
	if o.Kind == "sink" {
		return o.InRows
	}
	return o.OutRows
}

func (b *bars) start(s pipeline.Stats) {
	w := progress.NewWriter()
	w.SetOutputWriter(b.out)
	w.SetAutoStop(false)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.SetTrackerLength(20)
	w.SetSortBy(progress.SortByIndex)
	w.SetTrackerPosition(progress.PositionRight)
	style := progress.StyleBlocks
	if b.color {
		style.Colors.Tracker, style.Colors.Error, style.Colors.Stats = text.Colors{text.FgCyan}, text.Colors{text.FgRed}, text.Colors{text.Faint}
	}
	style.Options.Separator, style.Options.DoneString, style.Options.ErrorString = " ", "done", "stopped"
	style.Options.TimeInProgressPrecision, style.Options.TimeDonePrecision = 100*time.Millisecond, 100*time.Millisecond
	style.Options.KeepTrackersTogether = true
	style.Options.SpeedSuffix = " rows/s"
	style.Visibility = progress.StyleVisibility{ETA: true, Percentage: true, Pinned: true, Speed: true, Tracker: true, Value: true, Time: true}
	w.SetStyle(style)
	for i, o := range s.Operators {
		b.trackers = append(b.trackers, &progress.Tracker{Message: o.Name, Index: uint64(i), AutoStopDisabled: true})
	}
	w.AppendTrackers(slices.Clone(b.trackers))
	b.writer, b.done = w, make(chan struct{})
	go func() {
		defer close(b.done)
		w.Render()
	}()
}

func (b *bars) end(ok bool) {
	if b.writer == nil {
		return
	}
	for _, t := range b.trackers {
		if ok {
			t.MarkAsDone()
		} else {
			t.MarkAsErrored()
		}
	}
	// Stop is lost on a writer that has not begun to draw: then it is told again.
	for {
		b.writer.Stop()
		select {
		case <-b.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
