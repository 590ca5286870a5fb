package writers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

const (
	// ManifestName is the file that says what belongs to an output. It is written last.
	ManifestName = "_SUCCESS.json"
	// ErrorsFolder holds the dead letters of an output.
	ErrorsFolder = "_errors"

	manifestVersion = 1
)

// Manifest says what belongs to an output. It holds no time and no place: the same job
// over the same input writes the same manifest, but for Run where an output is written
// over or appended to.
type Manifest struct {
	Version   int     `json:"version"`
	Job       string  `json:"job"` // fingerprint of inputs, stages and settings: of the last job, where several appended
	Run       string  `json:"run"` // token of the run that wrote it
	Format    Format  `json:"format"`
	Schema    []Field `json:"schema"`     // of the rows, with the columns that PartitionBy moved into folder names
	SchemaIPC string  `json:"schema_ipc"` // the same as an Arrow IPC stream with no batches, base64

	PartitionBy []string `json:"partition_by,omitempty"`

	Files []File `json:"files"`
	Rows  int64  `json:"rows"` // of all files; -1 where an appended-to folder had no manifest
	Bytes int64  `json:"bytes"`

	Errors    []File `json:"errors,omitempty"` // dead letters
	ErrorRows int64  `json:"error_rows"`
}

// Field is a column, for people to read.
type Field struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // Arrow's name of the type
	Nullable bool   `json:"nullable"`
}

// File is one file of an output.
type File struct {
	Path  string `json:"path"` // below the output, with slashes
	Rows  int64  `json:"rows"` // -1: unknown
	Bytes int64  `json:"bytes"`
}

// ReadManifest reads the manifest of an output. The error wraps fs.ErrNotExist where
// there is none.
func ReadManifest(output string) (Manifest, error) {
	m, _, err := readManifest(osFS{}, output)
	if err == nil && m == nil {
		err = fmt.Errorf("writers: %s has no manifest: %w", output, fs.ErrNotExist)
	}
	if err != nil {
		return Manifest{}, err
	}
	return *m, nil
}

// readManifest also gives the bytes. No manifest: nil and no error.
func readManifest(fsys fileSystem, output string) (*Manifest, []byte, error) {
	path := filepath.Join(output, ManifestName)
	raw, err := fsys.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("writers: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, nil, fmt.Errorf("writers: %s is not a manifest: %w", path, err)
	}
	if m.Version != manifestVersion {
		return nil, nil, fmt.Errorf("writers: %s has version %d; this program knows %d", path, m.Version, manifestVersion)
	}
	return &m, raw, nil
}

func (m *Manifest) encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // types are written with < and >
	enc.SetIndent("", "  ")
	err := enc.Encode(m)
	return buf.Bytes(), err
}

// add puts files in and keeps the sums.
func (m *Manifest) add(data, errs []File) {
	for _, f := range data {
		m.Bytes += f.Bytes
		if f.Rows < 0 || m.Rows < 0 {
			m.Rows = -1
		} else {
			m.Rows += f.Rows
		}
	}
	for _, f := range errs {
		m.ErrorRows += max(f.Rows, 0)
	}
	m.Files = append(m.Files, data...)
	m.Errors = append(m.Errors, errs...)
}

func describe(schema *arrow.Schema) []Field {
	out := make([]Field, schema.NumFields())
	for i, f := range schema.Fields() {
		out[i] = Field{Name: f.Name, Type: f.Type.String(), Nullable: f.Nullable}
	}
	return out
}

func encodeSchema(schema *arrow.Schema) (string, error) {
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("writers: schema: %w", err)
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes()), nil
}

// sameColumns says how the columns of an output differ from those to be appended.
func sameColumns(have, want []Field) error {
	for i := range max(len(have), len(want)) {
		switch {
		case i >= len(have):
			return fmt.Errorf("column %q is not in it", want[i].Name)
		case i >= len(want):
			return fmt.Errorf("its column %q is missing from the new rows", have[i].Name)
		case have[i].Name != want[i].Name:
			return fmt.Errorf("its column %d is %q, not %q", i+1, have[i].Name, want[i].Name)
		case have[i].Type != want[i].Type:
			return fmt.Errorf("its column %q is %s, not %s", have[i].Name, have[i].Type, want[i].Type)
		}
	}
	return nil
}
