package inspection

import (
	"mime"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// bodyRule is what a route accepts as body. A nil rule accepts every body.
//
// The size of a body is the largest of what the gateway counted, what it forwarded and what Content-Length
// declares. A body whose size nobody knows (chunked and not forwarded, or cut off without a declared length)
// is refused body_partial where the rule has a max. A gateway that forwards no bodies and shows no length, as over
// HTTP/2, hides that there is one: forward bodies where max matters.
type bodyRule struct {
	max   int64    // anySize for no bound
	types []string // lower-case media types; empty for any
}

// anySize stands for no max: one of 0 refuses every body.
const anySize = -1

// checkBody reports what is wrong with a body declaration.
func checkBody(b *format.Body, at string, report func(yamlPath, message string)) {
	if b == nil {
		return
	}
	if b.Max != nil && *b.Max < 0 {
		report(at+".max", "must not be negative")
	}
	if b.Max == nil && len(b.Types) == 0 {
		report(at, "needs max or types")
	}
	for _, t := range b.Types {
		kind, params, err := mime.ParseMediaType(t)
		switch {
		case t == "*/*":
		case err != nil || len(params) > 0 || !strings.Contains(kind, "/") || strings.Contains(kind, "*"):
			report(at+".types", quote(t)+" is no media type without parameters, such as application/json, nor */*")
		}
	}
}

// quote shows a bundle's own text in a problem, bounded.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return `"` + s + `"`
}

// newBodyRule joins a route's declaration with the defaults, member by member.
func newBodyRule(own, defaults *format.Body) *bodyRule {
	if own == nil && defaults == nil {
		return nil
	}
	r := &bodyRule{max: anySize}
	for _, b := range []*format.Body{defaults, own} {
		if b == nil {
			continue
		}
		if b.Max != nil {
			r.max = int64(*b.Max)
		}
		if len(b.Types) > 0 {
			r.types = nil
			for _, t := range b.Types {
				r.types = append(r.types, strings.ToLower(strings.TrimSpace(t)))
			}
		}
	}
	return r
}

// declared checks what the header says of the body, before any work is done for the request.
func (r *bodyRule) declared(q *request.Request) verdict.Reason {
	if r == nil {
		return ""
	}
	if size, _ := bodySize(q); r.max != anySize && size > r.max {
		return verdict.BodyTooLarge
	}
	for i := range q.Header {
		// A compressed body has a size and a content that the API sees and this rule does not.
		if f := &q.Header[i]; f.Name == "content-encoding" && !strings.EqualFold(strings.Trim(f.Value, " \t"), "identity") {
			return verdict.BodyEncoding
		}
	}
	return ""
}

// check holds the body against the rule.
func (r *bodyRule) check(q *request.Request) verdict.Reason {
	if r == nil {
		return ""
	}
	size, known := bodySize(q)
	present := !known || size > 0
	switch {
	case r.max != anySize && size > r.max:
		return verdict.BodyTooLarge
	case r.max != anySize && !known:
		return verdict.BodyPartial
	case len(r.types) == 0:
		return ""
	}
	value, lines := q.Header.Get("content-type")
	if !present && (lines == 0 || !carriesBody(q.Method)) {
		return ""
	}
	if lines != 1 || !r.accepts(value) {
		return verdict.BodyType
	}
	return ""
}

// bodySize returns the size of the body, as far as the request tells, and whether that is all of it.
func bodySize(q *request.Request) (size int64, known bool) {
	size = max(q.Body.Size, int64(len(q.Body.Bytes)), 0)
	if value, lines := q.Header.Get("content-length"); lines == 1 {
		if n, ok := parseLength(value); ok {
			return max(size, n), true
		}
	}
	chunked := q.Header.Count("transfer-encoding") > 0
	return size, q.Body.Size >= 0 && !q.Body.Partial && (!chunked || size > 0)
}

// carriesBody reports whether a method usually has a body. A content type is checked for those even if the gateway
// shows no body, since it may forward none.
func carriesBody(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "OPTIONS", "TRACE":
		return false
	}
	return true
}

// accepts compares media types without their parameters (RFC 9110, section 8.3.1). application/grpc stands for
// each of its message formats ("application/grpc+proto"), since gRPC servers take them for the same.
func (r *bodyRule) accepts(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(kind, "/") {
		return false
	}
	for _, t := range r.types {
		if t == "*/*" || t == kind || t == "application/grpc" && strings.HasPrefix(kind, "application/grpc+") {
			return true
		}
	}
	return false
}
