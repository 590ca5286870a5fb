package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
)

var knownNormalizers = []string{
	"BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace",
	"Sequence", "Strip", "StripAccents",
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
	case "ByteLevel":
		return byteMap{}, nil
	case "Nmt":
		return nmt{}, nil
	case "Precompiled":
		var p struct {
			Map []byte `json:"precompiled_charsmap"` // base64
		}
		if err := into(part, raw, &p, "precompiled_charsmap"); err != nil {
			return nil, err
		}
		return newPrecompiled(p.Map)
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

// patternJSON is {"String": ...} or {"Regex": ...}.
type patternJSON struct{ String, Regex *string }

func parseReplace(part string, raw json.RawMessage) (normalizer, error) {
	var r struct {
		Pattern patternJSON `json:"pattern"`
		Content string      `json:"content"`
	}
	if err := into(part, raw, &r, "pattern", "content"); err != nil {
		return nil, err
	}
	kind := ""
	switch {
	case r.Pattern.String != nil && *r.Pattern.String != "":
		return replace{*r.Pattern.String, r.Content}, nil
	case r.Pattern.Regex != nil:
		re, err := newRegex(*r.Pattern.Regex)
		if err == nil && !re.empty {
			return replacePattern{re, r.Content}, nil
		}
		if err == nil {
			err = errEmptyMatch
		}
		kind = fmt.Sprintf("Replace of %q: %v", *r.Pattern.Regex, err)
	case r.Pattern.String != nil:
		kind = "Replace of nothing"
	default:
		return nil, fmt.Errorf("%s: the pattern is neither a String nor a Regex", part)
	}
	return nil, unsupported("normalizer", kind, knownNormalizers...)
}

// errEmptyMatch is for what the library makes of a text whose first replacement
// comes from nowhere: the next normalizer doubles it.
var errEmptyMatch = refuse("it matches nothing at all")
