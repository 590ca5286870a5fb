//go:build cuda

package cuda

import (
	"errors"
	"sync/atomic"
)

// Resources counts what this process holds of the driver, on all devices.
type Resources struct {
	Contexts, Streams, Events int64
	DeviceBlocks, DeviceBytes int64
	HostBlocks, HostBytes     int64 // page-locked
}

var held struct {
	contexts, streams, events atomic.Int64
	device, host              blocks
}

type blocks struct{ n, bytes atomic.Int64 }

func (b *blocks) add(n, bytes int64) {
	b.n.Add(n)
	b.bytes.Add(bytes)
}

// Held says what is held now: zero when all that was made through this package was closed. It
// is exact when nothing is being made or closed meanwhile.
func Held() Resources {
	return Resources{
		Contexts: held.contexts.Load(), Streams: held.streams.Load(), Events: held.events.Load(),
		DeviceBlocks: held.device.n.Load(), DeviceBytes: held.device.bytes.Load(),
		HostBlocks: held.host.n.Load(), HostBytes: held.host.bytes.Load(),
	}
}

// kept says whether what a failed call was to give back is still there: a lost device takes
// with it whatever it had.
func kept(err error) bool { return err != nil && !errors.Is(err, ErrDeviceLost) }
