// Command godoc collects the doc comments of the Go standard library as JSON
// lines: real text that every machine with Go has, for the bigger demo.
//
//	go run ./examples/godoc --limit 5000 --out build/demo/godoc.jsonl
//
// Each line holds text, name, kind (package, func, type, const or var),
// package, file (relative to GOROOT/src) and line (where the comment begins).
// Read is all that lies below GOROOT/src, internal packages, the commands (cmd)
// and vendored packages included; testdata and _test.go files are left out. Of
// equal texts the first by file and line is kept; a text ends after 2,000 bytes.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

type comment struct {
	Text    string `json:"text"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Package string `json:"package"`
	File    string `json:"file"`
	Line    int    `json:"line"`
}

func main() {
	out := flag.String("out", "", "file to write (default: stdout)")
	limit := flag.Int("limit", 0, "most comments to write, spread evenly over all of them; 0 for all")
	goroot := flag.String("goroot", "", "Go installation to read (default: what `go env GOROOT` says)")
	flag.Parse()
	if flag.NArg() > 0 || *limit < 0 {
		fmt.Fprintln(os.Stderr, "usage: godoc [--out FILE] [--limit N] [--goroot DIR], N not negative")
		os.Exit(2)
	}
	if err := run(*out, *limit, *goroot); err != nil {
		fmt.Fprintln(os.Stderr, "godoc:", err)
		os.Exit(1)
	}
}

func run(out string, limit int, goroot string) error {
	if goroot == "" {
		b, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return fmt.Errorf("asking go for GOROOT (name it with --goroot): %w", err)
		}
		goroot = strings.TrimSpace(string(b))
	}
	src, err := filepath.EvalSymlinks(filepath.Join(goroot, "src")) // some distributions link it elsewhere
	if err != nil {
		return fmt.Errorf("%s is no Go installation with sources: %w", goroot, err)
	}
	all, err := collect(src)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("no doc comments below %s", src)
	}
	picked := spread(all, limit)
	if out == "" {
		return write(os.Stdout, picked)
	}
	if err := writeFile(out, picked); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "godoc: %d of %d distinct doc comments in %s\n", len(picked), len(all), out)
	return nil
}

// collect returns the distinct doc comments below src, sorted by file and line.
func collect(src string) ([]comment, error) {
	var all []comment
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != src && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		found, err := comments(path, filepath.ToSlash(rel))
		all = append(all, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", src, err)
	}
	slices.SortStableFunc(all, func(a, b comment) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(c comment) bool {
		again := seen[c.Text]
		seen[c.Text] = true
		return again
	}), nil
}

// comments returns the doc comments of one file, whose path below src is rel.
func comments(path, rel string) ([]comment, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	pkg := strings.TrimSuffix(strings.TrimSuffix(rel, filepath.Base(path)), "/")
	var found []comment
	add := func(kind, name string, doc *ast.CommentGroup) {
		// Text drops directives such as go:build, so that a group of them alone is empty.
		if text := shorten(strings.TrimSpace(doc.Text())); text != "" {
			found = append(found, comment{text, name, kind, pkg, rel, fset.Position(doc.Pos()).Line})
		}
	}
	add("package", file.Name.Name, file.Doc)
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			add("func", funcName(d), d.Doc)
		case *ast.GenDecl:
			genDecl(d, add)
		}
	}
	return found, nil
}

// genDecl adds the comment of a declaration, named after its first name, and those of its specs.
func genDecl(d *ast.GenDecl, add func(kind, name string, doc *ast.CommentGroup)) {
	kind := d.Tok.String() // import declarations have specs of neither kind below
	for i, s := range d.Specs {
		var name string
		var doc *ast.CommentGroup
		switch s := s.(type) {
		case *ast.TypeSpec:
			name, doc = s.Name.Name, s.Doc
		case *ast.ValueSpec:
			name, doc = s.Names[0].Name, s.Doc
		default:
			return
		}
		if i == 0 {
			add(kind, name, d.Doc)
		}
		add(kind, name, doc)
	}
}

// funcName returns F for a function and T.F for a method.
func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name + "." + d.Name.Name
		default:
			return d.Name.Name
		}
	}
}
