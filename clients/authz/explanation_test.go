package authz_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/adapter/native"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// explains is the real native adapter for a caller that may ask for explanations, or may not.
func explains(permitted bool, d decide) *native.Server {
	return native.New(native.Options{Decider: d, Caller: func(context.Context) (string, native.Asserts, bool) {
		return "test", native.Asserts{Explain: permitted}, true
	}})
}

func TestExplanation(t *testing.T) {
	rule := verdict.RuleReference{Position: "f:1", ID: "id", Text: "p, writer, /x", Effect: verdict.Allow}
	var seen request.Explain
	c := inProcess(t, explains(true, func(r *request.Request) verdict.Verdict {
		seen = r.Explain
		return verdict.Verdict{Explanation: verdict.Explanation{Policies: []verdict.PolicyExplanation{
			{
				Policy: "main", Effect: verdict.Allow, Decider: &rule, Matching: []verdict.RuleReference{{Position: "f:2"}},
				Roles: []verdict.RolePath{{Relation: "g", Domain: "d", Names: []string{"a", "b"}, Positions: []string{"f:3"}}},
			},
			{
				Policy: "fence", Guard: true, Change: "change", Partial: true,
				Misses: []verdict.NearMiss{{Rule: rule, Failed: 1, Conditions: []verdict.Condition{{Text: "t", Holds: true, Wanted: "w", Got: "g", Error: "e"}, {}}}},
			},
		}}}
	}))
	wantRule := authz.RuleReference{Position: "f:1", ID: "id", Text: "p, writer, /x"}
	want := []authz.PolicyExplanation{
		{
			Policy: "main", Allowed: true, Decider: &wantRule, Matching: []authz.RuleReference{{Position: "f:2", Denies: true}},
			Roles: []authz.RolePath{{Relation: "g", Domain: "d", Names: []string{"a", "b"}, Positions: []string{"f:3"}}},
		},
		{
			Policy: "fence", Guard: true, Change: "change", Partial: true,
			Misses: []authz.NearMiss{{Rule: wantRule, Failed: 1, Conditions: []authz.Condition{{Text: "t", Holds: true, Wanted: "w", Got: "g", Error: "e"}, {}}}},
		},
	}
	for wanted, internal := range map[authz.Explain]request.Explain{
		authz.ExplainNone: request.ExplainNone, authz.ExplainDecision: request.ExplainDecision, authz.ExplainAll: request.ExplainAll,
	} {
		r := get()
		r.Explain = wanted
		d, _ := c.Check(t.Context(), r)
		if diff := cmp.Diff(want, d.Explanation.Policies); diff != "" || seen != internal {
			t.Errorf("the server was asked for %d, want %d; policies (-want +got):\n%s", seen, internal, diff)
		}
	}
}

// TestExplanationNeedsAPermission shows that a caller without it is refused instead of answered with less.
func TestExplanationNeedsAPermission(t *testing.T) {
	c := inProcess(t, explains(false, answers(verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed})))
	r := get()
	if d, err := c.Check(t.Context(), r); err != nil {
		t.Fatalf("without an explanation: %+v, %v", d, err)
	}
	r.Explain = authz.ExplainDecision
	if d, err := c.Check(t.Context(), r); err == nil || d.Reason != "caller_not_trusted" {
		t.Errorf("with an explanation: %+v, %v", d, err)
	}
}
