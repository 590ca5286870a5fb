package job

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
)

// Doctor looks at what jobs need on this machine. The zero value works.
type Doctor struct {
	Library string   // of ONNX Runtime; empty: see [infer.FindLibrary]
	Models  []string // folders that may hold model folders
	WorkDir string   // whose disk is looked at; empty: "."
	Driver  string   // CUDA's driver library; empty: libcuda.so.1, where the loader finds it
	NVML    string   // NVIDIA's management library; empty: libnvidia-ml.so.1, likewise
}

// Finding is one thing that was looked at.
type Finding struct {
	What   string `json:"what"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Fix    string `json:"fix,omitempty"` // what to do where something is missing
}

// Status says how a finding bears on jobs.
type Status string

const (
	Fine    Status = "ok"
	Missing Status = "missing" // jobs run without it
	Broken  Status = "broken"  // jobs cannot run
)

// Run looks at everything. ok says that jobs can run on the CPU.
func (d Doctor) Run(ctx context.Context) (findings []Finding, ok bool) {
	findings = append(findings, d.runtime())
	findings = append(findings, d.gpus()...)
	findings = append(findings, coresHere(), memoryHere(), filesHere(), d.disk())
	findings = append(findings, d.models(ctx)...)
	return findings, !slices.ContainsFunc(findings, func(f Finding) bool { return f.Status == Broken })
}

func (d Doctor) runtime() Finding {
	f := Finding{What: "ONNX Runtime", Status: Broken}
	lib, err := infer.LibraryInfo(d.Library)
	if err != nil {
		f.Found, f.Fix = splitFix(err.Error())
		return f
	}
	f.Status = Fine
	f.Found = fmt.Sprintf("%s, version %s; providers: %s", lib.Path, lib.Version, strings.Join(lib.Providers, ", "))
	return f
}

// splitFix cuts an error of infer's into what is wrong and what to do.
func splitFix(text string) (found, fix string) {
	text = packagePrefix.ReplaceAllString(text, "")
	if i := strings.LastIndex(text, "; "); i >= 0 {
		return text[:i], text[i+2:]
	}
	return text, "run `make setup`, or give the library with --ort-lib"
}

func coresHere() Finding {
	n, usable := runtime.NumCPU(), runtime.GOMAXPROCS(0)
	found := fmt.Sprintf("%d", n)
	if usable != n {
		found += fmt.Sprintf(", of which %d are used (by the cgroup's quota or GOMAXPROCS)", usable)
	}
	return Finding{What: "cores", Status: Fine, Found: found}
}

// leastMemory is what a small model and its activations need.
const leastMemory = 512 << 20

func memoryHere() Finding {
	total := pipeline.AvailableMemory()
	f := Finding{What: "memory", Status: Fine}
	switch {
	case total == 0:
		f.Found, f.Status, f.Fix = "cannot be read", Missing, "give --memory-limit"
	default:
		f.Found = fmt.Sprintf("%s (the smaller of the cgroup's limit and the machine's); a job uses up to %s", Size(total), Size(pipeline.DefaultMemoryLimit()))
	}
	if total > 0 && total < leastMemory {
		f.Status, f.Fix = Missing, fmt.Sprintf("models want %s or more: raise the cgroup's limit", Size(leastMemory))
	}
	return f
}

// leastFiles is what a job with many inputs and output parts may hold open.
const leastFiles = 1024

func filesHere() Finding {
	soft, hard, err := openFiles()
	f := Finding{What: "file limit", Status: Fine, Found: fmt.Sprintf("%d open files (at most %d)", soft, hard)}
	switch {
	case err != nil:
		f.Found = "not known on this system"
	case soft < leastFiles:
		f.Status, f.Fix = Missing, fmt.Sprintf("jobs over many files want %d: ulimit -n %d", leastFiles, leastFiles)
	}
	return f
}

// leastDisk is what an output of some size takes.
const leastDisk = 1 << 30

func (d Doctor) disk() Finding {
	dir := orElse(d.WorkDir, ".")
	free, total, err := diskSpace(dir)
	f := Finding{What: "disk", Status: Fine, Found: fmt.Sprintf("%s free of %s under %s", Size(free), Size(total), realPath(dir))}
	switch {
	case err != nil:
		f.Found = "not known on this system"
	case free < leastDisk:
		f.Status, f.Fix = Missing, "make room, or write to another disk"
	}
	return f
}

// models lists the model folders in the places that were given.
func (d Doctor) models(ctx context.Context) []Finding {
	var found []Finding
	for _, root := range d.Models {
		for _, dir := range modelFolders(root) {
			f := Finding{What: "model", Status: Fine, Found: dir}
			m, err := infer.Open(ctx, infer.Config{Path: dir, Library: d.Library})
			if err != nil {
				f.Status, f.Found = Missing, packagePrefix.ReplaceAllString(err.Error(), "")
				f.Fix = "get the folder anew; `make setup` makes the one of the examples"
			} else {
				info := m.Inspect()
				f.Found = fmt.Sprintf("%s: %s, %d dimensions, up to %d tokens, %s", dir, info.Task, info.Dim, info.MaxTokens, Size(info.Bytes))
				if m.Close() != nil {
					f.Status = Missing
				}
			}
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		found = append(found, Finding{What: "model", Status: Missing, Found: "no model folders in " + strings.Join(d.Models, ", "),
			Fix: "`make setup` makes one; any Hugging Face folder with an ONNX file will do (--model DIR)"})
	}
	return found
}

// modelFolders are the folders up to two levels below root that have an ONNX file in them
// or in onnx/.
func modelFolders(root string) []string {
	var dirs []string
	for _, pattern := range []string{"*.onnx", "onnx/*.onnx", "*/*.onnx", "*/onnx/*.onnx"} {
		files, _ := fs.Glob(os.DirFS(root), pattern)
		for _, file := range files {
			dir := filepath.Dir(filepath.Join(root, file))
			if filepath.Base(dir) == "onnx" {
				dir = filepath.Dir(dir)
			}
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return dirs
}
