package identity

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// credential returns the one bearer token of a request, "" when none came, or why the request cannot be understood.
// It allocates nothing, whatever came.
func credential(c *pipeline.Case) (raw string, reason verdict.Reason) {
	if c.Request.Operation != nil {
		// Header fields beside an operation are those of the caller's own call, not of the subject.
		return c.Request.Operation.Credential, ""
	}
	if holdsToken(c.Match.Query) {
		return "", verdict.CredentialsInQuery
	}
	value, count := c.Request.Header.Get("authorization")
	switch count {
	case 0:
		return "", ""
	case 1:
		return readAuthorization(value)
	default:
		return "", verdict.CredentialsClash
	}
}

// readAuthorization reads the value of an Authorization field. Another scheme than Bearer is no token, unless a Bearer
// credential hides behind it: the API behind might take that one.
func readAuthorization(value string) (raw string, reason verdict.Reason) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return "", verdict.CredentialsMalformed
	}
	scheme, rest := cutScheme(value)
	if !isBearer(scheme) {
		for joined := range strings.SplitSeq(value, ",") {
			if s, _ := cutScheme(strings.Trim(joined, " \t")); isBearer(s) {
				return "", verdict.CredentialsClash
			}
		}
		return "", ""
	}
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.IndexByte(rest, ',') >= 0:
		return "", verdict.CredentialsClash
	case rest == "" || strings.ContainsAny(rest, " \t"):
		return "", verdict.CredentialsMalformed
	}
	return rest, ""
}

func cutScheme(value string) (scheme, rest string) {
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		return value[:i], value[i:]
	}
	return value, ""
}

func isBearer(scheme string) bool {
	return len(scheme) == len("bearer") && strings.EqualFold(scheme, "bearer")
}

// holdsToken says whether a raw query has the parameter access_token of RFC 6750, section 2.3, in any spelling that
// some server would take for it.
func holdsToken(query string) bool {
	for query != "" {
		pair := query
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = ""
		}
		name, _, _ := strings.Cut(pair, "=")
		if spells(name, "access_token") {
			return true
		}
	}
	return false
}

// spells says whether an escaped text is the lower-case word, without regard to case.
func spells(escaped, word string) bool {
	for i := range len(word) {
		if escaped == "" {
			return false
		}
		c, length := escaped[0], 1
		if c == '%' && len(escaped) >= 3 {
			high, low := unhex(escaped[1]), unhex(escaped[2])
			if high < 16 && low < 16 {
				c, length = high<<4|low, 3
			}
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
		escaped = escaped[length:]
	}
	return escaped == ""
}

// unhex returns the value of a hexadecimal digit, 16 for any other character.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
