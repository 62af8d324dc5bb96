package policies

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/clients/authz"
)

// TestExplanations asks a server why, through the SDK.
func TestExplanations(t *testing.T) {
	t.Parallel()
	s := run(t, sample(t), options{})
	support := s.client(t, "named", supportToken)
	for _, x := range []struct {
		name string
		q    authz.Request
		want []authz.PolicyExplanation // without ids
	}{
		{"two roles on the way", question("GET", "/orders/7", bearer(t, "carl", nil)), []authz.PolicyExplanation{
			{Policy: "suspended", Guard: true, Allowed: true},
			{
				Policy: "main", Allowed: true,
				Decider: &authz.RuleReference{Position: rulesPath + ":1", Text: "p, reader, /orders/:id, orders:read"},
				Roles:   []authz.RolePath{{Relation: "g", Names: []string{"user:corp:carl", "editor", "reader"}, Positions: []string{rulesPath + ":4", rulesPath + ":5"}}},
			},
		}},
		{"a role of the token", question("GET", "/orders/7", bearer(t, "alice", []string{"reader"})), []authz.PolicyExplanation{
			{Policy: "suspended", Guard: true, Allowed: true},
			{
				Policy: "main", Allowed: true,
				Decider: &authz.RuleReference{Position: rulesPath + ":1", Text: "p, reader, /orders/:id, orders:read"},
				Roles:   []authz.RolePath{{Relation: "g", Names: []string{"user:corp:alice", "reader"}, Positions: []string{""}}},
			},
		}},
		{"a role is missing", question("PUT", "/orders/7", bearer(t, "alice", []string{"reader"})), []authz.PolicyExplanation{
			{Policy: "suspended", Guard: true, Allowed: true},
			{
				Policy: "main", Change: "would be allowed if roles contained writer",
				Misses: []authz.NearMiss{
					miss(1, "p, reader, /orders/:id, orders:read", condition{"reader", "reader", true}, condition{"/orders/7", "/orders/:id", true}, condition{"orders:write", "orders:read", false}),
					miss(2, "p, writer, /orders/:id, orders:write", condition{"reader", "writer", false}, condition{"/orders/7", "/orders/:id", true}, condition{"orders:write", "orders:write", true}),
					miss(3, "p, editor, /archive/*, orders:read", condition{"reader", "editor", false}, condition{"/orders/7", "/archive/*", false}, condition{"orders:write", "orders:read", false}),
				},
			},
		}},
		{"a guard", question("GET", "/orders/7", bearer(t, "mallory", []string{"reader"})), []authz.PolicyExplanation{
			{
				Policy: "suspended", Guard: true, Change: "would be allowed if rule shared/suspended.csv:1 did not deny it",
				Decider: &authz.RuleReference{Position: "shared/suspended.csv:1", Text: "p, user:corp:mallory, deny", Denies: true},
			},
		}},
		{"nobody", question("GET", "/orders/7", ""), nil},
		{"no route", question("GET", "/nowhere", bearer(t, "alice", nil)), nil},
	} {
		plain := ask(t, support, x.q)
		if plain.Explanation.Policies != nil {
			t.Errorf("%s: explained without being asked: %+v", x.name, plain.Explanation.Policies)
		}
		x.q.Explain = authz.ExplainDecision
		d := ask(t, support, x.q)
		if diff := cmp.Diff(x.want, withoutIDs(t, d.Explanation.Policies)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
		x.q.Explain = authz.ExplainAll
		all := ask(t, support, x.q)
		if last := len(x.want) - 1; last >= 0 {
			got := all.Explanation.Policies[last]
			if matching := len(got.Matching); (matching == 1) != (got.Decider != nil) || matching > 1 {
				t.Errorf("%s: %d rules match: %+v", x.name, matching, got)
			}
		}
		// The answer is the same, whoever wants to know why.
		d.Explanation.Policies, all.Explanation.Policies = nil, nil
		if diff := cmp.Diff(stable(plain), stable(d), shown) + cmp.Diff(stable(plain), stable(all), shown); diff != "" {
			t.Errorf("%s: the answer is another one with an explanation:\n%s", x.name, diff)
		}
		// The values of the request that an explanation shows are not kept.
		if kept := text(s.record(t, d.ID)["detail"]); strings.Contains(kept, "would be allowed") || s.records[d.ID]["policies"] != nil {
			t.Errorf("%s: recorded %v", x.name, s.records[d.ID])
		}
	}
}

// TestExplanationsNeedAPermission: who may ask for a decision may not ask why, unless the settings say so.
func TestExplanationsNeedAPermission(t *testing.T) {
	t.Parallel()
	s := run(t, sample(t), options{})
	app := s.client(t, "named", appToken)
	q := question("GET", "/orders/7", bearer(t, "alice", []string{"reader"}))
	if d := ask(t, app, q); !d.Allowed {
		t.Errorf("without an explanation: %+v", d)
	}
	for _, wanted := range []authz.Explain{authz.ExplainDecision, authz.ExplainAll, authz.ExplainAll + 1} {
		q.Explain = wanted
		if d := ask(t, app, q); d.Allowed || d.Reason != "caller_not_trusted" || d.PublicReason != "access_denied" || d.Explanation.Policies != nil {
			t.Errorf("explain %d by a caller who may not: %+v", wanted, d)
		}
	}
	if d := ask(t, s.client(t, "named", supportToken), q); d.Allowed || d.Reason != "malformed_request" {
		t.Errorf("an explanation that there is none of: %+v", d)
	}
	// Each caller has its own permissions.
	q.Explain, q.DryRun = authz.ExplainNone, true
	if d := ask(t, s.client(t, "named", supportToken), q); d.Allowed || d.Reason != "caller_not_trusted" {
		t.Errorf("a dry run by the support: %+v", d)
	}
}

// condition is one of the matcher's three, evaluated.
type condition struct {
	got, wanted string
	holds       bool
}

func miss(line int, rule string, conditions ...condition) authz.NearMiss {
	out := authz.NearMiss{Rule: authz.RuleReference{Position: rulesPath + ":" + string(rune('0'+line)), Text: rule}}
	conditions[0].got, conditions[0].wanted = "member of "+conditions[0].got, "member of "+conditions[0].wanted
	for i, text := range []string{"g(r.sub, p.sub)", "keyMatch2(r.path, p.path)", "r.act == p.act"} {
		c := conditions[i]
		if !c.holds {
			out.Failed++
		}
		out.Conditions = append(out.Conditions, authz.Condition{Text: text, Holds: c.holds, Wanted: c.wanted, Got: c.got})
	}
	return out
}

// withoutIDs returns the explanations without the rules' hashes, which must be there.
func withoutIDs(t *testing.T, in []authz.PolicyExplanation) []authz.PolicyExplanation {
	t.Helper()
	take := func(r *authz.RuleReference) {
		if r != nil && r.ID == "" {
			t.Errorf("%s has no id", r.Position)
		}
		if r != nil {
			r.ID = ""
		}
	}
	for i := range in {
		take(in[i].Decider)
		for j := range in[i].Misses {
			take(&in[i].Misses[j].Rule)
		}
	}
	return in
}
