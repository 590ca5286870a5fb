package tokenize_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// charsmapVariant is a file's Precompiled before a wide vocabulary, so that what
// it makes shows in the ids.
func charsmapVariant(t testing.TB, kind string) variant {
	t.Helper()
	var f struct {
		Normalizer object `json:"normalizer"`
	}
	require.NoError(t, json.Unmarshal([]byte(trained(t, kind)), &f))
	return variant{name: kind, norm: f.Normalizer, pre: spacePre, wide: true}
}

// clusterText joins code points of all the classes that make clusters.
func (g *textMaker) clusterText() string {
	parts := []string{
		"\r", "\n", "\r\n", "a", "\u0301", "\u0300", "\u0345", "\u200d", "\u200c", "\u0600", "\u0903", "\u0e33", "\U0001f1e9", "\U0001f1ea",
		"\U0001f468", "\u2764", "\ufe0f", "\U0001f3fd", "\u1100", "\u1161", "\u11a8", "\uac00", "\uac01", "\u0915", "\u094d", "\u0937", "\u093c", "\u0d4d",
		"\u304b", "\u3099", "\uff76", "\uff9e", "\ufb01", "\u00bd", "\u2126", " ", "\u3000", "\u00ad", "\u0000", "\u0085", "\u2028", "\ufeff", "\u1e9b", "\u0323",
	}
	var b strings.Builder
	for range 1 + g.IntN(8) {
		b.WriteString(parts[g.IntN(len(parts))])
	}
	return b.String()
}

func TestPrecompiled(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	n := 500
	if soak {
		n = 300_000
	}
	var points []string
	for _, r := range wideRanges {
		points = append(points, everyCodePoint(r[0], r[1])...)
	}
	for i, kind := range []string{"unigram_nfkc", "unigram_folded"} {
		t.Run(kind, func(t *testing.T) {
			r := charsmapVariant(t, kind).request(t)
			tok := r.open(t)
			g := newTextMaker(uint64(i))
			r.Texts = slices.Concat(points, brief())
			for range n {
				r.Texts = append(r.Texts, g.clusterText(), g.marksText(), g.text())
			}
			o.compare(t, tok, r)
		})
	}
}
