//go:build cuda

package gpu

import (
	"fmt"
	"sync"

	"github.com/penstock-data/penstock/cuda"
)

// usable is the part of a device's memory that actors share out: the driver and the libraries'
// own work space have the rest.
const usable = 0.92

// ledger counts what the actors of this process may take of each device's memory.
var ledger = struct {
	sync.Mutex
	taken map[cuda.Device]int64
}{taken: map[cuda.Device]int64{}}

// budget is an actor's part of a device's memory.
type budget struct {
	device cuda.Device
	bytes  int64 // of the ledger; 0: given back
	slots  int64 // of them, in slots
}

// takeBudget takes a share of the device's memory, or with 0 all that is left. The context is
// current.
func takeBudget(ctx *cuda.Context, share float64) (*budget, error) {
	free, total, err := ctx.Memory()
	if err != nil {
		return nil, err
	}
	ledger.Lock()
	defer ledger.Unlock()
	device := ctx.Device()
	all := int64(usable * float64(total))
	left := all - ledger.taken[device]
	bytes := min(left, free)
	if share > 0 {
		bytes = int64(share * float64(all))
	}
	if bytes <= 0 || bytes > left {
		return nil, fmt.Errorf("gpu: %w: device %d: %d bytes asked for, and other actors have %d of %d", cuda.ErrOutOfMemory, device, bytes, ledger.taken[device], all)
	}
	ledger.taken[device] += bytes
	return &budget{device: device, bytes: bytes}, nil
}

// take is asked before a slot takes device memory.
func (b *budget) take(bytes int64) error {
	if b.slots+bytes > b.bytes {
		return fmt.Errorf("gpu: %w: slots of %d bytes and %d more are over the actor's %d", cuda.ErrOutOfMemory, b.slots, bytes, b.bytes)
	}
	b.slots += bytes
	return nil
}

func (b *budget) give(bytes int64) { b.slots -= bytes }

// arena is what is left for ONNX Runtime: weights and activations.
func (b *budget) arena() int64 { return b.bytes - b.slots }

// close gives the budget back to the ledger.
func (b *budget) close() {
	ledger.Lock()
	defer ledger.Unlock()
	ledger.taken[b.device] -= b.bytes
	b.bytes = 0
}
