package policies

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/durward-pdp/durward/clients/authz"
)

const (
	nextRules = "p, reader, /orders/:id, orders:read\np, reader, /orders/:id, orders:write\n"
	nextModel = "services/orders/next.conf"
)

// stable is a decision without what differs from one to the next.
func stable(d authz.Decision) authz.Decision {
	d.ID, d.Explanation.Revision = "", ""
	for i := range d.SetUpstream {
		if d.SetUpstream[i].Name == "x-durward-decision-id" {
			d.SetUpstream[i].Value = ""
		}
	}
	return d
}

// shown compares what a decision shows.
var shown = cmpopts.IgnoreUnexported(authz.Decision{})

// TestCandidate serves a policy with its next version beside it: the answers are those without it, and what it would
// change is counted and recorded.
func TestCandidate(t *testing.T) {
	t.Parallel()
	plain := sample(t)
	trial := with(edited(t, plain, servicePath, "routes:", "candidate: {rules: [/shared/next.csv]}\nroutes:"), "shared/next.csv", nextRules)
	s := run(t, trial, options{})
	client := s.client(t, "open", "")
	cases := []struct {
		name, method  string
		authorization string
		allowed       bool
		want          any // candidate of the record
	}{
		{"both allow", "GET", bearer(t, "alice", []string{"reader"}), true, nil},
		{"it would deny", "PUT", bearer(t, "bob", []string{"writer"}), true,
			map[string]any{"policy": "main", "effect": "deny", "reason": "no_matching_rule"}},
		{"it would allow", "PUT", bearer(t, "alice", []string{"reader"}), false,
			map[string]any{"policy": "main", "effect": "allow", "rule": "shared/next.csv:2"}},
		{"both deny", "GET", bearer(t, "carol", nil), false, nil},
		{"a guard denies before", "GET", bearer(t, "mallory", []string{"reader"}), false, nil},
		{"nobody", "GET", "", false, nil},
	}
	answers := map[string]authz.Decision{}
	for _, x := range cases {
		d := ask(t, client, question(x.method, "/orders/7", x.authorization))
		if answers[x.name] = stable(d); d.Allowed != x.allowed {
			t.Errorf("%s: %+v", x.name, d)
		}
		got := s.record(t, d.ID)["candidate"]
		if next, is := got.(map[string]any); is && next["rule"] != nil {
			if id, _ := next["rule_id"].(string); len(id) < 8 {
				t.Errorf("%s: rule_id %q", x.name, id)
			}
			delete(next, "rule_id")
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s: recorded (-want +got):\n%s", x.name, diff)
		}
	}
	counted := func(outcome string) string {
		return fmt.Sprintf("durward_candidate_total{bundle=%q,outcome=%q,policy=%q,service=%q}", "shop", outcome, "main", "orders")
	}
	want := map[string]float64{counted("same"): 2, counted("deny"): 1, counted("allow"): 1}
	if diff := cmp.Diff(want, s.family(t, "durward_candidate_total")); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}

	// Its rules alone are changed: where it would have denied, it agrees.
	s.reload(t, with(trial, "shared/next.csv", string(plain[rulesPath])))
	d := ask(t, client, question("PUT", "/orders/7", bearer(t, "bob", []string{"writer"})))
	if want[counted("same")]++; !d.Allowed || s.record(t, d.ID)["candidate"] != nil {
		t.Errorf("with other rules: %+v, recorded %v", d, s.records[d.ID]["candidate"])
	}

	// What the bundle no longer holds is no longer asked, and the answers are the same without it.
	s.reload(t, plain)
	for _, x := range cases {
		d := ask(t, client, question(x.method, "/orders/7", x.authorization))
		if diff := cmp.Diff(answers[x.name], stable(d), shown); diff != "" {
			t.Errorf("%s: (-with +without the candidate):\n%s", x.name, diff)
		}
		if next := s.record(t, d.ID)["candidate"]; next != nil {
			t.Errorf("%s: recorded %v without a candidate", x.name, next)
		}
	}
	if diff := cmp.Diff(want, s.family(t, "durward_candidate_total")); diff != "" {
		t.Errorf("counted without a candidate (-want +got):\n%s", diff)
	}
}

// TestCandidateThatFails: rules that cannot be evaluated change nothing while they are a candidate's, and deny once they are
// the policy's.
func TestCandidateThatFails(t *testing.T) {
	t.Parallel()
	plain := sample(t)
	strict := edited(t, plain, modelPath, "m = g", "m = r.claims.level > 3 && g")
	trial := with(edited(t, plain, servicePath, "routes:", "candidate: {model: next.conf, rules: [policy.csv]}\nroutes:"), nextModel, string(strict[modelPath]))
	s := run(t, trial, options{})
	client := s.client(t, "open", "")
	counts := map[string]float64{}
	cases := []struct {
		name          string
		authorization string
		allowed       bool
		candidate     string // its reason where it disagrees
		then          bool   // allowed when it is the policy
	}{
		{"a level", bearer(t, "alice", []string{"reader"}, "level", 4), true, "", true},
		{"too low", bearer(t, "alice", []string{"reader"}, "level", 2), true, "no_matching_rule", false},
		{"no level", bearer(t, "alice", []string{"reader"}), true, "attribute_missing", false},
		{"a level that is no number", bearer(t, "alice", []string{"reader"}, "level", "4"), true, "policy_error", false},
		{"denied anyway", bearer(t, "carol", nil, "level", "4"), false, "", false},
	}
	for _, x := range cases {
		d := ask(t, client, question("GET", "/orders/7", x.authorization))
		if d.Allowed != x.allowed || d.Degraded || x.allowed && d.Explanation.Rule != "services/orders/policy.csv:1" {
			t.Errorf("%s: %+v", x.name, d)
		}
		outcome := "same"
		if next, is := s.record(t, d.ID)["candidate"].(map[string]any); is != (x.candidate != "") || is && next["reason"] != x.candidate {
			t.Errorf("%s: recorded %v, want %q", x.name, next, x.candidate)
		} else if is {
			outcome = "deny"
		}
		counts[fmt.Sprintf("durward_candidate_total{bundle=%q,outcome=%q,policy=%q,service=%q}", "shop", outcome, "main", "orders")]++
	}
	if got := s.family(t, "durward_candidate_total"); !maps.Equal(got, counts) {
		t.Errorf("counted %v, want %v", got, counts)
	}
	s.reload(t, strict)
	for _, x := range cases {
		if d := ask(t, client, question("GET", "/orders/7", x.authorization)); d.Allowed != x.then || !d.Allowed && x.candidate != "" && d.Reason != x.candidate {
			t.Errorf("%s, in force: %+v", x.name, d)
		}
	}
}
