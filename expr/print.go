package expr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Text carries an expression in JSON, YAML and other text encodings: as the string that [Parse] reads. The zero Text, no expression, is the empty string.
type Text struct{ Expr }

// MarshalText writes the expression's text.
func (t Text) MarshalText() ([]byte, error) {
	if t.Expr == nil {
		return nil, nil
	}
	return t.Expr.MarshalText()
}

// UnmarshalText parses; an empty text is no expression.
func (t *Text) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		t.Expr = nil
		return nil
	}
	t.Expr, err = Parse(string(b))
	return err
}

// String gives the text, empty for no expression.
func (t Text) String() string {
	if t.Expr == nil {
		return ""
	}
	return t.Expr.String()
}

// Binding strengths, weakest first: the grammar of Parse.
const (
	precOr = 1 + iota
	precAnd
	precNot
	precCompare
	precAdd
	precMul
	precPrimary
)

func (e *column) precedence() int  { return precPrimary }
func (e *literal) precedence() int { return precPrimary }
func (e *castTo) precedence() int  { return precPrimary }
func (e *call) precedence() int {
	switch e.op {
	case opOr:
		return precOr
	case opAnd:
		return precAnd
	case opNot:
		return precNot
	case opAdd, opSub:
		return precAdd
	case opMul, opDiv:
		return precMul
	case opLength:
		return precPrimary
	}
	return precCompare
}

var symbols = [...]string{
	opAdd: "+", opSub: "-", opMul: "*", opDiv: "/", opEq: "=", opNe: "!=", opLt: "<", opLe: "<=", opGt: ">", opGe: ">=",
	opAnd: "and", opOr: "or", opNot: "not", opIsNull: "is null", opIsNotNull: "is not null", opIn: "in", opLength: "length",
}

func (op opcode) String() string { return symbols[op] }

func (e *column) String() string  { return render(e) }
func (e *literal) String() string { return render(e) }
func (e *call) String() string    { return render(e) }
func (e *castTo) String() string  { return render(e) }

func (e *column) MarshalText() ([]byte, error)  { return marshal(e) }
func (e *literal) MarshalText() ([]byte, error) { return marshal(e) }
func (e *call) MarshalText() ([]byte, error)    { return marshal(e) }
func (e *castTo) MarshalText() ([]byte, error)  { return marshal(e) }

func render(e Expr) string {
	var b strings.Builder
	write(&b, e, 0)
	return b.String()
}

func marshal(e Expr) ([]byte, error) {
	s := render(e)
	if !utf8.ValidString(s) {
		return nil, errors.New("expr: a column name that isn't UTF-8 has no text")
	}
	if _, err := Parse(s); err != nil {
		return nil, fmt.Errorf("expr: %s has no text form: %w", s, err)
	}
	return []byte(s), nil
}

// write appends e, in parentheses if it binds weaker than min.
func write(b *strings.Builder, e Expr, min int) {
	if e.precedence() < min {
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	switch e := e.(type) {
	case *column:
		b.WriteString(quoteName(e.name))
	case *literal:
		b.WriteString(e.text())
	case *castTo:
		b.WriteString("cast(")
		write(b, e.x, 0)
		b.WriteString(" as " + typeName(e.to) + ")")
	case *call:
		e.write(b)
	}
}

func (e *call) write(b *strings.Builder) {
	prec := e.precedence()
	switch {
	case e.op == opNot:
		b.WriteString("not ")
		write(b, e.args[0], precNot)
	case e.op == opLength:
		b.WriteString("length(")
		write(b, e.args[0], 0)
		b.WriteByte(')')
	case e.op == opIsNull, e.op == opIsNotNull:
		write(b, e.args[0], precAdd)
		b.WriteString(" " + e.op.String())
	case e.op == opIn:
		write(b, e.args[0], precAdd)
		b.WriteString(" in (")
		for i, a := range e.args[1:] {
			if i > 0 {
				b.WriteString(", ")
			}
			write(b, a, 0)
		}
		b.WriteByte(')')
	default: // infix: and, or of any number; the others of two, to the left
		for i, a := range e.args {
			if i > 0 {
				b.WriteString(" " + e.op.String() + " ")
			}
			min := prec
			if e.op.comparison() || i > 0 {
				min++
			}
			write(b, a, min)
		}
	}
}

func (e *literal) text() string {
	if e.bad != "" {
		return "<" + e.bad + ">"
	}
	switch v := e.val.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return formatFloat(v)
	case string:
		return quote(v, '\'')
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	case time.Time:
		return "timestamp '" + v.Format(time.RFC3339Nano) + "'"
	default:
		return fmt.Sprint(v)
	}
}

func formatFloat(v float64) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

func quote(s string, mark byte) string {
	m := string(mark)
	return m + strings.ReplaceAll(s, m, m+m) + m
}

func quoteName(s string) string {
	if plainName(s) && !reserved(s) {
		return s
	}
	return quote(s, '"')
}

func plainName(s string) bool {
	for i, r := range s {
		if !nameRune(r, i == 0) {
			return false
		}
	}
	return s != ""
}
