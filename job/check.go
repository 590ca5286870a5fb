package job

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/stage"
)

// field is a field of a settings struct, as its tags say.
type field struct {
	name     string
	index    []int
	required bool
	min, max *float64
	oneOf    []string
}

// fieldsOf lists the fields that a file may set: those with a yaml tag, and those of
// embedded structs.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for _, sf := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if name == "" || name == "-" || !sf.IsExported() {
			continue
		}
		f := field{name: name, index: sf.Index}
		for _, rule := range strings.Split(sf.Tag.Get("check"), ",") {
			f.rule(t, rule)
		}
		fields = append(fields, f)
	}
	return fields
}

func (f *field) rule(t reflect.Type, rule string) {
	what, arg, _ := strings.Cut(rule, "=")
	bound := func() *float64 {
		x, err := strconv.ParseFloat(arg, 64)
		if err != nil {
			panic(fmt.Sprintf("job: check tag %q of %s.%s", rule, t, f.name))
		}
		return &x
	}
	switch what {
	case "":
	case "required":
		f.required = true
	case "min":
		f.min = bound()
	case "max":
		f.max = bound()
	case "oneof":
		f.oneOf = strings.Split(arg, "|")
	default:
		panic(fmt.Sprintf("job: check tag %q of %s.%s", rule, t, f.name))
	}
}

// check holds a value that was read against the rules of its field.
func (d *decoder) check(n *yaml.Node, v reflect.Value, key string, f field) {
	problem, nearest := f.fault(v)
	if problem != "" {
		d.faultAt(n, key, "%s", problem).Nearest = nearest
	}
}

// fault says what is wrong with a value, "" for nothing.
func (f field) fault(v reflect.Value) (problem, nearest string) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "", ""
		}
		v = v.Elem()
	}
	x, isNumber := number(v)
	switch {
	case f.required && v.IsZero(), f.required && v.Kind() == reflect.Slice && v.Len() == 0:
		return "must not be empty", ""
	case isNumber && f.min != nil && x < *f.min:
		return fmt.Sprintf("%v is too small: at least %s", v.Interface(), plain(*f.min, v)), ""
	case isNumber && f.max != nil && x > *f.max:
		return fmt.Sprintf("%v is too large: at most %s", v.Interface(), plain(*f.max, v)), ""
	case isNumber && x != x:
		return "is not a number", ""
	case f.oneOf != nil && v.Kind() == reflect.String && !slices.Contains(f.oneOf, v.String()):
		return fmt.Sprintf("%q is not one of %s", v.String(), strings.Join(f.oneOf, ", ")), stage.Nearest(v.String(), f.oneOf)
	}
	return "", ""
}

// plain writes a bound in the way of the value that it bounds.
func plain(x float64, v reflect.Value) string {
	if v.Type() == reflect.TypeFor[Size]() {
		return Size(x).String()
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

func number(v reflect.Value) (float64, bool) {
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}

// validate holds settings that were made in Go against the same rules as a file. Values
// left at zero count as not given.
func validate(settings any, key string) Faults {
	v := reflect.ValueOf(settings)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	var faults Faults
	for _, f := range fieldsOf(v.Type()) {
		at := v.FieldByIndex(f.index)
		if at.IsZero() {
			if f.required {
				faults = append(faults, Fault{Key: key, Problem: fmt.Sprintf("%q is missing", f.name)})
			}
			continue
		}
		if problem, nearest := f.fault(at); problem != "" {
			faults = append(faults, Fault{Key: join(key, f.name), Problem: problem, Nearest: nearest})
		}
	}
	return faults
}
