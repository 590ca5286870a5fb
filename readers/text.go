package readers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// TextConfig is a source of lines of text. Its zero value, with Files, gives every line
// that is not empty as a row of column "text".
type TextConfig struct {
	Files        `json:"-"`
	Column       string `json:"column,omitempty"` // empty: "text"
	KeepEmpty    bool   `json:"keep_empty,omitempty"`
	MaxLineBytes int64  `json:"max_line_bytes,omitempty"` // a longer line is an error of that row; 0: 64 MiB
}

// Text is a source of the lines of text files, which end in "\n" or "\r\n", as one column
// of strings. Files are one split each. Text must be UTF-8; files may be compressed by
// gzip or zstd.
func Text(cfg TextConfig) stage.Source {
	return &fileSource{files: cfg.Files, format: textFormat{cfg: cfg}}
}

type textFormat struct {
	cfg TextConfig
	wholeFiles
}

func (f textFormat) name() Format    { return TextFormat }
func (f textFormat) options() any    { return f.cfg }
func (f textFormat) validate() error { return nil }

func (f textFormat) schema(context.Context, *input) (*arrow.Schema, error) {
	column := f.cfg.Column
	if column == "" {
		column = "text"
	}
	return arrow.NewSchema([]arrow.Field{{Name: column, Type: arrow.BinaryTypes.String, Nullable: true}}, nil), nil
}

func (f textFormat) open(ctx context.Context, env stage.Env, scan *fileScan, p openPart) (stage.Reader, error) {
	src, err := openContent(ctx, env, scan.fs, p.split.Path)
	if err != nil {
		return nil, err
	}
	d := &textDecoder{lines: newLines(src, f.cfg.MaxLineBytes), from: p.from, keepEmpty: f.cfg.KeepEmpty,
		env: env, wanted: len(scan.cols) > 0}
	return newRowReader(env, scan, p, d), nil
}

// textDecoder gathers lines in the buffer that the record will have.
type textDecoder struct {
	*lines
	from      int64
	keepEmpty bool
	wanted    bool // the column is
	env       stage.Env
	line      []byte
	data      *memory.Buffer // of the record in the making; nil: none yet
	used      int            // of data
	ends      []int32
	most      int64   // bytes that a record may have
	share     float64 // of them that the last record's lines took
	given     int64   // bytes of lines so far
	held      int64   // booked for ends
}

func (d *textDecoder) next(ctx context.Context) (row, bound int64, err error) {
	if err := d.skip(ctx, d.from); err != nil {
		return 0, 0, d.fault(err)
	}
	for {
		row = d.row
		if d.line, err = d.lines.next(ctx); err != nil {
			return row, 0, d.fault(err)
		}
		if len(d.line) == 0 && !d.keepEmpty {
			continue
		}
		if !utf8.Valid(d.line) {
			return row, 0, badRow(row, "", errors.New("the line is not UTF-8: convert the file (iconv -f ISO-8859-1 -t UTF-8 if it is Latin-1), or skip rows that fail"))
		}
		return row, int64(len(d.line)) + 4, nil
	}
}

// fault says of an error of the lines which row it is at.
func (l *lines) fault(err error) error {
	switch {
	case err == io.EOF, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case err == errLineTooLong:
		return badRow(l.row-1, "", l.tooLong())
	}
	return brokenAt(l.row, l.src.in.fault != nil, err)
}

func (d *textDecoder) add() (int64, error) {
	if !d.wanted {
		return 1, nil
	}
	first := int64(0)
	if len(d.ends) == 0 {
		first = 4
	}
	d.put(d.line)
	return first + int64(len(d.line)) + 4, nil
}

func (d *textDecoder) put(line []byte) {
	if d.data == nil || d.used+len(line) > d.data.Len() {
		d.grow(len(line))
	}
	d.used += copy(d.data.Bytes()[d.used:], line)
	if len(d.ends) == cap(d.ends) {
		d.ends = extend(d.ends, 1024)[:len(d.ends)]
	}
	d.ends = append(d.ends, int32(d.used))
}

// grow makes room for n bytes more. The first buffer of a record is as large as what is
// expected to come: what the record may hold less what offsets took of the last one, or what
// is left of the file.
func (d *textDecoder) grow(n int) {
	if d.data == nil {
		want := d.most
		if d.share > 0 {
			want = int64(d.share*float64(d.most)) + d.most/64
		}
		left := d.src.in.info.Size() - d.given
		if d.src.codec != "" {
			left = 4*d.src.in.info.Size() + firstLineBuf
		}
		d.data = memory.NewResizableBuffer(d.env.Allocator(0))
		d.data.Resize(max(int(min(want, left)), n))
		return
	}
	d.data.Resize(max(min(2*d.data.Len(), int(d.most)), d.used+n))
}

// some adds the lines that are at hand, as long as there is nothing to be said of one and the
// record stays within room bytes.
func (d *textDecoder) some(room int64) (first int64, n int, added int64) {
	first = d.row
	if !d.wanted || first < d.from {
		return first, 0, 0
	}
	if len(d.ends) == 0 {
		added = 4
	}
	for rest := d.valid(); len(rest) > 0; n++ {
		end := bytes.IndexByte(rest, '\n')
		line := withoutCR(rest[:end])
		if len(line) == 0 && !d.keepEmpty || len(line) > d.max || added+int64(len(line))+4 > room {
			break
		}
		d.put(line)
		added += int64(len(line)) + 4
		rest = rest[end+1:]
		d.r += end + 1
	}
	d.row += int64(n)
	if n == 0 {
		added = 0
	}
	return first, n, added
}

func (d *textDecoder) record(n int) ([]arrow.Array, error) {
	if !d.wanted {
		return nil, nil
	}
	mem := d.env.Allocator(0)
	offsets := memory.NewResizableBuffer(mem)
	defer offsets.Release()
	offsets.Resize(arrow.Int32Traits.BytesRequired(len(d.ends) + 1))
	into := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	into[0] = 0
	copy(into[1:], d.ends)
	data := d.data
	d.data = nil
	if capacity := data.Cap(); d.used < capacity-capacity/8 { // not worth what it holds
		exact := memory.NewResizableBuffer(mem)
		exact.Resize(d.used)
		copy(exact.Bytes(), data.Bytes()[:d.used])
		data.Release()
		data = exact
	} else {
		data.ResizeNoShrink(d.used)
	}
	defer data.Release()
	strings := array.NewData(arrow.BinaryTypes.String, n, []*memory.Buffer{nil, offsets, data}, nil, 0, 0)
	defer strings.Release()
	d.given += int64(d.used + n)
	d.share = float64(d.used) / float64(d.used+4*n+4)
	d.reset()
	return []arrow.Array{array.NewStringData(strings)}, nil
}

func (d *textDecoder) reset() {
	if d.data != nil {
		d.data.Release()
	}
	d.data, d.used, d.ends = nil, 0, d.ends[:0]
	d.book(int64(4 * cap(d.ends)))
}

func (d *textDecoder) book(held int64) {
	d.env.Book(stage.ReaderBuffers, held-d.held)
	d.held = held
}

func (d *textDecoder) Close() error {
	d.reset()
	d.book(0)
	return d.lines.Close()
}

// room: what a file of this size can give, or as much as a record may hold.
func (d *textDecoder) room(maxBytes int64) int64 {
	d.most = maxBytes
	return d.src.room(maxBytes, 3)
}

func (d *textDecoder) input() string { return shorten(d.line) }

// room is the smaller of maxBytes and what the whole file can come to, at times its size.
func (s *stream) room(maxBytes, times int64) int64 {
	if s.codec != "" {
		return maxBytes
	}
	return min(maxBytes, times*s.in.info.Size()+1024)
}
