package tokenize

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// A post-processor only joins: special tokens and whole sequences, in an order
// that doesn't depend on the text. So it is run once, when a tokenizer is made,
// over stand-ins, and what comes out is the plan for every text.

// part is an element of the output: a special token, or all tokens of a
// sequence.
type part struct {
	seq      int // 0 or 1; special if negative
	id, kind int32
	mask     bool // shows in the special-token mask
	trims    []trim
}

const noSequence = -1

func specialPart(id, kind int32) part { return part{seq: noSequence, id: id, kind: kind, mask: true} }

// trim is RobertaProcessing's trim_offsets: white space in a token's text
// leaves its offsets.
type trim struct {
	keepOne bool // add_prefix_space: a single space before the first token stays
	first   bool // the sequence's first token is the first of its list
}

// parts are what the library calls an encoding.
type parts []part

// processor is a post-processor.
type processor interface {
	// added is how many special tokens the library leaves room for.
	added(pair bool) int
	// process maps a list of encodings to another.
	process(list []parts, special bool) ([]parts, error)
}

// plan is the output for one text or a pair.
type plan struct {
	parts      parts
	added      int     // room for special tokens
	simple     bool    // pre, the first sequence, post
	pre, post  []int32 // ids
	sequenceAt int     // index of the first sequence if simple
}

func newPlan(p processor, pair, special bool) (*plan, error) {
	list := []parts{{{seq: 0}}}
	if pair {
		list = append(list, parts{{seq: 1, kind: 1}})
	}
	out := &plan{}
	if p != nil {
		var err error
		if list, err = p.process(list, special); err != nil {
			return nil, err
		}
		if special {
			out.added = p.added(pair)
		}
	}
	for _, e := range list {
		out.parts = append(out.parts, e...)
	}
	seen := 0
	for i, e := range out.parts {
		switch {
		case e.seq >= 0:
			seen++
			out.sequenceAt = i
		case seen == 0:
			out.pre = append(out.pre, e.id)
		default:
			out.post = append(out.post, e.id)
		}
	}
	out.simple = seen == 1
	return out, nil
}

// processors are Sequence.
type processors []processor

func (ps processors) added(pair bool) int {
	n := 0
	for _, p := range ps {
		n += p.added(pair)
	}
	return n
}

func (ps processors) process(list []parts, special bool) ([]parts, error) {
	var err error
	for _, p := range ps {
		if list, err = p.process(list, special); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// bertProcessing is BertProcessing.
type bertProcessing struct{ cls, sep int32 }

func (p bertProcessing) added(pair bool) int {
	if pair {
		return 3
	}
	return 2
}

func (p bertProcessing) process(list []parts, on bool) ([]parts, error) {
	if !on {
		return list, nil
	}
	for i, e := range list {
		e.unmask()
		if i == 0 {
			list[i] = join(parts{specialPart(p.cls, 0)}, e, parts{specialPart(p.sep, 0)})
		} else {
			list[i] = join(e, parts{specialPart(p.sep, 1)})
		}
	}
	return list, nil
}

// robertaProcessing is RobertaProcessing; all its type ids are 0.
type robertaProcessing struct {
	cls, sep             int32
	trim, addPrefixSpace bool
}

func (p robertaProcessing) added(pair bool) int {
	if pair {
		return 4
	}
	return 2
}

func (p robertaProcessing) process(list []parts, on bool) ([]parts, error) {
	for i, e := range list {
		for k := range e {
			e[k].kind = 0
		}
		if p.trim {
			e.trim(p.addPrefixSpace)
		}
		if !on {
			continue
		}
		first := p.cls
		if i > 0 {
			first = p.sep
		}
		e.unmask()
		list[i] = join(parts{specialPart(first, 0)}, e, parts{specialPart(p.sep, 0)})
	}
	return list, nil
}

// byteLevelTrim is ByteLevel as a post-processor, its trim_offsets set.
type byteLevelTrim struct{ addPrefixSpace bool }

func (byteLevelTrim) added(bool) int { return 0 }

func (p byteLevelTrim) process(list []parts, _ bool) ([]parts, error) {
	for _, e := range list {
		e.trim(p.addPrefixSpace)
	}
	return list, nil
}

// trim adds a trim to all sequences of a list.
func (ps parts) trim(keepOne bool) {
	for k := range ps {
		if e := &ps[k]; e.seq >= 0 {
			e.trims = append(e.trims[:len(e.trims):len(e.trims)], trim{keepOne: keepOne, first: k == 0})
		}
	}
}

// template is TemplateProcessing.
type template struct{ single, pair []templatePart }

// templatePart is a sequence if ids is nil.
type templatePart struct {
	seq  int
	ids  []int32
	kind int32
}

func (p template) added(pair bool) int {
	n := 0
	for _, e := range p.of(pair) {
		n += len(e.ids)
	}
	return n
}

func (p template) of(pair bool) []templatePart {
	if pair {
		return p.pair
	}
	return p.single
}

func (p template) process(list []parts, on bool) ([]parts, error) {
	if len(list) > 2 {
		return nil, errors.New("a TemplateProcessing can't follow another one")
	}
	var out []parts
	for _, t := range p.of(len(list) == 2) {
		if t.ids == nil {
			if t.seq >= len(list) {
				return nil, errors.New("the template for a single text has the second sequence in it")
			}
			e := join(list[t.seq])
			for k := range e {
				e[k].kind = t.kind
			}
			out = append(out, e)
			continue
		}
		if on {
			var e parts
			for _, id := range t.ids {
				e = append(e, specialPart(id, t.kind))
			}
			out = append(out, e)
		}
	}
	return out, nil
}

// unmask is what the library does to the special tokens of a processor that
// another one follows.
func (ps parts) unmask() {
	for i := range ps {
		ps[i].mask = false
	}
}

func join(lists ...parts) parts {
	var out parts
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// trimOffsets takes white space off the ends of a token's range of the input,
// as process_offsets of the library does for the i-th token of a list.
func (c *core) trimOffsets(t trim, from span, i int, tok token, w *work, input string) span {
	lead, trail := c.blanks(tok, w)
	if lead == 1 && t.keepOne && ((i == 0 && t.first) || from.start == 0) {
		lead = 0
	}
	start, end := int(from.start), int(from.end)
	for ; lead > 0 && start < end; lead-- {
		_, n := decode(input[start:])
		start = min(start+n, end)
	}
	if back, ok := stepBack(input, end, trail); ok {
		end = max(back, start)
	}
	return span{int32(start), int32(end)}
}

// blanks counts the white space at both ends of a token as it is written in the
// vocabulary, where a space may be spelled Ġ.
func (c *core) blanks(tok token, w *work) (lead, trail int) {
	text := w.all.text[tok.lo:tok.hi]
	if m, ok := c.model.(*bpe); ok && w.pieces[tok.word].id == noToken {
		name, _ := m.vocab.idToToken(tok.id)
		text, tok.kind = []byte(name), tokenFirst
	}
	if tok.kind == tokenUnk {
		return 0, 0
	}
	blank := func(r rune) bool { return r == 'Ġ' || w.tab.is(r, propSpace) }
	for rest := text; tok.kind != tokenInner && len(rest) > 0; lead++ {
		r, n := utf8.DecodeRune(rest)
		if !blank(r) {
			break
		}
		rest = rest[n:]
	}
	for rest := text; len(rest) > 0; trail++ {
		r, n := utf8.DecodeLastRune(rest)
		if !blank(r) {
			break
		}
		rest = rest[:len(rest)-n]
	}
	return lead, trail
}

// stepBack goes n code points back from at; it can't where there are fewer.
func stepBack(input string, at, n int) (int, bool) {
	for ; n > 0; n-- {
		if at == 0 {
			return 0, false
		}
		c, size := utf8.DecodeLastRuneInString(input[:at])
		if c == unicode.ReplacementChar && size == 1 {
			size = invalidBefore(input, at)
		}
		at -= size
	}
	return at, true
}

// invalidBefore is the length of the invalid part that ends at at.
func invalidBefore(input string, at int) int {
	for size := min(3, at); size > 1; size-- {
		if _, n := decode(input[at-size:]); n == size {
			return size
		}
	}
	return 1
}
