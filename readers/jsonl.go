package readers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/penstock-data/penstock/stage"
)

// JSONLConfig is a source of JSON Lines. Its zero value, with Files, takes the columns
// from the first rows.
type JSONLConfig struct {
	Files `json:"-"`
	// Schema has the columns and their types. Numbers, strings, objects and lists go
	// into columns of any type that holds them; times are strings, bytes are base64.
	// nil: bool, int64, float64, string and lists and structs of these, by up to 10,000
	// rows of the first file that has any.
	Schema       *arrow.Schema `json:"-"`
	MaxLineBytes int64         `json:"max_line_bytes,omitempty"` // a longer line is an error of that row; 0: 64 MiB
}

// JSONL is a source of files that have a JSON object on every line. Files are one split
// each; they may be compressed by gzip or zstd. A field that a row lacks is null. Blank
// lines are passed over.
func JSONL(cfg JSONLConfig) stage.Source {
	return &fileSource{files: cfg.Files, format: jsonlFormat{cfg: cfg}}
}

type jsonlFormat struct {
	cfg JSONLConfig
	wholeFiles
}

func (f jsonlFormat) name() Format    { return JSONLFormat }
func (f jsonlFormat) validate() error { return nil }

func (f jsonlFormat) options() any {
	return struct {
		JSONLConfig
		Schema string `json:"schema,omitempty"`
	}{f.cfg, schemaText(f.cfg.Schema)}
}

func (f jsonlFormat) schema(ctx context.Context, in *input) (*arrow.Schema, error) {
	if f.cfg.Schema != nil {
		return f.cfg.Schema, nil
	}
	src, err := in.content()
	if err != nil {
		return nil, err
	}
	l := newLines(src, f.cfg.MaxLineBytes)
	defer l.Close()
	schema, err := inferJSON(ctx, l)
	if err != nil && err != errNoColumns {
		return nil, fmt.Errorf("readers: %s: %w", in.path, err)
	}
	return schema, err
}

func (f jsonlFormat) open(ctx context.Context, env stage.Env, scan *fileScan, p openPart) (stage.Reader, error) {
	src, err := openContent(ctx, env, scan.fs, p.split.Path)
	if err != nil {
		return nil, err
	}
	d := &jsonlDecoder{lines: newLines(src, f.cfg.MaxLineBytes), from: p.from, names: map[string]int{}, first: scan.first,
		fields: scan.full.Fields(), wanted: make([]bool, scan.full.NumFields()), seen: make([]bool, scan.full.NumFields())}
	d.rowBuilders = newRowBuilders(env, scan, func(col int, b array.Builder, wanted bool) {
		field := d.fields[col]
		d.names[field.Name] = col
		d.wanted[col] = wanted
		d.builders = append(d.builders, b)
		d.values = append(d.values, newJSONValue(b, field))
		if wanted {
			d.fixed += fixedWidth(field.Type)
			d.times = max(d.times, growth(field.Type))
		}
	})
	return newRowReader(env, scan, p, d), nil
}

// jsonlDecoder puts the objects of lines into builders. Its slices are by the columns of
// the file.
type jsonlDecoder struct {
	*lines
	*rowBuilders
	from     int64
	first    string // the file that told the columns
	names    map[string]int
	fields   []arrow.Field
	builders []array.Builder
	values   []jsonValue
	wanted   []bool
	seen     []bool
	fixed    int64 // bytes of a row beside characters and list elements
	times    int64 // and how many each character can come to
	line     []byte
	text     bytes.Buffer
	dec      jsontext.Decoder
}

func (d *jsonlDecoder) next(ctx context.Context) (row, bound int64, err error) {
	if err := d.skip(ctx, d.from); err != nil {
		return 0, 0, d.fault(err)
	}
	for {
		row = d.row
		if d.line, err = d.lines.next(ctx); err != nil {
			return row, 0, d.fault(err)
		}
		if len(bytes.TrimSpace(d.line)) > 0 {
			return row, d.fixed + d.times*int64(len(d.line)), nil
		}
	}
}

func (d *jsonlDecoder) add() (int64, error) {
	row := d.row - 1
	clear(d.seen)
	d.text = *bytes.NewBuffer(d.line)
	d.dec.Reset(&d.text, jsontext.AllowDuplicateNames(true))
	if err := enterObject(&d.dec); err != nil {
		return 0, badRow(row, "", err)
	}
	var size, waste int64
	for d.dec.PeekKind() != '}' {
		name, err := d.dec.ReadValue()
		if err != nil {
			return 0, badRow(row, "", syntaxError(err))
		}
		n, col, err := d.field(name)
		if err != nil {
			return 0, badRow(row, col, err)
		}
		size += n.wanted
		waste += n.waste
	}
	if err := endObject(&d.dec); err != nil {
		return 0, badRow(row, "", err)
	}
	for i, seen := range d.seen {
		if seen {
			continue
		}
		if !d.fields[i].Nullable {
			return 0, badRow(row, d.fields[i].Name, errNotNull)
		}
		if d.wanted[i] {
			d.builders[i].AppendNull()
			size += d.values[i].width
		}
	}
	d.added(waste)
	return size, nil
}

var errNotNull = errors.New("there is no value, and the column's schema does not allow that")

// sizes are the bytes of a value by what becomes of it.
type sizes struct{ wanted, waste int64 }

// field reads the value of the field whose quoted name was read.
func (d *jsonlDecoder) field(quoted jsontext.Value) (size sizes, column string, err error) {
	name := []byte(quoted[1 : len(quoted)-1])
	if bytes.IndexByte(name, '\\') >= 0 {
		if name, err = jsontext.AppendUnquote(nil, quoted); err != nil {
			return size, "", syntaxError(err)
		}
	}
	at, known := d.names[string(name)]
	if !known {
		return size, string(name), fmt.Errorf("the schema has no such column: give one that has it (the first rows of %s told the columns)", d.first)
	}
	if d.seen[at] {
		return size, d.fields[at].Name, errors.New("the row has the field twice")
	}
	d.seen[at] = true
	n, err := d.values[at].read(&d.dec)
	if err != nil {
		return size, d.fields[at].Name, valueError(err)
	}
	if d.wanted[at] {
		size.wanted = n
	} else {
		size.waste = n
	}
	return size, "", nil
}

func valueError(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return syntaxError(err)
	}
	return fmt.Errorf("%w: correct the row, or give a schema in which the column is of another type", err)
}

// enterObject reads the start of a row's object.
func enterObject(dec *jsontext.Decoder) error {
	switch k := dec.PeekKind(); k {
	case '{':
		_, err := dec.ReadToken()
		return err
	case '[':
		return errors.New("the line is the start of an array, not an object: write one object a line (jq -c '.[]' does)")
	case 0:
		_, err := dec.ReadToken()
		return syntaxError(err)
	default:
		return fmt.Errorf("the line is %s, not an object: JSON Lines have an object on each line", kindOfJSON(k))
	}
}

// endObject reads the end of a row's object, behind which the line has nothing.
func endObject(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != nil {
		return syntaxError(err)
	}
	if _, err := dec.ReadToken(); err == nil {
		return errors.New("the line has something behind its object: JSON Lines have one object on each line")
	} else if err != io.EOF {
		return syntaxError(err)
	}
	return nil
}

func syntaxError(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the line ends within its JSON object: JSON Lines have a whole object on each line (jq -c . writes them so)")
	}
	return fmt.Errorf("the line is not JSON: %w", err)
}

func (d *jsonlDecoder) room(maxBytes int64) int64 { return d.src.room(maxBytes, 8) }

func (d *jsonlDecoder) input() string { return shorten(d.line) }

func (d *jsonlDecoder) Close() error {
	d.release()
	return d.lines.Close()
}
