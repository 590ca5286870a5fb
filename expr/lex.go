package expr

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd    tokenKind = iota
	tokName             // bare: may be a keyword
	tokQuoted           // a "quoted" name
	tokString
	tokBytes // x'68656c6c6f'
	tokNumber
	tokSymbol
)

type token struct {
	kind tokenKind
	text string // names and strings without their quotes
	pos  int    // byte offset
}

// A ParseError says where a text stopped being an expression.
type ParseError struct {
	Text   string // the whole text
	Offset int    // of the offending part, in bytes
	Msg    string
}

// Position is the character (1 is the first) at which the text went wrong.
func (e *ParseError) Position() int { return utf8.RuneCountInString(e.Text[:e.Offset]) + 1 }

func (e *ParseError) Error() string {
	rest := e.Text[e.Offset:]
	if n := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) }); n > 0 {
		rest = rest[:n]
	}
	if r := []rune(rest); len(r) > 20 {
		rest = string(r[:20]) + "…"
	}
	where := "at its end"
	if rest != "" {
		where = fmt.Sprintf("at character %d (%q)", e.Position(), rest)
	}
	return fmt.Sprintf("expr: %q %s: %s", shorten(e.Text, 120), where, e.Msg)
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func nameRune(r rune, first bool) bool {
	return r == '_' || unicode.IsLetter(r) || !first && unicode.IsDigit(r)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

type lexer struct {
	text string
	pos  int
}

func (l *lexer) fail(pos int, format string, args ...any) error {
	return &ParseError{Text: l.text, Offset: pos, Msg: fmt.Sprintf(format, args...)}
}

func (l *lexer) next() (token, error) {
	for l.pos < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.pos:])
		if !unicode.IsSpace(r) {
			break
		}
		l.pos += n
	}
	start := l.pos
	if start == len(l.text) {
		return token{kind: tokEnd, pos: start}, nil
	}
	switch c := l.text[start]; {
	case c == '\'':
		return l.quoted(tokString, start, start)
	case c == '"':
		return l.quoted(tokQuoted, start, start)
	case (c == 'x' || c == 'X') && strings.HasPrefix(l.text[start+1:], "'"):
		return l.quoted(tokBytes, start, start+1)
	case digit(c), c == '.' && start+1 < len(l.text) && digit(l.text[start+1]):
		return l.number()
	}
	if r, _ := utf8.DecodeRuneInString(l.text[start:]); nameRune(r, true) {
		return token{tokName, l.takeName(), start}, nil
	}
	for _, s := range []string{"<=", ">=", "!=", "<>", "==", "(", ")", ",", "+", "-", "*", "/", "=", "<", ">", "[", "]"} {
		if strings.HasPrefix(l.text[start:], s) {
			l.pos += len(s)
			return token{tokSymbol, s, start}, nil
		}
	}
	return token{}, l.fail(start, "this character has no meaning here")
}

func (l *lexer) takeName() string {
	start := l.pos
	for l.pos < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.pos:])
		if !nameRune(r, l.pos == start) {
			break
		}
		l.pos += n
	}
	return l.text[start:l.pos]
}

// quoted reads what stands between the quote at open and the next single one; a doubled quote stands for itself.
func (l *lexer) quoted(kind tokenKind, start, open int) (token, error) {
	mark := l.text[open]
	var b strings.Builder
	for i := open + 1; i < len(l.text); i++ {
		if l.text[i] == mark {
			if i+1 == len(l.text) || l.text[i+1] != mark {
				l.pos = i + 1
				return token{kind, b.String(), start}, nil
			}
			i++
		}
		b.WriteByte(l.text[i])
	}
	return token{}, l.fail(start, "the quote %c is never closed", mark)
}

func (l *lexer) number() (token, error) {
	start := l.pos
	digits := func() {
		for l.pos < len(l.text) && digit(l.text[l.pos]) {
			l.pos++
		}
	}
	digits()
	if l.pos < len(l.text) && l.text[l.pos] == '.' {
		l.pos++
		digits()
	}
	if rest := l.text[l.pos:]; rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		l.pos++
		if len(rest) > 1 && (rest[1] == '+' || rest[1] == '-') {
			l.pos++
		}
		if l.pos == len(l.text) || !digit(l.text[l.pos]) {
			return token{}, l.fail(start, "this number's exponent has no digits")
		}
		digits()
	}
	if r, _ := utf8.DecodeRuneInString(l.text[l.pos:]); l.pos < len(l.text) && (nameRune(r, false) || r == '.') {
		return token{}, l.fail(start, "not a number; a column whose name begins with a digit is written in double quotes")
	}
	return token{tokNumber, l.text[start:l.pos], start}, nil
}
