package authz

import (
	"time"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// Explanation says what decided.
type Explanation struct {
	// Bundle and Revision name the policy that was in force, Policy the one that decided.
	Bundle, Revision, Policy string
	// Rule is where the deciding rule stands (file:line), RuleID its stable hash.
	Rule, RuleID string
	// Limit is the limit that refused, Limits are those that were looked at.
	Limit  string
	Limits []LimitState
	// Policies say why each guard and policy that was asked answered as it did; nil unless the request asked for it.
	Policies []PolicyExplanation
}

// LimitState is what a limit had left.
type LimitState struct {
	// Name is the limit's name.
	Name string
	// Quota is the number of units per Window, Remaining what is left.
	Quota, Remaining int64
	Window           time.Duration
	// Reset is the time until the limit is whole, RetryAfter until this call would fit.
	Reset, RetryAfter time.Duration
	// Refused is set when it had no room, Shadow when it never blocks, Degraded when shared counters were not asked, Leased
	// when the call was paid with units that the server's replica had taken in advance.
	Refused, Shadow, Degraded, Leased bool
}

// PolicyExplanation says why one policy answered as it did. It holds values of the request: clients must not see it.
type PolicyExplanation struct {
	// Policy is the policy's name; Guard is set for a guard.
	Policy string
	Guard  bool
	// Allowed is the policy's own answer.
	Allowed bool
	// Decider is the rule that decided; nil when none did.
	Decider *RuleReference
	// Roles are the ways through role relations that the deciding rule took.
	Roles []RolePath
	// Matching are the rules that match, at most 100; only for ExplainAll.
	Matching []RuleReference
	// Misses are the rules that came nearest, fewest failed conditions first; only for denials.
	Misses []NearMiss
	// Change is the smallest change that would allow, as a sentence; "" when none is known.
	Change string
	// Partial is set when the search ended before every rule was looked at.
	Partial bool
}

// RuleReference names a rule.
type RuleReference struct {
	// Position is file:line, ID the rule's stable hash, Text the rule as CSV.
	Position, ID, Text string
	// Denies is set for a rule that denies where it matches.
	Denies bool
}

// RolePath is a way from a name to a role.
type RolePath struct {
	// Relation is g, g2, …; Domain is "" for relations without domains.
	Relation, Domain string
	// Names begin with the name that was asked about and end with the role. Positions are where each link stands, one
	// less than Names; "" for a link that the subject's token brought.
	Names, Positions []string
}

// NearMiss is a rule that did not match.
type NearMiss struct {
	// Rule is the rule; Failed is how many of its Conditions do not hold.
	Rule       RuleReference
	Failed     int
	Conditions []Condition
}

// Condition is one condition of a matcher, evaluated for one rule.
type Condition struct {
	// Text is the condition as the model has it.
	Text string
	// Holds is whether it holds; Wanted is what the rule wants, Got what the request has.
	Holds       bool
	Wanted, Got string
	// Error says why it cannot be evaluated; "" when it can.
	Error string
}

func explanation(in *durwardv1.Explanation) Explanation {
	out := Explanation{
		Bundle:   in.GetBundle(),
		Revision: in.GetRevision(),
		Policy:   in.GetPolicy(),
		Rule:     in.GetRule(),
		RuleID:   in.GetRuleId(),
		Limit:    in.GetLimit(),
	}
	for _, l := range in.GetLimits() {
		out.Limits = append(out.Limits, LimitState{
			Name:       l.GetName(),
			Quota:      l.GetQuota(),
			Remaining:  l.GetRemaining(),
			Window:     l.GetWindow().AsDuration(),
			Reset:      l.GetReset_().AsDuration(),
			RetryAfter: l.GetRetryAfter().AsDuration(),
			Refused:    l.GetRefused(),
			Shadow:     l.GetShadow(),
			Degraded:   l.GetDegraded(),
			Leased:     l.GetLeased(),
		})
	}
	for _, p := range in.GetPolicies() {
		out.Policies = append(out.Policies, policyExplanation(p))
	}
	return out
}

func policyExplanation(in *durwardv1.PolicyExplanation) PolicyExplanation {
	out := PolicyExplanation{
		Policy:   in.GetPolicy(),
		Guard:    in.GetGuard(),
		Allowed:  in.GetEffect() == durwardv1.Effect_EFFECT_ALLOW,
		Matching: ruleReferences(in.GetMatching()),
		Change:   in.GetChange(),
		Partial:  in.GetPartial(),
	}
	if in.GetDecider() != nil {
		decider := ruleReference(in.GetDecider())
		out.Decider = &decider
	}
	for _, p := range in.GetRoles() {
		out.Roles = append(out.Roles, RolePath{Relation: p.GetRelation(), Domain: p.GetDomain(), Names: p.GetNames(), Positions: p.GetPositions()})
	}
	for _, m := range in.GetMisses() {
		miss := NearMiss{Rule: ruleReference(m.GetRule()), Failed: int(m.GetFailed())}
		for _, c := range m.GetConditions() {
			miss.Conditions = append(miss.Conditions, Condition{Text: c.GetText(), Holds: c.GetHolds(), Wanted: c.GetWanted(), Got: c.GetGot(), Error: c.GetError()})
		}
		out.Misses = append(out.Misses, miss)
	}
	return out
}

func ruleReferences(in []*durwardv1.RuleReference) []RuleReference {
	var out []RuleReference
	for _, r := range in {
		out = append(out, ruleReference(r))
	}
	return out
}

func ruleReference(in *durwardv1.RuleReference) RuleReference {
	return RuleReference{Position: in.GetPosition(), ID: in.GetId(), Text: in.GetText(), Denies: in.GetEffect() != durwardv1.Effect_EFFECT_ALLOW}
}
