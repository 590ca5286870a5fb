package infer

import (
	"fmt"
	"strings"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/cmem"
)

// session is a model in ONNX Runtime, shared by all callers. Its Run may be called from
// many goroutines at once.
type session struct {
	ort     *ort.DynamicAdvancedSession
	release func() // of the runtime
}

// ports are the inputs that a session is given, and the outputs that are wanted of it.
type ports struct {
	inputs, outputs []string
	images          *Images // that come as bytes; nil: none do
}

func (p ports) key() string {
	key := strings.Join(append(append([]string{}, p.inputs...), p.outputs...), "\x00")
	if p.images != nil {
		key += fmt.Sprintf("\x00%+v", *p.images)
	}
	return key
}

// openSession loads the model's weights. It takes its time and cannot be interrupted.
func openSession(cfg Config, path string, p ports) (*session, error) {
	release, err := acquireRuntime(cfg.Library)
	if err != nil {
		return nil, err
	}
	s := &session{release: release}
	options, err := sessionOptions(cfg.threads())
	if err != nil {
		release()
		return nil, fmt.Errorf("infer: session options: %w", err)
	}
	defer options.Destroy()
	s.ort, err = ort.NewDynamicAdvancedSession(path, p.inputs, p.outputs, options)
	if err != nil {
		release()
		return nil, fmt.Errorf("infer: model %s cannot be loaded, it is damaged or asks for what this ONNX Runtime lacks: %w", path, err)
	}
	return s, nil
}

// sessionOptions are those of a session that many callers share. A pattern of memory is
// kept by ONNX Runtime for each shape it has seen: with shapes that never end it only
// costs (measured: 50 MB of 250 at equal speed). The arena stays on: without it each run
// asks malloc, which keeps a heap per thread (measured: 620 MB instead of 200).
func sessionOptions(threads int) (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	for _, set := range []func() error{
		func() error { return o.SetIntraOpNumThreads(threads) },
		func() error { return o.SetInterOpNumThreads(1) },
		func() error { return o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll) },
		func() error { return o.SetLogSeverityLevel(ort.LoggingLevelFatal) },
		func() error { return o.SetCpuMemArena(true) },
		func() error { return o.SetMemPattern(false) },
		func() error { return o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0") },
		func() error { return o.AddSessionConfigEntry("session.inter_op.allow_spinning", "0") },
	} {
		if err := set(); err != nil {
			_ = o.Destroy() // never fails on one that was made
			return nil, err
		}
	}
	return o, nil
}

// close frees the weights. No run may be under way. What ONNX Runtime frees would stay in
// malloc's heaps (measured: 200 MB after a job); it goes back to the system.
func (s *session) close() error {
	err := s.ort.Destroy()
	s.release()
	cmem.Trim()
	return err
}
