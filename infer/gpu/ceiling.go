//go:build cuda

package gpu

// growAfter is how many runs have to go well at a ceiling before twice as much is tried.
const growAfter = 32

// ceilings remembers how many rows of a shape the device has memory for at once, where that was
// ever less than what was asked for. It is the owner's.
type ceilings map[string]*ceiling

type ceiling struct {
	rows  int // that went well, or are about to be tried
	good  int // runs of so many since then
	needs int // before twice as much is tried: doubled each time that failed
	trial int // what the last trial raised it from; 0: it is no trial
}

// rows says how many of want rows may run at once.
func (c ceilings) rows(shape string, want int) int {
	if at := c[shape]; at != nil {
		return min(at.rows, want)
	}
	return want
}

// failed says that there was no memory for so many rows: half of them are next, or what went well
// before they were tried. A single row cannot be halved.
func (c ceilings) failed(shape string, rows int) (next int, ok bool) {
	at := c[shape]
	if at == nil {
		at = &ceiling{needs: growAfter}
		c[shape] = at
	}
	switch {
	case rows <= 1:
		return 0, false
	case at.trial > 0 && rows > at.trial:
		at.rows = at.trial
		at.needs *= 2
	default:
		at.rows = (rows + 1) / 2
	}
	at.trial, at.good = 0, 0
	return at.rows, true
}

// went says that a run in parts of so many rows went well. Only one that was held down by the
// ceiling tells something of it.
func (c ceilings) went(shape string, rows int) {
	at := c[shape]
	if at == nil || rows < at.rows {
		return
	}
	at.good++
	if at.good >= at.needs {
		at.trial, at.rows, at.good = at.rows, 2*at.rows, 0
	}
}
