package tokenize

import "unicode/utf8"

// regex is a pattern compiled for a backtracking machine: what a pattern
// matches, and in which order it tries, is as in Oniguruma. It is read-only.
type regex struct {
	prog  []inst
	sets  []byteSet
	empty bool      // may match the empty string
	first [256]bool // bytes that a match may begin with
	run   bool      // a lone repeat of a set, never taken back
}

type opcode uint8

const (
	opSet    opcode = iota // a code point of sets[x]
	opByte                 // the byte x
	opSpan                 // the most of sets[x], at least min
	opFork                 // x, and if that fails y
	opJump                 // x
	opLook                 // the program behind it, then x
	opAtomic               // the program behind it, then x, from where that ended
	opBack                 // x code points back
	opAssert               // assertion x
	opMatch                // the end of a program
)

type inst struct {
	op       opcode
	neg      bool // opLook: it must fail; opSpan: nothing of it is given back
	x, y     int32
	min, max int32
}

// byteSet is a set of code points with its ASCII part apart.
type byteSet struct {
	ascii [128]bool
	set   runeSet
}

// step is the length of the code point at text[at:] if it is in the set, else 0.
func (s *byteSet) step(text []byte, at int) int {
	if at >= len(text) {
		return 0
	}
	if b := text[at]; b < utf8.RuneSelf {
		if s.ascii[b] {
			return 1
		}
		return 0
	}
	c, n := utf8.DecodeRune(text[at:])
	if s.set.has(c) {
		return n
	}
	return 0
}

// frame is where to go on when a way has failed: at pos, or if that fails too
// at the code points before it, down to lo.
type frame struct{ pc, pos, lo int32 }

// matching is a regex at work on a text of valid UTF-8.
type matching struct {
	re    *regex
	text  []byte
	stack []frame
}

// cut is a range of a text, and whether a pattern matched it.
type cut struct {
	lo, hi int
	is     bool
}

// appendCuts appends the matches of a text and what lies between, in order, as
// the library's find_matches does: an empty match is not taken right behind
// another match.
func (r *regex) appendCuts(dst []cut, text []byte, w *work) []cut {
	m := matching{re: r, text: text, stack: w.frames[:0]}
	done, last := 0, -1
	for at := 0; at <= len(text); {
		lo, hi := m.find(at)
		if lo < 0 {
			break
		}
		if lo == hi && hi == last {
			if at >= len(text) {
				break
			}
			_, n := utf8.DecodeRune(text[at:])
			at += n
			continue
		}
		at, last = hi, hi
		if done < lo {
			dst = append(dst, cut{done, lo, false})
		}
		dst = append(dst, cut{lo, hi, true})
		done = hi
	}
	if done < len(text) {
		dst = append(dst, cut{done, len(text), false})
	}
	w.frames = m.stack
	return dst
}

// find gives the first match in text[from:], -1 if there is none.
func (m *matching) find(from int) (lo, hi int) {
	for at := from; at <= len(m.text); {
		if !m.re.empty {
			for at < len(m.text) && !m.re.first[m.text[at]] {
				at++
			}
			if at == len(m.text) {
				return -1, -1
			}
		}
		if m.re.run {
			if end := m.span(&m.re.prog[0], at); end >= 0 {
				return at, end
			}
		} else if end := m.match(0, at); end >= 0 {
			return at, end
		}
		if at == len(m.text) {
			break
		}
		_, n := utf8.DecodeRune(m.text[at:])
		at += n
	}
	return -1, -1
}

// span is the end of the longest run at pos, -1 if it is too short.
func (m *matching) span(in *inst, pos int) int {
	set, count := &m.re.sets[in.x], int32(0)
	for in.max == unbounded || count < in.max {
		n := set.step(m.text, pos)
		if n == 0 {
			break
		}
		pos += n
		count++
	}
	if count < in.min {
		return -1
	}
	return pos
}

// match runs the program at pc from pos and gives the end, -1 if it fails.
func (m *matching) match(pc, pos int) int {
	base := len(m.stack)
	for {
		in := &m.re.prog[pc]
		ok := true
		switch in.op {
		case opMatch:
			m.stack = m.stack[:base]
			return pos
		case opByte:
			if ok = pos < len(m.text) && m.text[pos] == byte(in.x); ok {
				pos++
			}
			pc++
		case opSet:
			n := m.re.sets[in.x].step(m.text, pos)
			pos, ok = pos+n, n > 0
			pc++
		case opSpan:
			pos, ok = m.spanned(in, pc, pos)
			pc++
		case opFork:
			m.stack = append(m.stack, frame{in.y, int32(pos), int32(pos)})
			pc = int(in.x)
		case opJump:
			pc = int(in.x)
		case opLook:
			ok = (m.match(pc+1, pos) >= 0) != in.neg
			pc = int(in.x)
		case opAtomic:
			end := m.match(pc+1, pos)
			pc, pos, ok = int(in.x), end, end >= 0
		case opBack:
			pos, ok = m.back(pos, int(in.x))
			pc++
		case opAssert:
			ok = m.holds(assertion(in.x), pos)
			pc++
		}
		if ok {
			continue
		}
		if len(m.stack) == base {
			return -1
		}
		pc, pos = m.pop()
	}
}

// spanned takes a run, and keeps in mind that it may have to be shorter.
func (m *matching) spanned(in *inst, pc, pos int) (int, bool) {
	end := m.span(in, pos)
	if end < 0 || in.neg {
		return end, end >= 0
	}
	lo := pos
	for range in.min {
		_, n := utf8.DecodeRune(m.text[lo:])
		lo += n
	}
	if lo < end {
		_, n := utf8.DecodeLastRune(m.text[lo:end])
		m.stack = append(m.stack, frame{int32(pc) + 1, int32(end - n), int32(lo)})
	}
	return end, true
}

func (m *matching) pop() (pc, pos int) {
	top := len(m.stack) - 1
	f := m.stack[top]
	if f.lo < f.pos {
		_, n := utf8.DecodeLastRune(m.text[f.lo:f.pos])
		m.stack[top].pos -= int32(n)
	} else {
		m.stack = m.stack[:top]
	}
	return int(f.pc), int(f.pos)
}

func (m *matching) back(pos, n int) (int, bool) {
	for ; n > 0; n-- {
		if pos == 0 {
			return 0, false
		}
		_, size := utf8.DecodeLastRune(m.text[:pos])
		pos -= size
	}
	return pos, true
}

func (m *matching) holds(a assertion, pos int) bool {
	text := m.text
	switch a {
	case textStart:
		return pos == 0
	case textEnd:
		return pos == len(text)
	case textLastEnd:
		return pos == len(text) || pos == len(text)-1 && text[pos] == '\n'
	case lineStart:
		return pos == 0 || pos < len(text) && text[pos-1] == '\n'
	case lineEnd:
		return pos == len(text) || text[pos] == '\n'
	}
	word := classes().sets[aloneWord]
	before, after := false, false
	if pos > 0 {
		c, _ := utf8.DecodeLastRune(text[:pos])
		before = word.has(c)
	}
	if pos < len(text) {
		c, _ := utf8.DecodeRune(text[pos:])
		after = word.has(c)
	}
	return (before != after) == (a == wordEdge)
}

// newRegex compiles a pattern; an error says what of it isn't supported.
func newRegex(pattern string) (*regex, error) {
	n, err := parsePattern(pattern, classes())
	if err != nil {
		return nil, err
	}
	c := compiler{re: &regex{empty: n.nullable()}}
	if err := c.node(n); err != nil {
		return nil, err
	}
	c.emit(inst{op: opMatch})
	first, _ := n.firsts()
	for _, r := range first {
		markFirst(&c.re.first, r)
	}
	p := c.re.prog
	c.re.run = len(p) == 2 && p[0].op == opSpan && !c.re.empty
	return c.re, nil
}

// markFirst marks the bytes that code points of a range begin with.
func markFirst(first *[256]bool, r [2]rune) {
	if r[0] >= 0xD800 && r[0] <= 0xDFFF { // surrogates, which no text has
		r[0] = 0xE000
	}
	if r[1] >= 0xD800 && r[1] <= 0xDFFF {
		r[1] = 0xD7FF
	}
	var lo, hi [utf8.UTFMax]byte
	utf8.EncodeRune(lo[:], r[0])
	utf8.EncodeRune(hi[:], r[1])
	for b := int(lo[0]); b <= int(hi[0]); b++ {
		first[b] = first[b] || utf8.RuneStart(byte(b))
	}
}

// firsts are the code points that a match of a node can begin with; all of
// them may not do if it is nullable.
func (n *node) firsts() (set runeSet, nullable bool) {
	switch n.kind {
	case nodeSet:
		return n.set, false
	case nodeConcat:
		for _, s := range n.subs {
			more, null := s.firsts()
			set = set.union(more)
			if !null {
				return set, false
			}
		}
		return set, true
	case nodeAlt:
		for _, s := range n.subs {
			more, null := s.firsts()
			set, nullable = set.union(more), nullable || null
		}
		return set, nullable
	case nodeRepeat, nodeAtomic:
		set, nullable = n.subs[0].firsts()
		return set, nullable || n.kind == nodeRepeat && n.min == 0
	}
	return nil, true
}
