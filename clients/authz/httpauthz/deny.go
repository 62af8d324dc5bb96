package httpauthz

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/durward-pdp/durward/clients/authz"
)

const (
	// maxProblem bounds the body of a denial, in bytes.
	maxProblem = 1023
	// maxViolated bounds the limits named in it.
	maxViolated = 8
	// quotaType and quotaTitle are registered for exceeded quotas.
	quotaType  = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	quotaTitle = "Request cannot be satisfied as assigned quota has been exceeded"
)

// problemDetails is the body of a denial (RFC 9457). It holds the public reason, never the exact one. Gateways answer
// with the same members in the same order.
type problemDetails struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Code     string   `json:"code"`
	Decision string   `json:"decision_id,omitempty"`
	Violated []string `json:"violated-policies,omitempty"`
}

// deny answers for a denial. Headers that the program's outer layers have set stay, unless the decision names them.
func deny(w http.ResponseWriter, r *http.Request, d *authz.Decision) {
	status := d.Status
	if status < 300 || status > 599 {
		status = http.StatusForbidden
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if id := safeID(d.ID); id != "" {
		h.Set("X-Durward-Decision-Id", id)
	}
	body := ""
	if status >= http.StatusBadRequest && r.Method != http.MethodHead {
		h.Set("Content-Type", "application/problem+json")
		body = problem(d, status)
	}
	setResponse(h, d.SetResponse)
	w.WriteHeader(status)
	if body != "" {
		// The client may be gone; there is nobody else to tell.
		_, _ = io.WriteString(w, body) //nolint:gosec // JSON under its own media type, made of the server's words
	}
}

func problem(d *authz.Decision, status int) string {
	code := d.PublicReason
	if code == "" {
		code = "access_denied"
	}
	details := problemDetails{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Decision: safeID(d.ID)}
	if details.Title == "" {
		details.Title = "Denied"
	}
	if code == "quota_exceeded" && status == http.StatusTooManyRequests {
		details.Type, details.Title, details.Violated = quotaType, quotaTitle, violated(&d.Explanation)
	}
	text, err := json.Marshal(details)
	if err != nil || len(text) > maxProblem {
		details.Violated = nil
		text, err = json.Marshal(details)
	}
	if err != nil || len(text) > maxProblem {
		return ""
	}
	return string(text)
}

// violated names the limits that refused, as the RateLimit fields of the same response do.
func violated(x *authz.Explanation) []string {
	var out []string
	for i := range x.Limits {
		if l := &x.Limits[i]; l.Refused && !l.Shadow && safeID(l.Name) != "" && len(out) < maxViolated {
			out = append(out, l.Name)
		}
	}
	if len(out) == 0 && safeID(x.Limit) != "" {
		out = append(out, x.Limit)
	}
	return out
}

// safeID returns s where it is a short text of letters, digits and a few marks, else "".
func safeID(s string) string {
	if len(s) > 64 {
		return ""
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~/:", c) < 0 {
			return ""
		}
	}
	return s
}
