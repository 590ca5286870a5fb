package tokenize

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

var knownPreTokenizers = []string{
	"BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation", "Sequence",
	"Split", "Whitespace", "WhitespaceSplit",
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
	case "ByteLevel":
		b, err := parseByteLevel(part, raw)
		if err != nil {
			return nil, err
		}
		return b.preTokenizers(out)
	case "Metaspace":
		return parseMetaspace(part, raw, out)
	case "Split":
		return parseSplit(part, raw, out)
	case "CharDelimiterSplit", "FixedLength":
		return parseByLength(part, raw, out)
	case "Punctuation":
		p := struct {
			Behavior string `json:"behavior"`
		}{"Isolated"}
		if err := into(part, raw, &p); err != nil {
			return nil, err
		}
		b, err := parseBehavior(part, p.Behavior)
		return append(out, charSplit{propPunct, b}), err
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

func parseBehavior(part, name string) (behavior, error) {
	b, ok := behaviors[name]
	if !ok {
		return 0, fmt.Errorf("%s: behavior %q is unknown", part, name)
	}
	return b, nil
}

// byteLevelJSON is ByteLevel as a pre-tokenizer or a post-processor.
type byteLevelJSON struct {
	Prefix bool  `json:"add_prefix_space"`
	Trim   bool  `json:"trim_offsets"`
	Regex  *bool `json:"use_regex"`
}

func parseByteLevel(part string, raw json.RawMessage) (byteLevelJSON, error) {
	var b byteLevelJSON
	err := into(part, raw, &b, "add_prefix_space", "trim_offsets")
	return b, err
}

// preTokenizers appends the three things that ByteLevel does.
func (b byteLevelJSON) preTokenizers(out []preTokenizer) ([]preTokenizer, error) {
	if b.Prefix {
		out = append(out, spacePrefix{})
	}
	if b.Regex == nil || *b.Regex {
		words, err := newPatternSplit(gpt2Pattern, isolated, false)
		if err != nil {
			return nil, err
		}
		out = append(out, words)
	}
	return append(out, byteMap{}), nil
}

func parseMetaspace(part string, raw json.RawMessage, out []preTokenizer) ([]preTokenizer, error) {
	m := struct {
		Mark   string `json:"replacement"`
		Prefix *bool  `json:"add_prefix_space"`
		Scheme string `json:"prepend_scheme"`
		Split  *bool  `json:"split"`
	}{Scheme: "always"}
	if err := into(part, raw, &m, "replacement"); err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(m.Mark) != 1 {
		return nil, fmt.Errorf("%s: replacement %q is not one character", part, m.Mark)
	}
	scheme, ok := map[string]prependScheme{"always": prependAlways, "first": prependFirst, "never": prependNever}[m.Scheme]
	if !ok {
		return nil, fmt.Errorf("%s: prepend_scheme %q is unknown", part, m.Scheme)
	}
	if m.Prefix != nil && !*m.Prefix && scheme != prependNever {
		return nil, fmt.Errorf("%s: add_prefix_space is false but prepend_scheme is %q", part, m.Scheme)
	}
	out = append(out, marking{m.Mark, scheme})
	if m.Split == nil || *m.Split {
		out = append(out, markSplit{m.Mark})
	}
	return out, nil
}

func parseSplit(part string, raw json.RawMessage, out []preTokenizer) ([]preTokenizer, error) {
	var s struct {
		Pattern  patternJSON `json:"pattern"`
		Behavior string      `json:"behavior"`
		Invert   bool        `json:"invert"`
	}
	if err := into(part, raw, &s, "pattern", "behavior", "invert"); err != nil {
		return nil, err
	}
	b, err := parseBehavior(part, s.Behavior)
	if err != nil {
		return nil, err
	}
	if s.Pattern.String != nil {
		return append(out, newTextSplit(*s.Pattern.String, b, s.Invert)), nil
	}
	if s.Pattern.Regex == nil {
		return nil, fmt.Errorf("%s: the pattern is neither a String nor a Regex", part)
	}
	p, err := newPatternSplit(*s.Pattern.Regex, b, s.Invert)
	if err != nil {
		return nil, unsupported("pre_tokenizer", fmt.Sprintf("Split by %q: %v", *s.Pattern.Regex, err), knownPreTokenizers...)
	}
	return append(out, p), nil
}

// parseByLength reads CharDelimiterSplit or FixedLength.
func parseByLength(part string, raw json.RawMessage, out []preTokenizer) ([]preTokenizer, error) {
	p := struct {
		Delimiter *string `json:"delimiter"`
		Length    int     `json:"length"`
	}{Length: 5}
	if err := into(part, raw, &p); err != nil {
		return nil, err
	}
	if strings.HasSuffix(part, "FixedLength") {
		if p.Length < 1 {
			return nil, fmt.Errorf("%s: length is %d", part, p.Length)
		}
		return append(out, fixedLength{p.Length}), nil
	}
	if p.Delimiter == nil || utf8.RuneCountInString(*p.Delimiter) != 1 {
		return nil, fmt.Errorf("%s: delimiter is not one character", part)
	}
	return append(out, newTextSplit(*p.Delimiter, removed, false)), nil
}
