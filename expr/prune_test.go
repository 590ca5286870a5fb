package expr_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

type columnStats struct {
	min, max    any
	nulls, rows int64
}

type statistics map[string]columnStats

func (s statistics) of(name string) (min, max any, nulls, rows int64, ok bool) {
	c, ok := s[name]
	return c.min, c.max, c.nulls, c.rows, ok
}

// trueStats computes what a Parquet writer would have stored, with bounds cut short, left out and unknown here and there.
func trueStats(r *rand.Rand, t *table) statistics {
	s := statistics{}
	for _, f := range t.rec.Schema().Fields() {
		if r.IntN(8) == 0 {
			continue
		}
		c := columnStats{rows: t.rec.NumRows()}
		var lo, hi any
		for _, v := range t.cols[f.Name] {
			if v == nil {
				c.nulls++
				continue
			}
			if _, unordered := compare3(v, v); unordered {
				continue
			}
			if o, _ := compareOr(v, lo); lo == nil || o < 0 {
				lo = v
			}
			if o, _ := compareOr(v, hi); hi == nil || o > 0 {
				hi = v
			}
		}
		dt := f.Type
		if d, ok := dt.(*arrow.DictionaryType); ok {
			dt = d.ValueType
		}
		c.min, c.max = statValue(r, dt, lo, false), statValue(r, dt, hi, true)
		switch r.IntN(10) {
		case 0:
			c.nulls = -1
		case 1:
			c.rows = -1
		case 2:
			c.min = nil
		case 3:
			c.max = nil
		}
		s[f.Name] = c
	}
	return s
}

func compareOr(a, b any) (int, bool) {
	if b == nil {
		return 0, false
	}
	return compare3(a, b)
}

// statValue is a bound in the Go type of its column; text is cut short at random, a max with or without its last byte raised.
func statValue(r *rand.Rand, dt arrow.DataType, v any, upper bool) any {
	switch v := v.(type) {
	case *big.Int:
		if kindOf(dt) == "time" {
			q, rest := new(big.Int).DivMod(v, big.NewInt(1e9), new(big.Int))
			return time.Unix(q.Int64(), rest.Int64()).In(time.FixedZone("", 3600))
		}
		switch dt.ID() {
		case arrow.UINT64:
			return v.Uint64()
		case arrow.UINT8:
			return uint8(v.Uint64())
		case arrow.INT32:
			return int32(v.Int64())
		}
		return v.Int64()
	case float64:
		if dt.ID() == arrow.FLOAT32 && r.IntN(2) == 0 {
			return float32(v)
		}
		return v
	case string:
		b := []byte(v)
		if len(b) > 1 && r.IntN(3) == 0 {
			b = b[:1+r.IntN(len(b)-1)]
			if upper && r.IntN(2) == 0 && b[len(b)-1] < 0xff {
				b[len(b)-1]++
			}
		}
		if r.IntN(2) == 0 {
			return b
		}
		return string(b)
	}
	return v
}

func TestMayMatchNeverLosesARow(t *testing.T) {
	pruned, kept := 0, 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		tab := smallTable(r)
		m := maker{r, tab}
		stats := trueStats(r, tab)
		for range 40 {
			x := m.condition(1 + m.IntN(3))
			may := expr.MayMatch(x.e, stats.of)
			if !may {
				pruned++
			}
			for i := range int(tab.rec.NumRows()) {
				if v, err := x.at(i); err == nil && v == true {
					kept++
					require.True(t, may, "seed %d: %s is true in row %d; stats %v", seed, x.e, i, stats)
					break
				}
			}
		}
		tab.rec.Release()
	}
	require.Greater(t, pruned, 1500, "the test is about something")
	require.Greater(t, kept, 3000)
}

// smallTable has few rows, so that bounds are narrow.
func smallTable(r *rand.Rand) *table {
	t := randomTable(r, memory.DefaultAllocator)
	n := min(t.rec.NumRows(), int64(1+r.IntN(4)))
	whole := t.rec
	t.rec = whole.NewSlice(0, n)
	whole.Release()
	for name, vals := range t.cols {
		t.cols[name] = vals[:n]
	}
	return t
}

func TestMayMatch(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2024, 5, d, 0, 0, 0, 0, time.UTC) }
	stats := statistics{
		"i":    {int32(10), int32(20), 0, 100},
		"u":    {uint64(1 << 63), uint64(math.MaxUint64), 0, 100},
		"f":    {0.25, 0.75, 5, 100},
		"f32":  {float32(0.1), float32(0.1), 0, 100},
		"s":    {"apple", "mango", 0, 100},
		"t":    {day(3), day(9), 0, 100},
		"b":    {false, false, 0, 100},
		"none": {nil, nil, 100, 100},
		"some": {int64(1), int64(2), -1, -1},
		"nan":  {math.NaN(), 3.0, 0, 100},
		"odd":  {int64(5), int64(2), 0, 100},
		"dec":  {nil, nil, 0, 100},
		"i53":  {int64(1<<53 + 1), int64(1<<53 + 1), 0, 100}, // equal as float64
		"f53":  {float64(1 << 53), float64(1 << 53), 0, 100},
	}
	for text, want := range map[string]bool{
		"i > 20": false, "i >= 20": true, "i < 10": false, "10 > i": false, "i = 9": false, "i = 15": true, "i = 15.5": true, "i > 20.5": false,
		"i != 15": true, "not (i >= 10)": false, "not (i <= 20)": false, "not (i > 5 or f > 0.5)": false, "i in (1, 2, 30)": false, "i in (1, 12)": true, "i in ()": false,
		"i is null": false, "i is not null": true, "not (i is not null)": false, "i > 20 or i < 10": false, "i > 20 or f > 0.5": true,
		"i > 15 and i > 30": false, "i > null": false, "i in (null)": false, "i + 1 > 100": true, "length(s) > 1000": true,
		"u = 5": false, "u > -1": true, "u < -1": false, "u = 18446744073709551615": true,
		"f > 0.75": false, "f <= 0.75": true, "f != 0.5": true, "not (f >= 0.0)": true, "f = nan": false, "f is null": true,
		"f32 = 0.1": true, "f32 > 0.1": true, "f32 > 0.2": false, "f32 < 0.05": false,
		"s = 'zebra'": false, "s = 'banana'": true, "s > 'mangosteen'": true, "s > 'mb'": false, "s < 'apple'": false, "s in ('a', 'z')": false,
		"s = 'mangosteen'": true,
		"t > '2024-05-09'": false, "t >= '2024-05-09'": true, "t < timestamp '2024-05-03T00:00:00Z'": false, "t = date '2024-05-10'": false,
		"b": false, "not b": true, "b = true": false, "b and i = 15": false,
		"none = 1": false, "none is null": true, "none is not null": false, "not (none = 1)": false, "none": false,
		"some is null": true, "some is not null": true, "some = 3": false,
		`"nan" < 0.0`: true, `"nan" > 3.0`: false, "nan < 0.0": false, "odd = 100": true, "dec = 7": true, "dec is null": false, "other = 1": true,
		"i = u": false, "i < u": true, "i > u": false, "f < i": true, "f > i": false, "i = f": false, "i53 = f53": true, "i53 > f53": false, "i53 = 9007199254740992.0": false, "i < t": true, "s = 1": true,
		"true": true, "false": false, "null": false, "1 > 2": false, "'2024-01-01' > date '2023-01-01'": true,
	} {
		e, err := expr.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, expr.MayMatch(e, stats.of), text)
	}
	require.True(t, expr.MayMatch(nil, stats.of))
	require.True(t, expr.MayMatch(expr.Lit(struct{}{}), stats.of))
}
