package attribute

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnknown is wrapped by the error for a name that cannot exist.
var ErrUnknown = errors.New("unknown attribute")

// Accessor reads one attribute. It is immutable and safe for concurrent use.
type Accessor struct {
	name    string
	get     func(*Facts) (Value, Presence)
	missing *string
	members func(*Facts) []string
}

// Name returns the dotted name.
func (a Accessor) Name() string { return a.name }

// Valid reports whether the accessor was compiled; the zero Accessor is not valid and always Missing.
func (a Accessor) Valid() bool { return a.get != nil }

// WithMissing returns an accessor that yields the text s where the attribute is missing.
func (a Accessor) WithMissing(s string) Accessor {
	a.missing = &s
	return a
}

// Get returns the value and whether there is one.
func (a Accessor) Get(f *Facts) (Value, Presence) {
	if a.get == nil {
		return Value{}, Missing
	}
	v, p := a.get(f)
	if p == Missing && a.missing != nil {
		return OfText(*a.missing), Present
	}
	return v, p
}

// IsObject reports whether the attribute is a whole object (subject, resource, request, claims).
func (a Accessor) IsObject() bool {
	_, ok := objects[a.name]
	return ok
}

// IsList reports whether the attribute holds several values by nature, as subject.roles does. A claim may hold some too.
func (a Accessor) IsList() bool { return a.members != nil }

// Members returns what Get returns for an attribute that IsList, without wrapping it; for others nothing. The caller must
// not change them.
func (a Accessor) Members(f *Facts) []string {
	if a.members == nil {
		return nil
	}
	return a.members(f)
}

// UsesClient reports whether the attribute reads the client's address, which the operator must have chosen a rule for.
func (a Accessor) UsesClient() bool {
	return a.name == "client.address" || a.name == "client.network"
}

// UsesSubject reports whether the attribute is known only after identity.
func (a Accessor) UsesSubject() bool {
	return a.name == "subject" || a.name == "claims" ||
		strings.HasPrefix(a.name, "subject.") || strings.HasPrefix(a.name, "claims.")
}

// Compile returns the accessor of a dotted name. params are the path parameters of the routes that it is used on;
// nil means that they are not known here, and any parameter name passes.
func Compile(name string, params []string) (Accessor, error) {
	if get, ok := fixed[name]; ok {
		return Accessor{name: name, get: get, members: lists[name]}, nil
	}
	if get, ok := objects[name]; ok {
		return Accessor{name: name, get: get}, nil
	}
	for _, family := range families {
		rest, ok := strings.CutPrefix(name, family.prefix)
		if !ok {
			continue
		}
		if rest == "" || strings.HasPrefix(rest, ".") || strings.HasSuffix(rest, ".") || strings.Contains(rest, "..") {
			return Accessor{}, fmt.Errorf("%w %q: %s needs a name", ErrUnknown, name, family.prefix+"NAME")
		}
		if family.prefix == "params." && params != nil && !contains(params, rest) {
			return Accessor{}, fmt.Errorf("%w %q: the path has no parameter {%s}", ErrUnknown, name, rest)
		}
		return Accessor{name: name, get: family.compile(rest)}, nil
	}
	if near := nearest(name); near != "" {
		return Accessor{}, fmt.Errorf("%w %q, did you mean %q?", ErrUnknown, name, near)
	}
	return Accessor{}, fmt.Errorf("%w %q", ErrUnknown, name)
}

func contains(list []string, s string) bool {
	for _, member := range list {
		if member == s {
			return true
		}
	}
	return false
}

func formatNumber(x float64) string {
	// Whole numbers print without a point or an exponent, so that 7 and 7.0 are the same key.
	if x == float64(int64(x)) && x > -1e15 && x < 1e15 {
		return strconv.FormatInt(int64(x), 10)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// nearest returns the fixed name at the smallest edit distance, if that is at most 2.
func nearest(name string) string {
	best, bestDistance := "", 3
	for candidate := range fixed {
		if d := distance(name, candidate); d < bestDistance || d == bestDistance && candidate < best {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := previous
			if a[i-1] != b[j-1] {
				cost++
			}
			previous = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
