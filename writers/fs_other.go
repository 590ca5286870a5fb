//go:build !linux

package writers

// exchange swaps two names in one step, which only Linux offers to us.
func exchange(_, _ string) error { return errNoExchange }
