package writers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// partWriter cuts the rows of a part into units and hands them to the files that they
// belong to. It holds at most one unit besides what the files' encoders hold.
type partWriter struct {
	run *run
	env stage.Env
	id  stage.PartID
	lay *layout
	tmp string // the beginning of the temporary files' names

	waiting []arrow.Record // of the unit that is not full yet
	room    unit           // left in it
	lanes   lanes
	files   []stagedFile // finished
	made    int          // files so far: names the temporary ones
	err     error        // the first: the writer can do no more
	ended   bool
}

// stagedFile is a whole and synced file that has not got its name yet.
type stagedFile struct {
	File
	tmp  string
	lane string
	at   int // number within the lane
}

func newPartWriter(r *run, env stage.Env, id stage.PartID, lay *layout, tmp string) *partWriter {
	p := &partWriter{run: r, env: env, id: id, lay: lay, tmp: tmp, room: lay.unit}
	p.lanes = lanes{part: p, open: map[string]*lane{}, next: map[string]int{}}
	return p
}

func (p *partWriter) Write(ctx context.Context, rec arrow.Record) error {
	if p.ended {
		return errors.New("writers: the part has ended")
	}
	if p.err == nil {
		p.err = p.write(ctx, rec)
	}
	return p.err
}

func (p *partWriter) write(ctx context.Context, rec arrow.Record) error {
	if err := p.lay.accepts(rec); err != nil {
		return err
	}
	for i, f := range p.lay.schema.Fields() {
		if !f.Nullable && rec.Column(i).NullN() > 0 {
			return fmt.Errorf("writers: column %q was announced to have no nulls, and has", f.Name)
		}
	}
	if p.lay.direct {
		return errors.Join(ctx.Err(), p.lanes.write(ctx, rec, false))
	}
	for from := int64(0); from < rec.NumRows(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows, bytes, full := cut(rec, from, p.room)
		p.waiting = append(p.waiting, rec.NewSlice(from, from+rows))
		p.room.rows -= rows
		p.room.bytes -= bytes
		from += rows
		if full {
			if err := p.endUnit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// endUnit writes the unit as one record.
func (p *partWriter) endUnit(ctx context.Context) error {
	waiting := p.waiting
	p.waiting, p.room = nil, p.lay.unit
	defer release(waiting)
	if len(waiting) == 0 {
		return nil
	}
	if len(waiting) == 1 || p.lay.loose {
		for _, rec := range waiting {
			if err := p.lanes.write(ctx, rec, false); err != nil {
				return err
			}
		}
		return nil
	}
	rec, err := concat(waiting, p.lay.schema, p.env.Allocator)
	if err != nil {
		return err
	}
	defer rec.Release()
	return p.lanes.write(ctx, rec, true)
}

// concat puts records of one schema together, in memory of their own.
func concat(recs []arrow.Record, schema *arrow.Schema, mem func(i int) memory.Allocator) (rec arrow.Record, err error) {
	defer recovered(&err)
	var rows int64
	for _, r := range recs {
		rows += r.NumRows()
	}
	cols := make([]arrow.Array, 0, recs[0].NumCols())
	defer func() { release(cols) }()
	pieces := make([]arrow.Array, len(recs))
	for i := range int(recs[0].NumCols()) {
		for k, r := range recs {
			pieces[k] = r.Column(i)
		}
		col, err := array.Concatenate(pieces, mem(i))
		if err != nil {
			return nil, fmt.Errorf("writers: column %q: %w", recs[0].ColumnName(i), err)
		}
		cols = append(cols, col)
	}
	return array.NewRecord(schema, cols, rows), nil
}

// Close gives the files their names below files/ and then writes the record of the part.
func (p *partWriter) Close(ctx context.Context) (stage.Part, error) {
	if p.ended {
		return stage.Part{}, errors.New("writers: the part has ended")
	}
	files, err := p.finish(ctx, false)
	if err == nil {
		var part stage.Part
		if part, err = p.record(files); err == nil {
			return part, nil
		}
	}
	return stage.Part{}, errors.Join(err, p.drop())
}

// finish closes the files, in their order. empty asks for a file even without rows.
func (p *partWriter) finish(ctx context.Context, empty bool) ([]stagedFile, error) {
	if p.err == nil {
		p.err = ctx.Err()
	}
	if p.err == nil {
		p.err = p.endUnit(ctx)
	}
	if p.err == nil && empty {
		p.err = p.lanes.touch()
	}
	if p.err == nil {
		p.err = p.lanes.close(ctx)
	}
	if p.err != nil {
		return nil, p.err
	}
	slices.SortFunc(p.files, func(a, b stagedFile) int {
		return cmp.Or(cmp.Compare(a.lane, b.lane), cmp.Compare(a.at, b.at))
	})
	return p.files, nil
}

// record places the files and writes the part's record: from then on the part is
// finished, also for a later run of the job.
func (p *partWriter) record(files []stagedFile) (part stage.Part, err error) {
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	if err := p.place(files); err != nil {
		return part, err
	}
	spec := partSpec{Files: []File{}}
	part.ID = p.id
	for _, f := range files {
		spec.Files = append(spec.Files, f.File)
		part.Rows += f.Rows
		part.Bytes += f.Bytes
	}
	if part.Spec, err = json.Marshal(spec); err != nil {
		return part, err
	}
	if err := p.run.st.writeJSON(p.run.st.record(p.id), part); err != nil {
		return part, p.run.wrap("finish "+p.id.String(), err)
	}
	p.ended = true
	return part, nil
}

// place moves the files to their names and makes these durable.
func (p *partWriter) place(files []stagedFile) error {
	fsys, st := p.run.cfg.fs, p.run.st
	var dirs []string
	for _, f := range files {
		to := st.file(f.Path)
		err := fsys.MkdirAll(filepath.Dir(to))
		if err == nil {
			err = fsys.Rename(f.tmp, to)
		}
		if err != nil {
			return fmt.Errorf("writers: finish %s: %w", p.run.out.file(f.Path), bare(err))
		}
		// A new folder's name is in the one above.
		for dir := filepath.Dir(to); ; dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
			if dir == st.files() {
				break
			}
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := fsys.SyncDir(dir); err != nil {
			return p.run.wrap("finish "+p.id.String(), err)
		}
	}
	return nil
}

// Abort drops the part.
func (p *partWriter) Abort(context.Context) error {
	if p.ended {
		return nil
	}
	return p.drop()
}

// drop gives everything back and removes the temporary files.
func (p *partWriter) drop() error {
	p.ended = true
	release(p.waiting)
	p.waiting = nil
	errs := []error{p.lanes.abort()}
	for _, f := range p.files {
		errs = append(errs, p.run.cfg.fs.Remove(f.tmp))
	}
	if err := errors.Join(errs...); err != nil {
		return p.run.wrap("drop "+p.id.String(), err)
	}
	return nil
}

// release gives references back.
func release[T interface{ Release() }](all []T) {
	for _, x := range all {
		x.Release()
	}
}

// recovered turns a panic of an arrow library into an error.
func recovered(err *error) {
	switch p := recover().(type) {
	case nil:
	case error:
		*err = fmt.Errorf("writers: arrow panicked: %w", p)
	default:
		*err = fmt.Errorf("writers: arrow panicked: %v", p)
	}
}
