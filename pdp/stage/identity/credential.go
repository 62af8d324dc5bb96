package identity

import (
	"crypto/sha256"
	"strings"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// shown is a token as it came.
type shown struct {
	raw string // "" for none
	// dpop is set for one that came with the scheme DPoP, which promises a proof.
	dpop bool
	// cookie is set for one that came in a cookie, which browsers send along unasked.
	cookie bool
}

// sumOf is the SHA-256 of a credential, the name by which records and the cache know it. It goes piece by piece and allocates nothing:
// whoever sends a long one makes nobody copy it.
func sumOf(raw string) (sum [sha256.Size]byte) {
	var piece [512]byte
	h := sha256.New()
	for rest := raw; rest != ""; {
		n := copy(piece[:], rest)
		h.Write(piece[:n])
		rest = rest[n:]
	}
	h.Sum(sum[:0])
	return sum
}

// credential returns the one credential of a request, or why the request cannot be understood. The scheme DPoP counts where the service
// takes proofs, and other places than Authorization where it names them. It allocates nothing, whatever came.
func (p *part) credential(c *pipeline.Case) (shown, verdict.Reason) {
	if c.Request.Operation != nil {
		// Header fields beside an operation are those of the caller's own call, not of the subject.
		return shown{raw: c.Request.Operation.Credential}, ""
	}
	if holdsToken(c.Match.Query) {
		return shown{}, verdict.CredentialsInQuery
	}
	var found shown
	if value, count := c.Request.Header.Get("authorization"); count == 1 {
		var reason verdict.Reason
		if found, reason = readAuthorization(value, p.proofs != nil); reason != "" {
			return shown{}, reason
		}
	} else if count > 1 {
		return shown{}, verdict.CredentialsClash
	}
	return p.places.search(c, found)
}

// readAuthorization reads the value of an Authorization field. Another scheme is no token, unless a credential of ours
// hides behind it: the API behind might take that one.
func readAuthorization(value string, takesDPoP bool) (shown, verdict.Reason) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return shown{}, verdict.CredentialsMalformed
	}
	scheme, rest := cutScheme(value)
	if !isOurs(scheme, takesDPoP) {
		for joined := range strings.SplitSeq(value, ",") {
			if s, _ := cutScheme(strings.Trim(joined, " \t")); isOurs(s, takesDPoP) {
				return shown{}, verdict.CredentialsClash
			}
		}
		return shown{}, ""
	}
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.IndexByte(rest, ',') >= 0:
		return shown{}, verdict.CredentialsClash
	case rest == "" || strings.ContainsAny(rest, " \t"):
		return shown{}, verdict.CredentialsMalformed
	}
	return shown{raw: rest, dpop: isDPoP(scheme)}, ""
}

// showsDPoP says whether a request uses the scheme DPoP, well or not.
func showsDPoP(c *pipeline.Case) bool {
	value, count := c.Request.Header.Get("authorization")
	scheme, _ := cutScheme(strings.Trim(value, " \t"))
	return c.Request.Operation == nil && count == 1 && isDPoP(scheme)
}

func cutScheme(value string) (scheme, rest string) {
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		return value[:i], value[i:]
	}
	return value, ""
}

func isOurs(scheme string, takesDPoP bool) bool {
	return isBearer(scheme) || takesDPoP && isDPoP(scheme)
}

func isBearer(scheme string) bool {
	return len(scheme) == len("bearer") && strings.EqualFold(scheme, "bearer")
}

func isDPoP(scheme string) bool {
	return len(scheme) == len("dpop") && strings.EqualFold(scheme, "dpop")
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
