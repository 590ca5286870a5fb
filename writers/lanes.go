package writers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// maxOpen is how many files of a part are open at a time. Where the rows of a part go
// into more partitions, the file that was left alone longest is ended, and rows that
// belong there later get another file.
const maxOpen = 64

// lanes are the files that a part is writing, one for each partition.
type lanes struct {
	part  *partWriter
	open  map[string]*lane
	next  map[string]int // number of the next file of a partition
	clock int64
}

// lane is the file of one partition.
type lane struct {
	folder string
	tmp    string
	rel    string
	at     int
	out    *outFile
	enc    encoder
	rows   int64
	used   int64 // when rows came last
}

// write sends the rows to their files. own is as for encoder.write.
func (ls *lanes) write(ctx context.Context, rec arrow.Record, own bool) error {
	lay := ls.part.lay
	if len(lay.keys) == 0 {
		return ls.send(ctx, lay.folder, rec, own)
	}
	groups, err := groupRows(lay, rec)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := ls.sendRuns(ctx, g, rec, own && len(groups) == 1); err != nil {
			return err
		}
	}
	return nil
}

// sendRuns sends the rows of one partition.
func (ls *lanes) sendRuns(ctx context.Context, g group, rec arrow.Record, own bool) error {
	pieces := make([]arrow.Record, len(g.runs))
	defer func() { release(pieces) }()
	for i, r := range g.runs {
		pieces[i] = ls.kept(rec, r.from, r.to)
	}
	if len(pieces) > 1 && !ls.part.lay.loose {
		one, err := concat(pieces, ls.part.lay.stored, ls.memory)
		if err != nil {
			return err
		}
		release(pieces)
		pieces, own = []arrow.Record{one}, true
	}
	for _, piece := range pieces {
		if err := ls.send(ctx, g.folder, piece, own); err != nil {
			return err
		}
	}
	return nil
}

// kept is rows [from, to) without the columns that partition.
func (ls *lanes) kept(rec arrow.Record, from, to int64) arrow.Record {
	lay := ls.part.lay
	cols := make([]arrow.Array, len(lay.keep))
	defer func() { release(cols) }()
	for i, at := range lay.keep {
		cols[i] = array.NewSlice(rec.Column(at), from, to)
	}
	return array.NewRecord(lay.stored, cols, to-from)
}

// memory is that for stored column i.
func (ls *lanes) memory(i int) memory.Allocator {
	return ls.part.env.Allocator(ls.part.lay.keep[i])
}

// send writes rows into the files of a partition, a new one wherever one is full.
func (ls *lanes) send(ctx context.Context, folder string, rec arrow.Record, own bool) error {
	limit := ls.part.lay.cfg.MaxRowsPerFile
	for from := int64(0); from < rec.NumRows(); {
		l, err := ls.lane(ctx, folder)
		if err != nil {
			return err
		}
		to := rec.NumRows()
		if limit > 0 {
			to = min(to, from+limit-l.rows)
		}
		piece := rec.NewSlice(from, to)
		err = l.enc.write(ctx, piece, own)
		piece.Release()
		if err := errors.Join(err, l.out.fault()); err != nil {
			return err
		}
		l.rows += to - from
		from = to
		if limit > 0 && l.rows == limit {
			if err := ls.end(ctx, l); err != nil {
				return err
			}
		}
	}
	return ls.bound(ctx)
}

// lane is the open file of a partition.
func (ls *lanes) lane(ctx context.Context, folder string) (*lane, error) {
	ls.clock++
	if l := ls.open[folder]; l != nil {
		l.used = ls.clock
		return l, nil
	}
	if len(ls.open) == maxOpen {
		if err := ls.end(ctx, ls.oldest()); err != nil {
			return nil, err
		}
	}
	p := ls.part
	l := &lane{folder: folder, at: ls.next[folder], used: ls.clock}
	ls.next[folder]++
	l.rel = p.lay.cfg.fileName(folder, fmt.Sprintf("%06d", p.id.Group), l.at, p.run.token, p.lay.manyFiles())
	if len(path.Base(l.rel)) > 255 {
		return nil, fmt.Errorf("writers: the name of file %s is too long", l.rel)
	}
	p.made++
	l.tmp = fmt.Sprintf("%s-%d", p.tmp, p.made)
	var err error
	l.out, err = createFile(p.run.cfg.fs, p.env, l.tmp, p.run.out.file(l.rel), p.lay.textCompression())
	if err != nil {
		return nil, err
	}
	ls.open[folder] = l
	l.enc, err = p.lay.format.open(l.out, ls.memory)
	return l, err
}

func (ls *lanes) oldest() *lane {
	var found *lane
	for _, l := range ls.open {
		if found == nil || l.used < found.used {
			found = l
		}
	}
	return found
}

// bound keeps the memory of all files together within one row group's.
func (ls *lanes) bound(ctx context.Context) error {
	for len(ls.open) > 1 {
		var sum int64
		var largest *lane
		for _, folder := range slices.Sorted(maps.Keys(ls.open)) {
			l := ls.open[folder]
			sum += l.enc.held()
			if largest == nil || l.enc.held() > largest.enc.held() {
				largest = l
			}
		}
		if sum <= ls.part.lay.cfg.RowGroupBytes {
			return nil
		}
		err := largest.enc.flush(ctx)
		if err := errors.Join(err, largest.out.fault()); err != nil {
			return err
		}
	}
	return nil
}

// end makes the file whole.
func (ls *lanes) end(ctx context.Context, l *lane) error {
	err := l.enc.close(ctx)
	if err == nil {
		err = l.out.fault()
	}
	if err != nil {
		return err
	}
	delete(ls.open, l.folder)
	// It is to be removed if it does not become whole.
	p := ls.part
	p.files = append(p.files, stagedFile{tmp: l.tmp, lane: l.folder, at: l.at})
	if err := l.out.close(); err != nil {
		return err
	}
	p.files[len(p.files)-1].File = File{Path: l.rel, Rows: l.rows, Bytes: l.out.size}
	return nil
}

// touch makes a file even if there are no rows.
func (ls *lanes) touch() error {
	if len(ls.open) > 0 || len(ls.part.files) > 0 {
		return nil
	}
	_, err := ls.lane(context.Background(), ls.part.lay.folder)
	return err
}

func (ls *lanes) close(ctx context.Context) error {
	for _, folder := range slices.Sorted(maps.Keys(ls.open)) {
		if err := ls.end(ctx, ls.open[folder]); err != nil {
			return err
		}
	}
	return nil
}

// abort gives everything back and removes the files.
func (ls *lanes) abort() error {
	var errs []error
	for _, folder := range slices.Sorted(maps.Keys(ls.open)) {
		l := ls.open[folder]
		if l.out.err == nil {
			l.out.err = errAborted
		}
		if l.enc != nil {
			l.enc.abort()
		}
		_ = l.out.close() // it failed, or is dropped; either is known
		errs = append(errs, ls.part.run.cfg.fs.Remove(l.tmp))
	}
	clear(ls.open)
	return errors.Join(errs...)
}
