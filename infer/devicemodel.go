package infer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/penstock-data/penstock/internal/onnxgraph"
	"github.com/penstock-data/penstock/stage"
)

// onDevice is the task as a device does it: pooling is put behind the model where that can be
// done, so that a vector of each text comes back and not one of each token. The new model is a file
// of its own, which remove removes: once the session is open it is of no more use. What stays with
// the host: models whose weights are in other files, which ONNX Runtime looks for beside the
// model's; models that are told nothing of padding; the first token of rows that are padded in
// front of it; and tasks that take several vectors of a text.
func (t *textTask) onDevice(env stage.Env) (task *textTask, remove func() error, err error) {
	own := *t
	own.file = t.model.file.path
	none := func() error { return nil }
	how, mask := t.spec.devicePooling()
	if how == onnxgraph.NoPooling {
		return &own, none, nil
	}
	if len(t.spec.more) > 0 {
		env.Logger().Info("tokens are pooled on the host: several outputs are taken", "model", own.file)
		return &own, none, nil
	}
	m, err := onnxgraph.Open(own.file)
	if err != nil {
		return nil, nil, fmt.Errorf("infer: %w", err)
	}
	if len(m.External) > 0 {
		env.Logger().Info("tokens are pooled on the host: the model's weights are in files of their own", "model", own.file)
		return &own, none, nil
	}
	results, err := m.Suffix(onnxgraph.Steps{Output: t.spec.output, Pool: how, Mask: mask, Only: true})
	if err != nil {
		env.Logger().Info("tokens are pooled on the host", "cause", err)
		return &own, none, nil
	}
	spec := *t.spec
	spec.output, spec.kind, spec.pooling = results[0].Name, Float32, NoPooling
	own.spec = &spec
	if own.file, remove, err = writeModel(m); err != nil {
		return nil, nil, err
	}
	return &own, remove, nil
}

// devicePooling says how pooling is done behind the model, and by which input; NoPooling: not at all.
func (s *textSpec) devicePooling() (how onnxgraph.Pooling, mask string) {
	for _, in := range s.inputs {
		if in.role == attentionMask {
			mask = in.name
		}
	}
	switch {
	case s.pooling == CLSPooling && !s.left:
		return onnxgraph.CLSPooling, ""
	case mask == "":
		return onnxgraph.NoPooling, ""
	case s.pooling == MeanPooling:
		return onnxgraph.MeanPooling, mask
	case s.pooling == MaxPooling:
		return onnxgraph.MaxPooling, mask
	case s.pooling == LastTokenPooling:
		return onnxgraph.LastTokenPooling, mask
	}
	return onnxgraph.NoPooling, ""
}

// writeModel writes a changed model below the folder for temporary files. Its name is that of the
// original, by which TensorRT finds its engines again.
func writeModel(m *onnxgraph.Model) (path string, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "penstock-")
	if err != nil {
		return "", nil, fmt.Errorf("infer: a changed model: %w", err)
	}
	remove = func() error { return os.RemoveAll(dir) }
	path = filepath.Join(dir, filepath.Base(m.Path))
	file, err := os.Create(path)
	if err == nil {
		_, err = m.WriteTo(file)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("infer: a changed model (TMPDIR chooses another folder): %w", err), remove())
	}
	return path, remove, nil
}
