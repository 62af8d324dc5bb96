// Package verdict holds the engine's answer: effect, status, reason, obligations and explanation.
//
// The zero Verdict denies. The package depends on the standard library only, and any package may import it;
// adapters render a Verdict and never decide.
package verdict

import (
	"crypto/sha256"
	"errors"
	"time"
)

// ErrPermit is wrapped by errors about permits that cannot be ones of a single decision.
var ErrPermit = errors.New("malformed permits")

// Effect is whether a request may pass.
type Effect uint8

const (
	// Deny is the zero value: what nobody allowed is denied.
	Deny Effect = iota
	// Allow lets the request pass.
	Allow
)

// String returns "allow" or "deny"; an unknown effect is "deny".
func (e Effect) String() string {
	if e == Allow {
		return "allow"
	}
	return "deny"
}

// Verdict is the answer to one request. Adapters must treat anything but Effect == Allow as a denial.
type Verdict struct {
	// Effect is Allow or Deny.
	Effect Effect
	// Status is the HTTP status of a denial, 300 to 599; 200 for an allow. Zero takes the reason's own status.
	Status int
	// Reason is the exact reason code. It goes to the record and to metadata; clients see Reason.Public.
	Reason Reason
	// DecisionID names the decision in the answer, the record and the logs.
	DecisionID string
	// Subject is the key of the subject that the decision is about, as far as it was established: "anonymous" for nobody, ""
	// where nothing was asked about one. Clients never see it.
	Subject string
	// Stage is the stage that stopped the request; "" for an allow.
	Stage string
	// Degraded is set when a dependency failed and a failure mode decided in its place.
	Degraded bool
	// RetryAfter is how long the client should wait; zero when waiting does not help.
	RetryAfter time.Duration
	// Obligations are what the gateway must do to the request or the response.
	Obligations Obligations
	// Explanation says which rule and which policy revision decided.
	Explanation Explanation
	// Permits are what an allow holds of limits on concurrency, for a caller that gives them back. They are secrets of the caller:
	// neither clients nor logs may see them.
	Permits []string
	// Descriptors are what a request's descriptors met, in their order; nil for requests without.
	Descriptors []DescriptorState
}

// Allowed reports whether the request may pass.
func (v *Verdict) Allowed() bool { return v.Effect == Allow }

// HTTPStatus returns the status to answer with: 200 for an allow, else Status or the reason's own, clamped to
// 300..599 and 403 where that fails.
func (v *Verdict) HTTPStatus() int {
	if v.Effect == Allow {
		return 200
	}
	status := v.Status
	if status == 0 {
		status = v.Reason.Status()
	}
	if status < 300 || status > 599 {
		return 403
	}
	return status
}

// Field is a header to set: a lower-case name and a value without control characters.
type Field struct {
	Name, Value string
}

// Obligations are changes that the gateway makes on the engine's behalf. A name appears in SetUpstream or in
// RemoveUpstream, never in both: some gateways remove after they set.
type Obligations struct {
	// SetUpstream are request headers for the API behind; each replaces every value that the client sent.
	SetUpstream []Field
	// RemoveUpstream are request headers that must not reach the API behind.
	RemoveUpstream []string
	// SetResponse are headers for the client's response, on allow and on deny.
	SetResponse []Field
	// Metadata are values for the gateway's own log and later filters.
	Metadata []Field
}

// Explanation says what decided.
type Explanation struct {
	// Bundle and Revision name the policy that was in force.
	Bundle, Revision string
	// Policy is the name of the policy that decided.
	Policy string
	// Rule is where the deciding rule stands (file:line); RuleID is its stable hash.
	Rule, RuleID string
	// Credential is the SHA-256 of the token or key that was looked at, good or not; zero where none was.
	Credential [sha256.Size]byte
	// Limit is the name of the limit that refused.
	Limit string
	// Limits are the limits that were looked at, with what is left.
	Limits []LimitState
	// Detail is a short text for operators; it never holds a credential, and clients never see it.
	Detail string
	// Observed is why a policy would have denied, where the bundle turns that into an alarm; "" otherwise.
	Observed Reason
	// Candidate is what the next version of a policy says; nil where there is none, or it was not asked.
	Candidate *Candidate
	// Policies say why each policy that was asked answered as it did; nil unless the request asked for an explanation.
	Policies []PolicyExplanation
}

// LimitState is what one limit had left at the decision.
type LimitState struct {
	// Name is the limit's name.
	Name string
	// Quota is the number of units per Window; Remaining is what is left.
	Quota, Remaining int64
	// Window is the length of the limit's window.
	Window time.Duration
	// Reset is the time until the limit is whole again, RetryAfter until this request would fit; zero when it fits.
	Reset, RetryAfter time.Duration
	// Refused is set when the limit had no room; Shadow when it never blocks; Degraded when it was not asked in Redis; Leased when
	// it was paid with units that the replica had taken in advance.
	Refused, Shadow, Degraded, Leased bool
}
