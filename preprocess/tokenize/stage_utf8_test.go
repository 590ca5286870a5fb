package tokenize_test

import (
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

func TestCheckUTF8(t *testing.T) {
	for text, at := range map[string]int{"\xff": 0, "ab\xc3(": 2, "é\xe2\x82": 2, "\xed\xa0\x80": 0, "東京 \xf0\x9f\x99": 7, "a\uFFFDb\x80": 5} {
		var bad *tokenize.UTF8Error
		require.ErrorAs(t, tokenize.CheckUTF8(text), &bad, "%q", text)
		require.Equal(t, tokenize.UTF8Error{Offset: at, Byte: text[at]}, *bad, "%q", text)
	}
	for _, text := range append([]string{"\uFFFD", "\U0010FFFF"}, someTexts...) {
		require.NoError(t, tokenize.CheckUTF8(text), "%q", text)
	}
}

// Texts that are not UTF-8 are read with their invalid parts replaced, or their rows fail, with
// the column and the place; the rows beside them do not notice.
func TestStageInvalidUTF8(t *testing.T) {
	tok, err := limitedMiniLM(t, 16).With(tokenize.Config{TruncationStrategy: tokenize.LongestFirst})
	require.NoError(t, err)
	texts := []string{"fine", "caf\xe9 au lait", "", "good", "\x80", "last"}
	others := []string{"a", "b", "c", "na\xefve", "\xff", "d"}
	for name, c := range map[string]struct {
		config tokenize.StageConfig
		failed map[int32]string // what is said of a row
	}{
		"ids":    {tokenize.StageConfig{}, map[int32]string{1: "text 3 E9", 4: "text 0 80"}},
		"prefix": {tokenize.StageConfig{Prefix: "query: "}, map[int32]string{1: "text 3 E9", 4: "text 0 80"}},
		"spans":  {tokenize.StageConfig{Spans: "spans", Types: "types"}, map[int32]string{1: "text 3 E9", 4: "text 0 80"}},
		"chunks": {tokenize.StageConfig{Chunk: tokenize.Chunk{Tokens: 8}}, map[int32]string{1: "text 3 E9", 4: "text 0 80"}},
		"pair":   {tokenize.StageConfig{Pair: tokenize.Pair{Column: "other"}}, map[int32]string{1: "text 3 E9", 3: "other 2 EF", 4: "text 0 80"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.Column = "text"
			columns := []string{"text"}
			rows := [][]string{texts}
			if c.config.Pair.Column != "" {
				columns, rows = append(columns, "other"), append(rows, others)
			}
			rec := stringRecord(memory.DefaultAllocator, columns, rows...)
			defer rec.Release()
			replaced := tokens(t, tokenize.NewStage(tok, c.config), stage.Env{}, rec)
			defer replaced.Release()
			for i := range rows {
				valid := make([]string, len(rows[i]))
				for k, text := range rows[i] {
					valid[k] = tokenize.ToValidUTF8(text)
				}
				rows[i] = valid
			}
			clean := stringRecord(memory.DefaultAllocator, columns, rows...)
			defer clean.Release()
			want := tokens(t, tokenize.NewStage(tok, c.config), stage.Env{}, clean)
			defer want.Release()
			require.Equal(t, idsOf(want), idsOf(replaced))

			c.config.InvalidUTF8 = tokenize.RefuseInvalid
			st := tokenize.NewStage(tok, c.config)
			bound, err := st.Bind([]*arrow.Schema{rec.Schema()})
			require.NoError(t, err)
			w, err := bound.Open(t.Context(), stage.Env{})
			require.NoError(t, err)
			require.NoError(t, w.Process(t.Context(), stage.NewBatch(rec, stage.Origin{}), func(o stage.Output) error {
				defer o.Record.Release()
				got := map[int32]string{}
				for _, f := range o.Failed {
					var bad *tokenize.UTF8Error
					require.ErrorAs(t, f.Err, &bad)
					require.Equal(t, stage.BadData, f.Kind)
					got[f.Row] = fmt.Sprintf("%s %d %02X", f.Column, bad.Offset, bad.Byte)
				}
				require.Equal(t, c.failed, got)
				require.Len(t, o.Parent, int(o.Record.NumRows()))
				for k, row := range o.Parent {
					require.NotContains(t, got, row)
					require.Equal(t, list(want, "tokens", int(row)), list(o.Record, "tokens", k))
				}
				return nil
			}))
			require.NoError(t, w.Close())
		})
	}
}

func idsOf(rec arrow.Record) (out [][]int32) {
	for i := range int(rec.NumRows()) {
		out = append(out, list(rec, "tokens", i))
	}
	return out
}

// Refusing gives other results than replacing, so it is of the stage's identity.
func TestStageInvalidUTF8IsOfTheIdentity(t *testing.T) {
	tok := limitedMiniLM(t, 16)
	id := func(how tokenize.InvalidUTF8) string {
		return tokenize.NewStage(tok, tokenize.StageConfig{Column: "text", InvalidUTF8: how}).ID().Fingerprint()
	}
	require.NotEqual(t, id(tokenize.ReplaceInvalid), id(tokenize.RefuseInvalid))
}
