package job

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes that is written as people do: 2GiB, 512MB, 1.5 GiB, 4096.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText reads a size. A number without a unit is bytes.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), 1.0
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || math.IsNaN(x):
		return fmt.Errorf("job: %q is not a size: write 512MiB, 2GiB or a number of bytes", text)
	case x < 0:
		return fmt.Errorf("job: the size %s is negative", text)
	case x*unit >= math.MaxInt64:
		return fmt.Errorf("job: the size %s is too large", text)
	}
	*s = Size(x * unit)
	return nil
}

// String gives the size in the largest binary unit below it.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; float64(s) >= u.bytes {
			x := float64(s) / u.bytes
			if x >= 100 || x == math.Trunc(x) {
				return fmt.Sprintf("%.0f %s", x, u.name)
			}
			return fmt.Sprintf("%.1f %s", x, u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}
