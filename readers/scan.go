package readers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// defaultBytes bounds a record where the caller leaves it to the reader.
const defaultBytes = 8 << 20

// maxBytesCap keeps 32-bit offsets of a record in their range.
const maxBytesCap = 1 << 30

// fileFormat is what a format supplies to the source that all file formats share.
type fileFormat interface {
	name() Format
	// options are the settings beside the files, for the source's ID.
	options() any
	validate() error
	// schema reads of a file what it needs to know its columns: errNoColumns where it
	// has no rows to tell them from.
	schema(ctx context.Context, in *input) (*arrow.Schema, error)
	// splits gives the parts of a file, made from whole, until yield returns false.
	splits(ctx context.Context, scan *fileScan, whole stage.Split, yield func(stage.Split) bool) error
	open(ctx context.Context, env stage.Env, scan *fileScan, part openPart) (stage.Reader, error)
}

// openPart is a split to read.
type openPart struct {
	split stage.Split
	part  int   // of the file
	from  int64 // first physical row of the split that is wanted
}

// splitSpec is what a split's Spec holds.
type splitSpec struct {
	File string `json:"file"`
	Part int    `json:"part,omitempty"`
}

// fileSource is a source over files of one format.
type fileSource struct {
	files  Files
	format fileFormat
	strict string // the file that told the format: other formats beside it are a fault
}

func (s *fileSource) ID() stage.StageID {
	settings, err := json.Marshal(struct {
		Format  Format   `json:"format"`
		Paths   []string `json:"paths"`
		Options any      `json:"options,omitempty"`
	}{s.format.name(), s.files.Paths, s.format.options()})
	if err != nil { // options are plain structs
		panic(err)
	}
	return stage.StageID{Name: "read " + string(s.format.name()), Version: "1", Settings: settings}
}

func (s *fileSource) lister() lister {
	own := s.format.name()
	want := func(name string) bool { return formatOf(name) == own }
	kind := "files ending in " + strings.Join(extensions(own), ", ")
	if s.strict != "" {
		want = func(name string) bool { return formatOf(name) != "" }
	}
	return lister{fs: s.files.fileSystem(), want: want, kind: kind}
}

// Plan finds the first file and reads its columns. Of the other paths it makes sure that
// there is something there.
func (s *fileSource) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	if err := s.format.validate(); err != nil {
		return nil, err
	}
	if len(s.files.Paths) == 0 {
		return nil, fmt.Errorf("readers: no path was given: %w", stage.ErrNotFound)
	}
	const checked = 1000 // more were found by a shell, and not long ago
	for _, p := range s.files.Paths[:min(len(s.files.Paths), checked)] {
		for _, err := range s.lister().one(ctx, p) {
			if err != nil {
				return nil, err
			}
			break
		}
	}
	first, full, err := s.columns(ctx)
	if err != nil {
		return nil, err
	}
	scan := &fileScan{source: s, fs: s.files.fileSystem(), first: first, full: full, req: req}
	return scan, scan.project()
}

// columns is the schema of the first file that has one.
func (s *fileSource) columns(ctx context.Context) (first string, full *arrow.Schema, err error) {
	for file, err := range s.lister().all(ctx, s.files.Paths) {
		if err != nil {
			return "", nil, err
		}
		in, err := openInput(ctx, stage.Env{}, s.files.fileSystem(), file)
		if err != nil {
			return "", nil, err
		}
		full, err := s.format.schema(ctx, in)
		in.Close()
		if err == errNoColumns {
			continue
		}
		return file, full, err
	}
	return "", nil, fmt.Errorf("readers: %s: the files have no rows to tell the columns from; give a schema: %w",
		strings.Join(s.files.Paths, ", "), stage.ErrNotFound)
}

var errNoColumns = fmt.Errorf("readers: no rows to tell the columns from")

// fileScan is a planned read of files.
type fileScan struct {
	source *fileSource
	fs     FileSystem
	first  string        // the file that told the columns
	full   *arrow.Schema // all columns
	schema *arrow.Schema // the columns asked for
	cols   []int         // where they stand in full
	req    stage.ScanRequest
	foots  footers   // Parquet: footers read for the splits, kept for Open
	spare  sync.Pool // Parquet: columns of readers that are closed, for their memory
}

// project picks the columns of the request.
func (s *fileScan) project() error {
	if s.req.Filter != nil {
		for _, name := range expr.Columns(s.req.Filter) {
			if _, err := stage.Column(s.full, name); err != nil {
				return err
			}
		}
	}
	if s.req.Columns == nil {
		s.schema = s.full
		for i := range s.full.Fields() {
			s.cols = append(s.cols, i)
		}
		return nil
	}
	var fields []arrow.Field
	for i, name := range s.req.Columns {
		if slices.Contains(s.req.Columns[:i], name) {
			return &stage.ColumnError{Column: name, Problem: "is asked for twice"}
		}
		at, err := stage.Column(s.full, name)
		if err != nil {
			return err
		}
		s.cols = append(s.cols, at)
		fields = append(fields, s.full.Field(at))
	}
	meta := s.full.Metadata()
	s.schema = arrow.NewSchema(fields, &meta)
	return nil
}

func (s *fileScan) Schema() *arrow.Schema { return s.schema }

func (s *fileScan) Residual() expr.Expr { return s.req.Filter }

func (s *fileScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		var rows int64
		stop := false
		give := func(split stage.Split) bool {
			split.Exact = split.Exact && s.req.Filter == nil
			stop = !yield(split, nil)
			if split.Exact {
				rows += split.Rows
			}
			stop = stop || s.req.Limit > 0 && rows >= s.req.Limit
			return !stop
		}
		for file, err := range s.source.lister().all(ctx, s.source.files.Paths) {
			if err == nil {
				err = errors.Join(ctx.Err(), s.oneFormat(file))
			}
			var whole stage.Split
			if err == nil {
				whole, err = s.whole(ctx, file)
			}
			if err == nil {
				err = s.source.format.splits(ctx, s, whole, give)
			}
			if err != nil && !stop {
				yield(stage.Split{}, err)
				return
			}
			if stop {
				return
			}
		}
	}
}

// oneFormat refuses a file of another format where the format was found out from a name.
func (s *fileScan) oneFormat(file string) error {
	if s.source.strict == "" {
		return nil
	}
	return sameFormat(s.source.format.name(), s.source.strict, file)
}

// whole is the split that a file is as one part.
func (s *fileScan) whole(ctx context.Context, file string) (stage.Split, error) {
	info, err := s.fs.Stat(ctx, file)
	if err != nil {
		return stage.Split{}, s.source.lister().missing(ctx, file, err)
	}
	split := stage.Split{ID: file, Fingerprint: fingerprint(info), Path: file, Rows: -1, Bytes: info.Size()}
	split.Spec, err = json.Marshal(splitSpec{File: file})
	return split, err
}

// part is part n of a file, such as "in/a.parquet#rg=3".
func part(whole stage.Split, what string, n int) (stage.Split, error) {
	spec, err := json.Marshal(splitSpec{File: whole.Path, Part: n})
	whole.ID += "#" + what + "=" + strconv.Itoa(n)
	whole.Spec = spec
	return whole, err
}

func fingerprint(info fs.FileInfo) string {
	return fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
}

func (s *fileScan) Open(ctx context.Context, env stage.Env, split stage.Split, from int64) (stage.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var spec splitSpec
	if err := json.Unmarshal(split.Spec, &spec); err != nil || spec.File == "" {
		return nil, fmt.Errorf("readers: split %s is not one of a %s source", split.ID, s.source.format.name())
	}
	if from < 0 {
		return nil, fmt.Errorf("readers: split %s: cannot start at row %d", split.ID, from)
	}
	split.Path = spec.File
	return s.source.format.open(ctx, env, s, openPart{split: split, part: spec.Part, from: from})
}

// differs is the error for a file whose columns are not those of the first one.
func (s *fileScan) differs(file, what string) error {
	return fmt.Errorf("readers: %s: its columns differ from those of %s: %s; read them on their own, or name the columns that they share",
		file, s.first, what)
}

// match says where the columns of scan stand in a file with the given fields, which may
// be in another order. Only columns that are read must be alike in type.
func (s *fileScan) match(file string, have []arrow.Field) ([]int, error) {
	names := make([]string, len(have))
	byName := map[string]int{}
	for i, f := range have {
		names[i] = f.Name
		if _, twice := byName[f.Name]; twice { // by position, then
			byName = nil
			break
		}
		byName[f.Name] = i
	}
	if s.req.Columns == nil {
		if err := s.sameNames(file, names); err != nil {
			return nil, err
		}
	}
	at := make([]int, len(s.cols))
	for i, col := range s.cols {
		want := s.full.Field(col)
		pos, ok := col, col < len(have) && have[min(col, len(have)-1)].Name == want.Name
		if byName != nil {
			pos, ok = byName[want.Name], slices.Contains(names, want.Name)
		}
		if !ok {
			return nil, s.differs(file, fmt.Sprintf("it has no column %q", want.Name))
		}
		if !arrow.TypeEqual(want.Type, have[pos].Type) {
			return nil, s.differs(file, fmt.Sprintf("column %q is %s here and %s there", want.Name, have[pos].Type, want.Type))
		}
		at[i] = pos
	}
	return at, nil
}

// sameNames says whether names are those of the scan, in any order.
func (s *fileScan) sameNames(file string, names []string) error {
	for _, f := range s.full.Fields() {
		if !slices.Contains(names, f.Name) {
			return s.differs(file, fmt.Sprintf("it has no column %q", f.Name))
		}
	}
	for _, name := range names {
		if !s.full.HasField(name) {
			return s.differs(file, fmt.Sprintf("it has a column %q more", name))
		}
	}
	if len(names) != s.full.NumFields() {
		return s.differs(file, fmt.Sprintf("it has %d columns, not %d", len(names), s.full.NumFields()))
	}
	return nil
}
