//go:build cuda

package gpu

import (
	"time"

	"github.com/penstock-data/penstock/infer"
)

// MoveBases has a's clock move its base with nearly every run, and not every few seconds.
func MoveBases(a *Actor) { a.clock.every = time.Nanosecond }

// Moved says how far the base was moved; no run is under way.
func Moved(a *Actor) time.Duration { return a.clock.bases[a.clock.now].at }

// Graphs says how many graphs an actor has numbers for; no run is under way.
func Graphs(a *Actor) int { return len(a.graphs) }

// MixGraphsUp gives all graphs the same number; no run is under way.
func MixGraphsUp(a *Actor) {
	for key := range a.graphs {
		a.graphs[key] = 1
	}
}

// Options are those of ONNX Runtime's providers.
func Options(a *Actor) (cuda, tensorRT map[string]string) {
	cfg := a.sessionConfig()
	return cfg.cuda, cfg.tensorRT
}

// Profile is what TensorRT is told of the shapes to come.
var Profile = profile

// OpenWithProfile opens by open, which has options of TensorRT's, and says what the user was told.
func OpenWithProfile(options map[string]string, open func(options map[string]string) error) (told string, err error) {
	_, err = profiled(func(c sessionConfig) (*ortSession, error) { return nil, open(c.tensorRT) }, sessionConfig{tensorRT: options},
		func(text string) { told = text })
	return told, err
}

// OnCPUText is what a user is told of nodes on the CPU.
var OnCPUText = onCPUText

// NodesOnCPU opens a model on the CPU, and names the nodes that run there.
func NodesOnCPU(library, model string) ([]string, error) {
	l, err := openORT(library)
	if err != nil {
		return nil, err
	}
	defer l.close()
	s, err := l.open(sessionConfig{model: model})
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.onCPU(), nil
}

// Provides is that of the backend that the package registers.
func Provides(library string, p infer.Provider) error { return backend{}.Provides(library, p) }
