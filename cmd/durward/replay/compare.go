package replay

import (
	"strconv"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// Difference is a part of an answer that came out otherwise.
type Difference struct {
	// Key is the field of the record.
	Key string `json:"key"`
	// Recorded is what the record holds, Replayed what came now.
	Recorded string `json:"recorded"`
	Replayed string `json:"replayed"`
}

// ByLimit reports whether a limit denied. Limits are not replayed: nobody knows what the counters held.
func (r *Record) ByLimit() bool {
	return verdict.Reason(r.Reason) == verdict.LimitExceeded || verdict.Reason(r.Reason) == verdict.LimitsUnavailable
}

// Compare returns how a new answer, for a request that led to the service and route, differs from the recorded one. Of a
// denial by a limit only what came before the limit is compared.
func (r *Record) Compare(v *verdict.Verdict, service, route string) []Difference {
	var out []Difference
	add := func(key, recorded, replayed string) {
		if recorded != replayed {
			out = append(out, Difference{Key: key, Recorded: recorded, Replayed: replayed})
		}
	}
	add("service", r.Service, service)
	add("route", r.Route, route)
	if r.ByLimit() {
		// At the gate neither identity nor policy was asked; later they had let the request pass.
		if r.Stage == "limits.take" && !v.Allowed() && (v.Stage == "identity" || v.Stage == "policy") {
			add("reason", r.Reason, string(v.Reason))
		}
		return out
	}
	add("effect", r.Effect, v.Effect.String())
	add("status", strconv.Itoa(r.Status), strconv.Itoa(v.HTTPStatus()))
	add("reason", r.Reason, string(v.Reason))
	add("stage", r.Stage, v.Stage)
	add("policy", r.Policy, v.Explanation.Policy)
	add("rule_id", r.RuleID, v.Explanation.RuleID)
	add("observed", r.Observed, string(v.Explanation.Observed))
	return out
}
