package tokenize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// UnsupportedError names a part of a tokenizer.json that this package doesn't
// know. Errors from Open, Parse and FromVocab wrap it.
type UnsupportedError struct {
	Part  string   // "model", "normalizer", "pre_tokenizer" or "post_processor"
	Kind  string   // as the file names it
	Known []string // the kinds of this part that are known
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s %q is not supported (supported: %s)", e.Part, e.Kind, strings.Join(e.Known, ", "))
}

func unsupported(part, kind string, known ...string) error {
	return &UnsupportedError{Part: part, Kind: kind, Known: known}
}

// fileJSON is a tokenizer.json.
type fileJSON struct {
	Version    *string `json:"version"`
	Truncation *struct {
		Direction string `json:"direction"`
		MaxLength *int64 `json:"max_length"`
		Strategy  string `json:"strategy"`
	} `json:"truncation"`
	Padding *struct {
		PadID     *int64 `json:"pad_id"`
		PadTypeID int64  `json:"pad_type_id"`
		Direction string `json:"direction"`
	} `json:"padding"`
	AddedTokens   []addedJSON     `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Model         json.RawMessage `json:"model"`
}

type addedJSON struct {
	Content    *string `json:"content"`
	SingleWord bool    `json:"single_word"`
	LStrip     bool    `json:"lstrip"`
	RStrip     bool    `json:"rstrip"`
	Normalized bool    `json:"normalized"`
}

// Parse reads a tokenizer.json. What it asks for that isn't known gives an
// *UnsupportedError.
func Parse(data []byte) (*Tokenizer, error) {
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	return t, nil
}

func parse(data []byte) (*Tokenizer, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the file is not UTF-8")
	}
	var f fileJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, jsonError(data, err)
	}
	if f.Version != nil && *f.Version != "1.0" {
		return nil, fmt.Errorf("version %q of the format is unknown", *f.Version)
	}
	c := &core{tab: chars()}
	var err error
	if c.norm, err = parseNormalizer(f.Normalizer, 0); err != nil {
		return nil, err
	}
	if c.pre, err = parsePreTokenizer(f.PreTokenizer, nil, 0); err != nil {
		return nil, err
	}
	if err := c.parseModel(f.Model); err != nil {
		return nil, err
	}
	if c.post, err = parsePostProcessor(f.PostProcessor, 0); err != nil {
		return nil, err
	}
	if c.limit, err = f.truncation(); err != nil {
		return nil, err
	}
	if c.added, err = newAddedVocab(f.added(), c.model.words(), c.norm, c.tab); err != nil {
		return nil, err
	}
	if err := c.setPad(&f); err != nil {
		return nil, err
	}
	return newTokenizer(c)
}

// parseModel reads the model. A BPE model behind a ByteLevel that comes last is
// made to run on raw bytes, and the ByteLevel needn't spell them.
func (c *core) parseModel(raw json.RawMessage) error {
	last := len(c.pre) - 1
	if last >= 0 && c.pre[last] == (byteMap{}) && !slices.Contains(c.pre[:last], preTokenizer(byteMap{})) && !isNull(raw) {
		kind, err := kindOf("model", raw)
		if err == nil && kind == "" {
			kind, err = bareKind(raw)
		}
		if err != nil {
			return err
		}
		c.bytes = kind == "BPE"
	}
	var err error
	if c.model, err = parseModel(raw, c.bytes); err != nil {
		return err
	}
	if c.bytes {
		c.pre = c.pre[:last]
	}
	c.track = slices.ContainsFunc(c.pre, func(p preTokenizer) bool {
		m, ok := p.(marking)
		return ok && m.scheme == prependFirst
	})
	return nil
}

// jsonError adds the line to an error of the JSON package.
func jsonError(data []byte, err error) error {
	var at int64 = -1
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) {
		at = syntax.Offset
	} else if errors.As(err, &kind) {
		at = kind.Offset
	}
	if at < 0 || at > int64(len(data)) {
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:at], []byte("\n")), err)
}

func (f *fileJSON) truncation() (truncation, error) {
	tr := truncation{max: Unlimited, strategy: LongestFirst, direction: Right}
	t := f.Truncation
	if t == nil {
		return tr, nil
	}
	if t.MaxLength == nil || *t.MaxLength < 0 {
		return tr, errors.New("truncation: max_length is missing or negative")
	}
	tr.max = int(min(*t.MaxLength, math.MaxInt32))
	switch t.Strategy {
	case "LongestFirst":
	case "OnlyFirst":
		tr.strategy = OnlyFirst
	case "OnlySecond":
		tr.strategy = OnlySecond
	default:
		return tr, fmt.Errorf("truncation: strategy %q is unknown", t.Strategy)
	}
	switch t.Direction {
	case "", "Right":
	case "Left":
		tr.direction = Left
	default:
		return tr, fmt.Errorf("truncation: direction %q is unknown", t.Direction)
	}
	return tr, nil
}

func (f *fileJSON) added() []addedToken {
	var out []addedToken
	for _, a := range f.AddedTokens {
		if a.Content != nil {
			out = append(out, addedToken{
				content: *a.Content, singleWord: a.SingleWord,
				lstrip: a.LStrip, rstrip: a.RStrip, normalized: a.Normalized,
			})
		}
	}
	return out
}

// setPad finds the id to pad with, and the side.
func (c *core) setPad(f *fileJSON) error {
	if f.Padding != nil {
		switch f.Padding.Direction {
		case "", "Right":
		case "Left":
			c.padLeft = true
		default:
			return fmt.Errorf("padding: direction %q is unknown", f.Padding.Direction)
		}
		kind, err := tokenID(f.Padding.PadTypeID)
		if err != nil {
			return fmt.Errorf("padding: type %w", err)
		}
		c.padType = kind
	}
	if f.Padding != nil && f.Padding.PadID != nil {
		id, err := tokenID(*f.Padding.PadID)
		c.padID = id
		return err
	}
	for _, name := range []string{"[PAD]", "<pad>"} {
		id, ok := c.added.byText[name]
		if !ok {
			id, ok = c.model.words().trie.lookup(name)
		}
		if ok {
			c.padID = id
			break
		}
	}
	return nil
}

// tokenID checks that an id fits the 32 bits with sign that models read.
func tokenID(n int64) (int32, error) {
	if n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("id %d is out of range", n)
	}
	return int32(n), nil
}

// kindOf reads the type of a part.
func kindOf(part string, raw json.RawMessage) (string, error) {
	var t struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", fmt.Errorf("%s: %w", part, err)
	}
	return t.Type, nil
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null"
}

// into reads a part and checks that the fields it must have are there.
func into(part string, raw json.RawMessage, to any, must ...string) error {
	if len(must) > 0 {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		for _, m := range must {
			if isNull(fields[m]) {
				return fmt.Errorf("%s: %s is missing", part, m)
			}
		}
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	return nil
}

// deepest bounds how Sequences nest.
const deepest = 32

func tooDeep(part string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("%s: Sequences nest deeper than %d", part, deepest)
	}
	return nil
}
