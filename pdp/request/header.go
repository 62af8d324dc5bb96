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

// CanonicalAlias returns the form that header names share which reach some servers as the same variable: lower case, with
// '_' as '-' (CGI-style environments map both to '_').
func CanonicalAlias(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}
