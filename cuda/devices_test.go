//go:build cuda

package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cudaemu"
)

func TestSeveralDevices(t *testing.T) {
	node := 1
	start(t, cudaemu.Config{Devices: []cudaemu.Device{
		{Bytes: 64 << 20}, {Bytes: 128 << 20, NUMANode: &node}, {OldDriver: true},
	}})
	driver, err := cuda.Load("")
	require.NoError(t, err)
	require.Contains(t, driver.Path, "emulator")
	require.Greater(t, driver.Version, 12000)

	all, err := cuda.Devices()
	require.NoError(t, err)
	require.Equal(t, []cuda.Device{0, 1, 2}, all)
	seen := map[string]bool{}
	for i, d := range all {
		in, err := d.Info()
		require.NoError(t, err)
		require.NotEmpty(t, in.Name)
		require.Equal(t, []int64{64 << 20, 128 << 20, 1 << 30}[i], in.Bytes)
		require.Equal(t, []int{-1, 1, -1}[i], in.NUMANode)
		require.Equal(t, 9, in.ComputeMajor)
		require.Equal(t, 2, in.CopyEngines)
		require.False(t, in.Integrated)
		require.Regexp(t, `^GPU-[0-9a-f-]{36}$`, in.UUID)
		require.Regexp(t, `^0000:e[0-2]:00\.0$`, in.PCI)
		seen[in.UUID], seen[in.PCI] = true, true
	}
	require.Len(t, seen, 6, "no two are the same")

	_, err = cuda.Device(3).Info()
	requireKind(t, err, cuda.ErrNoDevice, invalidDevice, "cuDeviceGetName")
	_, err = cuda.Device(3).Retain()
	requireKind(t, err, cuda.ErrNoDevice, invalidDevice, "cuDevicePrimaryCtxRetain")
}

// TestDevicesKeepApart works on two devices by turns on one thread.
func TestDevicesKeepApart(t *testing.T) {
	start(t, cudaemu.Config{Devices: make([]cudaemu.Device, 2), MaxDelay: late})
	one := newKit(t, 0, 1024)
	t.Cleanup(func() { require.NoError(t, one.ctx.MakeCurrent()) })
	two := newKit(t, 1, 1024)
	require.Equal(t, cuda.Device(1), two.ctx.Device())
	for i, k := range []kit{one, two} {
		require.NoError(t, k.ctx.MakeCurrent())
		pattern(k.in.Bytes(), byte(i))
		require.NoError(t, k.stream.CopyToDevice(k.memory.Ptr(), head(k.in.Bytes()), 1024))
		require.NoError(t, k.stream.CopyToHost(head(k.out.Bytes()), k.memory.Ptr(), 1024))
		free, total, err := k.ctx.Memory()
		require.NoError(t, err)
		require.EqualValues(t, 1024, total-free)
	}
	for _, k := range []kit{one, two} {
		require.NoError(t, k.ctx.Do(k.stream.Synchronize))
		require.Equal(t, k.in.Bytes(), k.out.Bytes())
	}
	require.Equal(t, cuda.Resources{
		Contexts: 2, Streams: 2, DeviceBlocks: 2, DeviceBytes: 2048, HostBlocks: 4, HostBytes: 4096,
	}, cuda.Held())
}
