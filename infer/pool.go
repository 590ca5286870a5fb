package infer

import (
	"math"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/float16"
)

// Pooling is how the vectors of a text's tokens become one.
type Pooling uint8

const (
	NoPooling        Pooling = iota // the model gives one vector a text itself
	MeanPooling                     // mean over the tokens
	CLSPooling                      // the first token's
	MaxPooling                      // the greatest of each component
	LastTokenPooling                // the last token's

	everyToken // none: the vectors of all tokens are wanted
)

func (p Pooling) String() string {
	return [...]string{"none (in the model)", "mean", "cls", "max", "lasttoken", "none (every token)"}[p]
}

// ParsePooling reads the name of a pooling: model, mean, cls, max or lasttoken.
func ParsePooling(name string) (Pooling, error) {
	i, err := choose("pooling", name, []string{"model", "mean", "cls", "max", "lasttoken"})
	return Pooling(i), err
}

// pool writes into dst the vector of a row of the output, whose real tokens are n from the
// first on. It sums in float32, as the reference implementations do.
func (p Pooling) pool(dst []float32, out *output, row, first, n int) {
	switch p {
	case NoPooling:
		copy(dst, out.vector(row, 0))
	case CLSPooling:
		copy(dst, out.vector(row, min(first, out.tokens-1)))
	case LastTokenPooling:
		copy(dst, out.vector(row, max(first+n-1, 0)))
	case MeanPooling:
		meanPool(dst, out, row, first, n)
	case MaxPooling:
		maxPool(dst, out, row, min(first, out.tokens-1), n)
	}
}

func meanPool(dst []float32, out *output, row, first, n int) {
	clear(dst)
	for t := first; t < first+n; t++ {
		v := out.vector(row, t)[:len(dst)]
		for i := range dst {
			dst[i] += v[i]
		}
	}
	if n > 1 {
		k := float32(n)
		for i := range dst {
			dst[i] /= k
		}
	}
}

func maxPool(dst []float32, out *output, row, first, n int) {
	copy(dst, out.vector(row, first))
	for t := first + 1; t < first+n; t++ {
		v := out.vector(row, t)[:len(dst)]
		for i := range dst {
			dst[i] = max(dst[i], v[i])
		}
	}
}

// normalize brings v to length 1; one shorter than 1e-12 is divided by that, as PyTorch
// does.
func normalize(v []float32) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	k := float32(1 / math.Max(math.Sqrt(sum), 1e-12))
	for i := range v {
		v[i] *= k
	}
}

func dot(a, b []float32) float32 {
	var sum float32
	b = b[:len(a)]
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// output reads the output tensor of a run in place: [rows, tokens, dim], or [rows, dim]
// with tokens 1.
type output struct {
	tokens, dim int
	f32         []float32
	f16         []float16.Num // where the model gives halves
	scratch     []float32     // a vector of halves, widened
}

func newOutput(data []byte, t ElementType, rows, tokens, dim int, scratch []float32) output {
	out := output{tokens: tokens, dim: dim, scratch: scratch}
	n := rows * tokens * dim
	if t == Float16 {
		out.f16 = unsafe.Slice((*float16.Num)(unsafe.Pointer(&data[0])), n)
	} else {
		out.f32 = unsafe.Slice((*float32)(unsafe.Pointer(&data[0])), n)
	}
	return out
}

// vector is valid until the next call.
func (o *output) vector(row, token int) []float32 {
	at := (row*o.tokens + token) * o.dim
	if o.f32 != nil {
		return o.f32[at : at+o.dim]
	}
	for i, h := range o.f16[at : at+o.dim] {
		o.scratch[i] = h.Float32()
	}
	return o.scratch[:o.dim]
}
