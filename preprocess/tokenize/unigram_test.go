package tokenize_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

// scored is a small Unigram model made at random, with many equal scores.
type scored struct {
	tokens []string
	scores []float64
	unk    int
	bytes  bool
}

func newScored(g *rand.Rand) scored {
	s := scored{bytes: g.IntN(3) == 0}
	n := 3 + g.IntN(40)
	s.unk = g.IntN(n)
	for i := range n {
		token := ""
		for range 1 + g.IntN(5) {
			token += grammarLetters[g.IntN(len(grammarLetters))]
		}
		if i == s.unk && g.IntN(2) == 0 {
			token = "<unk>"
		}
		s.tokens = append(s.tokens, token)
		score := -float64(g.IntN(6))
		if g.IntN(2) == 0 {
			score = -g.Float64() * 10
		}
		s.scores = append(s.scores, score)
	}
	for b := range 256 {
		if s.bytes && g.IntN(300) > 0 {
			s.tokens = append(s.tokens, tokenize.HexName(byte(b)))
			s.scores = append(s.scores, -20)
		}
	}
	return s
}

func (s scored) file(t testing.TB) string {
	vocab := [][2]any{}
	for i, token := range s.tokens {
		vocab = append(vocab, [2]any{token, s.scores[i]})
	}
	data, err := json.Marshal(object{"version": "1.0", "added_tokens": []any{}, "model": object{
		"type": "Unigram", "vocab": vocab, "unk_id": s.unk, "byte_fallback": s.bytes,
	}})
	require.NoError(t, err)
	return string(data)
}

// TestRandomScores holds small models to the library's.
func TestRandomScores(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	g := rand.New(rand.NewPCG(6, 6))
	n := 400
	if soak {
		n = 20_000
	}
	for range n {
		s := newScored(g)
		var texts []string
		for range 40 {
			texts = append(texts, grammarText(g))
		}
		compareModel(t, o, s.file(t), false, texts)
	}
}

// naive fills a table of the best way to each place, over maps.
func (s scored) naive(text string) []int32 {
	ids, scores, worst := map[string]int{}, map[string]float64{}, s.scores[0]
	for i, token := range s.tokens {
		score, err := tokenize.LibraryFloat(string(must(json.Marshal(s.scores[i]))))
		if err != nil {
			panic(err)
		}
		ids[token], scores[token] = i, score
		worst = min(worst, score)
	}
	type way struct {
		score float64
		from  int
		id    int
		there bool
	}
	ways := make([]way, len(text)+1)
	ways[0].there = true
	for from := range text {
		_, size := utf8.DecodeRuneInString(text[from:])
		for to := from + 1; to <= len(text); to++ {
			token := text[from:to]
			id, known := ids[token]
			score := scores[token]
			if _, single := ids[text[from:from+size]]; to == from+size && !single {
				id, score, known = s.unk, worst-10, true
			}
			if sum := ways[from].score + score; known && ways[from].there && (!ways[to].there || sum > ways[to].score) {
				ways[to] = way{sum, from, id, true}
			}
		}
	}
	var parts []string
	for to := len(text); to > 0; {
		from := ways[to].from
		if ways[to].id == s.unk {
			for from > 0 && ways[from].id == s.unk {
				from = ways[from].from
			}
		}
		parts = append(parts, text[from:to])
		to = from
	}
	var out []int32
	for i := len(parts) - 1; i >= 0; i-- {
		out = append(out, s.known(parts[i], ids)...)
	}
	return out
}

func (s scored) known(part string, ids map[string]int) []int32 {
	if id, ok := ids[part]; ok {
		return []int32{int32(id)}
	}
	var out []int32
	for _, b := range []byte(part) {
		id, ok := ids[tokenize.HexName(b)]
		if !ok || !s.bytes {
			return []int32{int32(s.unk)}
		}
		out = append(out, int32(id))
	}
	return out
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// FuzzUnigram makes a model of the seed and compares both ways of ours with the
// naive one.
func FuzzUnigram(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, grammarText(rand.New(rand.NewPCG(seed, 1))))
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		if !utf8.ValidString(text) || len(text) > 500 {
			return
		}
		s := newScored(rand.New(rand.NewPCG(seed, 2)))
		m, err := tokenize.ParseModel([]byte(s.file(t)), false)
		require.NoError(t, err)
		want := s.naive(text)
		ids, _, _ := m.Tokens(text)
		require.Equal(t, want, ids)
		require.Equal(t, want, m.IDs(text))
		require.Equal(t, want, m.IDs(text))
	})
}
