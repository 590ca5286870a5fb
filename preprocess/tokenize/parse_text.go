package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
)

var knownNormalizers = []string{
	"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Sequence", "Strip", "StripAccents",
}

func parseNormalizer(raw json.RawMessage, depth int) (normalizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	kind, err := kindOf("normalizer", raw)
	if err == nil {
		err = tooDeep("normalizer", depth)
	}
	if err != nil {
		return nil, err
	}
	part := "normalizer " + kind
	switch kind {
	case "BertNormalizer", "Bert":
		return parseBertNormalizer(part, raw)
	case "Lowercase":
		return lowercase{}, nil
	case "StripAccents":
		return stripMarks{propMark}, nil
	case "NFC", "NFD", "NFKC", "NFKD":
		return normalForm{compat: kind[2] == 'K', compose: kind[len(kind)-1] == 'C'}, nil
	case "Strip":
		var s struct {
			Left  bool `json:"strip_left"`
			Right bool `json:"strip_right"`
		}
		err := into(part, raw, &s, "strip_left", "strip_right")
		return strip{left: s.Left, right: s.Right}, err
	case "Replace":
		return parseReplace(part, raw)
	case "Prepend":
		var p struct {
			Prepend string `json:"prepend"`
		}
		if err := into(part, raw, &p, "prepend"); err != nil {
			return nil, err
		}
		if p.Prepend == "" {
			return nil, unsupported("normalizer", "Prepend of nothing", knownNormalizers...)
		}
		return prepend{p.Prepend}, nil
	case "Sequence":
		return parseNormalizers(part, raw, depth)
	}
	return nil, unsupported("normalizer", kind, knownNormalizers...)
}

// parseNormalizers reads a Sequence.
func parseNormalizers(part string, raw json.RawMessage, depth int) (normalizer, error) {
	var s struct {
		List []json.RawMessage `json:"normalizers"`
	}
	if err := into(part, raw, &s, "normalizers"); err != nil {
		return nil, err
	}
	var out normalizers
	for _, r := range s.List {
		n, err := parseNormalizer(r, depth+1)
		if err != nil {
			return nil, err
		}
		if n == nil {
			return nil, errors.New("normalizer Sequence: null in the list")
		}
		out = append(out, n)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

func parseBertNormalizer(part string, raw json.RawMessage) (normalizer, error) {
	var b struct {
		Clean bool  `json:"clean_text"`
		Han   bool  `json:"handle_chinese_chars"`
		Strip *bool `json:"strip_accents"`
		Lower bool  `json:"lowercase"`
	}
	if err := into(part, raw, &b, "clean_text", "handle_chinese_chars", "lowercase"); err != nil {
		return nil, err
	}
	n := bertNormalizer{clean: b.Clean, han: b.Han, strip: b.Lower, lower: b.Lower}
	if b.Strip != nil {
		n.strip = *b.Strip
	}
	return n, nil
}

func parseReplace(part string, raw json.RawMessage) (normalizer, error) {
	var r struct {
		Pattern map[string]string `json:"pattern"`
		Content string            `json:"content"`
	}
	if err := into(part, raw, &r, "pattern", "content"); err != nil {
		return nil, err
	}
	old, ok := r.Pattern["String"]
	switch {
	case !ok:
		return nil, unsupported("normalizer", "Replace of a Regex", knownNormalizers...)
	case old == "":
		return nil, unsupported("normalizer", "Replace of nothing", knownNormalizers...)
	}
	return replace{old, r.Content}, nil
}

var knownPreTokenizers = []string{
	"BertPreTokenizer", "Digits", "Punctuation", "Sequence", "Whitespace", "WhitespaceSplit",
}

// parsePreTokenizer appends the pre-tokenizers of a part, Sequences laid flat.
func parsePreTokenizer(raw json.RawMessage, out []preTokenizer, depth int) ([]preTokenizer, error) {
	if isNull(raw) {
		return out, nil
	}
	kind, err := kindOf("pre_tokenizer", raw)
	if err == nil {
		err = tooDeep("pre_tokenizer", depth)
	}
	if err != nil {
		return nil, err
	}
	part := "pre_tokenizer " + kind
	switch kind {
	case "BertPreTokenizer":
		return append(out, bertSplit{}), nil
	case "Whitespace":
		return append(out, wordSplit{}), nil
	case "WhitespaceSplit":
		return append(out, charSplit{propSpace, removed}), nil
	case "Punctuation":
		p := struct {
			Behavior string `json:"behavior"`
		}{"Isolated"}
		if err := into(part, raw, &p); err != nil {
			return nil, err
		}
		b, ok := behaviors[p.Behavior]
		if !ok {
			return nil, fmt.Errorf("%s: behavior %q is unknown", part, p.Behavior)
		}
		return append(out, charSplit{propPunct, b}), nil
	case "Digits":
		var d struct {
			Individual bool `json:"individual_digits"`
		}
		if err := into(part, raw, &d, "individual_digits"); err != nil {
			return nil, err
		}
		if d.Individual {
			return append(out, charSplit{propNumeric, isolated}), nil
		}
		return append(out, charSplit{propNumeric, contiguous}), nil
	case "Sequence":
		var s struct {
			List []json.RawMessage `json:"pretokenizers"`
		}
		if err := into(part, raw, &s, "pretokenizers"); err != nil {
			return nil, err
		}
		for _, r := range s.List {
			if out, err = parsePreTokenizer(r, out, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, unsupported("pre_tokenizer", kind, knownPreTokenizers...)
}
