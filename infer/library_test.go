package infer_test

import (
	"bufio"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/testkit"
)

func TestFindLibrary(t *testing.T) {
	lib := testkit.ORTLibrary(t)
	path, tried, err := infer.FindLibrary(lib)
	require.NoError(t, err)
	require.Equal(t, lib, path)
	require.Equal(t, []string{lib}, tried)
	path, _, err = infer.FindLibrary(filepath.Dir(lib))
	require.NoError(t, err)
	require.Equal(t, lib, path)

	t.Chdir(testkit.Root(t))
	path, tried, err = infer.FindLibrary("")
	require.NoError(t, err)
	require.Equal(t, lib, path)
	exe, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Dir(exe), filepath.Join(filepath.Dir(exe), "lib"), filepath.Dir(lib)}, tried)
}

// The folder below the executable comes before the working folder's.
func TestFindLibraryBesideTheExecutable(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(filepath.Dir(exe), "lib")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	for _, name := range []string{"libonnxruntime.so.1.9.0", "libonnxruntime.so.1.30.0"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	t.Chdir(testkit.Root(t))
	path, _, err := infer.FindLibrary("")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "libonnxruntime.so.1.30.0"), path, "the newest")
}

func TestLibraryMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "libonnxruntime.so")
	_, _, err := infer.FindLibrary(missing)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, missing)
	require.ErrorContains(t, err, "make setup")
	require.ErrorContains(t, err, "--ort-lib")
	_, _, err = infer.FindLibrary(t.TempDir())
	require.ErrorContains(t, err, "holds no libonnxruntime.so")

	t.Chdir(t.TempDir())
	_, tried, err := infer.FindLibrary("")
	if err == nil {
		t.Skip("the system has ONNX Runtime")
	}
	var fault *infer.LibraryError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, tried, fault.Tried)
	for _, dir := range tried {
		require.ErrorContains(t, err, dir)
	}
}

func TestLibraryInfo(t *testing.T) {
	lib := testkit.ORTLibrary(t)
	for range 2 {
		info, err := infer.LibraryInfo(lib)
		require.NoError(t, err)
		require.Equal(t, "CPUExecutionProvider", info.Providers[0])
		require.Equal(t, lib, info.Path)
		version, err := infer.CheckLibrary(lib)
		require.NoError(t, err)
		require.Equal(t, version, info.Version, "what the file says is what the library says")
	}
}

// A library that is none, was cut short or is too old is refused before it is loaded.
func TestLibraryRefused(t *testing.T) {
	lib := testkit.ORTLibrary(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	require.NoError(t, os.WriteFile(text, []byte("not a library"), 0o644))
	raw, err := os.ReadFile(lib)
	require.NoError(t, err)
	short := filepath.Join(dir, "short.so")
	require.NoError(t, os.WriteFile(short, raw[:len(raw)/2], 0o644))
	for _, path := range []string{text, short} {
		_, err := infer.LibraryInfo(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "is not a shared library")
	}

	old := oldLibrary(t, dir)
	_, err = infer.LibraryInfo(old)
	var fault *infer.LibraryError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, "1.17.3", fault.Version)
	require.ErrorContains(t, err, "version 1.17.3 is too old, 1.24 or newer is needed")
	m := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), Library: old})
	_, err = m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
	require.ErrorAs(t, err, &fault)
}

// oldLibrary makes a library whose symbols bear the version of an old ONNX Runtime.
func oldLibrary(t *testing.T, dir string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	require.NoError(t, err, "cgo needs a C compiler")
	write(t, dir, "old.c", "const void *OrtGetApiBase(void) { return 0; }\n")
	write(t, dir, "old.map", "VERS_1.17.3 { global: OrtGetApiBase; local: *; };\n")
	path := filepath.Join(dir, "libonnxruntime.so.1.17.3")
	out, err := exec.Command(cc, "-shared", "-fPIC", "-Wl,--version-script="+filepath.Join(dir, "old.map"),
		"-o", path, filepath.Join(dir, "old.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// Another library of the right version is refused while the process has one.
func TestOneLibraryPerProcess(t *testing.T) {
	lib := testkit.ORTLibrary(t)
	_, err := infer.LibraryInfo(lib)
	require.NoError(t, err)
	raw, err := os.ReadFile(lib)
	require.NoError(t, err)
	other := filepath.Join(t.TempDir(), "libonnxruntime.so")
	require.NoError(t, os.WriteFile(other, raw, 0o755))
	_, err = infer.LibraryInfo(other)
	require.ErrorContains(t, err, "has loaded "+lib+" already")
	_, err = infer.LibraryInfo("")
	require.True(t, err == nil || strings.Contains(err.Error(), "has loaded") || strings.Contains(err.Error(), "not found"), "%v", err)
}

// The oldest library taken is the one that the binding was compiled against.
func TestOldestLibraryIsTheBindings(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	require.NoError(t, err)
	header, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "onnxruntime_c_api.h"))
	require.NoError(t, err)
	defer header.Close()
	lines := bufio.NewScanner(header)
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[1] == "ORT_API_VERSION" {
			require.Equal(t, "24", f[2])
			require.Equal(t, 24, infer.MinLibraryMinor)
			return
		}
	}
	t.Fatal("no ORT_API_VERSION in the binding's header")
}

// Loading a model leaves Go's signal handling alone: signals still arrive, and a nil
// pointer is a panic that can be recovered.
func TestSignalHandlersStay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has no such signals")
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGTERM, syscall.SIGUSR1)
	defer signal.Stop(got)
	m := tinyModel(t, "plain")
	_, err := m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
	require.NoError(t, err)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1} {
		require.NoError(t, syscall.Kill(os.Getpid(), s))
		select {
		case g := <-got:
			require.Equal(t, s, g)
		case <-time.After(5 * time.Second):
			t.Fatalf("%v did not arrive", s)
		}
	}
	require.Panics(t, func() {
		var p *infer.Info
		p.Dim++
	})
}
