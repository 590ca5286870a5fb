package tokenize_test

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/preprocess/tokenize"
)

// oracle is a Python process with the Rust library in it; see
// testdata/oracle.py for the terms.
type oracle struct {
	in  *json.Encoder
	out *bufio.Reader
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	cmd := exec.Command(testkit.Python(t), "testdata/oracle.py")
	cmd.Env = append(os.Environ(), "RUST_BACKTRACE=0")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		_, err := io.Copy(io.Discard, out)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
	})
	return &oracle{in: json.NewEncoder(in), out: bufio.NewReaderSize(out, 1<<20)}
}

// oneGoroutine skips, under the race detector, a test that compares at length
// and starts no goroutine: there is nothing to find, and it takes ten times as
// long. [TestRandomTexts] and [TestConcurrentUse] remain.
func oneGoroutine(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector")
	}
	t.Parallel()
}

// request is what both sides are asked.
type request struct {
	File      string      `json:"file,omitempty"`
	JSON      string      `json:"json,omitempty"`
	Texts     []string    `json:"texts,omitempty"`
	Pairs     [][2]string `json:"pairs,omitempty"`
	Bytes     [][]byte    `json:"bytes,omitempty"`
	Model     string      `json:"model,omitempty"`
	Train     object      `json:"train,omitempty"`
	Special   bool        `json:"special"`
	Max       int         `json:"max,omitempty"`
	Strategy  string      `json:"strategy,omitempty"`
	Direction string      `json:"direction,omitempty"`
}

// answer is the oracle's, for all texts together; offsets in characters.
type answer struct {
	Error                             string
	Counts, IDs, Types, Offsets, Mask numbers
	Words, Seqs, Starts               numbers
}

func (a *answer) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &struct {
		Error   *string  `json:"error"`
		Counts  *numbers `json:"counts"`
		IDs     *numbers `json:"ids"`
		Types   *numbers `json:"types"`
		Offsets *numbers `json:"offsets"`
		Mask    *numbers `json:"mask"`
		Words   *numbers `json:"words"`
		Seqs    *numbers `json:"seqs"`
		Starts  *numbers `json:"starts"`
	}{&a.Error, &a.Counts, &a.IDs, &a.Types, &a.Offsets, &a.Mask, &a.Words, &a.Seqs, &a.Starts})
}

type numbers []int32

func (n *numbers) UnmarshalJSON(data []byte) error {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
	used, err := base64.StdEncoding.Decode(raw, data[1:len(data)-1])
	if err != nil {
		return err
	}
	for i := 0; i < used; i += 4 {
		*n = append(*n, int32(binary.LittleEndian.Uint32(raw[i:])))
	}
	return nil
}

func (o *oracle) ask(t testing.TB, r request) answer {
	t.Helper()
	require.NoError(t, o.in.Encode(r))
	return o.read(t)
}

func (o *oracle) read(t testing.TB) answer {
	t.Helper()
	line, err := o.out.ReadBytes('\n')
	require.NoError(t, err)
	var a answer
	require.NoError(t, json.Unmarshal(line, &a))
	return a
}

// encodings cuts the answer up and turns its offsets into bytes.
func (a answer) encodings(r request) []tokenize.Encoding {
	out := make([]tokenize.Encoding, len(a.Counts))
	at, starts := 0, a.Starts
	for i, n := range a.Counts {
		e := &out[i]
		lo, hi := at, at+int(n)
		at = hi
		e.IDs, e.TypeIDs, e.WordIDs = a.IDs[lo:hi], a.Types[lo:hi], a.Words[lo:hi]
		e.SpecialMask, e.Offsets = make([]bool, n), make([][2]int32, n)
		var texts [2][]int32
		switch {
		case r.Pairs != nil:
			texts = [2][]int32{bytePositions(r.Pairs[i][0]), bytePositions(r.Pairs[i][1])}
		case r.Bytes != nil:
			chars := slices.Index(starts, int32(len(r.Bytes[i]))) + 1
			texts[0], starts = starts[:chars], starts[chars:]
		default:
			texts[0] = bytePositions(r.Texts[i])
		}
		for k := range e.IDs {
			e.SpecialMask[k] = a.Mask[lo+k] == 1
			start, end := a.Offsets[2*(lo+k)], a.Offsets[2*(lo+k)+1]
			if !e.SpecialMask[k] {
				text := texts[0]
				if r.Pairs != nil && a.Seqs[lo+k] == 1 {
					text = texts[1]
				}
				start, end = position(text, start), position(text, end)
			}
			e.Offsets[k] = [2]int32{start, end}
		}
	}
	return out
}

// bytePositions gives the byte position of each character and of the end.
func bytePositions(s string) []int32 {
	out := make([]int32, 0, len(s)+1)
	for i := range s {
		out = append(out, int32(i))
	}
	return append(out, int32(len(s)))
}

func position(positions []int32, char int32) int32 {
	if int(char) >= len(positions) {
		return -1
	}
	return positions[char]
}

var strategies = map[string]tokenize.Strategy{
	"longest_first": tokenize.LongestFirst, "only_first": tokenize.OnlyFirst, "only_second": tokenize.OnlySecond,
}

// open gives our tokenizer for a request.
func (r request) open(t testing.TB) *tokenize.Tokenizer {
	t.Helper()
	var tok *tokenize.Tokenizer
	var err error
	if r.File != "" {
		tok, err = tokenize.Open(r.File)
	} else {
		tok, err = tokenize.Parse([]byte(r.JSON))
	}
	require.NoError(t, err, "%.2000s", r.JSON)
	cfg := tokenize.Config{NoSpecialTokens: !r.Special}
	if r.Strategy != "" {
		cfg.MaxTokens, cfg.TruncationStrategy = r.Max, strategies[r.Strategy]
		cfg.TruncationDirection = tokenize.Right
		if r.Direction == "left" {
			cfg.TruncationDirection = tokenize.Left
		}
	}
	tok, err = tok.With(cfg)
	require.NoError(t, err)
	return tok
}

// compare asks both sides and fails on the first texts that they differ on.
func (o *oracle) compare(t testing.TB, tok *tokenize.Tokenizer, r request) {
	t.Helper()
	require.NoError(t, o.in.Encode(r))
	var ours []tokenize.Encoding
	for _, text := range r.Texts {
		ours = append(ours, tok.Encode(text))
	}
	for _, p := range r.Pairs {
		e, err := tok.EncodePair(p[0], p[1])
		require.NoError(t, err, "%q", p)
		ours = append(ours, e)
	}
	for _, b := range r.Bytes {
		ours = append(ours, tok.Encode(string(b)))
	}
	a := o.read(t)
	require.Empty(t, a.Error)
	theirs := a.encodings(r)
	require.Len(t, theirs, len(ours))
	bad := 0
	for i := range ours {
		what, fast := r.input(i), ours[i].IDs
		if r.Texts != nil {
			fast = tok.AppendIDs(nil, r.Texts[i])
		} else if r.Bytes != nil {
			fast = tok.AppendIDsBytes(nil, r.Bytes[i])
		}
		if !slices.Equal(fast, ours[i].IDs) {
			t.Errorf("%s: AppendIDs and Encode differ:\n%v\n%v", what, fast, ours[i].IDs)
			bad++
		}
		if d := difference(ours[i], theirs[i]); d != "" {
			t.Errorf("%s: %s", what, d)
			bad++
		}
		if bad > 5 {
			t.Fatal("and more")
		}
	}
}

// input is the i-th text, to be read.
func (r request) input(i int) string {
	switch {
	case r.Pairs != nil:
		return fmt.Sprintf("%+q", r.Pairs[i])
	case r.Bytes != nil:
		return fmt.Sprintf("%+q", r.Bytes[i])
	}
	return fmt.Sprintf("%+q", r.Texts[i])
}

// difference says in what an encoding isn't the library's, "" if it is.
func difference(ours, theirs tokenize.Encoding) string {
	switch {
	case !slices.Equal(ours.IDs, theirs.IDs):
		return fmt.Sprintf("ids\n ours   %v\n theirs %v", ours.IDs, theirs.IDs)
	case !slices.Equal(ours.TypeIDs, theirs.TypeIDs):
		return fmt.Sprintf("type ids\n ours   %v\n theirs %v", ours.TypeIDs, theirs.TypeIDs)
	case !slices.Equal(ours.Offsets, theirs.Offsets):
		return fmt.Sprintf("offsets of %v\n ours   %v\n theirs %v", ours.IDs, ours.Offsets, theirs.Offsets)
	case !slices.Equal(ours.SpecialMask, theirs.SpecialMask):
		return fmt.Sprintf("special mask\n ours   %v\n theirs %v", ours.SpecialMask, theirs.SpecialMask)
	case !slices.Equal(ours.WordIDs, theirs.WordIDs):
		return fmt.Sprintf("word ids\n ours   %v\n theirs %v", ours.WordIDs, theirs.WordIDs)
	}
	return ""
}

// miniLM is the model's tokenizer.json without its limit of 128 tokens, if
// whole is set.
func miniLM(t testing.TB, whole bool) request {
	t.Helper()
	file := testkit.MiniLM(t) + "/tokenizer.json"
	if !whole {
		return request{File: file, Special: true}
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &fields))
	fields["truncation"] = json.RawMessage("null")
	data, err = json.Marshal(fields)
	require.NoError(t, err)
	return request{JSON: string(data), Special: true}
}

func validRune(c rune) bool { return c <= utf8.MaxRune && (c < 0xD800 || c > 0xDFFF) }
