package token

import (
	"errors"
	"math"
	"strings"
	"time"
)

const (
	maxPath = 256
	// maxTime is 9999-12-31T23:59:59Z, the last instant that RFC 3339 can write.
	maxTime = 253402300799
)

// Path names a claim: member names joined by dots, such as realm_access.roles.
// A dot or backslash inside a name is written with a backslash before it.
type Path struct {
	names []string
}

// ParsePath reads a path.
func ParsePath(text string) (Path, error) {
	if len(text) > maxPath {
		return Path{}, errors.New("a claim path is longer than 256 bytes")
	}
	var names []string
	var name strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			if i++; i == len(text) || text[i] != '.' && text[i] != '\\' {
				return Path{}, errors.New(`a claim path has a backslash that is not before a dot or backslash`)
			}
			name.WriteByte(text[i])
		case '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(c)
		}
	}
	names = append(names, name.String())
	if len(names) > maxDepth {
		return Path{}, errors.New("a claim path is deeper than 32 names")
	}
	for _, n := range names {
		if n == "" {
			return Path{}, errors.New("a claim path has an empty name")
		}
	}
	return Path{names: names}, nil
}

// Claims are the claims of a token, from [Verifier.Check] or [ParseClaims]. Nothing in them may
// be changed: they are shared by all decisions that the token takes part in.
type Claims struct {
	members map[string]any
}

// Members returns all claims by name, to read only: values are nil, bool,
// float64, string, []any, map[string]any, or json.Number for a number that a
// float64 cannot tell from its neighbours.
func (c Claims) Members() map[string]any { return c.members }

// Issuer returns the iss.
func (c Claims) Issuer() string { return c.textOf("iss") }

// Subject returns the sub, empty when a token outside the at+jwt profile has none.
func (c Claims) Subject() string { return c.textOf("sub") }

// ID returns the jti, empty when a token outside the at+jwt profile has none.
func (c Claims) ID() string { return c.textOf("jti") }

// Expires returns the exp.
func (c Claims) Expires() time.Time {
	at, _, _ := timeOf(c.members, "exp")
	return at
}

// IssuedAt returns the iat and whether there is one.
func (c Claims) IssuedAt() (time.Time, bool) {
	at, ok, _ := timeOf(c.members, "iat")
	return at, ok
}

// Lookup returns the value at a path, to read only.
func (c Claims) Lookup(p Path) (any, bool) {
	if len(p.names) == 0 {
		return nil, false
	}
	var value any = c.members
	for _, name := range p.names {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = object[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

// String returns the string at a path. An absent claim and one of another type
// are each an [*Error].
func (c Claims) String(p Path) (string, error) {
	return at(c, p, func(v any) (string, bool) {
		s, ok := v.(string)
		return s, ok
	})
}

// Strings returns the strings at a path, an array of strings or one string, in a
// slice of the caller's own. Errors are those of [Claims.String].
func (c Claims) Strings(p Path) ([]string, error) { return at(c, p, stringsOf) }

// Number returns the number at a path. One that a float64 cannot tell from its
// neighbours counts as another type. Errors are those of [Claims.String].
func (c Claims) Number(p Path) (float64, error) {
	return at(c, p, func(v any) (float64, bool) {
		f, ok := v.(float64)
		return f, ok
	})
}

// Time returns the NumericDate of RFC 7519 section 2 at a path. Errors are those
// of [Claims.String].
func (c Claims) Time(p Path) (time.Time, error) { return at(c, p, numericDate) }

func (c Claims) textOf(name string) string {
	text, _ := c.members[name].(string)
	return text
}

func at[T any](c Claims, p Path, read func(any) (T, bool)) (T, error) {
	var none T
	value, ok := c.Lookup(p)
	if !ok {
		return none, refuse(reasonClaim, "a claim is missing")
	}
	result, ok := read(value)
	if !ok {
		return none, refuse(reasonMalformed, "a claim has a wrong type")
	}
	return result, nil
}

func stringsOf(value any) ([]string, bool) {
	if text, ok := value.(string); ok {
		return []string{text}, true
	}
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, element := range list {
		if texts[i], ok = element.(string); !ok {
			return nil, false
		}
	}
	return texts, true
}

// numericDate reads seconds since the epoch, up to the year 9999.
func numericDate(value any) (time.Time, bool) {
	f, ok := value.(float64)
	if !ok || !(f >= 0 && f <= maxTime) {
		return time.Time{}, false
	}
	seconds, fraction := math.Modf(f)
	return time.Unix(int64(seconds), int64(fraction*1e9)).UTC(), true
}

// timeOf returns a registered claim that must be a NumericDate when present.
func timeOf(members map[string]any, name string) (at time.Time, present bool, err error) {
	value, present := members[name]
	if !present {
		return time.Time{}, false, nil
	}
	at, ok := numericDate(value)
	if !ok {
		return time.Time{}, true, refuse(reasonMalformed, "a time claim is not a number of seconds up to the year 9999")
	}
	return at, true, nil
}
