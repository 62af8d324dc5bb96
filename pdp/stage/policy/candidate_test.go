package policy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	alice = "user:corp:alice"
	bob   = "user:corp:bob"
)

// verdictOf evaluates a request at an instant and returns the case.
func verdictOf(t *testing.T, p *part, a asks, now time.Time) (*pipeline.Case, pipeline.Outcome) {
	t.Helper()
	c := a.newCase(p)
	c.Now = now
	outcome, err := New().Evaluate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return c, outcome
}

// TestCandidate: the next version is asked beside the policy, and the answer stays the policy's.
func TestCandidate(t *testing.T) {
	s := setup{
		rules: "p, user:corp:alice, 7, read\np, user:corp:alice, 8, read\n",
		next:  "p, user:corp:alice, 7, read\np, user:corp:bob, 7, read\n",
		extra: "candidate: {rules: [next.csv]}\n",
	}
	p := s.mustCompile(t)
	plain := setup{rules: s.rules}.mustCompile(t)
	for _, x := range []struct {
		name string
		asks asks
		want verdict.Candidate
	}{
		{"both allow", asks{sub: alice, obj: "7", act: "read"}, verdict.Candidate{Policy: "main", Effect: verdict.Allow, Rule: "services/orders/next.csv:1"}},
		{"it denies", asks{sub: alice, obj: "8", act: "read"}, verdict.Candidate{Policy: "main", Reason: verdict.NoMatchingRule, Disagrees: true}},
		{"it allows", asks{sub: bob, obj: "7", act: "read"}, verdict.Candidate{Policy: "main", Effect: verdict.Allow, Rule: "services/orders/next.csv:2", Disagrees: true}},
		{"both deny", asks{sub: bob, obj: "8", act: "read"}, verdict.Candidate{Policy: "main", Reason: verdict.NoMatchingRule}},
		{"neither can tell", asks{sub: alice, act: "read"}, verdict.Candidate{Policy: "main", Reason: verdict.AttributeMissing}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, _ := verdictOf(t, p, x.asks, time.Time{})
			got := c.Verdict.Explanation.Candidate
			if got == nil {
				t.Fatal("the candidate was not asked")
			}
			if (got.Rule == "") != (got.RuleID == "") {
				t.Errorf("rule %q with id %q", got.Rule, got.RuleID)
			}
			got.RuleID = ""
			if diff := cmp.Diff(x.want, *got); diff != "" {
				t.Errorf("candidate (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(evaluate(t, plain, x.asks), evaluate(t, p, x.asks)); diff != "" {
				t.Errorf("the candidate changed the answer (-without +with):\n%s", diff)
			}
		})
	}
	public, _ := verdictOf(t, p, asks{sub: alice, obj: "7", act: "read", public: true}, time.Time{})
	if public.Verdict.Explanation.Candidate != nil {
		t.Error("a candidate was asked where its policy is not")
	}
}

// TestObserve: until a day a policy's denial lets the request pass, and nothing else does.
func TestObserve(t *testing.T) {
	const observed = "observe: [{route: read, until: \"2026-03-01\"}]\n"
	before, after := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	fence := setup{rules: "p, user:corp:alice, 7, read\n", extra: observed, guardModel: `[request_definition]
r = sub
[policy_definition]
p = sub, eft
[policy_effect]
e = !some(where (p.eft == deny))
[matchers]
m = r.sub == p.sub
`, guard: "p, user:corp:mallory, deny\n", guardRequest: map[string]string{"sub": "subject.key"}}
	for _, x := range []struct {
		name   string
		setup  setup
		asks   asks
		now    time.Time
		passes bool
		want   verdict.Reason // observed where it passes, else of the denial
	}{
		{"no rule", fence, asks{sub: bob, obj: "7", act: "read"}, before, true, verdict.NoMatchingRule},
		{"a missing attribute", fence, asks{sub: bob, act: "read"}, before, true, verdict.AttributeMissing},
		{"an allow is no alarm", fence, asks{sub: alice, obj: "7", act: "read"}, before, true, ""},
		{"its end", fence, asks{sub: bob, obj: "7", act: "read"}, after, false, verdict.NoMatchingRule},
		{"a guard", fence, asks{sub: "user:corp:mallory", obj: "7", act: "read"}, before, false, verdict.GuardDenied},
		{"another route", setup{rules: soundRules}, asks{sub: bob, obj: "7", act: "read"}, before, false, verdict.NoMatchingRule},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, outcome := verdictOf(t, x.setup.mustCompile(t), x.asks, x.now)
			if passes := outcome == pipeline.Continue && c.Grant != nil; passes != x.passes {
				t.Fatalf("passes %v with %q", passes, c.Verdict.Reason)
			}
			if x.passes && c.Verdict.Explanation.Observed != x.want || !x.passes && (c.Verdict.Reason != x.want || c.Verdict.Explanation.Observed != "") {
				t.Errorf("reason %q, observed %q; want %q", c.Verdict.Reason, c.Verdict.Explanation.Observed, x.want)
			}
		})
	}
}

// TestObserveNeverPassesTwoReadings: a request in which a policy's attribute has several values is denied, also where another
// reason was found first.
func TestObserveNeverPassesTwoReadings(t *testing.T) {
	const observed = "observe: [{route: read, until: \"2026-03-01\"}]\n"
	now := time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC)
	s := setup{rules: "p, user:corp:alice, 7, read\n", extra: observed}
	mapped := s
	mapped.request = map[string]string{"sub": "subject.key", "obj": "resource.id", "act": "request.header.x-act"}
	several := s.mustCompile(t)
	several.policies = append(several.policies, mapped.mustCompile(t).policies...)
	once := request.Header{{Name: "x-act", Value: "read"}}
	twice := append(request.Header{{Name: "x-act", Value: "write"}}, once...)
	for _, x := range []struct {
		name   string
		policy *part
		asks   asks
		passes bool
	}{
		{"an attribute is missing", mapped.mustCompile(t), asks{sub: alice, header: once}, true},
		{"one is missing, another one ambiguous", mapped.mustCompile(t), asks{sub: alice, header: twice}, false},
		{"the first policy denies", several, asks{sub: bob, obj: "7", act: "read", header: once}, true},
		{"the first policy denies, the second cannot tell", several, asks{sub: bob, obj: "7", act: "read", header: twice}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, outcome := verdictOf(t, x.policy, x.asks, now)
			if passes := outcome == pipeline.Continue && c.Grant != nil; passes != x.passes || passes != (c.Verdict.Explanation.Observed != "") {
				t.Errorf("passes %v with %q, observed %q", passes, c.Verdict.Reason, c.Verdict.Explanation.Observed)
			}
		})
	}
}

// TestCandidateOfOneOfSeveral: where there are several policies the candidate says of which it is the next version, and is
// compared with that one alone.
func TestCandidateOfOneOfSeveral(t *testing.T) {
	files := format.NewFiles(map[string][]byte{"service.yaml": []byte("service: orders\n"), "model.conf": []byte(rbacModel),
		"all.csv": []byte("p, user:corp:alice, 7, read\n"), "some.csv": []byte("p, user:corp:alice, 7, read\np, user:corp:bob, 7, read\n")})
	file, _ := files.Get("", "service.yaml")
	mapping := attributes(map[string]string{"sub": "subject.key", "obj": "resource.id", "act": "action"}, nil)
	for _, x := range []struct {
		of, wrong string
		// asked is the candidate's policy for bob, whom the first policy allows, the second one denies and both candidates deny.
		asked     string
		disagrees bool
	}{
		{"first", "", "first", true},
		{"second", "", "second", false},
		{"", "not exactly one policy", "", false},
		{"third", `no policy "third"`, "", false},
	} {
		s := &format.Service{Name: "orders", File: file, Routes: []format.Route{{Name: "read", Path: "/orders/{id}"}},
			Policies: []format.Policy{{Name: "first", Model: "model.conf", Rules: []string{"some.csv"}, Request: mapping}, {Name: "second", Model: "model.conf", Rules: []string{"all.csv"}, Request: mapping}}}
		declared, _ := format.NewFiles(map[string][]byte{"candidate.yaml": []byte("candidate: {rules: [all.csv], policy: \"" + x.of + "\"}\n")}).Get("", "candidate.yaml")
		var more format.Service
		if problems := format.Decode(declared, &more); len(problems) > 0 {
			t.Fatal(problems)
		}
		s.Candidate = more.Candidate
		compiled, problems := New().Compile(&format.Bundle{Files: files, File: file}, s)
		if x.wrong != "" {
			if len(problems) != 1 || !strings.Contains(problems.Error(), x.wrong) {
				t.Errorf("%q: %v, want %q", x.of, problems, x.wrong)
			}
			continue
		}
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		c, outcome := verdictOf(t, compiled.(*part), asks{sub: bob, obj: "7", act: "read"}, time.Time{})
		got := c.Verdict.Explanation.Candidate
		if got == nil || got.Policy != x.asked || got.Disagrees != x.disagrees || outcome != pipeline.Stop || c.Verdict.Explanation.Policy != "second" {
			t.Errorf("of %q: %+v, %v by %q", x.of, got, outcome, c.Verdict.Explanation.Policy)
		}
	}
}

// TestCandidateHasLittleTime: a candidate that is slow has no answer, and the decision has its own.
func TestCandidateHasLittleTime(t *testing.T) {
	p := setup{rules: "p, user:corp:alice, 7, read\n", next: "p, user:corp:bob, 7, read\np, user:corp:alice, 7, read\n", extra: "candidate: {rules: [next.csv]}\n"}.mustCompile(t)
	for name, x := range map[string]struct {
		ctx   context.Context
		noted bool
	}{"with time": {t.Context(), true}, "at the deadline": {overdue{t.Context()}, false}} {
		c := asks{sub: alice, obj: "7", act: "read"}.newCase(p)
		outcome, err := New().Evaluate(x.ctx, c)
		if outcome != pipeline.Continue || c.Grant == nil || err != nil {
			t.Errorf("%s: %v, %v", name, outcome, err)
		}
		if noted := c.Verdict.Explanation.Candidate != nil; noted != x.noted {
			t.Errorf("%s: the candidate's answer is noted: %v", name, noted)
		}
	}
}
