package main

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
)

// checksum holds a sum for each column that does not depend on the order of the rows or on how they are cut. It is
// the one of contestants/common.py: integers as they are, floats and timestamps as the integers of their bits, booleans
// as 1 and 0, strings byte by byte; all modulo 2^64.
type checksum map[string]*columnSum

type columnSum struct{ nulls, sum, bytes uint64 }

func (c checksum) add(rec arrow.Record) error {
	for i, arr := range rec.Columns() {
		s := c[rec.ColumnName(i)]
		if s == nil {
			s = &columnSum{}
			c[rec.ColumnName(i)] = s
		}
		s.nulls += uint64(arr.NullN())
		if err := s.add(arr); err != nil {
			return fmt.Errorf("column %q: %w", rec.ColumnName(i), err)
		}
	}
	return nil
}

func (s *columnSum) add(arr arrow.Array) error {
	switch a := arr.(type) {
	case *array.Int64:
		s.sum += sumOf(a, a.Int64Values(), func(v int64) uint64 { return uint64(v) })
	case *array.Int32:
		s.sum += sumOf(a, a.Int32Values(), func(v int32) uint64 { return uint64(int64(v)) })
	case *array.Timestamp:
		s.sum += sumOf(a, a.TimestampValues(), func(v arrow.Timestamp) uint64 { return uint64(v) })
	case *array.Float64:
		s.sum += sumOf(a, a.Float64Values(), math.Float64bits)
	case *array.Float32:
		s.sum += sumOf(a, a.Float32Values(), func(v float32) uint64 { return uint64(int64(int32(math.Float32bits(v)))) })
	case *array.Boolean:
		s.sum += trues(a)
	case *array.String:
		return s.text(a)
	default:
		return fmt.Errorf("no checksum for %s", arr.DataType())
	}
	return nil
}

// sumOf adds up the values that are not null.
func sumOf[T any](arr arrow.Array, values []T, bits func(T) uint64) (sum uint64) {
	if arr.NullN() == 0 {
		for _, v := range values {
			sum += bits(v)
		}
		return sum
	}
	valid, at := arr.NullBitmapBytes(), arr.Data().Offset()
	for i, v := range values {
		sum += bits(v) & -uint64(valid[(at+i)>>3]>>((at+i)&7)&1)
	}
	return sum
}

func trues(a *array.Boolean) uint64 {
	data := a.Data()
	if a.NullN() == 0 {
		return uint64(bitutil.CountSetBits(data.Buffers()[1].Bytes(), data.Offset(), data.Len()))
	}
	var sum uint64
	for i := range a.Len() {
		if a.IsValid(i) && a.Value(i) {
			sum++
		}
	}
	return sum
}

func (s *columnSum) text(a *array.String) error {
	if a.NullN() > 0 {
		for i := range a.Len() {
			if a.IsValid(i) {
				s.bytes += uint64(len(a.Value(i)))
				s.sum += byteSum([]byte(a.Value(i)))
			}
		}
		return nil
	}
	b := a.ValueBytes()
	s.bytes += uint64(len(b))
	s.sum += byteSum(b)
	return nil
}

// byteSum adds up bytes, eight at a time: the even and the odd ones of a word as four sums of 16 bits each, which up to
// 128 words cannot overflow.
func byteSum(b []byte) (sum uint64) {
	const even, words = 0x00ff00ff00ff00ff, 128
	for len(b) >= 8 {
		n := min(len(b)/8, words) * 8
		var lanes uint64
		for at := 0; at < n; at += 8 {
			w := binary.LittleEndian.Uint64(b[at:])
			lanes += w&even + w>>8&even
		}
		sum += lanes&0xffff + lanes>>16&0xffff + lanes>>32&0xffff + lanes>>48
		b = b[n:]
	}
	for _, c := range b {
		sum += uint64(c)
	}
	return sum
}
