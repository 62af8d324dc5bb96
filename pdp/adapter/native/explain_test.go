package native

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

func explaining(wanted durwardv1.Explain) *durwardv1.CheckRequest {
	return &durwardv1.CheckRequest{Explain: wanted, Question: httpRequest().GetQuestion()}
}

func TestExplainReachesTheDecider(t *testing.T) {
	for wanted, want := range map[durwardv1.Explain]request.Explain{
		durwardv1.Explain_EXPLAIN_UNSPECIFIED: request.ExplainNone, durwardv1.Explain_EXPLAIN_DECISION: request.ExplainDecision, durwardv1.Explain_EXPLAIN_ALL: request.ExplainAll,
	} {
		d := &decider{verdict: allowed()}
		_, _ = server(t, d, everything).Check(t.Context(), explaining(wanted))
		if got := d.last(t).Explain; got != want {
			t.Errorf("%v: the decider is asked for %d, want %d", wanted, got, want)
		}
		d = &decider{verdict: allowed()}
		_, _ = server(t, d, Asserts{}).Check(t.Context(), explaining(wanted))
		if got := d.last(t).Explain; got != request.ExplainNone {
			t.Errorf("%v: a caller without the permission gets %d", wanted, got)
		}
	}
}

func TestExplanation(t *testing.T) {
	rule := verdict.RuleReference{Position: "f:1", ID: "id", Text: "p, a", Effect: verdict.Allow}
	d := &decider{verdict: verdict.Verdict{Explanation: verdict.Explanation{Policies: []verdict.PolicyExplanation{
		{
			Policy: "main", Guard: true, Effect: verdict.Allow, Decider: &rule, Partial: true, Change: "c\xff", Matching: []verdict.RuleReference{{Position: "f:2"}},
			Roles: []verdict.RolePath{{Relation: "g", Domain: "d", Names: []string{"a", "b"}, Positions: []string{""}}},
			Misses: []verdict.NearMiss{{Rule: rule, Failed: 1, Conditions: []verdict.Condition{
				{Text: "t", Holds: true, Wanted: "w", Got: "g", Error: "e"}, {},
			}}},
		}, {},
	}}}}
	out, err := server(t, d, everything).Check(t.Context(), explaining(durwardv1.Explain_EXPLAIN_ALL))
	if err != nil {
		t.Fatal(err)
	}
	wantRule := &durwardv1.RuleReference{Position: "f:1", Id: "id", Text: "p, a", Effect: durwardv1.Effect_EFFECT_ALLOW}
	want := []*durwardv1.PolicyExplanation{
		{
			Policy: "main", Guard: true, Effect: durwardv1.Effect_EFFECT_ALLOW, Decider: wantRule, Partial: true, Change: "c\uFFFD",
			Matching: []*durwardv1.RuleReference{{Position: "f:2", Effect: durwardv1.Effect_EFFECT_DENY}},
			Roles:    []*durwardv1.RolePath{{Relation: "g", Domain: "d", Names: []string{"a", "b"}, Positions: []string{""}}},
			Misses: []*durwardv1.NearMiss{{Rule: wantRule, Failed: 1, Conditions: []*durwardv1.Condition{
				{Text: "t", Holds: true, Wanted: "w", Got: "g", Error: "e"}, {},
			}}},
		}, {Effect: durwardv1.Effect_EFFECT_DENY},
	}
	if diff := cmp.Diff(want, out.GetExplanation().GetPolicies(), protocmp.Transform()); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}

// TestExplanationIsBounded shows that no explanation makes a response that cannot be sent.
func TestExplanationIsBounded(t *testing.T) {
	long := strings.Repeat("\xc3\xa9", 5000)
	many := make([]string, 1000)
	many[0] = long
	x := verdict.PolicyExplanation{Policy: long, Change: long, Decider: &verdict.RuleReference{Text: long}, Matching: make([]verdict.RuleReference, 1000)}
	for range 1000 {
		x.Roles = append(x.Roles, verdict.RolePath{Names: many, Positions: many})
		x.Misses = append(x.Misses, verdict.NearMiss{Failed: 1 << 40, Conditions: []verdict.Condition{{Text: long, Wanted: long, Got: long, Error: long}}})
	}
	out := policyExplanation(&x)
	if len(out.GetPolicy()) > 520 || !utf8.ValidString(out.GetChange()) || len(out.GetDecider().GetText()) > 520 || len(out.GetMatching()) != maxParts ||
		len(out.GetRoles()) != maxParts || len(out.GetRoles()[0].GetNames()) != maxParts || len(out.GetMisses()) != maxParts || out.GetMisses()[0].GetFailed() != maxParts ||
		len(out.GetMisses()[0].GetConditions()[0].GetGot()) > 520 {
		t.Errorf("not bounded: %d misses, %d roles", len(out.GetMisses()), len(out.GetRoles()))
	}
	policies := &verdict.Explanation{Policies: make([]verdict.PolicyExplanation, 1000)}
	if got := len(explanation(policies).GetPolicies()); got != maxPolicies {
		t.Errorf("%d policies", got)
	}
}
