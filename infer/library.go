package infer

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// The oldest ONNX Runtime whose C API has all that the binding was compiled against: API
// version n comes with release 1.n. A test holds this against the binding's header.
const (
	minLibraryMinor = 24
	minLibrary      = "1.24"
)

// LibraryError is a library of ONNX Runtime that is missing or cannot be used.
type LibraryError struct {
	Path    string   // the library; empty: none was found
	Version string   // of the library, where it could be told
	Tried   []string // the places where it was looked for
	Problem string
	Err     error
}

const libraryFix = "run `make setup` in Penstock's folder, or give the path of ONNX Runtime " + minLibrary + " or newer (--ort-lib, PENSTOCK_ORT_LIB)"

func (e *LibraryError) Error() string {
	msg := "infer: ONNX Runtime"
	if e.Path != "" {
		msg += " " + e.Path
	}
	msg += ": " + e.Problem
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	if len(e.Tried) > 0 {
		msg += "; looked at " + strings.Join(e.Tried, ", ")
	}
	return msg + "; " + libraryFix
}

func (e *LibraryError) Unwrap() error { return e.Err }

// FindLibrary says which shared library of ONNX Runtime a process would load. A path
// given as explicit, of the library or of a folder that holds it, is the only place
// looked at. Otherwise it is looked for beside the executable, in lib below that, in
// build/lib below the working folder, and in the system's library folders, in this order.
// tried lists every place up to the one that held it. The library is not loaded.
// The error is a [*LibraryError].
func FindLibrary(explicit string) (path string, tried []string, err error) {
	if explicit != "" {
		path, err = explicitLibrary(explicit)
		return path, []string{explicit}, err
	}
	for _, dir := range libraryFolders() {
		tried = append(tried, dir)
		if path = libraryIn(dir); path != "" {
			return path, tried, nil
		}
	}
	return "", tried, &LibraryError{Problem: "its shared library was not found", Tried: tried, Err: fs.ErrNotExist}
}

func explicitLibrary(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", &LibraryError{Path: path, Problem: "there is no such file", Err: err}
	}
	if !info.IsDir() {
		return filepath.Abs(path)
	}
	if found := libraryIn(path); found != "" {
		return filepath.Abs(found)
	}
	return "", &LibraryError{Path: path, Problem: "the folder holds no " + libraryNames()[0], Err: fs.ErrNotExist}
}

func libraryFolders() []string {
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		dirs = append(dirs, dir, filepath.Join(dir, "lib"))
	}
	if wd, err := os.Getwd(); err == nil {
		dirs = append(dirs, filepath.Join(wd, "build", "lib"))
	}
	return append(dirs, systemFolders(runtime.GOOS, runtime.GOARCH)...)
}

func systemFolders(goos, goarch string) []string {
	switch goos {
	case "windows":
		return nil
	case "darwin":
		return []string{"/usr/local/lib", "/opt/homebrew/lib"}
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[goarch]
	dirs := []string{"/usr/local/lib"}
	if triplet != "" {
		dirs = append(dirs, "/usr/lib/"+triplet)
	}
	return append(dirs, "/usr/lib64", "/usr/lib")
}

// libraryNames are patterns of file names, the best first.
func libraryNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.dylib", "libonnxruntime.*.dylib"}
	}
	return []string{"libonnxruntime.so", "libonnxruntime.so.*"}
}

// libraryIn is the library's path in dir, or "". Of several versions the newest is taken.
func libraryIn(dir string) string {
	for _, pattern := range libraryNames() {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			continue
		}
		found = slices.DeleteFunc(found, func(p string) bool {
			info, err := os.Stat(p)
			return err != nil || !info.Mode().IsRegular()
		})
		if len(found) > 0 {
			return slices.MaxFunc(found, func(a, b string) int {
				return compareVersions(filepath.Base(a), filepath.Base(b))
			})
		}
	}
	return ""
}

// compareVersions orders names by the numbers in them, so that .so.1.9 is before .so.1.10.
func compareVersions(a, b string) int {
	numbers := func(s string) []int {
		var ns []int
		for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
			n, _ := strconv.Atoi(f)
			ns = append(ns, n)
		}
		return ns
	}
	return slices.Compare(numbers(a), numbers(b))
}

// checkLibrary refuses a file that is not a shared library of this machine, or is an
// ONNX Runtime older than the binding, before it is loaded: a refused library prints to
// stderr. What it cannot tell is left to the loader.
func checkLibrary(path string) (version string, err error) {
	if runtime.GOOS != "linux" {
		return "", nil
	}
	file, err := elf.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return "", &LibraryError{Path: path, Problem: "cannot be opened", Err: err}
		}
		return "", &LibraryError{Path: path, Problem: "is not a shared library, or was cut short", Err: err}
	}
	defer file.Close()
	version = symbolVersion(file)
	if minor, ok := minorOf(version); ok && minor < minLibraryMinor {
		return version, &LibraryError{Path: path, Version: version,
			Problem: fmt.Sprintf("version %s is too old, %s or newer is needed", version, minLibrary)}
	}
	return version, nil
}

// symbolVersion is the release that ONNX Runtime writes into its symbol versions
// ("VERS_1.32.0"), or "".
func symbolVersion(file *elf.File) string {
	versions, err := file.DynamicVersions()
	if err != nil {
		return ""
	}
	for _, v := range versions {
		if release, ok := strings.CutPrefix(v.Name, "VERS_"); ok {
			return release
		}
	}
	return ""
}

// minorOf is 32 for "1.32.0". A later major version counts as new enough.
func minorOf(version string) (int, bool) {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return 0, false
	}
	if major > 1 {
		return minLibraryMinor, true
	}
	return minor, true
}
