package tokenize

import (
	"slices"
	"sort"
	"unicode/utf8"
)

// runeSet is a set of code points: ranges with both ends in, sorted and apart.
type runeSet [][2]rune

func oneRune(c rune) runeSet { return runeSet{{c, c}} }

// everyRune is the set of all code points.
var everyRune = runeSet{{0, utf8.MaxRune}}

func (s runeSet) has(c rune) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i][1] >= c })
	return i < len(s) && s[i][0] <= c
}

func (s runeSet) union(t runeSet) runeSet {
	all := slices.Concat(s, t)
	slices.SortFunc(all, func(a, b [2]rune) int { return int(a[0] - b[0]) })
	var out runeSet
	for _, r := range all {
		if n := len(out); n > 0 && r[0] <= out[n-1][1]+1 {
			out[n-1][1] = max(out[n-1][1], r[1])
		} else {
			out = append(out, r)
		}
	}
	return out
}

// others is all that s isn't.
func (s runeSet) others() runeSet {
	var out runeSet
	next := rune(0)
	for _, r := range s {
		if next < r[0] {
			out = append(out, [2]rune{next, r[0] - 1})
		}
		next = r[1] + 1
	}
	if next <= utf8.MaxRune {
		out = append(out, [2]rune{next, utf8.MaxRune})
	}
	return out
}

func (s runeSet) intersect(t runeSet) runeSet {
	return s.others().union(t.others()).others()
}
