package onnxgraph

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Model is what an ONNX file says of itself, and the changes that were asked for. It holds no
// file open and no weights. A model is used by one goroutine at a time.
type Model struct {
	Path     string
	Producer string   // the program that wrote the file
	Opset    int64    // the version of ONNX's own operators
	Inputs   []Tensor // what is fed, changes included; initializers, which old files list too, are left out
	Outputs  []Tensor // changes included
	External []string // paths of the files with weights, sorted
	Size     int64    // bytes of the file and of those

	src     io.ReaderAt // nil: the file at Path
	bytes   int64       // of the file
	graph   span        // the contents of its graph
	header  int64       // where the graph's key begins
	inputs  map[string]span
	outputs map[string]span
	names   map[string]struct{} // of every value and node, subgraphs included
	nodes   int
	splices []splice
}

// Open reads the ONNX file at path without its weights, and looks whether the files that it
// refers to are there and whole. The error names the file that is broken or missing.
func Open(path string) (*Model, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	m := &Model{Path: path}
	ends, err := m.parse(file, info.Size())
	if err != nil {
		if isPointerFile(file) {
			err = errors.New("is a Git LFS pointer, not the model: run `git lfs pull` in its repository")
		}
		return nil, fmt.Errorf("model %s %w", path, err)
	}
	if err := m.findExternal(ends); err != nil {
		return nil, fmt.Errorf("model %s: %w", path, err)
	}
	return m, nil
}

// Parse reads a model of size bytes that lies in src, which stays as it is while the model is in
// use. Files with weights are not looked for.
func Parse(src io.ReaderAt, size int64) (*Model, error) {
	m := &Model{src: src}
	if _, err := m.parse(src, size); err != nil {
		return nil, fmt.Errorf("the model %w", err)
	}
	return m, nil
}

// Folder is where the files with weights are looked for.
func (m *Model) Folder() string { return filepath.Dir(m.Path) }

func isPointerFile(r io.ReaderAt) bool {
	const mark = "version https://git-lfs"
	var head [len(mark)]byte
	_, err := r.ReadAt(head[:], 0)
	return err == nil && string(head[:]) == mark
}

// parse fills the model in, and says how long each file with weights must at least be.
func (m *Model) parse(src io.ReaderAt, size int64) (externalEnds map[string]int64, err error) {
	p := &parser{cursor: cursor{src: src, size: size}, m: m, initial: map[string]bool{}, ends: map[string]int64{}}
	m.bytes, m.Size = size, size
	m.inputs, m.outputs, m.names = map[string]span{}, map[string]span{}, map[string]struct{}{}
	if err := p.walk(size, p.model); err != nil {
		return nil, err
	}
	if m.nodes == 0 || m.Opset == 0 {
		return nil, errCutShort
	}
	m.Inputs = slices.DeleteFunc(m.Inputs, func(in Tensor) bool { return p.initial[in.Name] })
	return p.ends, nil
}

func (m *Model) findExternal(ends map[string]int64) error {
	for name, need := range ends {
		path := filepath.Join(m.Folder(), name)
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("its weights %s: %w", path, err)
		}
		if info.Size() < need {
			return fmt.Errorf("its weights %s were cut short: %d bytes are needed, %d are there", path, need, info.Size())
		}
		m.External = append(m.External, path)
		m.Size += info.Size()
	}
	slices.Sort(m.External)
	return nil
}

// parser walks a file for a Model.
type parser struct {
	cursor
	m       *Model
	initial map[string]bool  // initializers
	ends    map[string]int64 // of files with weights
	inner   int              // how deep in subgraphs
}

func (p *parser) model(f field) (err error) { // ModelProto
	switch f.key {
	case key(2, bytes):
		p.m.Producer, err = p.text(f)
	case key(7, bytes):
		if p.m.graph.end != 0 {
			return fmt.Errorf("%w: it has two graphs", errNotONNX)
		}
		p.m.header, p.m.graph = f.start, span{p.at, f.end}
		return p.walk(f.end, p.graph)
	case key(8, bytes):
		return p.opset(f)
	}
	return err
}

func (p *parser) opset(f field) error { // OperatorSetIdProto
	var domain string
	var version int64
	err := p.walk(f.end, func(f field) (err error) {
		switch f.key {
		case key(1, bytes):
			domain, err = p.text(f)
		case key(2, number):
			version = int64(f.value)
		}
		return err
	})
	if domain == "" || domain == "ai.onnx" {
		p.m.Opset = version
	}
	return err
}

func (p *parser) graph(f field) error { // GraphProto
	switch f.key {
	case key(1, bytes):
		return p.node(f)
	case key(5, bytes):
		name, err := p.tensor(f)
		if p.inner == 0 {
			p.initial[name] = true
		}
		return err
	case key(11, bytes):
		return p.valueInfo(f, &p.m.Inputs, p.m.inputs)
	case key(12, bytes):
		return p.valueInfo(f, &p.m.Outputs, p.m.outputs)
	}
	return nil
}

func (p *parser) node(f field) error { // NodeProto
	if p.inner == 0 {
		p.m.nodes++
	}
	return p.walk(f.end, func(f field) error {
		switch f.key {
		case key(1, bytes), key(2, bytes), key(3, bytes): // inputs, outputs, name
			_, err := p.name(f)
			return err
		case key(5, bytes):
			return p.walk(f.end, p.attribute)
		}
		return nil
	})
}

func (p *parser) attribute(f field) error { // AttributeProto
	switch f.key {
	case key(5, bytes), key(10, bytes):
		_, err := p.tensor(f)
		return err
	case key(6, bytes), key(11, bytes): // subgraphs of If, Loop and Scan see the outer names
		p.inner++
		defer func() { p.inner-- }()
		return p.walk(f.end, p.graph)
	}
	return nil
}

func (p *parser) name(f field) (string, error) {
	name, err := p.text(f)
	if err == nil && name != "" {
		p.m.names[name] = struct{}{}
	}
	return name, err
}

// tensor gives the name of a TensorProto, and notes the file that its values are in.
func (p *parser) tensor(f field) (name string, err error) {
	entries := map[string]string{}
	err = p.walk(f.end, func(f field) (err error) {
		switch f.key {
		case key(8, bytes):
			name, err = p.name(f)
		case key(13, bytes):
			return p.entry(f, entries)
		}
		return err
	})
	if location := entries["location"]; location != "" && err == nil {
		// Missing numbers mean the start of the file and all of it.
		offset, _ := strconv.ParseInt(entries["offset"], 10, 64)
		length, _ := strconv.ParseInt(entries["length"], 10, 64)
		p.ends[location] = max(p.ends[location], offset+length)
	}
	return name, err
}

func (p *parser) entry(f field, into map[string]string) error { // StringStringEntryProto
	var k, v string
	err := p.walk(f.end, func(f field) (err error) {
		switch f.key {
		case key(1, bytes):
			k, err = p.text(f)
		case key(2, bytes):
			v, err = p.text(f)
		}
		return err
	})
	into[k] = v
	return err
}

func (p *parser) valueInfo(f field, into *[]Tensor, at map[string]span) error { // ValueInfoProto
	var t Tensor
	err := p.walk(f.end, func(f field) (err error) {
		switch f.key {
		case key(1, bytes):
			t.Name, err = p.name(f)
		case key(2, bytes): // TypeProto
			return p.walk(f.end, func(f field) error {
				if f.key == key(1, bytes) {
					return p.walk(f.end, func(f field) error { return p.tensorType(f, &t) })
				}
				return nil
			})
		}
		return err
	})
	if p.inner == 0 {
		*into = append(*into, t)
		at[t.Name] = span{f.start, f.end}
	}
	return err
}

func (p *parser) tensorType(f field, t *Tensor) error { // TypeProto.Tensor
	switch f.key {
	case key(1, number):
		t.Type = ElementType(f.value)
	case key(2, bytes): // TensorShapeProto
		t.Shape = []Dim{}
		return p.walk(f.end, func(f field) error {
			if f.key != key(1, bytes) {
				return nil
			}
			d := Dim{Size: -1}
			err := p.walk(f.end, func(f field) (err error) {
				switch f.key {
				case key(1, number):
					d.Size = int64(f.value)
				case key(2, bytes):
					d.Name, err = p.text(f)
				}
				return err
			})
			t.Shape = append(t.Shape, d)
			return err
		})
	}
	return nil
}
