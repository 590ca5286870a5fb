package expr_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

var parseTable = map[string]string{
	"score > 0.5 and label in ('spam', 'ham') and length(text) < 200 and x is not null": "",
	"a or b and not c = 1 + 2 * 3": "",
	"(a or b) and c":               "",
	"((a)) = (b)":                  "a = b",
	"a - b - c":                    "",
	"a - (b - c) / d":              "",
	"NOT a AND b Or c":             "not a and b or c",
	"not (a and b)":                "",
	"a == 1 and b <> 2":            "a = 1 and b != 2",
	"x not in (1, -2, null)":       "not x in (1, -2, null)",
	"not not a":                    "",
	"x in ()":                      "",
	"cast(x as INT64) = Cast(y AS timestamp[us, tz=Europe/Paris])": "cast(x as int64) = cast(y as timestamp[us, tz=Europe/Paris])",
	"cast(x as timestamp[ns])":                                     "",
	"cast(x as timestamp[s, +05:30]) is null":                      "cast(x as timestamp[s, tz=+05:30]) is null",
	"cast(a as text) = cast(b as double)":                          "cast(a as string) = cast(b as float64)",
	"'it''s'":                                                      "",
	`"a ""b""" = "select"`:                                         `"a ""b""" = select`,
	`"and" and "Null"`:                                             "",
	"-x":                                                           "-1 * x",
	"- -5":                                                         "-1 * -5",
	"a - -5":                                                       "",
	"-9223372036854775808":                                         "",
	"18446744073709551615":                                         "",
	".5 + 1. + 1E3 + 1e-7":                                         "0.5 + 1.0 + 1000.0 + 1e-07",
	"-0.0":                                                         "",
	"inf = -inf or nan != -nan":                                    "inf = -inf or nan != nan",
	"x'00fF' = b":                                                  "x'00ff' = b",
	"x = timestamp":                                                "",
	"date = date '2024-05-01'":                                     "date = timestamp '2024-05-01T00:00:00Z'",
	"timestamp '2024-05-01 10:00:00+02:00' < ts": "timestamp '2024-05-01T08:00:00Z' < ts",
	"length = 3": "",
	"größe > 1 and 名 = 2 and _x1 is null": "",
	"a is null = b":          "!expected an operator",
	"(a is null) = b":        "",
	"true and FALSE or null": "true and false or null",
	"a\n\tand b":             "a and b",
}

func TestParse(t *testing.T) {
	for text, want := range parseTable {
		e, err := expr.Parse(text)
		if strings.HasPrefix(want, "!") {
			require.ErrorContains(t, err, want[1:], text)
			continue
		}
		require.NoError(t, err, text)
		if want == "" {
			want = text
		}
		require.Equal(t, want, e.String())
		again, err := expr.Parse(e.String())
		require.NoError(t, err, e.String())
		require.Equal(t, e.String(), again.String())
	}
}

func TestParseErrors(t *testing.T) {
	deep := strings.Repeat("(", 100000)
	for _, c := range []struct {
		text string
		pos  int
		msg  string
	}{
		{"", 1, "expected a column"},
		{"a >", 4, "at its end: expected a column"},
		{"a > 0.5 adn b", 9, `"adn"): expected an operator or the end`},
		{"größe > > 1", 9, "expected a column"},
		{"a = 'x", 5, "the quote ' is never closed"},
		{`"a`, 1, `the quote " is never closed`},
		{"x = x'0'", 5, "pairs of hexadecimal digits"},
		{"a in (1, b)", 10, "constants only"},
		{"a in (1 2)", 9, `expected ","`},
		{"a not 1", 7, `expected "in"`},
		{"a is 1", 6, `expected "null"`},
		{"1 < a < 3", 7, "comparisons don't chain"},
		{"lenght(a) > 1", 1, "there is no function lenght; did you mean length?"},
		{"frobnicate(a)", 1, "there is no function frobnicate"},
		{"cast(a as itn64)", 11, "there is no type itn64; did you mean int64?"},
		{"cast(a as timestamp)", 11, "write timestamp[s]"},
		{"cast(a as timestamp[m])", 20, "s, ms, us or ns"},
		{"cast(a int8)", 8, `expected "as"`},
		{"12abc", 1, "double quotes"},
		{"1e", 1, "no digits"},
		{"18446744073709551616", 1, "too large for a 64-bit integer"},
		{"-9223372036854775809", 2, "too large"},
		{"1e999", 1, "too large for a float64"},
		{"a # b", 3, "no meaning"},
		{"in = 1", 1, "written in double quotes"},
		{"date '2024-13-01'", 6, "not a date"},
		{"date '2024-01-01T10:00:00Z'", 6, "no time of day"},
		{"a = \xff", 1, "not UTF-8"},
		{deep, 501, "nested more than"},
		{strings.Repeat("not ", 100000) + "a", 1, "nested more than"},
		{strings.Repeat("- ", 100000) + "a", 1, "nested more than"},
		{"a" + strings.Repeat(" + a", 1000), 1, "operations in a row"},
	} {
		_, err := expr.Parse(c.text)
		var pe *expr.ParseError
		require.ErrorAs(t, err, &pe, c.text)
		require.ErrorContains(t, err, c.msg)
		require.Less(t, len(err.Error()), 500)
		if len(c.text) < 1000 || c.text == deep {
			require.Equal(t, c.pos, pe.Position(), c.text)
		}
	}
}

// What parses has a text that parses to the same; and nothing panics.
func FuzzParse(f *testing.F) {
	for text := range parseTable {
		f.Add(text)
	}
	f.Add("((((1")
	f.Add("timestamp '0000-01-01T00:00:00+23:59'")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := expr.Parse(text)
		if err != nil {
			var pe *expr.ParseError
			require.ErrorAs(t, err, &pe)
			require.NotEmpty(t, err.Error())
			require.Positive(t, pe.Position())
			return
		}
		again, err := expr.Parse(e.String())
		require.NoError(t, err, "%q became %q", text, e)
		require.Equal(t, e.String(), again.String())
		expr.MayMatch(e, func(string) (any, any, int64, int64, bool) { return "a", int64(1), 0, 1, true })
	})
}
