package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Row is a line of the import table: a package, or with a final "/..." also
// all below it, and the packages of ours that it may import.
type Row struct {
	Package string
	May     []string
}

// Table is the import table of the design. The most specific row decides. "*"
// stands for all but cmd, "public" for all that foreign modules may import too.
var Table = []Row{
	{"expr/...", nil},
	{"stage", []string{"expr"}},
	{"stage/stagetest", []string{"stage", "expr"}},
	{"batcher/...", []string{"stage"}},
	{"readers/...", []string{"stage", "expr"}},
	{"writers/...", []string{"stage", "expr"}},
	{"preprocess/...", []string{"stage", "internal/..."}},
	{"cuda", []string{"internal/..."}},
	{"pinned", []string{"cuda", "internal/..."}},
	{"gpustat", nil},
	{"infer", []string{"stage", "expr", "batcher", "preprocess/...", "internal/cache", "internal/cmem", "internal/onnxgraph"}},
	{"infer/gpu", []string{"infer", "stage", "pinned", "cuda", "internal/cmem", "internal/onnxgraph"}},
	{"pipeline/...", []string{"stage", "expr", "batcher", "internal/..."}},
	{"job/...", []string{"*"}},
	{"cmd/...", []string{"*"}},
	{"csrc/...", nil},
	{"benchmarks/...", []string{"public"}},
	{"benchmarks/overlap", []string{"public", "internal/cudaemu", "internal/overlap"}},
	{"examples/...", []string{"public"}},
	{"internal/onnxgraph", nil},
	{"internal/...", []string{"internal/...", "stage", "expr"}},
}

// Pure packages build and pass their tests without cgo: that is how we know
// that the engine does not depend on the accelerator.
var Pure = []string{"expr", "stage", "batcher", "readers", "writers", "pipeline"}

// native is what a pure package must not reach, directly or through others.
var native = []string{
	Module + "/infer", Module + "/cuda", Module + "/pinned", Module + "/gpustat", Module + "/preprocess/image", Module + "/internal/cmem",
	"github.com/yalue/onnxruntime_go", "gorgonia.org/cu", "github.com/NVIDIA/go-nvml",
}

// Owner says who alone may import a package of somebody else's.
type Owner struct {
	Import string // and what lies below it
	Owners []string
	Why    string
}

// Owners lists the libraries that one package wraps for all.
var Owners = []Owner{
	{"github.com/yalue/onnxruntime_go", []string{"infer"}, "open the model through infer"},
	{"gorgonia.org/cu", []string{"cuda"}, "call package cuda"},
	{"github.com/NVIDIA/go-nvml", []string{"gpustat"}, "call package gpustat: importing go-nvml loosens the final link"},
}

// CgoAllowed lists the packages where `import "C"` may stand.
var CgoAllowed = []string{"cuda", "pinned", "infer/gpu", "preprocess/image", "internal/cmem", "internal/cudaemu"}

// CheckImports holds the files' imports of our own packages against the table.
// Tests may also use the test helpers and whatever of ours keeps a pure package
// pure.
func CheckImports(files []File, table []Row) []Finding {
	var found []Finding
	for _, f := range files {
		if !f.IsGo() || f.inTestdata() {
			continue
		}
		row, ok := rowOf(f.Folder(), table)
		if !ok {
			found = append(found, Finding{f.Path, fmt.Sprintf("package %q stands in no row of the import table", f.Folder()),
				"put it where the design has a place for it, or give it a row in internal/lint/imports.go"})
			continue
		}
		for _, imported := range f.imports() {
			target, ours := strings.CutPrefix(imported, Module+"/")
			if !ours || mayImport(f, row, target) {
				continue
			}
			found = append(found, Finding{f.Path, fmt.Sprintf("%s may not import %s", f.Folder(), target), mayText(f, row)})
		}
	}
	return found
}

func mayText(f File, row Row) string {
	if f.IsTest() {
		return "its tests must build without cgo: use stage/stagetest, internal/testkit, or the pure packages"
	}
	if len(row.May) == 0 {
		return "it imports nothing of ours: pass what it needs as an argument or by an interface"
	}
	return "it may import " + strings.Join(row.May, ", ") + "; pass the rest by an interface of stage"
}

// rowOf finds the most specific row for a package.
func rowOf(folder string, table []Row) (Row, bool) {
	best, found := Row{}, false
	for _, row := range table {
		if matches(row.Package, folder) && len(row.Package) > len(best.Package) {
			best, found = row, true
		}
	}
	return best, found
}

// matches says whether a pattern of the table covers a package.
func matches(pattern, folder string) bool {
	base, tree := strings.CutSuffix(pattern, "/...")
	return folder == base || tree && strings.HasPrefix(folder, base+"/")
}

func mayImport(f File, row Row, target string) bool {
	from := f.Folder()
	tree := strings.HasSuffix(row.Package, "/...")
	if target == from || tree && matches(row.Package, target) && !slices.Contains(Pure, from) {
		return true // a tree's packages know each other, but a pure root knows none of them
	}
	if top, _, _ := strings.Cut(from, "/"); strings.HasPrefix(target, top+"/internal/") {
		return true // what a tree keeps to itself
	}
	if f.IsTest() {
		pure := slices.ContainsFunc(Pure, func(p string) bool { return matches(p+"/...", from) })
		return !pure || !slices.ContainsFunc(native, func(n string) bool { return matches(n+"/...", Module+"/"+target) })
	}
	for _, may := range row.May {
		switch {
		case may == "*":
			if !matches("cmd/...", target) {
				return true
			}
		case may == "public":
			if !matches("cmd/...", target) && !slices.Contains(strings.Split(target, "/"), "internal") {
				return true
			}
		case matches(may, target):
			return true
		}
	}
	return false
}

// CheckPure reports pure packages that reach native code through what they
// import.
func CheckPure(packages []Package) []Finding {
	var found []Finding
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, Module+"/")
		if !slices.ContainsFunc(Pure, func(pure string) bool { return name == pure || matches(pure+"/internal/...", name) }) {
			continue
		}
		for _, dep := range p.Deps {
			if slices.ContainsFunc(native, func(n string) bool { return matches(n+"/...", dep) }) {
				found = append(found, Finding{name, "reaches " + dep + " through what it imports; it must build with CGO_ENABLED=0",
					"hang the native part in by an interface of stage, in a package of its own"})
			}
		}
	}
	return found
}

// CheckForeignBuild reports what would keep a foreign module from building
// infer with plain `go build`: packages that need headers or a library which a
// Go module cannot bring.
func CheckForeignBuild(packages []Package) []Finding {
	var found []Finding
	for _, p := range packages {
		if p.ImportPath != Module+"/infer" {
			continue
		}
		for _, dep := range p.Deps {
			if matches("gorgonia.org/cu/...", dep) || dep == Module+"/cuda" || dep == Module+"/pinned" {
				found = append(found, Finding{"infer", "reaches " + dep + ", which needs CUDA's headers to build",
					"keep it in infer/gpu, which registers itself by a blank import"})
			}
		}
	}
	return found
}

// CheckOwners reports imports of a wrapped library outside its wrapper, and
// what stage imports beyond arrow and the standard library.
func CheckOwners(files []File, owners []Owner) []Finding {
	var found []Finding
	for _, f := range files {
		if !f.IsGo() || f.inTestdata() {
			continue
		}
		for _, imported := range f.imports() {
			for _, o := range owners {
				if matches(o.Import+"/...", imported) && !slices.Contains(o.Owners, f.Folder()) {
					found = append(found, Finding{f.Path, fmt.Sprintf("only %s may import %s", strings.Join(o.Owners, ", "), o.Import), o.Why})
				}
			}
			if f.Folder() == "stage" && !f.IsTest() && !plainImport(imported) {
				found = append(found, Finding{f.Path, "stage may import arrow, levenshtein and the standard library alone, not " + imported,
					"put what needs it into the package that implements the contract"})
			}
		}
	}
	return found
}

// plainImport says whether a path is the standard library's, arrow's or ours, or
// the edit distance (no dependencies of its own) by which errors name the nearest column.
func plainImport(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".") || p == "github.com/agext/levenshtein" ||
		matches("github.com/apache/arrow/go/v17/...", p) || matches(Module+"/...", p)
}

// CheckCgo reports `import "C"` outside the allowed packages.
func CheckCgo(files []File, allowed []string) []Finding {
	var found []Finding
	for _, f := range files {
		if f.IsGo() && slices.Contains(f.imports(), "C") && !slices.Contains(allowed, f.Folder()) {
			found = append(found, Finding{f.Path, `import "C" stands only in ` + strings.Join(allowed, ", "),
				"call " + path.Join(Module, "internal/cmem") + " for C memory, or move the C code to one of these"})
		}
	}
	return found
}
