package tokenize

import "unicode/utf8"

// scanner is a split pattern by hand: the end of the match that begins at
// text[at]. The patterns that have one match wherever there is text.
type scanner func(kinds []uint8, text []byte, at int) int

const (
	gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

	cl100kHead = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`
	cl100kTail = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	o200kWord = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|`
	o200kTail = `\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scanners are by the exact text of the pattern, as files of GPT-2, of Llama 3
// and GPT-4, of Qwen 2, and of GPT-4o have it. For the rest there is [regex].
var scanners = map[string]scanner{
	gpt2Pattern:                            scanGPT2,
	cl100kHead + `\p{N}{1,3}` + cl100kTail: scanCL100K,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`: scanCL100K,
	cl100kHead + `\p{N}` + cl100kTail: scanQwen2,
	o200kWord + o200kTail:             scanO200K,
}

// kindAt is the kind and length of the code point at text[at].
func kindAt(kinds []uint8, text []byte, at int) (uint8, int) {
	if b := text[at]; b < utf8.RuneSelf {
		return kinds[b], 1
	}
	c, n := utf8.DecodeRune(text[at:])
	return kinds[c], n
}

// runOf is the end of the code points from text[at] whose bits under a mask are
// those given.
func runOf(kinds []uint8, text []byte, at int, mask, bits uint8) int {
	for at < len(text) {
		if b := text[at]; b < utf8.RuneSelf {
			if kinds[b]&mask != bits {
				break
			}
			at++
			continue
		}
		c, n := utf8.DecodeRune(text[at:])
		if kinds[c]&mask != bits {
			break
		}
		at += n
	}
	return at
}

// spaces is \s+(?!\S)|\s+ at white space: all of it at the end of the text or
// if it is a single one, else all but the last.
func spaces(kinds []uint8, text []byte, at int) int {
	end, last := at, at
	for end < len(text) {
		k, n := kindAt(kinds, text, end)
		if k&kindSpace == 0 {
			break
		}
		last = end
		end += n
	}
	if end == len(text) || last == at {
		return end
	}
	return last
}

// spacesOrLines is \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to the last line
// end in it if there is one.
func spacesOrLines(kinds []uint8, text []byte, at int) int {
	end, line := at, 0
	for end < len(text) {
		k, n := kindAt(kinds, text, end)
		if k&kindSpace == 0 {
			break
		}
		end += n
		if k&kindNewline != 0 {
			line = end
		}
	}
	if line > 0 {
		return line
	}
	return spaces(kinds, text, at)
}

// contraction is the length of the letters of 's 't 're 've 'm 'll 'd behind an
// apostrophe at text[at], 0 if there are none.
func contraction(text []byte, at int) int {
	if at >= len(text) {
		return 0
	}
	switch text[at] {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if at+1 < len(text) && text[at+1] == 'e' {
			return 2
		}
	case 'l':
		if at+1 < len(text) && text[at+1] == 'l' {
			return 2
		}
	}
	return 0
}

// anyContraction is contraction in either case; the long s is an s.
func anyContraction(text []byte, at int) int {
	if at >= len(text) {
		return 0
	}
	if text[at] == 0xC5 && at+1 < len(text) && text[at+1] == 0xBF {
		return 2
	}
	lower := [2]byte{text[at] | 0x20}
	n := 1
	if at+1 < len(text) && text[at+1] < utf8.RuneSelf {
		lower[1] = text[at+1] | 0x20
		n = 2
	}
	if text[at] >= utf8.RuneSelf {
		return 0
	}
	return contraction(lower[:n], 0)
}

func scanGPT2(kinds []uint8, text []byte, at int) int {
	i := at
	switch text[at] {
	case '\'':
		if n := contraction(text, at+1); n > 0 {
			return at + 1 + n
		}
	case ' ':
		if at+1 < len(text) {
			i++
		}
	}
	k, n := kindAt(kinds, text, i)
	if k &= kindNamed; k != kindSpace {
		return runOf(kinds, text, i+n, kindNamed, k)
	}
	return spaces(kinds, text, at)
}

func scanCL100K(kinds []uint8, text []byte, at int) int { return scanWords(kinds, text, at, 3) }

func scanQwen2(kinds []uint8, text []byte, at int) int { return scanWords(kinds, text, at, 1) }

// scanWords is cl100k's pattern with so many digits to a number.
func scanWords(kinds []uint8, text []byte, at, digits int) int {
	if text[at] == '\'' {
		if n := anyContraction(text, at+1); n > 0 {
			return at + 1 + n
		}
	}
	k, n := kindAt(kinds, text, at)
	switch {
	case k&kindLetter != 0:
		return runOf(kinds, text, at+n, kindLetter, kindLetter)
	case k&kindNumber != 0:
		return numbers(kinds, text, at, digits)
	case k&kindNewline == 0 && at+n < len(text):
		if next, m := kindAt(kinds, text, at+n); next&kindLetter != 0 {
			return runOf(kinds, text, at+n+m, kindLetter, kindLetter)
		}
	}
	end := signs(kinds, text, at)
	if end < 0 {
		return spacesOrLines(kinds, text, at)
	}
	for end < len(text) && (text[end] == '\r' || text[end] == '\n') {
		end++
	}
	return end
}

func numbers(kinds []uint8, text []byte, at, most int) int {
	for ; most > 0 && at < len(text); most-- {
		k, n := kindAt(kinds, text, at)
		if k&kindNumber == 0 {
			break
		}
		at += n
	}
	return at
}

// signs is ` ?[^\s\p{L}\p{N}]+`, -1 if that doesn't match.
func signs(kinds []uint8, text []byte, at int) int {
	if text[at] == ' ' && at+1 < len(text) {
		at++
	}
	if end := runOf(kinds, text, at, kindNamed, 0); end > at {
		return end
	}
	return -1
}

func scanO200K(kinds []uint8, text []byte, at int) int {
	k, n := kindAt(kinds, text, at)
	if end := mixedWord(kinds, text, at, k, n); end >= 0 {
		if end < len(text) && text[end] == '\'' {
			if m := anyContraction(text, end+1); m > 0 {
				end += 1 + m
			}
		}
		return end
	}
	if k&kindNumber != 0 {
		return numbers(kinds, text, at, 3)
	}
	end := signs(kinds, text, at)
	if end < 0 {
		return spacesOrLines(kinds, text, at)
	}
	for end < len(text) && (text[end] == '\r' || text[end] == '\n' || text[end] == '/') {
		end++
	}
	return end
}

// mixedWord is the two alternatives of o200k that are words, without their
// contractions; -1 if neither matches.
func mixedWord(kinds []uint8, text []byte, at int, k uint8, n int) int {
	prefix := k&(kindNewline|kindLetter|kindNumber) == 0
	if prefix {
		if end := lowerWord(kinds, text, at+n); end >= 0 {
			return end
		}
	}
	if end := lowerWord(kinds, text, at); end >= 0 {
		return end
	}
	if prefix {
		if end := upperWord(kinds, text, at+n); end >= 0 {
			return end
		}
	}
	return upperWord(kinds, text, at)
}

// lowerWord is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+.
func lowerWord(kinds []uint8, text []byte, at int) int {
	upper := runOf(kinds, text, at, kindUpper, kindUpper)
	if end := runOf(kinds, text, upper, kindLower, kindLower); end > upper {
		return end
	}
	// What is both gives the last of it back.
	for end := upper; end > at; {
		c, n := utf8.DecodeLastRune(text[at:end])
		if kinds[c]&kindLower != 0 {
			return end
		}
		end -= n
	}
	return -1
}

// upperWord is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*, where
// lowerWord doesn't match.
func upperWord(kinds []uint8, text []byte, at int) int {
	if end := runOf(kinds, text, at, kindUpper, kindUpper); end > at {
		return end
	}
	return -1
}
