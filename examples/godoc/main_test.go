package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const sample = `// Package first is here.
package first

import (
	// A comment on an import is no doc comment.
	_ "fmt"
)

// F calls.
//
//go:noinline
func F() {}

// M is a method.
func (t *T[K]) M() {}

// T is generic.
type T[K any] struct {
	X int // a field's comment stays out
}

// Group of constants.
const (
	// A is one.
	A, B = 1, 2
	C    = 3
)

var (
	// V varies.
	V int
	// F calls.
	W int
)

//go:generate nothing
func directiveOnly() {}
`

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, body := range files {
		path := filepath.Join(root, "src", filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(body), 0o644))
	}
	return root
}

func readAll(t *testing.T, path string) []comment {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var got []comment
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c comment
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		got = append(got, c)
	}
	require.NoError(t, lines.Err())
	return got
}

func TestCollectsDocCommentsOfDeclarations(t *testing.T) {
	root := tree(t, map[string]string{
		"first/a.go":             sample,
		"first/a_test.go":        "// Left out.\npackage first\n",
		"first/testdata/x.go":    "this does not parse",
		"vendor/v/v.go":          "// Package v is vendored.\npackage v\n",
		"z/internal/deep/d.go":   "// Package deep is internal.\npackage deep\n",
		"z/internal/deep/dup.go": "// Package first is here.\npackage deep\n",
	})
	out := filepath.Join(t.TempDir(), "made", "docs.jsonl")
	require.NoError(t, run(out, 0, root))
	want := []comment{
		{"Package first is here.", "first", "package", "first", "first/a.go", 1},
		{"F calls.", "F", "func", "first", "first/a.go", 9},
		{"M is a method.", "T.M", "func", "first", "first/a.go", 14},
		{"T is generic.", "T", "type", "first", "first/a.go", 17},
		{"Group of constants.", "A", "const", "first", "first/a.go", 22},
		{"A is one.", "A", "const", "first", "first/a.go", 24},
		{"V varies.", "V", "var", "first", "first/a.go", 30},
		{"Package v is vendored.", "v", "package", "vendor/v", "vendor/v/v.go", 1},
		{"Package deep is internal.", "deep", "package", "z/internal/deep", "z/internal/deep/d.go", 1},
	}
	require.Equal(t, want, readAll(t, out))
	left, err := os.ReadDir(filepath.Dir(out))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays behind")
}

func TestReadsThroughLinkedSources(t *testing.T) {
	root, linked := tree(t, map[string]string{"p/p.go": "// Package p.\npackage p\n"}), t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(root, "src"), filepath.Join(linked, "src")))
	out := filepath.Join(t.TempDir(), "docs.jsonl")
	require.NoError(t, run(out, 0, linked))
	require.Equal(t, "p/p.go", readAll(t, out)[0].File)
}

func TestFailureLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "docs.jsonl")
	require.ErrorContains(t, run(out, 0, filepath.Join(dir, "nowhere")), "no Go installation")
	require.ErrorContains(t, run(out, 0, tree(t, map[string]string{"p/p.go": "package"})), "p.go:1")
	require.ErrorContains(t, run(out, 0, tree(t, map[string]string{"p/p.go": "package p"})), "no doc comments")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.Mkdir(out, 0o755))
	require.Error(t, writeFile(out, []comment{{Text: "a folder is in the way"}}))
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestSpreadIsEvenAndKeepsOrder(t *testing.T) {
	all := make([]comment, 1000)
	for i := range all {
		all[i].Line = i
	}
	for _, n := range []int{1, 7, 333, 999} {
		got := spread(all, n)
		require.Len(t, got, n)
		for i := 1; i < n; i++ {
			gap := got[i].Line - got[i-1].Line
			require.GreaterOrEqual(t, gap, len(all)/n)
			require.LessOrEqual(t, gap, len(all)/n+1)
		}
	}
	for _, n := range []int{0, 1000, 5000} {
		require.Equal(t, all, spread(all, n))
	}
}

func TestShortenCutsBetweenRunes(t *testing.T) {
	for pad := range 4 {
		text := strings.Repeat("x", pad) + strings.Repeat("語", maxText)
		got := shorten(text)
		require.True(t, utf8.ValidString(got))
		require.True(t, strings.HasPrefix(text, got))
		require.Greater(t, len(got), maxText-utf8.UTFMax)
		require.LessOrEqual(t, len(got), maxText)
	}
	require.Equal(t, "short", shorten("short"))
}
