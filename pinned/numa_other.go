//go:build cuda && !linux

package pinned

func preferNode(int) (back func()) { return func() {} }
