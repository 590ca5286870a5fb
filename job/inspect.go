package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/readers"
)

// Inspection is what a path was found to hold: one of its fields is set.
type Inspection struct {
	Data  *DataInfo  `json:"data,omitempty"`
	Model *ModelInfo `json:"model,omitempty"`
}

// DataInfo is what is said of data.
type DataInfo struct {
	Path        string         `json:"path"`
	Format      readers.Format `json:"format"`
	Columns     []ColumnInfo   `json:"columns"`
	Files       int64          `json:"files"`
	Rows        int64          `json:"rows"`
	BadRows     int64          `json:"bad_rows"` // that cannot be read
	Parts       int64          `json:"parts"`    // row groups or record batches; files, where the format has no such parts
	Bytes       int64          `json:"bytes"`    // as stored
	Compression []string       `json:"compression"`
}

// ColumnInfo is a column.
type ColumnInfo struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

// ModelInfo is what is said of a model.
type ModelInfo struct {
	File      string       `json:"file"`
	Bytes     int64        `json:"bytes"`
	Task      string       `json:"task"` // embed, classify or unknown
	Type      string       `json:"type,omitempty"`
	Producer  string       `json:"producer,omitempty"`
	Opset     int64        `json:"opset"`
	Inputs    []TensorInfo `json:"inputs"`
	Outputs   []TensorInfo `json:"outputs"`
	MaxTokens int          `json:"max_tokens,omitempty"`
	Dim       int          `json:"dim,omitempty"`
	Pooling   string       `json:"pooling,omitempty"`
	Normalize bool         `json:"normalize"`
	Labels    []string     `json:"labels,omitempty"`
	Variants  []string     `json:"variants,omitempty"`
	Cannot    string       `json:"cannot,omitempty"` // why it cannot be run
}

// TensorInfo is an input or output of a model.
type TensorInfo struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	Shape []string `json:"shape"` // sizes, or the names of those that are free
}

// Inspect says what a path holds: a model where it is an ONNX file or a folder with one,
// else data. No rows of Parquet and IPC files are read; those of other formats are counted.
func Inspect(ctx context.Context, path string) (found Inspection, err error) {
	if !isModel(path) {
		info, err := readers.Describe(ctx, path)
		if err != nil {
			return found, err
		}
		found.Data = dataInfo(info)
		return found, nil
	}
	m, err := infer.Open(ctx, infer.Config{Path: path})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	found.Model = modelInfo(m.Inspect())
	return found, nil
}

func isModel(path string) bool {
	if strings.EqualFold(filepath.Ext(path), ".onnx") {
		return true
	}
	for _, mark := range []string{"onnx", "model.onnx", "tokenizer.json", "config.json"} {
		if _, err := os.Stat(filepath.Join(path, mark)); err == nil {
			return true
		}
	}
	return false
}

func dataInfo(info readers.Info) *DataInfo {
	d := &DataInfo{Path: info.Path, Format: info.Format, Files: info.Files, Rows: info.Rows, BadRows: info.BadRows, Parts: info.Parts,
		Bytes: info.Bytes, Compression: info.Compression}
	for _, f := range info.Schema.Fields() {
		d.Columns = append(d.Columns, ColumnInfo{f.Name, typeName(f.Type), f.Nullable})
	}
	return d
}

// typeName is Arrow's name of a type, shorter where lists say more than people want.
func typeName(t arrow.DataType) string {
	switch t := t.(type) {
	case *arrow.FixedSizeListType:
		return fmt.Sprintf("fixed_size_list<%s>[%d]", typeName(t.Elem()), t.Len())
	case *arrow.ListType:
		return fmt.Sprintf("list<%s>", typeName(t.Elem()))
	case *arrow.StringType:
		return "string"
	}
	return t.String()
}

func modelInfo(info infer.Info) *ModelInfo {
	m := &ModelInfo{File: info.File, Bytes: info.Bytes, Task: info.Task, Type: info.ModelType, Producer: info.Producer, Opset: info.Opset,
		Inputs: tensors(info.Inputs), Outputs: tensors(info.Outputs), MaxTokens: info.MaxTokens, Dim: info.Dim, Normalize: info.Normalize,
		Labels: info.Labels, Variants: info.Variants, Cannot: info.Cannot}
	if info.Dim > 0 {
		m.Pooling = info.Pooling.String()
	}
	return m
}

func tensors(list []infer.TensorInfo) []TensorInfo {
	out := make([]TensorInfo, len(list))
	for i, t := range list {
		out[i] = TensorInfo{Name: t.Name, Type: t.Type.String()}
		for _, d := range t.Shape {
			out[i].Shape = append(out[i].Shape, d.String())
		}
	}
	return out
}
