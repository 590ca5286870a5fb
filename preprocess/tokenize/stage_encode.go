package tokenize

// encode appends a text with its types and spans, and says whether it was cut.
func (w *textWorker) encode(text string) (cut bool) {
	whole := w.prefixed(text)
	e := w.stage.tokenizer.Encode(whole)
	w.add(&e)
	w.addSpans(&e, text)
	return w.wasCut(len(e.IDs), whole)
}

// pairs appends the pairs of a text and each of the others, and says whether one was cut.
func (w *textWorker) pairs(text string, others []string) (cut bool, err error) {
	text = w.prefixed(text)
	start, ends := len(w.ids.values), w.more[2]
	for _, other := range others {
		a, b := text, other
		if w.stage.config.Pair.First {
			a, b = other, text
		}
		e, err := w.stage.tokenizer.EncodePair(a, b)
		if err != nil {
			return false, err
		}
		w.add(&e)
		if ends != nil {
			ends.values = append(ends.values, int32(len(w.ids.values)-start))
		}
		if w.longer == nil || cut || len(e.IDs) < w.stage.tokenizer.MaxTokens() {
			continue
		}
		more, err := w.longer.EncodePair(a, b)
		cut = err != nil || len(more.IDs) > len(e.IDs)
	}
	return cut, nil
}

// add appends ids and, where they are wanted, types.
func (w *textWorker) add(e *Encoding) {
	w.ids.values = append(w.ids.values, e.IDs...)
	if types := w.more[0]; types != nil {
		types.values = append(types.values, e.TypeIDs...)
	}
}

// addSpans appends where the tokens of prefix and text stand in the text.
func (w *textWorker) addSpans(e *Encoding, text string) {
	spans := w.more[1]
	if spans == nil {
		return
	}
	w.count(text)
	before := int32(len(w.stage.config.Prefix))
	for i, at := range e.Offsets {
		if e.SpecialMask[i] || before > 0 && at[1] <= before {
			spans.values = append(spans.values, -1, -1, -1, -1)
			continue
		}
		from, to := max(at[0]-before, 0), at[1]-before
		spans.values = append(spans.values, from, to, w.char(from), w.char(to))
	}
}

// count fills chars: the characters before each byte of a text. Text that is ASCII needs
// none. Invalid parts count as the tokeniser reads them.
func (w *textWorker) count(text string) {
	w.chars = w.chars[:0]
	plain := true
	for i := 0; i < len(text) && plain; i++ {
		plain = text[i] < 0x80
	}
	if plain {
		return
	}
	chars := int32(0)
	for i := 0; i < len(text); {
		_, n := decode(text[i:])
		for range n {
			w.chars = append(w.chars, chars)
		}
		chars++
		i += n
	}
	w.chars = append(w.chars, chars)
}

// char is the number of characters before a byte of the text that was counted.
func (w *textWorker) char(at int32) int32 {
	if len(w.chars) == 0 {
		return at
	}
	return w.chars[at]
}
