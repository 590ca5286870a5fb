package lint_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/penstock-data/penstock/internal/lint"
)

func root(t *testing.T) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller information: build the tests without -trimpath")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

func report(t *testing.T, found []lint.Finding) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

// TestFiles holds every file of the repository against the rules that need
// nothing but their text.
func TestFiles(t *testing.T) {
	t.Parallel()
	files, err := lint.ReadFiles(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files seen: git ls-files did not list the tree", len(files))
	}
	for name, found := range map[string][]lint.Finding{
		"imports":    lint.CheckImports(files, lint.Table),
		"owners":     lint.CheckOwners(files, lint.Owners),
		"cgo":        lint.CheckCgo(files, lint.CgoAllowed),
		"length":     lint.CheckLength(files, lint.MaxLines),
		"marks":      lint.CheckMarks(files),
		"registries": lint.CheckRegistries(files),
		"format":     lint.CheckFormat(files),
		"sleep":      lint.CheckSleep(files),
		"docs":       lint.CheckDocs(files),
	} {
		t.Run(name, func(t *testing.T) { report(t, found) })
	}
}

// TestDependencies holds what packages link, directly or not, against the rules.
func TestDependencies(t *testing.T) {
	t.Parallel()
	packages, err := lint.ListPackages(root(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, lint.CheckPure(packages))
	report(t, lint.CheckForeignBuild(packages))
}

func TestThirdPartyIsFresh(t *testing.T) {
	t.Parallel()
	linked, err := lint.LinkedModules(root(t), "./cmd/penstock")
	if err != nil {
		t.Fatal(err)
	}
	notice, err := os.ReadFile(filepath.Join(root(t), "THIRD_PARTY.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, lint.CheckThirdParty(string(notice), linked))
}

// TestTools runs vet and staticcheck one after the other: each takes all cores.
func TestTools(t *testing.T) {
	t.Parallel()
	t.Run("vet", func(t *testing.T) { report(t, lint.Vet(root(t))) })
	t.Run("staticcheck", func(t *testing.T) {
		found, err := lint.Staticcheck(root(t))
		if err != nil {
			t.Fatal(err)
		}
		report(t, found)
	})
}
