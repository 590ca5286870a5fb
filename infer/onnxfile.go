package infer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// modelFile is what an ONNX file says of itself, read without loading its weights: the
// wire format of protocol buffers is walked, and what is not needed is stepped over. The
// numbers of messages and fields are those of onnx.proto (ONNX IR specification).
type modelFile struct {
	path     string
	producer string
	opset    int64 // of the default domain
	inputs   []TensorInfo
	outputs  []TensorInfo
	external []string // files beside it that hold weights
	bytes    int64    // of all files
}

// ElementType is the type of a tensor's elements, numbered as ONNX does.
type ElementType int32

// The element types that a model for text may have.
const (
	Float32 ElementType = 1
	Int32   ElementType = 6
	Int64   ElementType = 7
	Bool    ElementType = 9
	Float16 ElementType = 10
)

var elementNames = [...]string{"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string",
	"bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"}

func (t ElementType) String() string {
	if t >= 0 && int(t) < len(elementNames) {
		return elementNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// Dim is one dimension of a tensor.
type Dim struct {
	Size int64  // -1: chosen for each run
	Name string // of a dimension that is chosen for each run; may be empty
}

func (d Dim) String() string {
	switch {
	case d.Size >= 0:
		return strconv.FormatInt(d.Size, 10)
	case d.Name != "":
		return d.Name
	}
	return "?"
}

// TensorInfo is an input or output of a model.
type TensorInfo struct {
	Name  string
	Type  ElementType // 0: not a tensor
	Shape []Dim       // nil: the file does not say
}

// readModelFile reads the header of the ONNX file at path, and looks whether the files
// that it refers to are there and whole.
func readModelFile(path string) (*modelFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("infer: model: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("infer: model: %w", err)
	}
	m, err := parseModel(file, info.Size())
	if err != nil {
		if isPointerFile(file) {
			err = errors.New("is a Git LFS pointer, not the model: run `git lfs pull` in its repository")
		}
		return nil, fmt.Errorf("infer: model %s %w", path, err)
	}
	m.file.path, m.file.bytes = path, info.Size()
	if err := m.checkExternal(); err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", path, err)
	}
	return &m.file, nil
}

func isPointerFile(r io.ReaderAt) bool {
	const mark = "version https://git-lfs"
	var head [len(mark)]byte
	_, err := r.ReadAt(head[:], 0)
	return err == nil && string(head[:]) == mark
}

// modelParser gathers a modelFile.
type modelParser struct {
	cursor
	file        modelFile
	initial     map[string]bool  // initializers: old files list them among the inputs too
	externalEnd map[string]int64 // how long each external file must at least be
	nodes       int
}

func parseModel(src io.ReaderAt, size int64) (*modelParser, error) {
	p := &modelParser{cursor: cursor{src: src, size: size}, initial: map[string]bool{}, externalEnd: map[string]int64{}}
	if err := p.walk(size, p.model); err != nil {
		if errors.Is(err, errCutShort) {
			return nil, errors.New("was cut short, or is not an ONNX file")
		}
		return nil, err
	}
	if p.nodes == 0 || p.file.opset == 0 {
		return nil, errors.New("was cut short, or is not an ONNX file")
	}
	kept := p.file.inputs[:0]
	for _, in := range p.file.inputs {
		if !p.initial[in.Name] {
			kept = append(kept, in)
		}
	}
	p.file.inputs = kept
	return p, nil
}

func (p *modelParser) checkExternal() error {
	dir := filepath.Dir(p.file.path)
	for name, need := range p.externalEnd {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("its weights %s: %w", path, err)
		}
		if info.Size() < need {
			return fmt.Errorf("its weights %s were cut short: %d bytes are needed, %d are there", path, need, info.Size())
		}
		p.file.external = append(p.file.external, path)
		p.file.bytes += info.Size()
	}
	return nil
}

func (p *modelParser) model(f field) error { // ModelProto
	switch f.key {
	case 2<<3 | 2:
		return p.text(f, &p.file.producer)
	case 7<<3 | 2:
		return p.walk(f.end, p.graph)
	case 8<<3 | 2:
		return p.opset(f)
	}
	return nil
}

func (p *modelParser) opset(f field) error { // OperatorSetIdProto
	var domain string
	var version int64
	err := p.walk(f.end, func(f field) error {
		switch f.key {
		case 1<<3 | 2:
			return p.text(f, &domain)
		case 2 << 3:
			version = int64(f.value)
		}
		return nil
	})
	if domain == "" || domain == "ai.onnx" {
		p.file.opset = version
	}
	return err
}

func (p *modelParser) graph(f field) error { // GraphProto
	switch f.key {
	case 1<<3 | 2:
		p.nodes++
	case 5<<3 | 2:
		return p.initializer(f)
	case 11<<3 | 2:
		return p.valueInfo(f, &p.file.inputs)
	case 12<<3 | 2:
		return p.valueInfo(f, &p.file.outputs)
	}
	return nil
}

func (p *modelParser) initializer(f field) error { // TensorProto
	entry := map[string]string{}
	err := p.walk(f.end, func(f field) error {
		switch f.key {
		case 8<<3 | 2:
			var name string
			err := p.text(f, &name)
			p.initial[name] = true
			return err
		case 13<<3 | 2:
			return p.entry(f, entry)
		}
		return nil
	})
	if location := entry["location"]; location != "" && err == nil {
		// Missing numbers mean the start of the file and all of it.
		offset, _ := strconv.ParseInt(entry["offset"], 10, 64)
		length, _ := strconv.ParseInt(entry["length"], 10, 64)
		p.externalEnd[location] = max(p.externalEnd[location], offset+length)
	}
	return err
}

func (p *modelParser) entry(f field, into map[string]string) error { // StringStringEntryProto
	var key, value string
	err := p.walk(f.end, func(f field) error {
		switch f.key {
		case 1<<3 | 2:
			return p.text(f, &key)
		case 2<<3 | 2:
			return p.text(f, &value)
		}
		return nil
	})
	into[key] = value
	return err
}

func (p *modelParser) valueInfo(f field, into *[]TensorInfo) error { // ValueInfoProto, TypeProto, TypeProto.Tensor
	var t TensorInfo
	err := p.walk(f.end, func(f field) error {
		switch f.key {
		case 1<<3 | 2:
			return p.text(f, &t.Name)
		case 2<<3 | 2:
			return p.walk(f.end, func(f field) error {
				if f.key != 1<<3|2 {
					return nil
				}
				return p.walk(f.end, func(f field) error {
					switch f.key {
					case 1 << 3:
						t.Type = ElementType(f.value)
					case 2<<3 | 2:
						t.Shape = []Dim{}
						return p.shape(f, &t.Shape)
					}
					return nil
				})
			})
		}
		return nil
	})
	*into = append(*into, t)
	return err
}

func (p *modelParser) shape(f field, into *[]Dim) error { // TensorShapeProto
	return p.walk(f.end, func(f field) error {
		if f.key != 1<<3|2 {
			return nil
		}
		d := Dim{Size: -1}
		err := p.walk(f.end, func(f field) error {
			switch f.key {
			case 1 << 3:
				d.Size = int64(f.value)
			case 2<<3 | 2:
				return p.text(f, &d.Name)
			}
			return nil
		})
		*into = append(*into, d)
		return err
	})
}

// cursor walks a protocol buffer in a file through a small window.
type cursor struct {
	src    io.ReaderAt
	size   int64
	at     int64
	depth  int
	window []byte // of src, from start on
	start  int64
	buf    [4096]byte
}

// field is one field of a message: its key (number<<3 | wire type), its value where it is
// a number, and where it ends.
type field struct {
	key   uint64
	value uint64
	end   int64
}

var errCutShort = errors.New("the file ends in the middle of a field")

// walk calls f for each field of the message that reaches to end. f may walk into the
// field or leave it.
func (c *cursor) walk(end int64, f func(field) error) error {
	if c.depth++; c.depth > 16 {
		return errors.New("is not an ONNX file: it is nested too deep")
	}
	defer func() { c.depth-- }()
	for c.at < end {
		next, err := c.next(end)
		if err != nil {
			return err
		}
		if err := f(next); err != nil {
			return err
		}
		c.at = next.end
	}
	return nil
}

func (c *cursor) next(end int64) (field, error) {
	key, err := c.varint(end)
	if err != nil {
		return field{}, err
	}
	f := field{key: key}
	size := int64(0)
	switch key & 7 {
	case 0:
		f.value, err = c.varint(end)
	case 1:
		size = 8
	case 2:
		var n uint64
		n, err = c.varint(end)
		size = int64(min(n, 1<<62))
	case 5:
		size = 4
	default:
		return f, errors.New("is not an ONNX file")
	}
	if err != nil {
		return f, err
	}
	if key>>3 == 0 {
		return f, errors.New("is not an ONNX file")
	}
	if size > end-c.at {
		return f, errCutShort
	}
	f.end = c.at + size
	return f, nil
}

func (c *cursor) varint(end int64) (uint64, error) {
	b, err := c.peek(int(min(binary.MaxVarintLen64, end-c.at)))
	if err != nil {
		return 0, err
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, errCutShort
	}
	c.at += int64(n)
	return v, nil
}

// text reads a field of bytes, as long as the names of tensors may be.
func (c *cursor) text(f field, into *string) error {
	n := f.end - c.at
	if n > 1<<20 {
		return errors.New("is not an ONNX file: a name is over 1 MiB long")
	}
	b := make([]byte, n)
	if _, err := c.src.ReadAt(b, c.at); err != nil && (err != io.EOF || n > 0) {
		return fmt.Errorf("cannot be read: %w", err)
	}
	*into = string(b)
	return nil
}

// peek gives n bytes at the cursor, within the file.
func (c *cursor) peek(n int) ([]byte, error) {
	if c.at >= c.start && c.at+int64(n) <= c.start+int64(len(c.window)) {
		return c.window[c.at-c.start:][:n], nil
	}
	got, err := c.src.ReadAt(c.buf[:min(int64(len(c.buf)), c.size-c.at)], c.at)
	if got < n {
		if err == nil || err == io.EOF {
			err = errCutShort
		}
		return nil, err
	}
	c.window, c.start = c.buf[:got], c.at
	return c.window[:n], nil
}
