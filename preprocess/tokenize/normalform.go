package tokenize

import "unicode/utf8"

// normalForm is NFD, NFC, NFKD or NFKC by the algorithms of Unicode Standard
// Annex #15, over the tables of the library.
type normalForm struct{ compat, compose bool }

// mark is a code point of the new text and what it does to the old one, in the
// terms of the library's alignment: change 0 stands for one code point of the
// old text, 1 is put in beside the one before it, -n stands for one and n more.
// A sort or a composition moves code points but the changes are applied in the
// order of the new text, which the offsets of the library reflect.
type mark struct {
	c      rune
	change int32
	ccc    uint8
}

func (f normalForm) normalize(w *work) {
	if isASCII(w.cur.text) {
		return // in its own normal form, whichever it is
	}
	f.decompose(w)
	marks := w.marks
	if f.compose {
		f.recompose(w)
		marks = w.composed
	}
	w.apply(marks)
}

// apply makes code points the new form of the segment, aligned as their changes
// say.
func (w *work) apply(marks []mark) {
	w.next.reset(w.cur.track)
	off := 0
	for _, m := range marks {
		if m.change > 0 {
			w.next.add(m.c, w.cur.at(max(off-1, 0)))
			continue
		}
		w.next.add(m.c, w.cur.at(min(off, len(w.cur.text)-1)))
		for range 1 - m.change {
			_, size := utf8.DecodeRune(w.cur.text[off:])
			off += size
		}
	}
	w.swap()
}

// decompose fills w.marks with the decomposed text in canonical order.
func (f normalForm) decompose(w *work) {
	w.marks = w.marks[:0]
	for i := 0; i < len(w.cur.text); {
		c, size := utf8.DecodeRune(w.cur.text[i:])
		i += size
		w.runes = w.tab.appendDecomposed(w.runes[:0], c, f.compat)
		for k, d := range w.runes {
			m := mark{c: d, change: int32(min(k, 1))}
			if w.tab.is(d, propNonStarter) {
				m.ccc = w.tab.ccc[d]
			}
			w.marks = append(w.marks, m)
		}
	}
	for lo := 0; lo < len(w.marks); {
		hi := lo + 1
		for w.marks[lo].ccc != 0 && hi < len(w.marks) && w.marks[hi].ccc != 0 {
			hi++
		}
		sortMarks(w.marks[lo:hi])
		lo = hi
	}
}

// sortMarks sorts by combining class and keeps the order within a class. Runs
// are short in any real text, and long ones are in order mostly.
func sortMarks(run []mark) {
	if len(run) > 64 {
		mergeMarks(run)
		return
	}
	for i := 1; i < len(run); i++ {
		m := run[i]
		k := i
		for k > 0 && run[k-1].ccc > m.ccc {
			run[k] = run[k-1]
			k--
		}
		run[k] = m
	}
}

// mergeMarks is sortMarks by counting, for the runs that an insertion sort
// would take quadratic time on.
func mergeMarks(run []mark) {
	var at [257]int
	for _, m := range run {
		at[int(m.ccc)+1]++
	}
	for k := 1; k < len(at); k++ {
		at[k] += at[k-1]
	}
	sorted := make([]mark, len(run))
	for _, m := range run {
		sorted[at[m.ccc]] = m
		at[m.ccc]++
	}
	copy(run, sorted)
}

// recompose fills w.composed from w.marks.
func (f normalForm) recompose(w *work) {
	out, blocked := w.composed[:0], w.blocked[:0]
	var base mark // the starter that following marks may compose with
	has, last := false, -1
	for _, m := range w.marks {
		if !has {
			if m.ccc != 0 {
				out = append(out, m)
			} else {
				base, has = m, true
			}
			continue
		}
		if last < int(m.ccc) {
			if c, ok := w.tab.composed(base.c, m.c); ok {
				base = mark{c: c, change: base.change + m.change - 1}
				continue
			}
		}
		if m.ccc == 0 {
			out = append(append(out, base), blocked...)
			base, last, blocked = m, -1, blocked[:0]
			continue
		}
		blocked, last = append(blocked, m), int(m.ccc)
	}
	if has {
		out = append(out, base)
	}
	w.composed, w.blocked = append(out, blocked...), blocked
}
