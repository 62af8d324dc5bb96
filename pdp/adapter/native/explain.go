package native

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

const (
	// maxLimits and maxPolicies bound what is told of limits and policies, maxParts each list of a policy's explanation.
	maxLimits   = 32
	maxPolicies = 64
	maxParts    = 128
)

func explanation(x *verdict.Explanation) *durwardv1.Explanation {
	out := &durwardv1.Explanation{
		Bundle:   clip(x.Bundle),
		Revision: clip(x.Revision),
		Policy:   clip(x.Policy),
		Rule:     clip(x.Rule),
		RuleId:   clip(x.RuleID),
		Limit:    clip(x.Limit),
	}
	for i := range x.Limits[:min(len(x.Limits), maxLimits)] {
		l := &x.Limits[i]
		out.Limits = append(out.Limits, &durwardv1.LimitState{
			Name:       clip(l.Name),
			Quota:      l.Quota,
			Remaining:  l.Remaining,
			Window:     durationpb.New(l.Window),
			Reset_:     durationpb.New(l.Reset),
			RetryAfter: durationpb.New(l.RetryAfter),
			Refused:    l.Refused,
			Shadow:     l.Shadow,
			Degraded:   l.Degraded,
			Leased:     l.Leased,
		})
	}
	for i := range x.Policies[:min(len(x.Policies), maxPolicies)] {
		out.Policies = append(out.Policies, policyExplanation(&x.Policies[i]))
	}
	return out
}

// policyExplanation renders the reasons of one policy. They hold values of the request, so only callers that may ask for
// them make the engine give any.
func policyExplanation(x *verdict.PolicyExplanation) *durwardv1.PolicyExplanation {
	out := &durwardv1.PolicyExplanation{
		Policy:  clip(x.Policy),
		Guard:   x.Guard,
		Effect:  effect(x.Effect),
		Change:  clip(x.Change),
		Partial: x.Partial,
	}
	if x.Decider != nil {
		out.Decider = ruleReference(x.Decider)
	}
	for i := range x.Roles[:min(len(x.Roles), maxParts)] {
		path := &x.Roles[i]
		out.Roles = append(out.Roles, &durwardv1.RolePath{
			Relation: clip(path.Relation), Domain: clip(path.Domain), Names: clipAll(path.Names), Positions: clipAll(path.Positions),
		})
	}
	for i := range x.Matching[:min(len(x.Matching), maxParts)] {
		out.Matching = append(out.Matching, ruleReference(&x.Matching[i]))
	}
	for i := range x.Misses[:min(len(x.Misses), maxParts)] {
		out.Misses = append(out.Misses, nearMiss(&x.Misses[i]))
	}
	return out
}

func nearMiss(x *verdict.NearMiss) *durwardv1.NearMiss {
	out := &durwardv1.NearMiss{Rule: ruleReference(&x.Rule), Failed: int32(min(max(x.Failed, 0), maxParts))}
	for i := range x.Conditions[:min(len(x.Conditions), maxParts)] {
		c := &x.Conditions[i]
		out.Conditions = append(out.Conditions, &durwardv1.Condition{
			Text: clip(c.Text), Holds: c.Holds, Wanted: clip(c.Wanted), Got: clip(c.Got), Error: clip(c.Error),
		})
	}
	return out
}

func ruleReference(x *verdict.RuleReference) *durwardv1.RuleReference {
	return &durwardv1.RuleReference{Position: clip(x.Position), Id: clip(x.ID), Text: clip(x.Text), Effect: effect(x.Effect)}
}

func effect(e verdict.Effect) durwardv1.Effect {
	if e == verdict.Allow {
		return durwardv1.Effect_EFFECT_ALLOW
	}
	return durwardv1.Effect_EFFECT_DENY
}

func clipAll(in []string) []string {
	var out []string
	for _, s := range in[:min(len(in), maxParts)] {
		out = append(out, clip(s))
	}
	return out
}
