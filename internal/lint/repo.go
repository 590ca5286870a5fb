package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"os"
)

// Module is the path of the module whose rules these are.
const Module = "github.com/penstock-data/penstock"

// Finding is one breach of a rule: where, which rule, and what to do instead.
type Finding struct {
	Where, Rule, Fix string
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s\n\tinstead: %s", f.Where, f.Rule, f.Fix) }

// File is one text file of the repository. Path is relative to the root, with
// slashes.
type File struct {
	Path string
	Text []byte
}

// Folder is the file's package, relative to the root; "" for the root itself.
func (f File) Folder() string {
	if d := path.Dir(f.Path); d != "." {
		return d
	}
	return ""
}

// IsGo says whether it is Go source, IsTest whether only tests compile it.
func (f File) IsGo() bool   { return strings.HasSuffix(f.Path, ".go") }
func (f File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// inTestdata says whether the go tool passes over it.
func (f File) inTestdata() bool { return slices.Contains(strings.Split(f.Path, "/"), "testdata") }

// parse gives the syntax tree, or nil where the text isn't Go: gofmt reports that.
func (f File) parse() (*token.FileSet, *ast.File) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, f.Path, f.Text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return set, nil
	}
	return set, tree
}

// imports lists the paths that a Go file imports, whatever its build tags.
func (f File) imports() []string {
	tree, err := parser.ParseFile(token.NewFileSet(), f.Path, f.Text, parser.ImportsOnly)
	if err != nil {
		return nil
	}
	var paths []string
	for _, spec := range tree.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// ReadFiles reads the files that git tracks or would track, links and binary
// files left out.
func ReadFiles(root string) ([]File, error) {
	list, err := output(root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	var files []File
	for _, name := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		full := filepath.Join(root, filepath.FromSlash(name))
		if info, err := os.Lstat(full); err != nil || !info.Mode().IsRegular() {
			continue // removed but still in the index, or a link
		}
		text, err := os.ReadFile(full)
		if err != nil {
			return nil, fmt.Errorf("lint: %w", err)
		}
		if bytes.IndexByte(text[:min(len(text), 8000)], 0) < 0 {
			files = append(files, File{Path: name, Text: text})
		}
	}
	return files, nil
}

// Package is what `go list` knows of a package that the import rules need.
type Package struct {
	ImportPath string
	Deps       []string // all that it links, tests apart
}

// ListPackages asks the go tool for every package of the module at root. One
// that doesn't compile is listed as far as it goes.
func ListPackages(root string) ([]Package, error) {
	out, err := output(root, "go", "list", "-e", "-json=ImportPath,Deps", "./...")
	if err != nil {
		return nil, err
	}
	var all []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("lint: go list: %w", err)
		}
		all = append(all, p)
	}
}

// output runs a command in a folder and gives what it printed, with its
// standard error in the error.
func output(folder, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("lint: %s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out, nil
}
