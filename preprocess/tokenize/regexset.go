package tokenize

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// quantified reads the quantifiers behind a node.
func (p *patternParser) quantified(n *node) (*node, error) {
	for p.at < len(p.text) {
		lo, hi, isInterval := 0, unbounded, false
		switch {
		case p.accept("*"):
		case p.accept("+"):
			lo = 1
		case p.accept("?"):
			hi = 1
		default:
			var ok bool
			if lo, hi, ok = p.interval(); !ok {
				return n, nil
			}
			isInterval = true
		}
		if hi != unbounded && hi < lo {
			return nil, refuse("a repeat of {%d,%d}", lo, hi)
		}
		if n.assertion() {
			return nil, refuse("a repeat of an assertion")
		}
		if hi == unbounded && n.nullable() {
			return nil, refuse("a repeat of what may be empty")
		}
		if hi > 1 && n.nullable() && n.looks() { // Oniguruma's rounds of these end in ways of their own
			return nil, refuse("a counted repeat of what may be empty and has an assertion in it")
		}
		r := &node{kind: nodeRepeat, min: lo, max: hi, subs: []*node{n}}
		switch {
		case isInterval && lo == hi: // {n}? is (?:{n})?, {n}+ is (?:{n})+
		case p.accept("?"):
			r.mode = lazy
		case !isInterval && p.accept("+"):
			r.mode = possessive
		}
		n = r
	}
	return n, nil
}

// interval reads {n}, {n,}, {n,m} or {,m}. Other braces are literals.
func (p *patternParser) interval() (lo, hi int, ok bool) {
	inside, _, closed := strings.Cut(p.text[p.at:], "}")
	if !closed || !strings.HasPrefix(inside, "{") {
		return 0, 0, false
	}
	low, high, two := strings.Cut(inside[1:], ",")
	if !two {
		high = low
	}
	number := func(s string, none int) int {
		if s == "" {
			return none
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > math.MaxInt16 || s[0] == '+' {
			ok = false
		}
		return n
	}
	ok = low != "" || two && high != ""
	lo, hi = number(low, 0), number(high, unbounded)
	if ok {
		p.at += len(inside) + 1
	}
	return lo, hi, ok
}

// set reads a set in brackets, behind the opening one.
func (p *patternParser) set() (runeSet, error) {
	if p.depth++; p.depth > deepest {
		return nil, refuse("sets nest deeper than %d", deepest)
	}
	defer func() { p.depth-- }()
	neg := p.accept("^")
	if p.peek() == ']' {
		return nil, refuse("a ] first in a set")
	}
	var out, part runeSet
	both := false // out holds the parts before &&
	meet := func() {
		if both {
			part = out.intersect(part)
		}
		out, part = part, nil
	}
	for !p.accept("]") {
		if p.at >= len(p.text) {
			return nil, refuse("a ] is missing")
		}
		if p.accept("&&") {
			meet()
			both = true
			continue
		}
		item, err := p.setItem()
		if err != nil {
			return nil, err
		}
		part = part.union(item)
	}
	meet()
	if p.fold {
		var err error
		if out, err = p.foldSet(out); err != nil {
			return nil, err
		}
	}
	if neg {
		out = out.others()
	}
	return out, nil
}

// setItem reads a code point, a range, a class or a set within.
func (p *patternParser) setItem() (runeSet, error) {
	if p.accept("[:") {
		return nil, refuse("[: in a set")
	}
	if p.accept("[") {
		return p.set()
	}
	set, lo, err := p.setRune()
	if err != nil || set != nil && !strings.HasPrefix(p.text[p.at:], "-") {
		return set, err
	}
	rest := p.text[p.at:]
	if !strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "-]") {
		return oneOr(set, lo), nil
	}
	if set != nil || strings.HasPrefix(rest, "-[") || strings.HasPrefix(rest, "-&&") {
		return nil, refuse("a - in a set that may be taken for a range")
	}
	p.next()
	set, hi, err := p.setRune()
	if err != nil {
		return nil, err
	}
	if set != nil || hi < lo {
		return nil, refuse("a range in a set that ends before it begins")
	}
	return runeSet{{lo, hi}}, nil
}

func oneOr(set runeSet, c rune) runeSet {
	if set != nil {
		return set
	}
	return oneRune(c)
}

// setRune reads a code point of a set, or a class if the set isn't nil.
func (p *patternParser) setRune() (runeSet, rune, error) {
	if p.at >= len(p.text) {
		return nil, 0, refuse("a ] is missing")
	}
	c := p.next()
	if c != '\\' {
		return nil, c, nil
	}
	if p.accept("b") {
		return nil, '\b', nil
	}
	return p.escaped()
}

// foldSet adds the other cases of a set's letters.
func (p *patternParser) foldSet(set runeSet) (runeSet, error) {
	out := set
	for c, folds := range p.tab.folds {
		if set.has(c) || set.has(c-'a'+'A') {
			out = out.union(folds)
		}
	}
	if last := len(set) - 1; last >= 0 && set[last][1] >= utf8.RuneSelf {
		return nil, refuse("a set of more than ASCII under (?i)")
	}
	return out, nil
}
