package infer

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// Backend runs models on one kind of device. infer itself has none: package infer/gpu
// registers the one for CUDA when it is imported.
type Backend interface {
	// Devices is how many devices there are to run models on. Where there are none, or they
	// cannot be used, the error says what is missing. library is as in [Config].
	Devices(library string) (int, error)
	// Provides says why models cannot run by a provider; nil: they can, as far as that shows
	// without a model. library is as in [Config].
	Provides(library string, p Provider) error
	// Open loads a model on a device. It takes its time. The caller closes the session.
	Open(ctx context.Context, cfg DeviceConfig) (DeviceSession, error)
}

// DeviceConfig says what a session on a device is to run. Only Model and Outputs are needed.
type DeviceConfig struct {
	Library string // ONNX Runtime's; as in [Config]
	Model   string // the ONNX file
	Device  int    // its number
	// Share is the part of the device's memory that the session may take; 0: all.
	Share float64
	// Slots is how many runs are on their way at once; 0: 3.
	Slots   int
	Inputs  []string // in the order in which runs give them; nil: the model's
	Outputs []string // those that runs want
	// Warm are runs that the session makes before it is opened, with zeros for data: one for
	// each shape that is to come, the largest first, so that no run has to look for kernels
	// or memory.
	Warm []DeviceRun
	// Provider runs the model; TensorRTCache is where TensorRT keeps its engines, as in [Config].
	Provider      Provider
	TensorRTCache string
	// FixedShapes says that no shapes but those of Warm come: then the search for
	// convolutions may take long.
	FixedShapes bool
	// CUDAGraphs has runs replayed from graphs, as in [Config]. It asks for FixedShapes, and
	// for outputs of known size.
	CUDAGraphs bool
	// InPlace says that runs come with [DeviceTensor].Data from [DeviceSession.InputMemory]:
	// there is room for it from the beginning.
	InPlace bool
	Env     stage.Env // whose ledger is charged, and whose log and counters are written
}

// DeviceSession is a model on a device. Run may be called by as many goroutines at once as
// there are slots, and more wait.
type DeviceSession interface {
	// Run runs the model once, and returns when its results were taken. A run that the
	// device has no memory for is done in parts where it is Splittable. The error wraps
	// [stage.ErrWorkerLost] where the session is of no more use, and is a
	// [stage.DeviceLostError] where its device is.
	Run(ctx context.Context, r *DeviceRun) error
	// InputMemory is memory from which the device reads without a copy on the host.
	InputMemory() memory.Allocator
	Slots() int
	// OnCPU names the nodes of the model that don't run on the device, as "name (Operator)".
	OnCPU() []string
	// Close ends the session, once no Run is under way. It may be called twice.
	Close() error
}

// DeviceRun is one run of a model.
type DeviceRun struct {
	Inputs  []DeviceTensor // in the order of the session's
	Outputs []DeviceTensor
	// Fill writes input i, all of it, on the goroutine that called Run. It is not called for
	// inputs with Data.
	Fill func(i int, to []byte)
	// Take reads output i. from is valid during the call.
	Take func(i int, from []byte, shape []int64) error
	// Splittable says that row k of every output hangs on row k of the inputs alone, rows
	// being counted along the first dimension of all tensors.
	Splittable bool
	// Real is the part of the elements that is no padding, for the statistics; 0: all.
	Real float64
}

// DeviceTensor is an input or output of a run. Data is where an input lies already: C memory,
// best from [DeviceSession.InputMemory], and borrowed until Run returns. An output without
// Shape is as large as it turns out to be.
type DeviceTensor struct {
	Shape []int64
	Data  []byte
	// ElementBytes is the size of an element, by which memory is taken before the model is
	// loaded; 0: as large as any, 8.
	ElementBytes int
}

// Provider is ONNX Runtime's execution provider for the devices of a backend.
type Provider uint8

const (
	CUDAProvider     Provider = iota // ONNX Runtime's own kernels
	TensorRTProvider                 // NVIDIA's TensorRT, and CUDAProvider for what it leaves
)

func (p Provider) String() string { return [...]string{"cuda", "tensorrt"}[p] }

// ParseProvider gives the provider of a name; empty: CUDAProvider.
func ParseProvider(name string) (Provider, error) {
	switch name {
	case "", "cuda":
		return CUDAProvider, nil
	case "tensorrt":
		return TensorRTProvider, nil
	}
	return 0, fmt.Errorf("infer: there is no provider %q: there are cuda and tensorrt", name)
}

var backends struct {
	sync.Mutex
	of map[stage.DeviceKind]Backend
}

// RegisterBackend has models run on a kind of device by b. It is called by the init function
// of b's package.
func RegisterBackend(kind stage.DeviceKind, b Backend) {
	backends.Lock()
	defer backends.Unlock()
	if backends.of == nil {
		backends.of = map[stage.DeviceKind]Backend{}
	}
	backends.of[kind] = b
}

// Devices is how many devices of a kind there are to run models on, or why there are none.
// library is as in [Config].
func Devices(kind stage.DeviceKind, library string) (int, error) {
	b, err := backendOf(kind)
	if err != nil {
		return 0, err
	}
	return b.Devices(library)
}

// checkDevice says why a model cannot run at a place. fixed says that its runs are of few shapes,
// which are known before.
func (c Config) checkDevice(p stage.Placement, fixed bool) error {
	if p.Device == stage.CPU {
		return nil
	}
	b, err := backendOf(p.Device)
	if err != nil {
		return err
	}
	n, err := b.Devices(c.Library)
	switch {
	case err != nil:
		return err
	case p.Index >= n:
		return fmt.Errorf("infer: there is no %s device %d: there are %d, from 0 on", p.Device, p.Index, n)
	case c.CUDAGraphs && !fixed:
		return fmt.Errorf("infer: model %s has no CUDA graphs: its runs have many shapes, and a graph is of one; export it with a fixed batch and length, or leave CUDA graphs out", c.Path)
	}
	return b.Provides(c.Library, c.Provider)
}

// runsOn says what computes a model's results, for their identity: another kind of device, or of
// provider, gives other bits, TensorRT of half the precision. The CPU goes without a name.
func (c Config) runsOn(device stage.DeviceKind) string {
	switch {
	case device == stage.CPU:
		return ""
	case c.Provider != CUDAProvider:
		return device.String() + " " + c.Provider.String()
	}
	return device.String()
}

// checkProvider finds what of the settings for devices does not go together.
func (c Config) checkProvider() error {
	switch {
	case c.Provider > TensorRTProvider:
		return fmt.Errorf("infer: there is no Provider %d: there are CUDAProvider and TensorRTProvider", c.Provider)
	case c.TensorRTCache != "" && c.Provider != TensorRTProvider:
		return fmt.Errorf("infer: TensorRTCache is %s, but Provider is %s: choose TensorRTProvider, or leave the folder out", c.TensorRTCache, c.Provider)
	case c.CUDAGraphs && c.Provider != CUDAProvider:
		return fmt.Errorf("infer: CUDAGraphs are for CUDAProvider, and Provider is %s: leave one of them out", c.Provider)
	}
	return nil
}

func backendOf(kind stage.DeviceKind) (Backend, error) {
	backends.Lock()
	defer backends.Unlock()
	if b := backends.of[kind]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("infer: this program runs models on the CPU, not on %s: it is built without package infer/gpu (build tag cuda)", kind)
}
