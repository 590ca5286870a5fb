package tokenize

import (
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"
)

// What the scanners of known patterns ask of a code point, as bits.
const (
	kindLetter  uint8 = 1 << iota // \p{L}
	kindNumber                    // \p{N}
	kindSpace                     // \s
	kindNewline                   // \r or \n
	kindUpper                     // \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}
	kindLower                     // \p{Ll}\p{Lm}\p{Lo}\p{M}

	kindNamed = kindLetter | kindNumber | kindSpace // what [^\s\p{L}\p{N}] leaves out
)

// classTable holds the character classes of the library's regular expressions.
// It is read-only.
type classTable struct {
	sets  map[string]runeSet // by name, in lower case
	folds map[rune]runeSet   // all that an ASCII letter matches under (?i), by its lower case
	kinds []uint8            // by code point
}

// aloneWord names what \w and \b go by outside of a set, where \w has the
// superscripts and fractions of Latin-1 in it.
const aloneWord = "w-alone"

//go:embed classes.txt
var classesText string

// classes is the table, built when the first tokenizer with a pattern is opened.
var classes = sync.OnceValue(func() *classTable {
	t, err := parseClassTable(classesText)
	if err != nil {
		panic("tokenize: the embedded classes.txt is broken: " + err.Error())
	}
	return t
})

// classNames are the long names of categories.
var classNames = map[string]string{
	"letter": "l", "mark": "m", "number": "n", "punctuation": "p", "symbol": "s", "separator": "z", "other": "c",
	"uppercaseletter": "lu", "lowercaseletter": "ll", "titlecaseletter": "lt", "modifierletter": "lm", "otherletter": "lo",
	"nonspacingmark": "mn", "spacingmark": "mc", "enclosingmark": "me", "decimalnumber": "nd", "letternumber": "nl",
	"othernumber": "no", "unassigned": "cn",
}

func parseClassTable(text string) (*classTable, error) {
	t := &classTable{sets: map[string]runeSet{}, folds: map[rune]runeSet{}}
	if err := eachEntry(text, func(key string, lo, hi rune) {
		key = strings.ToLower(key)
		t.sets[key] = append(t.sets[key], [2]rune{lo, hi})
	}); err != nil {
		return nil, err
	}
	var known runeSet
	for name, set := range t.sets {
		if len(name) == 2 {
			t.sets[name[:1]] = t.sets[name[:1]].union(set)
			known = known.union(set)
		}
	}
	t.sets[aloneWord] = t.sets["word"].union(t.sets["w-more"])
	t.sets["cn"] = known.others()
	t.sets["c"] = t.sets["c"].union(t.sets["cn"])
	for c := 'a'; c <= 'z'; c++ {
		t.folds[c] = runeSet{{c - 'a' + 'A', c - 'a' + 'A'}, {c, c}}.union(t.sets["i-"+string(c)])
	}
	t.kinds = make([]uint8, utf8.MaxRune+1)
	for kind, names := range map[uint8][]string{
		kindLetter: {"l"}, kindNumber: {"n"}, kindSpace: {"space"},
		kindUpper: {"lu", "lt", "lm", "lo", "m"}, kindLower: {"ll", "lm", "lo", "m"},
	} {
		for _, name := range names {
			for _, r := range t.sets[name] {
				for c := r[0]; c <= r[1]; c++ {
					t.kinds[c] |= kind
				}
			}
		}
	}
	t.kinds['\r'] |= kindNewline
	t.kinds['\n'] |= kindNewline
	return t, nil
}

// eachEntry reads a table of lines that are a key and ranges.
func eachEntry(text string, add func(key string, lo, hi rune)) error {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		entries := strings.Fields(line)
		for _, e := range entries[1:] {
			lo, hi, err := parseSpan(e)
			if err != nil {
				return err
			}
			add(entries[0], lo, hi)
		}
	}
	return nil
}

// class is the set of a name as \p{name} has it.
func (t *classTable) class(name string) (runeSet, bool) {
	key := strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(name))
	if short, ok := classNames[key]; ok {
		key = short
	}
	set, ok := t.sets[key]
	return set, ok
}
