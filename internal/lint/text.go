package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxLines is the most lines that a source file may have.
const MaxLines = 800

var sourceExt = []string{".go", ".c", ".h", ".py", ".sh", ".mk"}

// CheckLength reports source files of more than limit lines.
func CheckLength(files []File, limit int) []Finding {
	var found []Finding
	for _, f := range files {
		lines := bytes.Count(f.Text, []byte("\n"))
		if slices.Contains(sourceExt, path.Ext(f.Path)) && lines > limit {
			found = append(found, Finding{f.Path, fmt.Sprintf("%d lines; at most %d", lines, limit), "split it by what its parts do"})
		}
	}
	return found
}

// The words are put together here so that this file doesn't hold them.
var marks = regexp.MustCompile(`\b(` + "TO" + `DO|` + "FIX" + `ME|X` + `XX)\b`)

// CheckMarks reports notes of work left undone, in source and build files.
func CheckMarks(files []File) []Finding {
	var found []Finding
	for _, f := range files {
		if !slices.Contains(sourceExt, path.Ext(f.Path)) && !isBuildFile(f.Path) {
			continue
		}
		for i, line := range bytes.Split(f.Text, []byte("\n")) {
			if m := marks.Find(line); m != nil {
				found = append(found, Finding{fmt.Sprintf("%s:%d", f.Path, i+1), string(m) + " in the code", "do it now, or open an issue"})
			}
		}
	}
	return found
}

// Names of package registries, and the settings that point a client at one.
// Written in pieces, since the rule holds for this file too.
var registries = regexp.MustCompile(strings.Join([]string{
	`pypi\.` + `org`, `python` + `hosted\.org`, `proxy\.golang` + `\.org`, `sum\.golang` + `\.org`, `goproxy\.` + `\w+`,
	`registry\.npm` + `js\.org`, `crates\.` + `io`, `deb\.deb` + `ian\.org`, `archive\.ub` + `untu\.com`, `conda\.ana` + `conda\.org`, `hugging` + `face\.co`,
	`--index` + `-url`, `--extra-index` + `-url`, `--find` + `-links`, `PIP_INDEX` + `_URL`, `\bGOPROXY` + `=`,
}, "|"))

func isBuildFile(p string) bool {
	base, ext := path.Base(p), path.Ext(p)
	top, _, _ := strings.Cut(p, "/")
	return base == "Makefile" || strings.HasPrefix(base, "Dockerfile") || slices.Contains([]string{"mk", "scripts", ".ci", ".github"}, top) ||
		slices.Contains([]string{".mk", ".mod", ".sh", ".py", ".yml", ".yaml", ".toml", ".in"}, ext) || strings.HasPrefix(base, "requirements")
}

// CheckRegistries reports registries named in build files and in Go: packages
// come by name through their ordinary clients, wherever those point.
func CheckRegistries(files []File) []Finding {
	var found []Finding
	for _, f := range files {
		if !isBuildFile(f.Path) && !f.IsGo() {
			continue
		}
		for i, line := range bytes.Split(f.Text, []byte("\n")) {
			if m := registries.Find(line); m != nil {
				found = append(found, Finding{fmt.Sprintf("%s:%d", f.Path, i+1), fmt.Sprintf("names a package registry (%s)", m),
					"name the package and version alone, and leave the place to pip's and go's own settings"})
			}
		}
	}
	return found
}

// CheckFormat reports Go files that gofmt would change or cannot read.
func CheckFormat(files []File) []Finding {
	var found []Finding
	for _, f := range files {
		if !f.IsGo() {
			continue
		}
		want, err := format.Source(f.Text)
		if err != nil {
			found = append(found, Finding{f.Path, "does not parse: " + err.Error(), "make it Go"})
		} else if !bytes.Equal(want, f.Text) {
			found = append(found, Finding{f.Path, "is not formatted", "gofmt -w " + f.Path})
		}
	}
	return found
}

// CheckSleep reports calls of time.Sleep in tests.
func CheckSleep(files []File) []Finding {
	var found []Finding
	for _, f := range files {
		if !f.IsTest() {
			continue
		}
		set, tree := f.parse()
		if tree == nil {
			continue
		}
		name := importName(tree, "time")
		ast.Inspect(tree, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Sleep" {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && name != "" && x.Name == name {
				found = append(found, Finding{set.Position(n.Pos()).String(), "time.Sleep in a test",
					"wait for the event itself: a channel, a context, or testing/synctest"})
			}
			return true
		})
	}
	return found
}

// importName is the name under which a file knows a package of the standard
// library, "" if it doesn't import it.
func importName(tree *ast.File, importPath string) string {
	for _, spec := range tree.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == importPath {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path.Base(importPath)
		}
	}
	return ""
}

// CheckDocs reports packages without a package comment.
func CheckDocs(files []File) []Finding {
	documented := map[string]bool{}
	var folders []string
	for _, f := range files {
		if !f.IsGo() || f.IsTest() || f.inTestdata() {
			continue
		}
		if _, seen := documented[f.Folder()]; !seen {
			folders = append(folders, f.Folder())
			documented[f.Folder()] = false
		}
		if _, tree := f.parse(); tree != nil && tree.Doc != nil {
			documented[f.Folder()] = true
		}
	}
	var found []Finding
	for _, folder := range folders {
		if !documented[folder] {
			found = append(found, Finding{folder, "the package has no comment", "say what it holds in doc.go"})
		}
	}
	return found
}
