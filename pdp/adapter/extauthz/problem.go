package extauthz

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxProblem bounds the body of a denial, in bytes.
	maxProblem = 1023
	// quotaType and quotaTitle are registered for exceeded quotas.
	quotaType  = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	quotaTitle = "Request cannot be satisfied as assigned quota has been exceeded"
)

// problemDetails is the body of a denial (RFC 9457). It holds the public reason, never the exact one.
type problemDetails struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Code     string   `json:"code"`
	Decision string   `json:"decision_id,omitempty"`
	Violated []string `json:"violated-policies,omitempty"`
}

func problem(v *verdict.Verdict, code int, id string) string {
	details := problemDetails{
		Type:     "about:blank",
		Title:    title(code),
		Status:   code,
		Code:     string(publicReason(v)),
		Decision: id,
	}
	if publicReason(v) == verdict.QuotaExceeded && code == http.StatusTooManyRequests {
		details.Type, details.Title, details.Violated = quotaType, quotaTitle, violated(&v.Explanation)
	}
	body, err := json.Marshal(details)
	if err != nil || len(body) > maxProblem {
		details.Violated = nil
		body, err = json.Marshal(details)
	}
	if err != nil || len(body) > maxProblem {
		return ""
	}
	return string(body)
}

// title is the status's own phrase, as about:blank demands.
func title(code int) string {
	if text := http.StatusText(code); text != "" {
		return text
	}
	return "Denied"
}

// violated names the limits that refused, as the RateLimit fields of the same response do.
func violated(e *verdict.Explanation) []string {
	const most = 8
	var out []string
	for i := range e.Limits {
		if l := &e.Limits[i]; l.Refused && !l.Shadow && safeID(l.Name) != "" && len(out) < most {
			out = append(out, l.Name)
		}
	}
	if len(out) == 0 && safeID(e.Limit) != "" {
		out = append(out, e.Limit)
	}
	return out
}

// publicReason is what the client may learn; a denial without a public reason is a plain one.
func publicReason(v *verdict.Verdict) verdict.Public {
	if public := v.Reason.Public(); public != "" {
		return public
	}
	return verdict.AccessDenied
}

// safeID returns s where it is a short text of letters, digits and a few marks, else "".
func safeID(s string) string {
	if len(s) > 64 {
		return ""
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '/' && c != ':' && !request.ValidName(s[i:i+1]) {
			return ""
		}
	}
	return s
}

// isGRPC reports whether the client speaks gRPC. gRPC-Web clients read HTTP statuses, so they are not meant.
func isGRPC(h request.Header) bool {
	value, n := h.Get("content-type")
	rest, ok := strings.CutPrefix(strings.ToLower(value), "application/grpc")
	return n == 1 && ok && (rest == "" || rest[0] == '+' || rest[0] == ';' || rest[0] == ' ')
}

func grpcText(v *verdict.Verdict, id string) string {
	if id == "" {
		return string(publicReason(v))
	}
	return string(publicReason(v)) + "; decision " + id
}

// grpcCode maps the status of a denial to a gRPC code, which is never OK.
func grpcCode(status int) codes.Code {
	switch status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusRequestHeaderFieldsTooLarge:
		return codes.InvalidArgument
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusMethodNotAllowed:
		return codes.Unimplemented
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	}
	if status >= http.StatusInternalServerError {
		return codes.Unavailable
	}
	return codes.PermissionDenied
}

func grpcStatus(status int) string { return strconv.FormatUint(uint64(grpcCode(status)), 10) }

// percentEncode encodes a grpc-message: printable ASCII but the percent sign stays.
func percentEncode(s string) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; request.Visible(c) && c != '%' {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return out.String()
}
