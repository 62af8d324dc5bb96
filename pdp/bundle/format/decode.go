package format

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// Decode reads the YAML of the file into the struct that into points at, strictly, and returns all that is wrong
// with it: syntax, unknown and repeated keys, values of another type. The keys are the fields' yaml tags; fields
// without a tag or with "-" are left alone, and so is whatever the file does not name. A type with UnmarshalText
// reads text, and a number where its kind is a number; one with SetScalar takes text, whole numbers, true and false.
func Decode(file *File, into any) Problems {
	r := &reader{file: file}
	root := r.parse()
	if root == nil {
		if len(r.problems) == 0 {
			r.whole("the file is empty")
		}
		return r.problems
	}
	r.value(root, reflect.ValueOf(into).Elem())
	return r.problems.sorted()
}

// sorted returns the problems by file and place.
func (ps Problems) sorted() Problems {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i].Position, ps[j].Position
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return ps
}

func (r *reader) value(n *node, v reflect.Value) {
	if n.kind == kindNull {
		r.at(n, "a key without a value", "remove the key, or write the value; an empty list is []")
		return
	}
	if v.Kind() == reflect.Pointer {
		target := reflect.New(v.Type().Elem())
		r.value(n, target.Elem())
		v.Set(target)
		return
	}
	if field := shorthand(v.Type(), n.kind); field != "" {
		r.value(n, v.FieldByName(field))
		return
	}
	if v.Type() == reflect.TypeFor[values]() {
		r.values(n, v)
		return
	}
	switch u := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		r.unmarshal(n, v, u)
		return
	case scalarSetter:
		r.literal(n, u)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		r.object(n, v)
	case reflect.Slice:
		r.list(n, v)
	case reflect.Map:
		r.mapping(n, v)
	case reflect.Interface:
		if free := r.free(n); free != nil {
			v.Set(reflect.ValueOf(free))
		}
	default:
		r.scalar(n, v)
	}
}

// shorthand returns the field that a value is for where a struct may be written as that field alone; else "".
func shorthand(t reflect.Type, k kind) string {
	switch {
	case t == reflect.TypeFor[Attribute]() && k == kindText:
		return "Name"
	case t == reflect.TypeFor[classRate]() && k != kindMapping:
		return "Rate"
	case t == reflect.TypeFor[condition]() && k != kindMapping:
		return "Is"
	}
	return ""
}

// values reads a scalar, or a list of them. What is written is never nil, so that an empty list is told from nothing.
func (r *reader) values(n *node, v reflect.Value) {
	items := []*node{n}
	if n.kind == kindSequence {
		items = n.items
	}
	out := make(values, 0, len(items))
	for _, item := range items {
		if item.kind >= kindSequence {
			r.mismatch(item, "text, a number, true or false")
			continue
		}
		if free := r.free(item); free != nil {
			out = append(out, free)
		}
	}
	v.Set(reflect.ValueOf(out))
}

func (r *reader) unmarshal(n *node, v reflect.Value, u encoding.TextUnmarshaler) {
	number := v.CanInt() || v.CanUint() || v.CanFloat()
	if n.kind != kindText && (n.kind != kindNumber || !number) {
		r.mismatch(n, "text")
		return
	}
	if err := u.UnmarshalText([]byte(n.text)); err != nil {
		r.at(n, err.Error(), "")
	}
}

// scalarSetter is a text that need not stand in quotes where it looks like a whole number, true or false.
type scalarSetter interface {
	// SetScalar takes what stands in the file.
	SetScalar(text string)
}

func (r *reader) literal(n *node, s scalarSetter) {
	whole := false
	if n.kind == kindNumber {
		_, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
		whole = err == nil
	}
	if n.kind != kindText && n.kind != kindBool && !whole {
		r.mismatch(n, "text")
		return
	}
	s.SetScalar(n.text)
}

func (r *reader) scalar(n *node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		r.text(n, v)
	case reflect.Bool:
		if n.kind != kindBool || n.text != "true" && n.text != "false" {
			r.mismatch(n, "true or false")
			return
		}
		v.SetBool(n.text == "true")
	case reflect.Int, reflect.Int32, reflect.Int64:
		digits, negative := strings.CutPrefix(n.text, "-")
		i, ok := wholeNumber(digits)
		if negative {
			i = -i
		}
		if n.kind != kindNumber || !ok || v.OverflowInt(i) {
			r.mismatch(n, "a whole number in plain decimal digits")
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if n.kind != kindNumber || err != nil || strings.Trim(n.text, "-0123456789.") != "" {
			r.mismatch(n, "a decimal number")
			return
		}
		v.SetFloat(f)
	default:
		r.at(n, fmt.Sprintf("this version cannot read a value into a %s", v.Type()), "")
	}
}

func (r *reader) text(n *node, v reflect.Value) {
	if n.kind != kindText {
		r.mismatch(n, "text")
		return
	}
	v.SetString(n.text)
}

// mismatch reports a value of another type than wanted.
func (r *reader) mismatch(n *node, want string) {
	hint := ""
	switch {
	case want == "text" && (n.kind == kindNumber || n.kind == kindBool):
		hint = fmt.Sprintf("put it in quotes: %q", n.text)
	case n.kind == kindText && want != "text":
		r.at(n, fmt.Sprintf("expected %s, found the text %s", want, short(n.text)), "")
		return
	case n.kind == kindNumber || n.kind == kindBool && want != "text": // another spelling of what is wanted, it may be
		r.at(n, fmt.Sprintf("expected %s, found %s", want, short(n.text)), "")
		return
	}
	r.at(n, fmt.Sprintf("expected %s, found %s", want, n.kind), hint)
}

// short quotes a text for a message, cut to a length that fits one.
func short(text string) string {
	const longest = 60
	text = withoutPasswords(text)
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return strconv.Quote(text)
}

func (r *reader) list(n *node, v reflect.Value) {
	if n.kind != kindSequence {
		r.mismatch(n, "a list")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		r.value(item, out.Index(i))
	}
	v.Set(out)
}

func (r *reader) mapping(n *node, v reflect.Value) {
	if n.kind != kindMapping {
		r.mismatch(n, "a mapping")
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	for i := range n.entries {
		element := reflect.New(v.Type().Elem()).Elem()
		r.value(n.entries[i].value, element)
		out.SetMapIndex(reflect.ValueOf(n.entries[i].key).Convert(v.Type().Key()), element)
	}
	v.Set(out)
}

func (r *reader) object(n *node, v reflect.Value) {
	if n.kind != kindMapping {
		want := "a mapping"
		if v.Type() == reflect.TypeFor[Attribute]() {
			want = "the name of an attribute"
		}
		r.mismatch(n, want)
		return
	}
	fields, names := keysOf(v.Type())
	for i := range n.entries {
		e := &n.entries[i]
		field, ok := fields[e.key]
		if !ok {
			hint := didYouMean(e.key, names)
			if hint == "" && len(names) <= 8 {
				hint = "known here: " + strings.Join(names, ", ")
			}
			r.place(e.line, e.column, "unknown key "+short(e.key), hint)
			continue
		}
		r.value(e.value, v.Field(field))
	}
}

// keysOf returns the fields of a struct by their yaml tag, and the tags in order.
func keysOf(t reflect.Type) (fields map[string]int, names []string) {
	fields = make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = i
		names = append(names, name)
	}
	return fields, names
}

// free returns a value of a field that takes several types: string, int64, float64, bool, []any or map[string]any.
func (r *reader) free(n *node) any {
	switch n.kind {
	case kindText:
		return n.text
	case kindBool:
		var b bool
		r.scalar(n, reflect.ValueOf(&b).Elem())
		return b
	case kindNumber:
		if strings.Contains(n.text, ".") {
			var f float64
			r.scalar(n, reflect.ValueOf(&f).Elem())
			return f
		}
		var i int64
		r.scalar(n, reflect.ValueOf(&i).Elem())
		return i
	case kindSequence:
		var list []any
		r.list(n, reflect.ValueOf(&list).Elem())
		return list
	case kindMapping:
		var object map[string]any
		r.mapping(n, reflect.ValueOf(&object).Elem())
		return object
	default:
		r.at(n, "a key without a value", "remove the key, or write the value")
		return nil
	}
}
