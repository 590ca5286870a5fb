package main

import (
	"encoding/binary"
	"fmt"

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
	case *array.Int64, *array.Timestamp, *array.Float64:
		s.sum += sumOf[uint64](a)
	case *array.Int32, *array.Float32:
		s.sum += sumOf[int32](a) // of which the sign counts
	case *array.Boolean:
		s.sum += trues(a)
	case *array.String:
		return s.text(a)
	default:
		return fmt.Errorf("no checksum for %s", arr.DataType())
	}
	return nil
}

// sumOf adds up the values that are not null, as the integers that their bits are.
func sumOf[T int32 | uint64](arr arrow.Array) (sum uint64) {
	data := arr.Data()
	at := data.Offset()
	values := arrow.GetData[T](data.Buffers()[1].Bytes())[at : at+data.Len()]
	if arr.NullN() == 0 {
		return total(values)
	}
	valid := arr.NullBitmapBytes()
	for i, v := range values {
		sum += uint64(v) & -uint64(valid[(at+i)>>3]>>((at+i)&7)&1)
	}
	return sum
}

// total adds values up in four sums, which do not wait for each other.
func total[T int32 | uint64](values []T) uint64 {
	var a, b, c, d uint64
	for len(values) >= 4 {
		a += uint64(values[0])
		b += uint64(values[1])
		c += uint64(values[2])
		d += uint64(values[3])
		values = values[4:]
	}
	for _, v := range values {
		a += uint64(v)
	}
	return a + b + c + d
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

// byteSum adds up bytes, sixteen at a time: the even and the odd ones of two words as four sums of 16 bits each, which up
// to 128 words cannot overflow.
func byteSum(b []byte) (sum uint64) {
	const even, words = 0x00ff00ff00ff00ff, 128
	for len(b) >= 16 {
		n := min(len(b)/16, words/2) * 16
		var lanes, more uint64
		for part := b[:n]; len(part) >= 16; part = part[16:] {
			v, w := binary.LittleEndian.Uint64(part), binary.LittleEndian.Uint64(part[8:])
			lanes += v&even + w&even
			more += v>>8&even + w>>8&even
		}
		for _, l := range [...]uint64{lanes, more} {
			sum += l&0xffff + l>>16&0xffff + l>>32&0xffff + l>>48
		}
		b = b[n:]
	}
	for _, c := range b {
		sum += uint64(c)
	}
	return sum
}
