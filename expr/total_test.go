package expr_test

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

func TestMayFail(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "i", Type: arrow.PrimitiveTypes.Int64}, {Name: "f", Type: arrow.PrimitiveTypes.Float64},
		{Name: "s", Type: arrow.BinaryTypes.String}, {Name: "b", Type: arrow.FixedWidthTypes.Boolean},
	}, nil)
	for text, want := range map[string]bool{
		"i > 3 and s in ('a', 'b') or b is null": false,
		"f / 0 > 1":                              false,
		"cast(i as float64) / i > 1":             false,
		"cast(i as bool)":                        false,
		"i = 0.5":                                false,
		"i < f":                                  false,
		"length(s) < 3":                          false,
		"10 / i > 1":                             true,
		"b and i + 1 > 3":                        true,
		"cast(f as int64) = 1":                   true,
		"cast(s as float64) > 0":                 true,
		"not (b or cast(s as bool))":             true,
		"(cast(s as int64) = 1) is null":         true,
	} {
		e, err := expr.Parse(text)
		require.NoError(t, err, text)
		b, err := expr.Bind(e, schema)
		require.NoError(t, err, text)
		assert.Equal(t, want, b.MayFail(), text)
	}
}
