package stagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// SinkOptions says what is known of a sink. The zero value checks only what every sink
// promises.
type SinkOptions struct {
	// Records are the rows to write, at least six; nil: rows of numbers, text and nulls.
	Records []arrow.Record
	// Text compares values as text, by column name: for formats that do not keep types.
	Text bool
	// Unordered: parts are not read back in their order.
	Unordered bool
	// Appends: a commit leaves what was there and adds to it. Else it replaces it.
	Appends bool
	// Faults is asked by the storage beneath; nil: no faults are tried.
	Faults *Faults
	// Patience is how long a call may take; 0: 30 s.
	Patience time.Duration
}

// Sink checks a sink. It writes parts at once, drops and reopens them, commits all and
// some, twice and from another sink of the same place, aborts, keeps where it is a
// [stage.Keeper], cancels each call, makes each call of the storage fail, and reads what
// is to be seen after each of these.
//
// newSink makes a sink that writes to dir, a name that no other output has: its parent
// folder is there, dir itself is not. Called again with the same dir it makes the sink
// that another process would. read gives the rows that readers of dir see, in any number
// of records, which become the check's; where nothing is to be seen, none and no error.
func Sink(t testing.TB, newSink func(dir string) stage.Sink, read func(dir string) ([]arrow.Record, error), opt SinkOptions) {
	t.Helper()
	s := &sinkCheck{checker: newChecker(t, opt.Patience), newSink: newSink, readBack: read, opt: opt}
	recs := opt.Records
	if recs == nil {
		recs = []arrow.Record{sample()}
	}
	rows, err := joinRecords(heap, recs[0].Schema(), recs)
	s.must(err, "Sink: the rows to write")
	s.that(rows.NumRows() >= 6, "Sink: %d rows to write are too few", rows.NumRows())
	s.rows = rows
	s.life()
	s.nothing()
	s.some()
	s.reopened()
	s.resumed()
	s.otherJob()
	s.aborted()
	s.second()
	s.kept()
	s.failedRows()
	s.cancels()
	s.faults()
}

type sinkCheck struct {
	checker
	newSink  func(dir string) stage.Sink
	readBack func(dir string) ([]arrow.Record, error)
	opt      SinkOptions
	rows     arrow.Record
	dirs     int
}

const parts = 3 // that the rows are written in

// sample is rows of the kinds that every format has.
func sample() arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(heap, schema)
	defer b.Release()
	const rows = 50
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%7 == 3 {
			b.Field(1).AppendNull()
			b.Field(2).AppendNull()
			continue
		}
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %d", i))
		b.Field(2).(*array.Float64Builder).Append(float64(i) / 4)
	}
	return b.NewRecord()
}

// place is an output of its own, and a probe for the writers.
type place struct {
	s     *sinkCheck
	dir   string
	sink  stage.Sink
	probe *probe
}

func (s *sinkCheck) place() *place {
	s.dirs++
	dir := filepath.Join(s.t.TempDir(), fmt.Sprintf("out-%d", s.dirs))
	return &place{s: s, dir: dir, sink: s.newSink(dir), probe: newProbe(s.checker, -1)}
}

// again is the same place seen by another process.
func (p *place) again() *place {
	return &place{s: p.s, dir: p.dir, sink: p.s.newSink(p.dir), probe: p.probe}
}

// begin begins job; nothing may fail.
func (p *place) begin(what string, job stage.JobID) []stage.Part {
	p.s.t.Helper()
	var done []stage.Part
	err := p.s.call(what+": begin", func() (err error) {
		done, err = p.sink.Begin(context.Background(), p.s.rows.Schema(), job)
		return err
	})
	p.s.must(err, "%s: begin", what)
	return done
}

// piece is the rows of part k.
func (s *sinkCheck) piece(k int) arrow.Record {
	n := int(s.rows.NumRows())
	return s.rows.NewSlice(int64(k*n/parts), int64((k+1)*n/parts))
}

// write writes rows as a part, in two records, and closes it.
func (p *place) write(ctx context.Context, id stage.PartID, rec arrow.Record) (stage.Part, error) {
	w, err := p.sink.OpenPart(ctx, p.probe.env(stage.Env{}), id)
	if err != nil {
		return stage.Part{}, err
	}
	if err := p.fill(ctx, w, rec); err != nil {
		return stage.Part{}, errors.Join(err, w.Abort(context.WithoutCancel(ctx)))
	}
	part, err := w.Close(ctx)
	if err != nil {
		return stage.Part{}, errors.Join(err, w.Abort(context.WithoutCancel(ctx)))
	}
	if err := w.Abort(ctx); err != nil {
		return part, breachf("part %s: Abort after Close: %w", id, err)
	}
	if part.ID != id || part.Rows != rec.NumRows() || part.Bytes < 0 {
		return part, breachf("part %s of %d rows: Close gave %+v", id, rec.NumRows(), part)
	}
	return throughJSON(part)
}

func throughJSON(part stage.Part) (there stage.Part, err error) {
	raw, err := json.Marshal(part)
	if err == nil {
		err = json.Unmarshal(raw, &there)
	}
	if err != nil {
		return part, breachf("part %s cannot go through JSON: %w", part.ID, err)
	}
	return there, nil
}

// fill writes rec in two pieces, in memory that is counted and poisoned, and looks
// whether the writer left them as they were.
func (p *place) fill(ctx context.Context, w stage.PartWriter, rec arrow.Record) error {
	mine, err := copyRecord(p.probe.mem, rec)
	if err != nil {
		return breach{err}
	}
	defer mine.Release()
	half := mine.NumRows() / 2
	for _, ends := range [][2]int64{{0, half}, {half, mine.NumRows()}} {
		piece := mine.NewSlice(ends[0], ends[1])
		err := w.Write(ctx, piece)
		want := rec.NewSlice(ends[0], ends[1])
		if changed := intact(want, piece); changed != nil {
			return breachf("Write changed or released its record: %w", changed)
		}
		want.Release()
		piece.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes all parts at once.
func (p *place) writeAll(what string) []stage.Part {
	p.s.t.Helper()
	out := make([]stage.Part, parts)
	err := p.s.call(what+": write", func() error {
		errs := make([]error, parts)
		var all sync.WaitGroup
		for k := range parts {
			all.Go(func() {
				errs[k] = recovered(func() (err error) {
					out[k], err = p.write(context.Background(), stage.PartID{Group: int64(k)}, p.s.piece(k))
					return err
				})
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})
	p.s.must(err, "%s: write", what)
	p.probe.settle(what)
	return out
}

// commit commits; nothing may fail.
func (p *place) commit(what string, done []stage.Part) {
	p.s.t.Helper()
	p.s.must(p.s.call(what, func() error { return p.sink.Commit(context.Background(), done) }), "%s", what)
}

func (p *place) abort(what string) {
	p.s.t.Helper()
	p.s.must(p.s.call(what, func() error { return p.sink.Abort(context.Background()) }), "%s", what)
}

// shows checks what is to be seen at the place.
func (p *place) shows(what string, want ...arrow.Record) {
	p.s.t.Helper()
	p.s.must(p.differs(want...), "%s", what)
}

// differs says how what is to be seen differs from what is wanted.
func (p *place) differs(want ...arrow.Record) error {
	p.s.t.Helper()
	var got []arrow.Record
	err := p.s.call("read back", func() (err error) {
		got, err = p.s.readBack(p.dir)
		return err
	})
	defer func() {
		for _, r := range got {
			r.Release()
		}
	}()
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if p.s.opt.Text || p.s.opt.Unordered {
		return diffLines(lines(want), lines(got), p.s.opt.Unordered)
	}
	return diffWhole(p.s.rows.Schema(), want, got)
}

func diffWhole(schema *arrow.Schema, want, got []arrow.Record) error {
	w, err := joinRecords(heap, schema, want)
	if err != nil {
		return err
	}
	for _, r := range got {
		if err := diffSchemas(schema, r.Schema()); err != nil {
			return err
		}
	}
	g, err := joinRecords(heap, schema, got)
	if err != nil {
		return err
	}
	return diffRecords(w, g, 0)
}

// lines is each row as text.
func lines(recs []arrow.Record) []string {
	var out []string
	for _, r := range recs {
		for row := range int(r.NumRows()) {
			line := ""
			for i, c := range r.Columns() {
				value := "null"
				if c.IsValid(row) {
					value = c.ValueStr(row)
				}
				line += fmt.Sprintf("%s=%q ", r.ColumnName(i), value)
			}
			out = append(out, line)
		}
	}
	return out
}

func diffLines(want, got []string, unordered bool) error {
	if unordered {
		slices.Sort(want)
		slices.Sort(got)
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Errorf("row %d is %s, not %s", i, got[i], want[i])
		}
	}
	if len(want) != len(got) {
		return fmt.Errorf("%d rows, not %d", len(got), len(want))
	}
	return nil
}

// sameParts says whether some are among all, each once.
func sameParts(some, all []stage.Part) bool {
	seen := map[stage.PartID]bool{}
	for _, p := range some {
		there, err := throughJSON(p)
		at := slices.IndexFunc(all, func(a stage.Part) bool { return a.ID == p.ID })
		if err != nil || at < 0 || seen[p.ID] || !reflect.DeepEqual(all[at], there) {
			return false
		}
		seen[p.ID] = true
	}
	return true
}
