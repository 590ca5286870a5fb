package tokenize

import (
	"fmt"
	"math"
	"strconv"
)

// libraryFloat reads a number as the library's JSON parser does, which for many
// is the neighbour of the nearest float64: it takes as many digits as fit into
// 64 bits and multiplies or divides by a power of ten, rounding each time. Where
// two ways to cut a text score nearly alike, the last bit decides.
func libraryFloat(lit []byte) (float64, error) {
	if _, err := strconv.ParseFloat(string(lit), 64); err != nil {
		return 0, fmt.Errorf("score %s is not a number in range", lit)
	}
	n := scoreDigits{rest: lit}
	negative := n.skip('-')
	n.exp = n.take()
	if n.skip('.') {
		kept := len(n.rest)
		dropped := n.take()
		n.exp -= kept - len(n.rest) - dropped
	}
	if n.skip('e') || n.skip('E') {
		e, _ := strconv.Atoi(string(n.rest)) // of the right sign if out of range
		n.exp += min(max(e, -1<<30), 1<<30)
	}
	f, err := scale(float64(n.digits), n.exp)
	if err != nil {
		return 0, fmt.Errorf("score %s: %w", lit, err)
	}
	if negative {
		f = -f
	}
	return f, nil
}

// scoreDigits is a number under way: digits × 10^exp.
type scoreDigits struct {
	rest   []byte
	digits uint64
	exp    int
}

func (n *scoreDigits) skip(c byte) bool {
	if len(n.rest) == 0 || n.rest[0] != c {
		return false
	}
	n.rest = n.rest[1:]
	return true
}

// take reads a row of digits and says how many at its end had no room.
func (n *scoreDigits) take() (dropped int) {
	for ; len(n.rest) > 0 && n.rest[0] >= '0' && n.rest[0] <= '9'; n.rest = n.rest[1:] {
		d := uint64(n.rest[0] - '0')
		if dropped > 0 || n.digits > (math.MaxUint64-d)/10 {
			dropped++
			continue
		}
		n.digits = n.digits*10 + d
	}
	return dropped
}

// scale gives f × 10^exp in the library's steps.
func scale(f float64, exp int) (float64, error) {
	for ; exp < -308 && f != 0; exp += 308 {
		f /= 1e308
	}
	switch {
	case f == 0:
		return 0, nil
	case exp < 0:
		return f / tenTo(-exp), nil
	case exp > 308:
		return 0, strconv.ErrRange
	}
	if f *= tenTo(exp); math.IsInf(f, 0) {
		return 0, strconv.ErrRange
	}
	return f, nil
}

// tenTo is 10^n rounded to the nearest, for n up to 308.
func tenTo(n int) float64 {
	f, _ := strconv.ParseFloat("1e"+strconv.Itoa(n), 64)
	return f
}
