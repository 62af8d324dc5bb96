package request

import "strings"

// Field is one header line: a lower-case name and its value.
type Field struct {
	Name, Value string
}

// Header is a list of header lines with lower-case names. Duplicates stay apart where the wire keeps them apart.
type Header []Field

// Count returns how many lines have the lower-case name.
func (h Header) Count(name string) int {
	n := 0
	for i := range h {
		if h[i].Name == name {
			n++
		}
	}
	return n
}

// Get returns the value of the first line with the lower-case name, and how many lines have it.
// A caller that needs a single value must look at the count.
func (h Header) Get(name string) (value string, count int) {
	for i := range h {
		if h[i].Name == name {
			if count == 0 {
				value = h[i].Value
			}
			count++
		}
	}
	return value, count
}

// Size returns the bytes of all names and values.
func (h Header) Size() int {
	n := 0
	for i := range h {
		n += len(h[i].Name) + len(h[i].Value)
	}
	return n
}

// Alias reports whether two header names reach some servers as the same variable: equal without regard to
// case and with '-' and '_' taken for the same character (CGI-style environments map both to '_').
func Alias(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if foldName(a[i]) != foldName(b[i]) {
			return false
		}
	}
	return true
}

// CanonicalAlias returns the form that all aliases of a header name share: lower case, '_' as '-'.
func CanonicalAlias(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

func foldName(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	}
	return c
}
