package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

var knownPostProcessors = []string{"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"}

func parsePostProcessor(raw json.RawMessage, depth int) (processor, error) {
	if isNull(raw) {
		return nil, nil
	}
	kind, err := kindOf("post_processor", raw)
	if err == nil {
		err = tooDeep("post_processor", depth)
	}
	if err != nil {
		return nil, err
	}
	part := "post_processor " + kind
	switch kind {
	case "BertProcessing", "RobertaProcessing":
		return parseClsSep(part, raw, kind == "RobertaProcessing")
	case "TemplateProcessing":
		return parseTemplate(part, raw)
	case "ByteLevel":
		b, err := parseByteLevel(part, raw)
		if err != nil || !b.Trim {
			return processors{}, err
		}
		return byteLevelTrim{addPrefixSpace: b.Prefix}, nil
	case "Sequence":
		var s struct {
			List []json.RawMessage `json:"processors"`
		}
		if err := into(part, raw, &s, "processors"); err != nil {
			return nil, err
		}
		var out processors
		for _, r := range s.List {
			p, err := parsePostProcessor(r, depth+1)
			if err != nil {
				return nil, err
			}
			if p == nil {
				return nil, errors.New("post_processor Sequence: null in the list")
			}
			out = append(out, p)
		}
		return out, nil
	}
	return nil, unsupported("post_processor", kind, knownPostProcessors...)
}

func parseClsSep(part string, raw json.RawMessage, roberta bool) (processor, error) {
	var p struct {
		Sep  namedID `json:"sep"`
		Cls  namedID `json:"cls"`
		Trim bool    `json:"trim_offsets"`
		Keep bool    `json:"add_prefix_space"`
	}
	must := []string{"sep", "cls"}
	if roberta {
		must = append(must, "trim_offsets", "add_prefix_space")
	}
	if err := into(part, raw, &p, must...); err != nil {
		return nil, err
	}
	if roberta {
		return robertaProcessing{cls: p.Cls.id, sep: p.Sep.id, trim: p.Trim, addPrefixSpace: p.Keep}, nil
	}
	return bertProcessing{cls: p.Cls.id, sep: p.Sep.id}, nil
}

// namedID is a token and its id, as ["[SEP]", 102].
type namedID struct{ id int32 }

func (n *namedID) UnmarshalJSON(data []byte) error {
	var list []json.RawMessage
	var name string
	var id int64
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return errors.New("a token and its id are wanted")
	}
	if err := errors.Join(json.Unmarshal(list[0], &name), json.Unmarshal(list[1], &id)); err != nil {
		return err
	}
	var err error
	n.id, err = tokenID(id)
	return err
}

type templateJSON struct {
	Sequence *struct {
		ID   string `json:"id"`
		Type int64  `json:"type_id"`
	}
	SpecialToken *struct {
		ID   string `json:"id"`
		Type int64  `json:"type_id"`
	}
}

type specialJSON struct {
	IDs []int64 `json:"ids"`
}

func parseTemplate(part string, raw json.RawMessage) (processor, error) {
	var f struct {
		Single, Pair []templateJSON
		Special      map[string]specialJSON `json:"special_tokens"`
	}
	if err := into(part, raw, &f, "single", "pair", "special_tokens"); err != nil {
		return nil, err
	}
	single, err := templateParts(f.Single, f.Special)
	if err != nil {
		return nil, fmt.Errorf("%s: single: %w", part, err)
	}
	pair, err := templateParts(f.Pair, f.Special)
	if err != nil {
		return nil, fmt.Errorf("%s: pair: %w", part, err)
	}
	return template{single: single, pair: pair}, nil
}

func templateParts(list []templateJSON, tokens map[string]specialJSON) ([]templatePart, error) {
	var out []templatePart
	for _, e := range list {
		switch {
		case e.Sequence != nil:
			kind, err := tokenID(e.Sequence.Type)
			seq := slices.Index([]string{"A", "B"}, e.Sequence.ID)
			if err != nil || seq < 0 {
				return nil, fmt.Errorf("sequence %q of type %d is wrong", e.Sequence.ID, e.Sequence.Type)
			}
			out = append(out, templatePart{seq: seq, kind: kind})
		case e.SpecialToken != nil:
			t, ok := tokens[e.SpecialToken.ID]
			if !ok {
				return nil, fmt.Errorf("special_tokens lacks %q", e.SpecialToken.ID)
			}
			kind, err := tokenID(e.SpecialToken.Type)
			if err != nil {
				return nil, err
			}
			p := templatePart{ids: make([]int32, len(t.IDs)), kind: kind}
			for i, n := range t.IDs {
				if p.ids[i], err = tokenID(n); err != nil {
					return nil, err
				}
			}
			out = append(out, p)
		default:
			return nil, errors.New("neither a Sequence nor a SpecialToken")
		}
	}
	return out, nil
}
