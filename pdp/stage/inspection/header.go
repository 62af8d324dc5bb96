package inspection

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// errPart is reported when a service holds nothing that this stage compiled.
var errPart = errors.New("inspection: no compiled part for the route")

// encrypted reports whether the client's connection is known to use TLS: by its scheme or, where the gateway tells none,
// by what only a handshake yields. Behind a proxy the handshake may be that proxy's own, so it does not raise http.
func encrypted(r *request.Request) bool {
	return r.Scheme == "https" || r.Scheme == "" && (r.SNI != "" || r.Certificate != nil)
}

// header checks bounds, spelling and single fields, in this order, so that a hostile header is not read further
// than its bounds. One pass over the lines does it.
func (s shape) header(r *request.Request) verdict.Reason {
	if len(r.Header) > s.bounds.lines {
		return verdict.HeaderTooLarge
	}
	total := 0
	for i := range r.Header {
		f := &r.Header[i]
		total += len(f.Name) + len(f.Value)
		if len(f.Value) > s.bounds.value || total > s.bounds.bytes {
			return verdict.HeaderTooLarge
		}
	}
	var seen singles
	for i := range r.Header {
		f := &r.Header[i]
		if !validName(f.Name) || !validValue(f.Value) {
			return verdict.HeaderInvalid
		}
		if reason := seen.add(f); reason != "" {
			return reason
		}
		if f.Name == "host" && f.Value != r.Host {
			return verdict.DuplicateHeader // beside another authority
		}
	}
	if seen.length && seen.coding {
		return verdict.HeaderInvalid // two framings of one body (RFC 9112, section 6.3)
	}
	return ""
}

// singles remembers which of the fields that must be single came already.
type singles struct {
	host, authorization, length, kind, coding bool
}

// add refuses the second line of a field that must be single, and a value in which the wire joined two lines.
func (s *singles) add(f *request.Field) verdict.Reason {
	var again, joined bool
	switch f.Name {
	case "host":
		again, joined = s.host, strings.IndexByte(f.Value, ',') >= 0
		s.host = true
	case "authorization":
		again, joined = s.authorization, joinedCredentials(f.Value)
		s.authorization = true
	case "content-length":
		again, joined = s.length, strings.IndexByte(f.Value, ',') >= 0
		s.length = true
		if _, ok := parseLength(f.Value); !ok && !joined {
			return verdict.HeaderInvalid
		}
	case "content-type":
		again, joined = s.kind, hasBareComma(f.Value)
		s.kind = true
	case "transfer-encoding":
		s.coding = true
	}
	if again || joined {
		return verdict.DuplicateHeader
	}
	return ""
}

// joinedCredentials tells whether an Authorization value holds the credentials of two lines. Schemes that take one
// token have no comma; the others have parameters after it, never a new scheme (RFC 9110, section 11.6.2).
func joinedCredentials(v string) bool {
	first, rest, found := strings.Cut(v, ",")
	if !found {
		return false
	}
	scheme, _, _ := strings.Cut(first, " ")
	switch strings.ToLower(scheme) {
	case "bearer", "basic", "dpop", "negotiate":
		return true
	}
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.Trim(part, " \t")
		end := strings.IndexAny(part, " \t=\"")
		if end < 0 || part[end] == ' ' || part[end] == '\t' {
			return true
		}
	}
	return false
}

// hasBareComma tells whether a comma stands outside quoted strings; an open quote counts as one.
func hasBareComma(v string) bool {
	quoted := false
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] == '"':
			quoted = !quoted
		case v[i] == '\\' && quoted:
			i++
		case v[i] == ',' && !quoted:
			return true
		}
	}
	return quoted
}

// parseLength reads a Content-Length: digits alone, no sign, no list (RFC 9110, section 8.6).
func parseLength(v string) (int64, bool) {
	if v == "" || len(v) > 18 {
		return 0, false
	}
	var n int64
	for i := 0; i < len(v); i++ {
		if v[i] < '0' || '9' < v[i] {
			return 0, false
		}
		n = n*10 + int64(v[i]-'0')
	}
	return n, true
}

// validName accepts lower-case tokens (RFC 9110, section 5.1): adapters hand names over in lower case, and a name
// in another case would escape every look-up.
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// validValue refuses control characters and what is not UTF-8, together with the replacement character that some
// wire encoders put in its place: nobody can tell what the client sent.
func validValue(s string) bool {
	plain := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		plain = plain && c < 0x80
	}
	return plain || utf8.ValidString(s) && !strings.ContainsRune(s, utf8.RuneError)
}

// operation bounds the texts of a question without an HTTP request, which reach rules and records as they are.
func (s shape) operation(op *request.Operation) verdict.Reason {
	total := len(op.Service) + len(op.Action) + len(op.ResourceType) + len(op.ResourceID)
	sound := validText(op.Service) && validText(op.Action) && validText(op.ResourceType) && validText(op.ResourceID)
	if len(op.Properties) > s.bounds.lines {
		return verdict.HeaderTooLarge
	}
	for name, value := range op.Properties {
		total += len(name) + len(value)
		if total > s.bounds.bytes {
			return verdict.HeaderTooLarge
		}
		sound = sound && validText(name) && validText(value)
	}
	switch {
	case total > s.bounds.bytes:
		return verdict.HeaderTooLarge
	case !sound:
		return verdict.MalformedRequest
	}
	return ""
}

func validText(s string) bool {
	return validValue(s) && strings.IndexByte(s, '\t') < 0
}
