//go:build cuda

package pinned

import "golang.org/x/sys/unix"

// The policies of set_mempolicy(2).
const (
	defaultPolicy   = 0
	preferredPolicy = 1
)

// preferNode has this thread's new pages lie on a NUMA node, if that has room, until back is
// called. Where the kernel doesn't let it, pages lie where they would.
func preferNode(node int) (back func()) {
	if node < 0 {
		return func() {}
	}
	var mask unix.CPUSet // of nodes, here
	mask.Set(node)
	if unix.SetMemPolicy(preferredPolicy, &mask) != nil {
		return func() {}
	}
	return func() { _ = unix.SetMemPolicy(defaultPolicy, nil) } // what worked once with a mask works without
}
