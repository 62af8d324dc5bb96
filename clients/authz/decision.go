package authz

import (
	"context"
	"net/http"
	"strings"
	"time"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// Decision is the answer to one question. The zero value denies.
type Decision struct {
	// Allowed is set when the call may pass, once SetUpstream and RemoveUpstream are carried out.
	Allowed bool
	// FailedOpen is set when no server answered and FailOpen let the call pass.
	FailedOpen bool
	// Status is the HTTP status to answer with: 300 to 599 for a denial, 200 for an allow.
	Status int
	// PublicReason is what a client may be told of a denial. Reason is the exact code, for logs: clients must not see it.
	PublicReason, Reason string
	// ID names the decision in the server's log; "" when no server answered.
	ID string
	// Stage is the stage that stopped the call.
	Stage string
	// Degraded is set when a dependency of the server failed and a failure mode decided.
	Degraded bool
	// RetryAfter is how long to wait; zero when waiting does not help.
	RetryAfter time.Duration
	// SetUpstream are request headers for what is behind; each replaces all that the client sent under any alias of the
	// name (see Alias). RemoveUpstream are headers that must not reach it. Both hold lower-case names.
	SetUpstream    []Field
	RemoveUpstream []string
	// SetResponse are headers of the client's response, on allow and on deny.
	SetResponse []Field
	// Metadata are values for the program's own log.
	Metadata map[string]string
	// Explanation says what decided; clients must not see it, but for the names of exhausted limits.
	Explanation Explanation
	// Permits are what the call holds of limits on concurrency until Release; nil where it holds none.
	Permits *Permits

	call *call // what Report tells the server about; nil where there is nothing to tell
}

// unreadable is the denial for an answer that cannot be carried out to the letter.
func unreadable(id string) Decision {
	return Decision{Status: http.StatusForbidden, Reason: "header_value_unsafe", PublicReason: "access_denied", ID: id}
}

// decision reads an answer. Whatever is not plainly an allow is a denial.
func decision(in *durwardv1.CheckResponse) Decision {
	d := Decision{
		Allowed:      in.GetEffect() == durwardv1.Effect_EFFECT_ALLOW,
		Status:       int(in.GetHttpStatus()),
		PublicReason: in.GetPublicReason(),
		Reason:       in.GetReason(),
		ID:           in.GetDecisionId(),
		Stage:        in.GetStage(),
		Degraded:     in.GetDegraded(),
		RetryAfter:   in.GetRetryAfter().AsDuration(),
		Metadata:     in.GetObligations().GetMetadata(),
		Explanation:  explanation(in.GetExplanation()),
	}
	o := in.GetObligations()
	var safe [3]bool
	d.SetUpstream, safe[0] = fields(o.GetSetUpstream())
	d.SetResponse, safe[1] = fields(o.GetSetResponse())
	d.RemoveUpstream, safe[2] = names(o.GetRemoveUpstream())
	if safe != [3]bool{true, true, true} {
		return unreadable(d.ID)
	}
	if d.Allowed {
		d.Status, d.PublicReason = http.StatusOK, ""
		return d
	}
	if d.Status < 300 || d.Status > 599 {
		d.Status = http.StatusForbidden
	}
	if d.PublicReason == "" {
		d.PublicReason = "access_denied"
	}
	d.SetUpstream, d.RemoveUpstream = nil, nil
	return d
}

func fields(in []*durwardv1.HeaderLine) ([]Field, bool) {
	var out []Field
	for _, line := range in {
		name, value := strings.ToLower(line.GetName()), string(line.GetValue())
		if !validName(name) || !cleanValue(value) {
			return nil, false
		}
		out = append(out, Field{Name: name, Value: value})
	}
	return out, true
}

func names(in []string) ([]string, bool) {
	var out []string
	for _, name := range in {
		if !validName(name) {
			return nil, false
		}
		out = append(out, strings.ToLower(name))
	}
	return out, true
}

// validName reports whether s is a token (RFC 9110, section 5.6.2).
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func cleanValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// Alias reports whether two header names reach some programs as the same variable: equal but for case and for '_' in the
// place of '-'. An obligation about a name holds for all its aliases.
func Alias(a, b string) bool {
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	return len(a) == len(b) && fold(a) == fold(b)
}

// Replaces reports whether a header that a client sent must not reach what is behind: it is an alias of a name that is
// set or removed.
func (d *Decision) Replaces(name string) bool {
	for i := range d.SetUpstream {
		if Alias(d.SetUpstream[i].Name, name) {
			return true
		}
	}
	for _, removed := range d.RemoveUpstream {
		if Alias(removed, name) {
			return true
		}
	}
	return false
}

type contextKey struct{}

// NewContext returns a context that carries the decision, for middleware.
func NewContext(ctx context.Context, d Decision) context.Context {
	return context.WithValue(ctx, contextKey{}, d)
}

// DecisionFrom returns the decision about the call that ctx belongs to; false where no middleware asked for one.
func DecisionFrom(ctx context.Context) (Decision, bool) {
	d, ok := ctx.Value(contextKey{}).(Decision)
	return d, ok
}
