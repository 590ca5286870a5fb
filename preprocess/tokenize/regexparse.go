package tokenize

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The patterns of Split and Replace are Oniguruma's. What is read here is the
// part of its syntax whose meaning is plain (doc/RE of Oniguruma 6.9); the rest
// is refused by name: back-references, calls, conditionals, absent groups, \K,
// \G, \X, \R, the options x, W, D, S and P, loops over what may be
// empty, also counted ones where there is an assertion in it.

type nodeKind uint8

const (
	nodeEmpty  nodeKind = iota
	nodeSet             // one code point of a set
	nodeConcat          // all of subs in order
	nodeAlt             // the first of subs that leads to a match
	nodeRepeat          // subs[0], min to max times
	nodeLook            // subs[0] ahead or behind, or not
	nodeAtomic          // subs[0], never taken back
	nodeBack            // min code points back
	nodeAssert          // a position
)

type assertion uint8

const (
	textStart   assertion = iota // \A
	textEnd                      // \z
	textLastEnd                  // \Z
	lineStart                    // ^
	lineEnd                      // $
	wordEdge                     // \b
	wordInside                   // \B
)

type repeatMode uint8

const (
	greedy repeatMode = iota
	lazy
	possessive
)

// unbounded is a repeat without a maximum.
const unbounded = -1

type node struct {
	kind        nodeKind
	set         runeSet
	subs        []*node
	min, max    int
	mode        repeatMode
	neg, behind bool
	assert      assertion
}

// errPattern wraps what a pattern is refused for.
var errPattern = errors.New("pattern")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errPattern, fmt.Sprintf(format, args...))
}

// patternParser reads a pattern from left to right. Groups keep their options
// to themselves.
type patternParser struct {
	text   string
	at     int
	tab    *classTable
	fold   bool // (?i)
	dotAll bool // (?m)
	depth  int
}

func parsePattern(text string, tab *classTable) (*node, error) {
	p := &patternParser{text: text, tab: tab}
	n, err := p.alternatives()
	if err == nil && p.at < len(p.text) {
		err = refuse("unmatched )")
	}
	return n, err
}

// peek is the code point at hand, -1 at the end.
func (p *patternParser) peek() rune {
	if p.at >= len(p.text) {
		return -1
	}
	c, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return c
}

func (p *patternParser) next() rune {
	c, n := utf8.DecodeRuneInString(p.text[p.at:])
	p.at += n
	return c
}

// accept steps over s if it comes next.
func (p *patternParser) accept(s string) bool {
	if strings.HasPrefix(p.text[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

func (p *patternParser) alternatives() (*node, error) {
	fold, dotAll := p.fold, p.dotAll
	defer func() { p.fold, p.dotAll = fold, dotAll }()
	if p.depth++; p.depth > deepest {
		return nil, refuse("groups nest deeper than %d", deepest)
	}
	defer func() { p.depth-- }()
	out := &node{kind: nodeAlt}
	for {
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		out.subs = append(out.subs, n)
		if !p.accept("|") {
			break
		}
	}
	if len(out.subs) == 1 {
		return out.subs[0], nil
	}
	return out, nil
}

func (p *patternParser) sequence() (*node, error) {
	out := &node{kind: nodeConcat}
	letters := "" // under (?i): the letters in a row, for what folds as a whole
	for p.at < len(p.text) && p.peek() != '|' && p.peek() != ')' {
		from := p.at
		n, whole, err := p.atom()
		if err != nil {
			return nil, err
		}
		if whole { // the rest of the group, under other options
			out.subs = append(out.subs, n)
			break
		}
		literal := p.at
		if n, err = p.quantified(n); err != nil {
			return nil, err
		}
		if letters, err = p.foldsAlone(letters, p.text[from:literal]); err != nil {
			return nil, err
		}
		out.subs = append(out.subs, n)
	}
	if len(out.subs) == 1 {
		return out.subs[0], nil
	}
	return out, nil
}

// foldsAlone refuses letters in a row that Oniguruma folds together: the ss of
// an ß and the ligatures of Latin.
func (p *patternParser) foldsAlone(letters, atom string) (string, error) {
	if !p.fold || len(atom) != 1 {
		return "", nil
	}
	letters += strings.ToLower(atom)
	for _, pair := range []string{"ss", "ff", "fi", "fl", "st"} {
		if strings.HasSuffix(letters, pair) {
			return "", refuse("%q under (?i) folds as a whole", pair)
		}
	}
	return letters, nil
}

// atom reads one element; whole says that it took the rest of the group.
func (p *patternParser) atom() (n *node, whole bool, err error) {
	switch c := p.next(); c {
	case '(':
		return p.group()
	case '[':
		set, err := p.set()
		return &node{kind: nodeSet, set: set}, false, err
	case '.':
		if p.dotAll {
			return &node{kind: nodeSet, set: everyRune}, false, nil
		}
		return &node{kind: nodeSet, set: oneRune('\n').others()}, false, nil
	case '^':
		return &node{kind: nodeAssert, assert: lineStart}, false, nil
	case '$':
		return &node{kind: nodeAssert, assert: lineEnd}, false, nil
	case '*', '+', '?':
		return nil, false, refuse("%c has nothing to repeat", c)
	case '\\':
		n, err := p.escape()
		return n, false, err
	default:
		set, err := p.literal(c)
		return &node{kind: nodeSet, set: set}, false, err
	}
}

// literal is the set that a literal matches.
func (p *patternParser) literal(c rune) (runeSet, error) {
	if !p.fold {
		return oneRune(c), nil
	}
	if c >= utf8.RuneSelf {
		return nil, refuse("%q under (?i)", c)
	}
	if folds, ok := p.tab.folds[c|0x20]; ok && (c|0x20) >= 'a' {
		return folds, nil
	}
	return oneRune(c), nil
}

// group reads what follows a parenthesis.
func (p *patternParser) group() (n *node, whole bool, err error) {
	look := func(neg, behind bool) { n = &node{kind: nodeLook, neg: neg, behind: behind} }
	switch {
	case p.accept("?:"):
	case p.accept("?="):
		look(false, false)
	case p.accept("?!"):
		look(true, false)
	case p.accept("?<="):
		look(false, true)
	case p.accept("?<!"):
		look(true, true)
	case p.accept("?>"):
		n = &node{kind: nodeAtomic}
	case p.accept("?"):
		return p.options()
	case p.peek() == '*':
		return nil, false, refuse("(*")
	}
	sub, err := p.closed()
	if err != nil || n == nil {
		return sub, false, err
	}
	n.subs = []*node{sub}
	return n, false, nil
}

// closed reads a group's inside and its parenthesis.
func (p *patternParser) closed() (*node, error) {
	sub, err := p.alternatives()
	if err == nil && !p.accept(")") {
		err = refuse("a ) is missing")
	}
	return sub, err
}

// options reads (?i:...), (?m) and the like.
func (p *patternParser) options() (n *node, whole bool, err error) {
	from, on := p.at, true
	fold, dotAll := p.fold, p.dotAll
	for p.at < len(p.text) {
		switch c := p.next(); c {
		case 'i':
			p.fold = on
		case 'm':
			p.dotAll = on
		case '-':
			on = false
		case ':':
			n, err = p.closed()
			p.fold, p.dotAll = fold, dotAll
			return n, false, err
		case ')': // up to the end of the group
			n, err = p.alternatives()
			return n, true, err
		default:
			return nil, false, refuse("(?%s", p.text[from:p.at])
		}
	}
	return nil, false, refuse("a ) is missing")
}

// escape reads what follows a backslash outside of a set.
func (p *patternParser) escape() (*node, error) {
	if p.at >= len(p.text) {
		return nil, refuse("a backslash at the end")
	}
	asserts := map[rune]assertion{'A': textStart, 'z': textEnd, 'Z': textLastEnd, 'b': wordEdge, 'B': wordInside}
	if a, ok := asserts[p.peek()]; ok {
		p.next()
		return &node{kind: nodeAssert, assert: a}, nil
	}
	if p.accept("w") {
		return &node{kind: nodeSet, set: p.tab.sets[aloneWord]}, nil
	}
	if p.accept("W") {
		return &node{kind: nodeSet, set: p.tab.sets[aloneWord].others()}, nil
	}
	set, c, err := p.escaped()
	if err == nil && set == nil {
		set, err = p.literal(c)
	}
	return &node{kind: nodeSet, set: set}, err
}

// escaped reads what follows a backslash and stands for a set or, if that is
// nil, for one code point.
func (p *patternParser) escaped() (runeSet, rune, error) {
	if p.at >= len(p.text) {
		return nil, 0, refuse("a backslash at the end")
	}
	c := p.next()
	sets := map[rune]string{'d': "digit", 'w': "word", 's': "space"}
	if name, ok := sets[c|0x20]; ok && c < utf8.RuneSelf {
		set := p.tab.sets[name]
		if c < 'a' {
			set = set.others()
		}
		return set, 0, nil
	}
	if control := strings.IndexRune("tnrfvae", c); control >= 0 {
		return nil, rune("\t\n\r\f\v\a\x1b"[control]), nil
	}
	hex := runeSet{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}
	switch {
	case c == 'h':
		return hex, 0, nil
	case c == 'H':
		return hex.others(), 0, nil
	case c == 'p' || c == 'P':
		set, err := p.property(c == 'P')
		return set, 0, err
	case c == 'x' || c == 'u':
		c, err := p.hexadecimal(c == 'u')
		return nil, c, err
	case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf:
		return nil, 0, refuse("\\%c", c)
	}
	return nil, c, nil
}

// property reads the {name} of \p.
func (p *patternParser) property(neg bool) (runeSet, error) {
	name, _, ok := strings.Cut(p.text[p.at:], "}")
	if !p.accept("{") || !ok {
		return nil, refuse("\\p without {name}")
	}
	p.at += len(name)
	name = name[1:]
	if strings.HasPrefix(name, "^") {
		name, neg = name[1:], !neg
	}
	set, ok := p.tab.class(name)
	if !ok {
		return nil, refuse("\\p{%s}", name)
	}
	if neg {
		set = set.others()
	}
	return set, nil
}

// hexadecimal reads the digits of \x, in braces or up to two, or four of \u.
func (p *patternParser) hexadecimal(four bool) (rune, error) {
	digits, n := p.text[p.at:], 2
	if four {
		n = 4
	} else if strings.HasPrefix(digits, "{") {
		var ok bool
		if digits, _, ok = strings.Cut(digits[1:], "}"); !ok {
			return 0, refuse("\\x{ without }")
		}
		p.at += len(digits) + 2
		runes, err := parseRunes(digits)
		if err != nil {
			return 0, refuse("\\x{%s}", digits)
		}
		return runes[0], nil
	}
	if len(digits) < n {
		return 0, refuse("\\x or \\u with too few digits")
	}
	runes, err := parseRunes(digits[:n])
	if err != nil || !four && runes[0] >= utf8.RuneSelf { // \x80 is a byte
		return 0, refuse("\\x%s", digits[:n])
	}
	p.at += n
	return runes[0], nil
}

// nullable says that a node may match the empty string.
func (n *node) nullable() bool {
	switch n.kind {
	case nodeSet:
		return false
	case nodeConcat:
		return !slices.ContainsFunc(n.subs, func(s *node) bool { return !s.nullable() })
	case nodeAlt:
		return slices.ContainsFunc(n.subs, (*node).nullable)
	case nodeRepeat:
		return n.min == 0 || n.subs[0].nullable()
	case nodeAtomic:
		return n.subs[0].nullable()
	}
	return true
}

// looks says that there is an assertion anywhere in a node.
func (n *node) looks() bool {
	return n.kind == nodeAssert || n.kind == nodeLook || slices.ContainsFunc(n.subs, (*node).looks)
}

// assertion says that Oniguruma takes a node for an assertion, which it doesn't
// repeat.
func (n *node) assertion() bool {
	switch n.kind {
	case nodeAssert, nodeLook:
		return true
	case nodeConcat:
		return len(n.subs) > 0 && !slices.ContainsFunc(n.subs, func(s *node) bool { return !s.assertion() })
	case nodeAlt:
		return slices.ContainsFunc(n.subs, (*node).assertion)
	}
	return false
}
