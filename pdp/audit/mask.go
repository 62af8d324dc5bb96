package audit

import (
	"net/url"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
)

// maskedText stands for a client's text that holds a credential.
const maskedText = "[masked]"

const (
	// minSecret is the shortest value that is looked for elsewhere; shorter ones are in too many harmless texts.
	minSecret = 8
	// maxSecrets bounds the values of one request that are looked for, maxPairs the query parameters that are read, and
	// maxTaken the bytes of a header that are taken apart.
	maxSecrets = 32
	maxPairs   = 128
	maxTaken   = 16 << 10
)

// collect finds the request's credentials, so that they are masked where a client repeats them in a harmless place.
func (e *encoder) collect(r *request.Request, m *route.Match) {
	if r.Operation != nil {
		e.secret(r.Operation.Credential)
	}
	for i := range r.Header {
		if f := &r.Header[i]; request.MayHoldCredential(f.Name) {
			e.secret(f.Value)
			e.secretParts(f.Value)
		}
	}
	for rest, n := m.Query, 0; rest != "" && n < maxPairs; n++ {
		var name, value string
		name, value, rest = nextPair(rest)
		if request.MayHoldCredentialInQuery(name) {
			e.secret(value)
		}
	}
	for i := range m.Params {
		if p := &m.Params[i]; request.MayHoldCredential(p.Name) {
			e.secret(p.Value)
		}
	}
}

// secretParts takes a value apart as schemes ("Bearer x"), cookies ("a=x; b=y") and lists do.
func (e *encoder) secretParts(value string) {
	value = value[:min(len(value), maxTaken)]
	for rest := value; rest != "" && len(e.secrets) < maxSecrets; {
		part := rest
		if i := strings.IndexAny(rest, " ;,="); i >= 0 {
			part, rest = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		if len(part) < len(value) {
			e.secret(strings.Trim(part, "\""))
		}
	}
}

func (e *encoder) secret(value string) {
	if len(value) >= minSecret && len(e.secrets) < maxSecrets {
		// Where the whole stands, its beginning does.
		e.secrets = append(e.secrets, value[:min(len(value), maxLong)])
	}
}

// clean returns a client's text, or the mark in its place.
func (e *encoder) clean(s string) string {
	// Of any text at most maxLong bytes are recorded, and a secret that begins there ends within as many more.
	seen := s[:min(len(s), 2*maxLong)]
	if looksLikeToken(seen) {
		return maskedText
	}
	for _, secret := range e.secrets {
		if strings.Contains(seen, secret) {
			return maskedText
		}
	}
	return s
}

// looksLikeToken finds compact JWTs, whose header always begins with the same letters, and bearer credentials.
func looksLikeToken(s string) bool {
	const scheme = "bearer "
	if len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
		return true
	}
	for {
		i := strings.Index(s, "eyJ")
		if i < 0 {
			return false
		}
		s = s[i:]
		n := 0
		for n < len(s) && base64URL(s[n]) {
			n++
		}
		if n >= 12 && n < len(s) && s[n] == '.' {
			return true
		}
		s = s[n:]
	}
}

func base64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// nextPair cuts the first name and value from a raw query. What cannot be decoded stays as it is.
func nextPair(query string) (name, value, rest string) {
	pair, rest, _ := strings.Cut(query, "&")
	name, value, _ = strings.Cut(pair, "=")
	return unescape(name), unescape(value), rest
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}
