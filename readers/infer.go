package readers

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
)

// What is looked at to tell the types of columns.
const (
	sampleRows  = 10_000
	sampleBytes = 4 << 20
)

// kind is what the values of a column are so far, each kind wider than the one before.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindList
	kindStruct
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "an integer", "a number", "a string", "a list", "an object"}[k]
}

// infer tells the types of CSV columns: the narrowest that all values of the sample have.
func (f csvFormat) infer(ctx context.Context, rows *csvRows, names []string) (*arrow.Schema, error) {
	kinds := make([]kind, len(names))
	var size int
	for n := 0; n < sampleRows && size < sampleBytes; n++ {
		rec, err := rows.read(ctx)
		var parse *csv.ParseError
		if err != nil && rows.bounded.fault == nil && errors.As(err, &parse) || err == nil && len(rec) != len(names) {
			continue // an error when it is read
		}
		if err == io.EOF {
			break
		}
		if err != nil && n == 0 {
			return nil, fmt.Errorf("readers: %s: %w", rows.src.in.path, err)
		}
		if err != nil {
			break
		}
		for i, s := range rec {
			size += len(s) + 1
			if s == "" || slices.Contains(f.cfg.NullValues, s) {
				continue
			}
			kinds[i] = widen(kinds[i], cellKind(s))
		}
	}
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		fields[i] = arrow.Field{Name: name, Type: kinds[i].scalar(), Nullable: true}
	}
	return arrow.NewSchema(fields, nil), nil
}

// widen is the kind that holds values of both. In CSV anything is a string.
func widen(a, b kind) kind {
	switch {
	case a == kindNull || a == b:
		return b
	case b == kindNull:
		return a
	case min(a, b) == kindInt && max(a, b) == kindFloat:
		return kindFloat
	}
	return kindString
}

func (k kind) scalar() arrow.DataType {
	switch k {
	case kindBool:
		return arrow.FixedWidthTypes.Boolean
	case kindInt:
		return arrow.PrimitiveTypes.Int64
	case kindFloat:
		return arrow.PrimitiveTypes.Float64
	}
	return arrow.BinaryTypes.String
}

// cellKind takes for a number only what is the usual way to write one: "007" and
// "+49 30" are codes and telephone numbers, and an integer of more than 64 bits would lose
// digits.
func cellKind(s string) kind {
	if _, ok := parseBool(s); ok {
		return kindBool
	}
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || digits[0] == '+' || len(digits) > 1 && digits[0] == '0' && isDigit(digits[1]) {
		return kindString
	}
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return kindInt
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.ContainsAny(s, "xXpP_") || strings.Trim(digits, "0123456789") == "" {
		return kindString
	}
	if (math.IsNaN(v) || math.IsInf(v, 0)) && !slices.Contains([]string{"NaN", "Inf"}, digits) {
		return kindString
	}
	return kindFloat
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
