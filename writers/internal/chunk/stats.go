package chunk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/schema"
)

// bounds are the least and the greatest value of some, as statistics hold them; nil: none.
type bounds struct{ least, most []byte }

// maxBound is how long a value may be to stand in the statistics: longer ones are left out,
// and not cut, for readers may take them for values of the chunk.
const maxBound = 4096

// plain encodes a page's values as they stand.
func (c *Column) plain(p *page) error {
	p.bounds = c.boundsOf(p.buf[valuesAt:p.used], p.bits)
	return c.seal(p, parquet.Encodings.Plain)
}

// statistics are those of the chunk: of its dictionary, if it has one, else of its pages.
func (c *Column) statistics(nulls int) (out metadata.EncodedStatistics) {
	out.SetNullCount(int64(nulls))
	out.Signed = c.descr.SortOrder() == schema.SortSIGNED
	all := bounds{}
	if c.dict != nil {
		all = c.dict.bounds
	} else {
		for _, p := range c.pages {
			all = c.wider(all, p.bounds)
		}
	}
	if all.least != nil {
		all = c.zeros(all)
		out.SetMin(all.least)
		out.SetMax(all.most)
		out.ApplyStatSizeLimits(maxBound)
	}
	return out
}

// boundsOf looks at values in their PLAIN form. NaN is no bound.
func (c *Column) boundsOf(plain []byte, nbits int) bounds {
	if len(plain) == 0 {
		return bounds{}
	}
	signed := c.descr.SortOrder() == schema.SortSIGNED
	switch {
	case c.typ == parquet.Types.Boolean:
		return boundsOfBits(plain, nbits)
	case c.typ == parquet.Types.Int32 && signed:
		return integers(arrow.Int32Traits.CastFromBytes(plain))
	case c.typ == parquet.Types.Int32:
		return integers(arrow.Uint32Traits.CastFromBytes(plain))
	case c.typ == parquet.Types.Int64 && signed:
		return integers(arrow.Int64Traits.CastFromBytes(plain))
	case c.typ == parquet.Types.Int64:
		return integers(arrow.Uint64Traits.CastFromBytes(plain))
	case c.typ == parquet.Types.Float:
		return floats(arrow.Float32Traits.CastFromBytes(plain))
	case c.typ == parquet.Types.Double:
		return floats(arrow.Float64Traits.CastFromBytes(plain))
	}
	return c.boundsOfBytes(plain)
}

func boundsOfBits(plain []byte, n int) bounds {
	ones := 0
	for i := range n {
		ones += int(plain[i/8] >> (i % 8) & 1)
	}
	out := bounds{[]byte{1}, []byte{0}}
	if ones < n {
		out.least[0] = 0
	}
	if ones > 0 {
		out.most[0] = 1
	}
	return out
}

func integers[T int32 | uint32 | int64 | uint64](in []T) bounds {
	least, most := in[0], in[0]
	for _, v := range in[1:] {
		least, most = min(least, v), max(most, v)
	}
	return bounds{encode(least), encode(most)}
}

func floats[T float32 | float64](in []T) bounds {
	least, most := T(math.Inf(1)), T(math.Inf(-1))
	some := false
	for _, v := range in {
		if v < least {
			least = v
		}
		if v > most {
			most = v
		}
		some = some || v == v
	}
	if !some {
		return bounds{}
	}
	return bounds{encode(least), encode(most)}
}

func encode[T int32 | uint32 | int64 | uint64 | float32 | float64](v T) []byte {
	out, _ := binary.Append(nil, binary.LittleEndian, v) // of fixed size: cannot fail
	return out
}

func (c *Column) boundsOfBytes(plain []byte) bounds {
	var least, most []byte
	for v := range c.slices(plain) {
		if c.width == 0 {
			v = v[4:]
		}
		if least == nil || bytes.Compare(v, least) < 0 {
			least = v
		}
		if most == nil || bytes.Compare(v, most) > 0 {
			most = v
		}
	}
	return bounds{clone(least), clone(most)}
}

// clone is not nil, however short.
func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// wider holds both.
func (c *Column) wider(a, b bounds) bounds {
	if a.least == nil || b.least == nil {
		if a.least == nil {
			return b
		}
		return a
	}
	if c.compare(b.least, a.least) < 0 {
		a.least = b.least
	}
	if c.compare(b.most, a.most) > 0 {
		a.most = b.most
	}
	return a
}

func (c *Column) compare(a, b []byte) int {
	signed := c.descr.SortOrder() == schema.SortSIGNED
	le := binary.LittleEndian
	switch {
	case c.typ == parquet.Types.Int32 && signed:
		return cmp.Compare(int32(le.Uint32(a)), int32(le.Uint32(b)))
	case c.typ == parquet.Types.Int32:
		return cmp.Compare(le.Uint32(a), le.Uint32(b))
	case c.typ == parquet.Types.Int64 && signed:
		return cmp.Compare(int64(le.Uint64(a)), int64(le.Uint64(b)))
	case c.typ == parquet.Types.Int64:
		return cmp.Compare(le.Uint64(a), le.Uint64(b))
	case c.typ == parquet.Types.Float:
		return cmp.Compare(math.Float32frombits(le.Uint32(a)), math.Float32frombits(le.Uint32(b)))
	case c.typ == parquet.Types.Double:
		return cmp.Compare(math.Float64frombits(le.Uint64(a)), math.Float64frombits(le.Uint64(b)))
	}
	return bytes.Compare(a, b)
}

// zeros makes a least zero negative and a greatest one positive, as the format asks, for the
// two are equal and readers may tell them apart.
func (c *Column) zeros(b bounds) bounds {
	switch c.typ {
	case parquet.Types.Float:
		if math.Float32frombits(binary.LittleEndian.Uint32(b.least)) == 0 {
			b.least = encode(float32(math.Copysign(0, -1)))
		}
		if math.Float32frombits(binary.LittleEndian.Uint32(b.most)) == 0 {
			b.most = encode(float32(0))
		}
	case parquet.Types.Double:
		if math.Float64frombits(binary.LittleEndian.Uint64(b.least)) == 0 {
			b.least = encode(math.Copysign(0, -1))
		}
		if math.Float64frombits(binary.LittleEndian.Uint64(b.most)) == 0 {
			b.most = encode(float64(0))
		}
	}
	return b
}
