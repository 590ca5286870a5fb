package infer_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
)

// fakeBackend has one device, whose sessions all fail to open.
type fakeBackend struct {
	opened  infer.DeviceConfig // the last
	missing infer.Provider     // that it has not; 0: none
}

var (
	errOpened  = errors.New("opened")
	errMissing = errors.New("no such provider")
)

func (*fakeBackend) Devices(string) (int, error) { return 1, nil }

func (b *fakeBackend) Provides(_ string, p infer.Provider) error {
	if p != infer.CUDAProvider && p == b.missing {
		return errMissing
	}
	return nil
}

func (b *fakeBackend) Open(_ context.Context, cfg infer.DeviceConfig) (infer.DeviceSession, error) {
	b.opened = cfg
	return nil, errOpened
}

// identity is the digest of an embedding stage at a place.
func identity(t *testing.T, cfg infer.Config, device stage.DeviceKind) string {
	t.Helper()
	task, err := open(t, cfg).Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{Device: device})
	require.NoError(t, err)
	return stages[len(stages)-1].ID().Fingerprint()
}

// TestResultsOfProvidersAreTold: kept results and resumed jobs go by the stage's identity.
func TestResultsOfProvidersAreTold(t *testing.T) {
	infer.RegisterBackend(stage.CUDA, &fakeBackend{})
	t.Cleanup(func() { infer.RegisterBackend(stage.CUDA, nil) })
	path := filepath.Join(tiny, "plain")
	seen := map[string]bool{}
	for _, id := range []string{
		identity(t, infer.Config{Path: path}, stage.CPU),
		identity(t, infer.Config{Path: path}, stage.CUDA),
		identity(t, infer.Config{Path: path, Provider: infer.TensorRTProvider}, stage.CUDA),
	} {
		require.False(t, seen[id])
		seen[id] = true
	}
	require.True(t, seen[identity(t, infer.Config{Path: path, Provider: infer.TensorRTProvider}, stage.CPU)], "the provider is of devices")
}

// onFake expands an embedding task for device 0 of b, and opens a worker of the model if that goes well.
func onFake(t *testing.T, b *fakeBackend, cfg infer.Config) error {
	t.Helper()
	infer.RegisterBackend(stage.CUDA, b)
	t.Cleanup(func() { infer.RegisterBackend(stage.CUDA, nil) })
	task, err := open(t, cfg).Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{Device: stage.CUDA})
	if err != nil {
		return err
	}
	in := textSchema
	for i, s := range stages {
		bound, err := s.Bind([]*arrow.Schema{in})
		require.NoError(t, err)
		in = bound.Schema
		if i == len(stages)-1 {
			_, err = bound.Open(t.Context(), stage.Env{})
			require.ErrorIs(t, err, errOpened)
		}
	}
	return nil
}

// TestRowsOfTensorRT: it takes memory for the largest number of the longest texts, so that is bounded.
func TestRowsOfTensorRT(t *testing.T) {
	for _, c := range []struct {
		provider infer.Provider
		rows     int64
	}{{infer.CUDAProvider, 2048}, {infer.TensorRTProvider, 128}} {
		b := &fakeBackend{}
		require.NoError(t, onFake(t, b, infer.Config{Path: testkit.MiniLM(t), Provider: c.provider}))
		rows, tokens := int64(0), int64(0)
		for _, r := range b.opened.Warm {
			rows, tokens = max(rows, r.Inputs[0].Shape[0]), max(tokens, r.Inputs[0].Shape[1])
		}
		require.Equal(t, []int64{c.rows, 256}, []int64{rows, tokens})
	}
}

// TestProvidersOfDevices: the settings reach the session; what cannot be is an error of the plan.
func TestProvidersOfDevices(t *testing.T) {
	dynamic, fixed := filepath.Join(tiny, "plain"), filepath.Join(tiny, "fixed_both")
	for _, cfg := range []infer.Config{
		{Path: dynamic},
		{Path: dynamic, Provider: infer.TensorRTProvider},
		{Path: dynamic, Provider: infer.TensorRTProvider, TensorRTCache: "engines"},
		{Path: fixed, CUDAGraphs: true},
	} {
		b := &fakeBackend{}
		require.NoError(t, onFake(t, b, cfg))
		require.Equal(t, []any{cfg.Provider, cfg.TensorRTCache, cfg.CUDAGraphs}, []any{b.opened.Provider, b.opened.TensorRTCache, b.opened.CUDAGraphs})
		require.Equal(t, cfg.Path == fixed, b.opened.FixedShapes)
	}
	err := onFake(t, &fakeBackend{missing: infer.TensorRTProvider}, infer.Config{Path: dynamic, Provider: infer.TensorRTProvider})
	require.ErrorIs(t, err, errMissing)
	err = onFake(t, &fakeBackend{}, infer.Config{Path: dynamic, CUDAGraphs: true})
	require.ErrorContains(t, err, "its runs have many shapes")
	require.ErrorContains(t, err, dynamic)

	for want, cfg := range map[string]infer.Config{
		"TensorRTCache is engines, but Provider is cuda":         {Path: dynamic, TensorRTCache: "engines"},
		"CUDAGraphs are for CUDAProvider":                        {Path: dynamic, Provider: infer.TensorRTProvider, CUDAGraphs: true},
		"no Provider 7: there are CUDAProvider and TensorRTProv": {Path: dynamic, Provider: 7},
	} {
		_, err := infer.Open(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
	for name, want := range map[string]infer.Provider{"": infer.CUDAProvider, "cuda": infer.CUDAProvider, "tensorrt": infer.TensorRTProvider} {
		got, err := infer.ParseProvider(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = infer.ParseProvider("rocm")
	require.ErrorContains(t, err, `no provider "rocm"`)
}
