package overlap

import "slices"

// span is memory of which something is known.
type span[T any] struct {
	from, to uint64 // addresses, to behind the last
	value    T
}

// spans says what is known of which memory: apart from each other and sorted.
type spans[T any] []span[T]

// over is the range of spans that overlap m.
func (s spans[T]) over(m Buffer) (first, last int) {
	first, _ = slices.BinarySearchFunc(s, m.Address, func(x span[T], at uint64) int {
		if x.to <= at {
			return -1
		}
		return 1
	})
	for last = first; last < len(s) && s[last].from < m.Address+m.Bytes; last++ {
	}
	return first, last
}

// cut takes what is known of m out, and leaves what is known beside it.
func (s *spans[T]) cut(m Buffer) (out []span[T]) {
	if m.Bytes == 0 {
		return nil
	}
	first, last := s.over(m)
	var beside []span[T]
	for _, x := range (*s)[first:last] {
		if x.from < m.Address {
			beside = append(beside, span[T]{x.from, m.Address, x.value})
		}
		if x.to > m.Address+m.Bytes {
			beside = append(beside, span[T]{m.Address + m.Bytes, x.to, x.value})
		}
		out = append(out, span[T]{max(x.from, m.Address), min(x.to, m.Address+m.Bytes), x.value})
	}
	*s = slices.Replace(*s, first, last, beside...)
	return out
}

// set says what is known of m, whatever was known before.
func (s *spans[T]) set(m Buffer, value T) {
	if m.Bytes == 0 {
		return
	}
	s.cut(m)
	first, _ := s.over(m)
	*s = slices.Insert(*s, first, span[T]{m.Address, m.Address + m.Bytes, value})
}
