package expr

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
)

// Parse reads an expression from SQL-like text. From weakest to strongest binding:
//
//	or   and   not   = == != <> < <= > >=, [not] in (…), is [not] null   + -   * /   - (sign)
//
// Literals: 12, 0.5, 1e-3, inf, nan, 'text' (a quote within it is doubled), x'c0ffee' (bytes), true, false, null, date '2024-01-31', timestamp '2024-01-31T12:00:00Z'.
// Names: letters, digits and _, or anything in "double quotes" (so must a name be that is one of the words and, or, not, in, is, as, null, true,
// false, inf, nan). Functions: length(x), cast(x as T), with T one of bool, int8 to int64, uint8 to uint64, float16 to float64, string, large_string,
// binary, large_binary, date32, date64, timestamp[s|ms|us|ns] and timestamp[us, tz=ZONE]. Words are the same in capitals. Comparisons don't chain.
//
// An error is a *[ParseError], which names the position.
func Parse(s string) (Expr, error) {
	p := &parser{lexer: lexer{text: s}}
	if !utf8.ValidString(s) {
		return nil, p.fail(0, "the text is not UTF-8")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected("an operator or the end")
	}
	return e, nil
}

// maxDepth bounds nesting, and so the stack that hostile text can use.
const maxDepth = 500

type parser struct {
	lexer
	tok   token
	depth int
}

func reserved(name string) bool {
	switch strings.ToLower(name) {
	case "and", "or", "not", "in", "is", "as", "null", "true", "false", "inf", "nan":
		return true
	}
	return false
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) word(w string) bool {
	return p.tok.kind == tokName && strings.EqualFold(p.tok.text, w)
}

func (p *parser) symbol(s string) bool { return p.tok.kind == tokSymbol && p.tok.text == s }

// accept passes over the word or symbol if it stands here.
func (p *parser) accept(s string) (bool, error) {
	if !p.symbol(s) && !p.word(s) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(s string) error {
	ok, err := p.accept(s)
	if err == nil && !ok {
		return p.unexpected(strconv.Quote(s))
	}
	return err
}

func (p *parser) unexpected(want string) error { return p.fail(p.tok.pos, "expected %s", want) }

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail(p.tok.pos, "nested more than %d deep", maxDepth)
	}
	return nil
}

func (p *parser) list(word string, join func(...Expr) Expr, item func() (Expr, error)) (Expr, error) {
	var xs []Expr
	for {
		x, err := item()
		if err != nil {
			return nil, err
		}
		xs = append(xs, x)
		if ok, err := p.accept(word); err != nil {
			return nil, err
		} else if !ok {
			return join(xs...), nil
		}
	}
}

func (p *parser) or() (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	return p.list("or", Or, p.and)
}

func (p *parser) and() (Expr, error) { return p.list("and", And, p.not) }

func (p *parser) not() (Expr, error) {
	ok, err := p.accept("not")
	if err != nil {
		return nil, err
	}
	if !ok {
		return p.compare()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	if err != nil {
		return nil, err
	}
	return Not(x), nil
}

var comparisons = map[string]opcode{"=": opEq, "==": opEq, "!=": opNe, "<>": opNe, "<": opLt, "<=": opLe, ">": opGt, ">=": opGe}

func (p *parser) compare() (Expr, error) {
	x, err := p.infix(p.mul, map[string]opcode{"+": opAdd, "-": opSub})
	if err != nil {
		return nil, err
	}
	if op, ok := comparisons[p.tok.text]; ok && p.tok.kind == tokSymbol {
		if err := p.advance(); err != nil {
			return nil, err
		}
		y, err := p.infix(p.mul, map[string]opcode{"+": opAdd, "-": opSub})
		if err != nil {
			return nil, err
		}
		if _, again := comparisons[p.tok.text]; again && p.tok.kind == tokSymbol {
			return nil, p.fail(p.tok.pos, "comparisons don't chain: join two with and")
		}
		return newCall(op, x, y), nil
	}
	return p.predicate(x)
}

// predicate reads what may follow an operand: is [not] null, [not] in (…).
func (p *parser) predicate(x Expr) (Expr, error) {
	if ok, err := p.accept("is"); err != nil {
		return nil, err
	} else if ok {
		negated, err := p.accept("not")
		if err != nil {
			return nil, err
		}
		if err := p.expect("null"); err != nil {
			return nil, err
		}
		if negated {
			return IsNotNull(x), nil
		}
		return IsNull(x), nil
	}
	negated, err := p.accept("not")
	if err != nil {
		return nil, err
	}
	in, err := p.accept("in")
	if err != nil {
		return nil, err
	}
	switch {
	case !in && negated:
		return nil, p.unexpected(`"in"`)
	case !in:
		return x, nil
	}
	e, err := p.inList(x)
	if err == nil && negated {
		e = Not(e)
	}
	return e, err
}

func (p *parser) inList(x Expr) (Expr, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	args := []Expr{x}
	for !p.symbol(")") {
		if len(args) > 1 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		pos := p.tok.pos
		v, err := p.unary()
		if err != nil {
			return nil, err
		}
		if _, ok := v.(*literal); !ok {
			return nil, p.fail(pos, "the list of in (…) holds constants only")
		}
		args = append(args, v)
	}
	return newCall(opIn, args...), p.advance()
}

// infix reads operands joined to the left by the given operators.
func (p *parser) infix(item func() (Expr, error), ops map[string]opcode) (Expr, error) {
	x, err := item()
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		op, ok := ops[p.tok.text]
		if !ok || p.tok.kind != tokSymbol {
			return x, nil
		}
		if n > maxDepth {
			return nil, p.fail(p.tok.pos, "more than %d operations in a row", maxDepth)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		y, err := item()
		if err != nil {
			return nil, err
		}
		x = newCall(op, x, y)
	}
}

func (p *parser) mul() (Expr, error) {
	return p.infix(p.unary, map[string]opcode{"*": opMul, "/": opDiv})
}

// unary reads a sign. Before a number it is part of it; elsewhere -x is -1 * x.
func (p *parser) unary() (Expr, error) {
	if !p.symbol("-") {
		return p.primary("")
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokNumber || p.word("inf") || p.word("nan") {
		return p.primary("-")
	}
	x, err := p.unary()
	if err != nil {
		return nil, err
	}
	return Mul(Lit(-1), x), nil
}

func (p *parser) primary(sign string) (Expr, error) {
	tok := p.tok
	if p.symbol("(") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	}
	if tok.kind == tokSymbol || tok.kind == tokEnd {
		return nil, p.unexpected("a column, a value or (")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch tok.kind {
	case tokNumber:
		v, err := parseNumber(sign + tok.text)
		if err != nil {
			return nil, p.fail(tok.pos, "%v", err)
		}
		return Lit(v), nil
	case tokString:
		return Lit(tok.text), nil
	case tokBytes:
		v, err := hex.DecodeString(tok.text)
		if err != nil {
			return nil, p.fail(tok.pos, "x'…' holds pairs of hexadecimal digits")
		}
		return Lit(v), nil
	case tokQuoted:
		return Col(tok.text), nil
	}
	return p.name(tok, sign)
}

func parseNumber(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("too large for a float64")
		}
		return v, nil
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("too large for a 64-bit integer; write it with a decimal point for a float64")
	}
	return v, nil
}

// name reads what begins with a bare word: a constant, a typed literal, a function or a column.
func (p *parser) name(tok token, sign string) (Expr, error) {
	word := strings.ToLower(tok.text)
	switch word {
	case "true", "false":
		return Lit(word == "true"), nil
	case "null":
		return Lit(nil), nil
	case "nan":
		return Lit(math.NaN()), nil
	case "inf":
		if sign != "" {
			return Lit(math.Inf(-1)), nil
		}
		return Lit(math.Inf(1)), nil
	case "timestamp", "date":
		if p.tok.kind == tokString {
			return p.time(word)
		}
	}
	if p.symbol("(") {
		return p.function(tok, word)
	}
	if reserved(word) {
		return nil, p.fail(tok.pos, "expected a column or a value; a column of this name is written in double quotes")
	}
	return Col(tok.text), nil
}

func (p *parser) time(kind string) (Expr, error) {
	t, err := parseTime(p.tok.text)
	if err != nil {
		return nil, p.fail(p.tok.pos, "%v", err)
	}
	if kind == "date" && !t.Equal(t.Truncate(24*time.Hour)) {
		return nil, p.fail(p.tok.pos, "a date has no time of day; write timestamp '…'")
	}
	lit := Lit(t)
	if bad := lit.(*literal).bad; bad != "" {
		return nil, p.fail(p.tok.pos, "%s", bad)
	}
	return lit, p.advance()
}

func (p *parser) function(tok token, name string) (Expr, error) {
	if name != "length" && name != "cast" {
		msg := fmt.Sprintf("there is no function %s", tok.text)
		if near := nearest(name, []string{"length", "cast"}); near != "" {
			msg += fmt.Sprintf("; did you mean %s?", near)
		}
		return nil, p.fail(tok.pos, "%s", msg)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	x, err := p.or()
	if err != nil {
		return nil, err
	}
	if name == "length" {
		return Length(x), p.expect(")")
	}
	if err := p.expect("as"); err != nil {
		return nil, err
	}
	to, err := p.dataType()
	if err != nil {
		return nil, err
	}
	return Cast(x, to), p.expect(")")
}

func (p *parser) dataType() (arrow.DataType, error) {
	if p.tok.kind != tokName {
		return nil, p.unexpected("a type, such as int64 or string")
	}
	tok := p.tok
	if !strings.EqualFold(tok.text, "timestamp") {
		dt, ok := typeNames[strings.ToLower(tok.text)]
		if !ok {
			msg := fmt.Sprintf("there is no type %s", tok.text)
			if near := nearest(tok.text, typeList()); near != "" {
				msg += fmt.Sprintf("; did you mean %s?", near)
			}
			return nil, p.fail(tok.pos, "%s", msg)
		}
		return dt, p.advance()
	}
	// The brackets of a timestamp hold a zone such as Europe/Paris or +05:30: not tokens of ours.
	end := strings.IndexByte(p.text[p.pos:], ']')
	if end < 0 || p.text[p.pos] != '[' {
		return nil, p.fail(tok.pos, "write timestamp[s], [ms], [us] or [ns], or timestamp[us, tz=UTC]")
	}
	dt, err := timestampType(p.text[p.pos+1 : p.pos+end])
	if err != nil {
		return nil, p.fail(p.pos, "%v", err)
	}
	p.pos += end + 1
	return dt, p.advance()
}
