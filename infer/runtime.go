package infer

import (
	"os"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/cmem"
)

// process is the library that this process has loaded. ONNX Runtime has one environment
// per process, and so has the binding: this is its state, not ours to multiply.
var process struct {
	sync.Mutex
	path    string // what was loaded first; it stays mapped, and no other may join it
	users   int
	foreign bool // somebody else made the environment: it is not ours to destroy
}

// Library says what an ONNX Runtime library is and can do.
type Library struct {
	Path      string
	Version   string
	Providers []string // execution providers that can be used on this machine, as ONNX Runtime names them
}

// acquireRuntime loads the library if need be and holds it until release is called, once.
// The environment goes with the last user.
func acquireRuntime(explicit string) (release func(), err error) {
	process.Lock()
	defer process.Unlock()
	if process.users == 0 || explicit != "" {
		if err := openRuntimeLocked(explicit); err != nil {
			return nil, err
		}
	}
	process.users++
	return sync.OnceFunc(releaseRuntime), nil
}

func openRuntimeLocked(explicit string) error {
	if process.users == 0 && ort.IsInitialized() {
		process.foreign = true
		return nil
	}
	if process.foreign {
		return nil
	}
	path, _, err := FindLibrary(explicit)
	if err != nil {
		return err
	}
	version, err := checkLibrary(path)
	if err != nil {
		return err
	}
	if process.path != "" && !sameFile(process.path, path) {
		return &LibraryError{Path: path, Version: version, Problem: "this process has loaded " + process.path + " already, and can have one only"}
	}
	if process.users > 0 {
		return nil
	}
	cmem.Steady() // weights and arenas go back to the system with their session
	ort.SetSharedLibraryPath(path)
	// What goes wrong is in the errors: ONNX Runtime's own log would say it again on stderr.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return &LibraryError{Path: path, Version: version, Problem: "cannot be loaded", Err: err}
	}
	process.path = path
	_ = ort.DisableTelemetry() // an error says that this build has none
	return nil
}

func releaseRuntime() {
	process.Lock()
	defer process.Unlock()
	process.users--
	if process.users == 0 && !process.foreign {
		// It fails only when there is no environment, or when the library cannot be
		// unmapped: nothing that a caller could mend.
		_ = ort.DestroyEnvironment()
	}
	if process.users == 0 {
		process.foreign = false
	}
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// LibraryInfo loads the library at path (empty: the one that [FindLibrary] finds) and
// asks it. A process loads one library only: another one is refused by a [*LibraryError].
func LibraryInfo(path string) (Library, error) {
	release, err := acquireRuntime(path)
	if err != nil {
		return Library{}, err
	}
	defer release()
	process.Lock()
	lib := Library{Path: process.path, Version: ort.GetVersion(), Providers: []string{"CPUExecutionProvider"}}
	process.Unlock()
	// The binding cannot list providers; those that this project uses are tried.
	if cuda, err := ort.NewCUDAProviderOptions(); err == nil {
		lib.Providers = append(lib.Providers, "CUDAExecutionProvider")
		_ = cuda.Destroy() // never fails
	}
	if trt, err := ort.NewTensorRTProviderOptions(); err == nil {
		lib.Providers = append(lib.Providers, "TensorrtExecutionProvider")
		_ = trt.Destroy()
	}
	return lib, nil
}
