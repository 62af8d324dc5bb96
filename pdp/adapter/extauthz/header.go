package extauthz

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxLines bounds the header lines of a message; how many a request may have is for inspection to say.
const maxLines = 4096

// partialBody is the header in which Envoy says that it cut the body off.
const partialBody = "x-envoy-auth-partial-body"

// readLines returns the header lines, pseudo headers included, with lower-case names and ordered by name, so that
// both encodings of one request read the same. Lines of one name keep their order.
func readLines(http *authv3.AttributeContext_HttpRequest) (request.Header, verdict.Reason) {
	joined, raw := http.GetHeaders(), http.GetHeaderMap().GetHeaders()
	if len(raw) > maxLines || len(joined) > maxLines {
		return nil, verdict.HeaderTooLarge
	}
	var lines request.Header
	if len(raw) > 0 {
		var reason verdict.Reason
		if lines, reason = rawLines(raw); reason != "" {
			return nil, reason
		}
	} else {
		lines = make(request.Header, 0, len(joined))
		// Sorted, so that names that differ in case only keep one order.
		for _, name := range slices.Sorted(maps.Keys(joined)) {
			lines = append(lines, request.Field{Name: name, Value: joined[name]})
		}
	}
	for i := range lines {
		// Before the case is folded: some letters beyond ASCII fold into it.
		if !validName(lines[i].Name) || !request.CleanValue(lines[i].Value) {
			return nil, verdict.HeaderInvalid
		}
		lines[i].Name = strings.ToLower(lines[i].Name)
	}
	if len(raw) > 0 && len(joined) > 0 && contradicts(lines, joined) {
		return nil, verdict.MalformedRequest
	}
	slices.SortStableFunc(lines, func(a, b request.Field) int { return cmp.Compare(a.Name, b.Name) })
	return lines, ""
}

func rawLines(raw []*corev3.HeaderValue) (request.Header, verdict.Reason) {
	lines := make(request.Header, 0, len(raw))
	for _, h := range raw {
		value := h.GetValue()
		if bytes := h.GetRawValue(); len(bytes) > 0 {
			if value != "" && value != string(bytes) {
				return nil, verdict.MalformedRequest
			}
			value = string(bytes)
		}
		lines = append(lines, request.Field{Name: h.GetKey(), Value: value})
	}
	return lines, ""
}

// contradicts reports whether the joined map says anything else than the lines do.
func contradicts(lines request.Header, joined map[string]string) bool {
	values := make(map[string][]string, len(joined))
	for i := range lines {
		values[lines[i].Name] = append(values[lines[i].Name], replaceInvalid(lines[i].Value))
	}
	if len(values) != len(joined) {
		return true
	}
	for name, value := range joined {
		members, ok := values[strings.ToLower(name)]
		if !ok {
			return true
		}
		if value != strings.Join(members, ",") && value != strings.Join(members, ", ") && value != strings.Join(members, "; ") {
			return true
		}
	}
	return false
}

// replaceInvalid does to bytes that are not UTF-8 what Envoy does to them in the map.
func replaceInvalid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			out = append(out, '!')
		} else {
			out = append(out, s[i:i+n]...)
		}
		i += n
	}
	return string(out)
}

// takePseudo lets pseudo headers fill what the message left empty, and refuses those that disagree with it.
func (d *decoder) takePseudo(lines request.Header) {
	r, previous := d.request, ""
	for i := range lines {
		name, value := lines[i].Name, lines[i].Value
		if name[0] != ':' {
			continue
		}
		var member *string
		switch name {
		case ":authority":
			member = &r.Host
		case ":method":
			member = &r.Method
		case ":path":
			member = &r.Target
		case ":scheme":
			member = &r.Scheme
		case ":protocol": // extended CONNECT, RFC 8441: it changes nothing of the four above
			continue
		}
		switch {
		case name == ":authority" && (name == previous || strings.Contains(value, ",")):
			d.refuse(verdict.DuplicateHeader)
		case member == nil, name == previous, *member != "" && *member != value:
			d.refuse(verdict.MalformedRequest)
		default:
			*member = value
		}
		previous = name
	}
}

// takeHost refuses a second host, in a line of its own or behind a comma: gateway and API may each take another one.
func (d *decoder) takeHost(lines request.Header) {
	for i := range lines {
		if lines[i].Name != "host" {
			continue
		}
		if d.request.Host == "" {
			d.request.Host = lines[i].Value
		}
		if d.request.Host != lines[i].Value || i > 0 && lines[i-1].Name == "host" {
			d.refuse(verdict.DuplicateHeader)
		}
	}
	if strings.Contains(d.request.Host, ",") {
		d.refuse(verdict.DuplicateHeader)
	}
}

// keepLines fills the request's header. It takes out what is no client header (pseudo headers, the host, Envoy's
// marker of partial bodies) and reports whether the marker was there and said anything but false.
func (d *decoder) keepLines(lines request.Header) (partial bool) {
	kept := lines[:0]
	for i := range lines {
		switch f := lines[i]; {
		case f.Name[0] == ':' || f.Name == "host":
		case f.Name == partialBody:
			partial = partial || f.Value != "false"
		default:
			kept = append(kept, f)
		}
	}
	d.request.Header = kept
	return partial
}

// checkSingle refuses two credentials.
func (d *decoder) checkSingle() {
	if !d.request.Header.SingleCredential() {
		d.refuse(verdict.DuplicateHeader)
	}
}

// validName reports whether s is a token, or one behind a colon: a pseudo header.
func validName(s string) bool { return request.ValidName(strings.TrimPrefix(s, ":")) }
