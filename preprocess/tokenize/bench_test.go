package tokenize_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

// docComments gives up to n doc comments of the Go standard library: real text
// that every machine has.
func docComments(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil // files that hold faults on purpose
		}
		for _, g := range f.Comments {
			if s := (&ast.CommentGroup{List: g.List}).Text(); len(s) > 40 {
				out = append(out, s)
			}
		}
		if len(out) >= n {
			return fs.SkipAll
		}
		return nil
	})
	require.NoError(t, err)
	return out[:min(n, len(out))]
}

func benchmarkIDs(b *testing.B, texts []string, cfg tokenize.Config) {
	tok, err := miniLM(b, true).open(b).With(cfg)
	require.NoError(b, err)
	size := 0
	for _, s := range texts {
		size += len(s)
	}
	b.SetBytes(int64(size) / int64(len(texts)))
	b.ReportAllocs()
	var ids []int32
	tokens, i := 0, 0
	for b.Loop() {
		ids = tok.AppendIDs(ids[:0], texts[i%len(texts)])
		tokens += len(ids)
		i++
	}
	b.ReportMetric(float64(tokens)/float64(i), "tokens/row")
}

func BenchmarkAppendIDs(b *testing.B) {
	b.Run("docs", func(b *testing.B) { benchmarkIDs(b, docComments(b, 20_000), tokenize.Config{}) })
	b.Run("docs128", func(b *testing.B) { benchmarkIDs(b, docComments(b, 20_000), tokenize.Config{MaxTokens: 128}) })
	for name, text := range scripts {
		b.Run(name, func(b *testing.B) { benchmarkIDs(b, []string{text}, tokenize.Config{}) })
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := miniLM(b, true).open(b)
	text := scripts["english"]
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tok.Encode(text)
	}
}

func BenchmarkOpen(b *testing.B) {
	r := miniLM(b, false)
	for b.Loop() {
		_, err := tokenize.Open(r.File)
		require.NoError(b, err)
	}
}
