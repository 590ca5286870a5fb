package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// columnShape is what a row of a column holds: numbers in nested lists.
type columnShape struct {
	leaf arrow.DataType
	dims []int64 // of a row; -1: its rows may differ
}

// shapeOf takes lists apart.
func shapeOf(t arrow.DataType) columnShape {
	s := columnShape{leaf: t}
	for {
		switch list := s.leaf.(type) {
		case *arrow.FixedSizeListType:
			s.dims, s.leaf = append(s.dims, int64(list.Len())), list.Elem()
		case *arrow.ListType:
			s.dims, s.leaf = append(s.dims, -1), list.Elem()
		default:
			return s
		}
	}
}

// elementOf is the element type of an Arrow type; 0: it is no number.
func elementOf(t arrow.DataType) ElementType {
	switch t.ID() {
	case arrow.BOOL:
		return Bool
	case arrow.INT8:
		return Int8
	case arrow.INT16:
		return Int16
	case arrow.INT32:
		return Int32
	case arrow.INT64:
		return Int64
	case arrow.UINT8:
		return Uint8
	case arrow.UINT16:
		return Uint16
	case arrow.UINT32:
		return Uint32
	case arrow.UINT64:
		return Uint64
	case arrow.FLOAT16:
		return Float16
	case arrow.FLOAT32:
		return Float32
	case arrow.FLOAT64:
		return Float64
	}
	return 0
}

func (t ElementType) isFloat() bool { return t == Float16 || t == Float32 || t == Float64 }

// fits says why a column cannot be an input of a model; empty: it can. Numbers may change
// their type as long as their values do not: a whole number that is out of range fails its
// row, and floats are rounded to floats. A flat list may stand for one of more dimensions.
func fits(in TensorInfo, t arrow.DataType) string {
	s := shapeOf(t)
	from := elementOf(s.leaf)
	switch {
	case in.Type.size() == 0:
		return fmt.Sprintf("an input of %s cannot be filled", in.Type)
	case from == 0:
		return "holds no numbers"
	case from.isFloat() && !in.Type.isFloat():
		return fmt.Sprintf("%s is wanted: round it first, by with_column and cast", in.Type)
	case in.Type == Bool && from != Bool:
		return "bool is wanted"
	case in.Shape == nil:
		return "the model does not say what shape it wants"
	}
	want := rowDims(in)
	if slices.ContainsFunc(s.dims, func(d int64) bool { return d < 0 }) && slices.ContainsFunc(want, func(d Dim) bool { return d.Size < 0 }) {
		return "its lists may differ in length, and the model leaves theirs open: only fixed_size_list says how long they are"
	}
	return misfit(want, s.dims)
}

// rowDims are the dimensions of a row: all but the first, and one of size 1 that stands
// for a single number.
func rowDims(in TensorInfo) []Dim {
	if len(in.Shape) == 0 {
		return nil
	}
	return in.Shape[1:]
}

func misfit(want []Dim, have []int64) string {
	if len(want) == len(have) {
		for i, d := range want {
			if d.Size >= 0 && have[i] >= 0 && d.Size != have[i] {
				return fmt.Sprintf("has %d numbers in dimension %d, not %d", have[i], i+1, d.Size)
			}
		}
		return ""
	}
	size := int64(1)
	for _, d := range want {
		if d.Size < 0 {
			return fmt.Sprintf("has %d dimensions, not %d", len(have), len(want))
		}
		size *= d.Size
	}
	switch {
	case len(have) > 1:
		return fmt.Sprintf("has %d dimensions, not %d", len(have), len(want))
	case len(have) == 0 && size == 1, len(have) == 1 && have[0] < 0, len(have) == 1 && have[0] == size:
		return ""
	case len(have) == 0:
		return fmt.Sprintf("is one number, not %d", size)
	}
	return fmt.Sprintf("has %d numbers, not %d", have[0], size)
}

// boundInput is an input and the column that it is filled from.
type boundInput struct {
	TensorInfo
	column string
	dims   []int64 // of a row of the tensor
	at     int     // of the column among those that are read
	plain  bool    // the column has the tensor's type, in lists of fixed size
}

func (in *boundInput) rowBytes() int {
	n := in.Type.size()
	for _, d := range in.dims {
		n *= int(d)
	}
	return n
}

// isPlain says whether rows of a column of t lie as a tensor's of that type do. bools don't:
// columns pack them.
func isPlain(kind ElementType, t arrow.DataType) bool {
	s := shapeOf(t)
	return kind != Bool && elementOf(s.leaf) == kind && !slices.ContainsFunc(s.dims, func(d int64) bool { return d < 0 })
}

// bindInputs finds a column for each input: the one that was asked for, the one of its
// name, or the only one that fits. The error shows what the model has beside what the data
// has.
func bindInputs(inputs []TensorInfo, schema *arrow.Schema, asked map[string]string) ([]boundInput, error) {
	if err := knownInputs(inputs, asked); err != nil {
		return nil, err
	}
	var out []boundInput
	wrong := &misfitError{schema: schema}
	for _, in := range inputs {
		column, problem := pickColumn(in, inputs, schema, asked)
		if problem == "" {
			at, _ := stage.Column(schema, column) // it was found there
			problem = fits(in, schema.Field(at).Type)
			if problem == "" {
				typ := schema.Field(at).Type
				out = append(out, boundInput{TensorInfo: in, column: column, dims: tensorDims(in, typ), plain: isPlain(in.Type, typ)})
				continue
			}
			wrong.add(in, column, problem, fmt.Sprintf("column %s: %s", describeField(schema.Field(at)), problem))
			continue
		}
		wrong.add(in, orElse(asked[in.Name], in.Name), problem, problem)
	}
	if wrong.lines == nil {
		return out, sameSizes(out)
	}
	return nil, wrong
}

// misfitError shows the inputs that cannot be filled beside the columns that there are. It
// wraps a [*stage.ColumnError] for each.
type misfitError struct {
	schema *arrow.Schema
	lines  []string
	causes []error
}

func (e *misfitError) add(in TensorInfo, column, problem, line string) {
	e.lines = append(e.lines, fmt.Sprintf("  input %s ← %s", names([]TensorInfo{in}), line))
	e.causes = append(e.causes, &stage.ColumnError{Column: column, Problem: problem})
}

func (e *misfitError) Error() string {
	return fmt.Sprintf("the model's inputs and the columns do not fit:\n%s\n  the columns are %s",
		strings.Join(e.lines, "\n"), describeFields(e.schema))
}

func (e *misfitError) Unwrap() []error { return e.causes }

func knownInputs(inputs []TensorInfo, asked map[string]string) error {
	var have []string
	for _, in := range inputs {
		have = append(have, in.Name)
	}
	for name := range asked {
		if slices.Contains(have, name) {
			continue
		}
		hint := ""
		if near := stage.Nearest(name, have); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		return fmt.Errorf("the model has no input %q: its inputs are %s%s", name, names(inputs), hint)
	}
	return nil
}

// pickColumn names the column of an input, or says why there is none.
func pickColumn(in TensorInfo, inputs []TensorInfo, schema *arrow.Schema, asked map[string]string) (column, problem string) {
	if name, ok := asked[in.Name]; ok {
		if _, err := stage.Column(schema, name); err != nil {
			return "", err.Error()
		}
		return name, ""
	}
	if schema.HasField(in.Name) {
		return in.Name, ""
	}
	taken := func(name string) bool {
		for _, other := range inputs {
			if other.Name == name || asked[other.Name] == name {
				return true
			}
		}
		return false
	}
	var fit []string
	for _, f := range schema.Fields() {
		if !taken(f.Name) && fits(in, f.Type) == "" {
			fit = append(fit, f.Name)
		}
	}
	switch len(fit) {
	case 1:
		return fit[0], ""
	case 0:
		return "", "no column has its name, and none fits"
	}
	return "", fmt.Sprintf("no column has its name, and several fit: bind one of %s", strings.Join(fit, ", "))
}

// tensorDims are the dimensions of a row of an input that is filled from a column of t.
func tensorDims(in TensorInfo, t arrow.DataType) []int64 {
	have := shapeOf(t).dims
	var dims []int64
	for i, d := range rowDims(in) {
		if d.Size >= 0 {
			dims = append(dims, d.Size)
		} else {
			dims = append(dims, have[i])
		}
	}
	return dims
}

// sameSizes holds that an open dimension has one size wherever its name stands.
func sameSizes(inputs []boundInput) error {
	sizes, whose := map[string]int64{}, map[string]string{}
	for _, in := range inputs {
		for i, d := range rowDims(in.TensorInfo) {
			if d.Size >= 0 || d.Name == "" {
				continue
			}
			if was, ok := sizes[d.Name]; ok && was != in.dims[i] {
				return fmt.Errorf("the model's dimension %q is %d in column %q and %d in column %q", d.Name, was, whose[d.Name], in.dims[i], in.column)
			}
			sizes[d.Name], whose[d.Name] = in.dims[i], in.column
		}
	}
	return nil
}

// fixedRows is how many rows a run of the model takes; 0: any number.
func fixedRows(inputs []TensorInfo) (int, error) {
	rows := int64(0)
	for _, in := range inputs {
		if len(in.Shape) == 0 {
			return 0, fmt.Errorf("input %s has no dimension for the rows of a batch", names([]TensorInfo{in}))
		}
		switch n := in.Shape[0].Size; {
		case n == 0:
			return 0, fmt.Errorf("input %s takes no rows", names([]TensorInfo{in}))
		case n < 0 || n == rows:
		case rows == 0:
			rows = n
		default:
			return 0, fmt.Errorf("its inputs take different numbers of rows: %s", names(inputs))
		}
	}
	return int(rows), nil
}

func describeField(f arrow.Field) string { return f.Name + " " + plainType(f.Type) }

func describeFields(schema *arrow.Schema) string {
	var list []string
	for _, f := range schema.Fields() {
		list = append(list, describeField(f))
	}
	return strings.Join(list, ", ")
}

// plainType writes a type as the messages of this project do, its sizes behind it.
func plainType(t arrow.DataType) string {
	s := shapeOf(t)
	name := s.leaf.String()
	if e := elementOf(s.leaf); e != 0 {
		name = e.String()
	} else if s.leaf.ID() == arrow.STRING {
		name = "string"
	}
	for i := len(s.dims) - 1; i >= 0; i-- {
		if s.dims[i] < 0 {
			name = "list<" + name + ">"
		} else {
			name = fmt.Sprintf("fixed_size_list<%s>[%d]", name, s.dims[i])
		}
	}
	return name
}
