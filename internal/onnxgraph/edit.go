package onnxgraph

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// splice puts bytes in place of a range of the file; an empty range is a place between bytes.
type splice struct {
	span
	with []byte
}

// put adds to the splice at a place, or makes one.
func (m *Model) put(at span, with []byte) {
	for i := range m.splices {
		if m.splices[i].span == at {
			m.splices[i].with = append(m.splices[i].with, with...)
			return
		}
	}
	m.splices = append(m.splices, splice{at, with})
}

// WriteTo writes the model with its changes, and gives the bytes written. What was not changed
// is copied byte by byte.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	src := m.src
	if src == nil {
		file, err := os.Open(m.Path)
		if err != nil {
			return 0, fmt.Errorf("model: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err != nil || info.Size() != m.bytes {
			return 0, fmt.Errorf("model %s was changed since it was opened: open it again (%w)", m.Path, cmp.Or(err, io.ErrUnexpectedEOF))
		}
		src = file
	}
	out := &copier{src: src, w: w, buf: make([]byte, min(m.bytes+1, 1<<20))}
	out.from(span{0, m.header})
	out.bytes(protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), uint64(m.graphSize())))
	at := m.graph.start
	for _, s := range m.sorted() {
		out.from(span{at, s.start})
		out.bytes(s.with)
		at = s.end
	}
	out.from(span{at, m.bytes})
	if out.err != nil {
		return out.n, fmt.Errorf("model %s: %w", m.Path, out.err)
	}
	return out.n, nil
}

// Bytes is what WriteTo writes. Its length is that of the file, weights in other files left out,
// and some hundred bytes more.
func (m *Model) Bytes() ([]byte, error) {
	key := protowire.SizeTag(7) + protowire.SizeVarint(uint64(m.graphSize()))
	all := make(appender, 0, m.header+int64(key)+m.graphSize()+m.bytes-m.graph.end)
	if _, err := m.WriteTo(&all); err != nil {
		return nil, err
	}
	return all, nil
}

func (m *Model) graphSize() int64 {
	size := m.graph.end - m.graph.start
	for _, s := range m.splices {
		size += int64(len(s.with)) - (s.end - s.start)
	}
	return size
}

func (m *Model) sorted() []splice {
	list := slices.Clone(m.splices)
	slices.SortStableFunc(list, func(a, b splice) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	return list
}

type appender []byte

func (a *appender) Write(b []byte) (int, error) {
	*a = append(*a, b...)
	return len(b), nil
}

// copier writes ranges of a file and other bytes, until the first error.
type copier struct {
	src io.ReaderAt
	w   io.Writer
	buf []byte
	n   int64
	err error
}

func (c *copier) from(s span) {
	if c.err != nil {
		return
	}
	// The writer alone: a method ReadFrom of its own would do without the buffer.
	n, err := io.CopyBuffer(struct{ io.Writer }{c.w}, struct{ io.Reader }{io.NewSectionReader(c.src, s.start, s.end-s.start)}, c.buf)
	c.n += n
	if err == nil && n < s.end-s.start {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
}

func (c *copier) bytes(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.err = err
}

// take gives a name that nothing in the model had: want, or want with a number behind it.
func (m *Model) take(want string) string {
	name := want
	for i := 2; m.used(name); i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	m.names[name] = struct{}{}
	return name
}

func (m *Model) used(name string) bool {
	_, used := m.names[name]
	return used
}

// node is a node to be put in; its outputs may be renamed until it is encoded.
type node struct {
	op              string
	inputs, outputs []string
	attributes      []attribute
}

// attribute is an int, ints or a tensor, by which of them is set.
type attribute struct {
	name   string
	i      int64
	ints   []int64
	tensor []byte // a TensorProto
}

func integer(name string, v int64) attribute     { return attribute{name: name, i: v} }
func integers(name string, v ...int64) attribute { return attribute{name: name, ints: v} }

// steps builds nodes whose outputs have names that nothing else has.
type steps struct {
	m     *Model
	label string // before the names of the outputs
	nodes []node
}

// add gives the name of the new node's output.
func (s *steps) add(op string, inputs []string, attributes ...attribute) string {
	return s.addMany(op, 1, inputs, attributes...)[0]
}

func (s *steps) addMany(op string, outputs int, inputs []string, attributes ...attribute) []string {
	n := node{op: op, inputs: inputs, attributes: attributes}
	for range outputs {
		n.outputs = append(n.outputs, s.m.take(s.label+"/"+op))
	}
	s.nodes = append(s.nodes, n)
	return n.outputs
}

// rename gives an output of the steps another name, that of an input or output of the model.
func (s *steps) rename(from, to string) {
	for i := range s.nodes {
		for _, list := range [][]string{s.nodes[i].inputs, s.nodes[i].outputs} {
			for k := range list {
				if list[k] == from {
					list[k] = to
				}
			}
		}
	}
}

func (s *steps) cast(from string, to ElementType) string {
	return s.add("Cast", []string{from}, integer("to", int64(to)))
}

// floats is a constant of float32.
func (s *steps) floats(dims []int64, values ...float32) string {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return s.constant(Float32, dims, raw)
}

// longs is a constant of int64 with one dimension.
func (s *steps) longs(values ...int64) string {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return s.constant(Int64, []int64{int64(len(values))}, raw)
}

// scalar is a constant of int64 without dimensions.
func (s *steps) scalar(v int64) string {
	return s.constant(Int64, nil, binary.LittleEndian.AppendUint64(nil, uint64(v)))
}

func (s *steps) constant(t ElementType, dims []int64, raw []byte) string {
	return s.add("Constant", nil, attribute{name: "value", tensor: encodeTensor(t, dims, raw)})
}

// axes gives an operator its axes as its version wants them: an input since opset since, an
// attribute before.
func (s *steps) axes(op string, since int64, from string, axes []int64, more ...attribute) string {
	if s.m.Opset >= since {
		return s.add(op, []string{from, s.longs(axes...)}, more...)
	}
	return s.add(op, []string{from}, append(more, integers("axes", axes...))...)
}

func (s *steps) unsqueeze(from string, axis int64) string {
	return s.axes("Unsqueeze", 13, from, []int64{axis})
}

func (s *steps) reduceSum(from string, axis int64, keep bool) string {
	return s.axes("ReduceSum", 13, from, []int64{axis}, keepDims(keep))
}

func (s *steps) reduceMean(from string, axis int64, keep bool) string {
	return s.axes("ReduceMean", 18, from, []int64{axis}, keepDims(keep))
}

func (s *steps) reduceMax(from string, axis int64, keep bool) string {
	return s.axes("ReduceMax", 18, from, []int64{axis}, keepDims(keep))
}

func keepDims(keep bool) attribute {
	if keep {
		return integer("keepdims", 1)
	}
	return integer("keepdims", 0)
}

// encode gives the nodes as fields of a GraphProto.
func (s *steps) encode() []byte {
	var out []byte
	for i := range s.nodes {
		out = appendMessage(out, 1, s.nodes[i].encode())
	}
	return out
}

func (n *node) encode() []byte { // NodeProto
	var b []byte
	for _, in := range n.inputs {
		b = appendText(b, 1, in)
	}
	for _, out := range n.outputs {
		b = appendText(b, 2, out)
	}
	b = appendText(b, 3, n.outputs[0]) // names of nodes are apart from those of values
	b = appendText(b, 4, n.op)
	for i := range n.attributes {
		b = appendMessage(b, 5, n.attributes[i].encode())
	}
	return b
}

func (a *attribute) encode() []byte { // AttributeProto
	b := appendText(nil, 1, a.name)
	kind := uint64(2) // INT
	switch {
	case a.tensor != nil:
		kind, b = 4, appendMessage(b, 5, a.tensor)
	case a.ints != nil:
		kind = 7
		for _, v := range a.ints {
			b = appendNumber(b, 8, uint64(v))
		}
	default:
		b = appendNumber(b, 3, uint64(a.i))
	}
	return appendNumber(b, 20, kind)
}

func encodeTensor(t ElementType, dims []int64, raw []byte) []byte { // TensorProto
	var b []byte
	for _, d := range dims {
		b = appendNumber(b, 1, uint64(d))
	}
	return appendMessage(appendNumber(b, 2, uint64(t)), 9, raw)
}

// encode gives a tensor's description as a ValueInfoProto.
func (t *Tensor) encode() []byte {
	kind := appendNumber(nil, 1, uint64(t.Type))
	if t.Shape != nil {
		var shape []byte
		for _, d := range t.Shape {
			var dim []byte
			switch {
			case d.Size >= 0:
				dim = appendNumber(nil, 1, uint64(d.Size))
			case d.Name != "":
				dim = appendText(nil, 2, d.Name)
			}
			shape = appendMessage(shape, 1, dim)
		}
		kind = appendMessage(kind, 2, shape)
	}
	return appendMessage(appendText(nil, 1, t.Name), 2, appendMessage(nil, 1, kind))
}

func appendNumber(b []byte, f protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), v)
}

func appendText(b []byte, f protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), v)
}

func appendMessage(b []byte, f protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, f, protowire.BytesType), v)
}
