package decisiontest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/decisiontest"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestLoadRefuses writes suites with one fault each.
func TestLoadRefuses(t *testing.T) {
	const good = "cases: [{name: a, request: {path: /}, expect: {status: 200}}]\n"
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: with(nil)})
	if err != nil {
		t.Fatal(err)
	}
	const other = "suite: other\n" + good
	aCase := func(request, expect string) string {
		return people + fmt.Sprintf("cases: [{name: a, request: {%s}, expect: {%s}}]\n", request, expect)
	}
	for _, c := range []struct{ suite, want string }{
		{"suite: \"a b\"\n" + good, "tests/s.yaml:1:8: a suite needs a name"},
		{good, "a suite needs a name"},
		{"suite: other\n" + good, `a second suite named "other"`},
		{"suite: s\nnow: +5min\n" + good, "tests/s.yaml:2:6: now is a time"},
		{"suite: s\n", "neither cases nor a matrix"},
		{"suite: s\ncases: [{request: {path: /}, expect: {status: 200}}]\n", "needs a name that says what must hold"},
		{"suite: s\ncases: [{name: a, request: {path: /}, expect: {status: 200}}, {name: a, request: {path: /}, expect: {status: 200}}]\n", `2:70: a second case named "a"`},
		{"suite: s\ncases: [{name: a, request: {path: /}}]\n", "what is expected of it, is missing"},
		{"suite: s\ncases: [{name: a, request: {path: /}, expect: {status: 200}, steps: [{request: {path: /}, expect: {status: 200}}]}]\n", "not both"},
		{"suite: s\ncases: [{name: a, steps: [{at: +5s, request: {path: /}, expect: {status: 200}}, {at: +4s, request: {path: /}, expect: {status: 200}}]}]\n", "before the one above it"},
		{"suite: s\ncases: [{name: a, steps: [{repeat: -1, request: {path: /}, expect: {status: 200}}]}]\n", "repeat is 1 to"},
		{"suite: s\ncases: [{name: a, steps: [{repeat: 0, request: {path: /}, expect: {status: 200}}]}]\n", "repeat is 1 to"},
		{"suite: s\ncases: [{name: a, steps: [{repeat: 100001, request: {path: /}, expect: {status: 200}}]}]\n", "repeat is 1 to"},
		{"suite: s\ncases: [{name: a, steps: [{at: 0001-01-01T00:00:00Z, request: {path: /}, expect: {status: 200}}]}]\n", "is no instant"},
		{"suite: s\ncases: [{name: a, steps: [{at: +9999999d, request: {path: /}, expect: {status: 200}}]}]\n", "is no offset"},
		{"suite: s\ncases: [{name: a, given: {redis: gone}, request: {path: /}, expect: {status: 200}}]\n", "redis is up or down"},
		{aCase("path: /, token: alicf", "status: 200"), `hold no "alicf" (did you mean "alice"?)`},
		{aCase("path: /, token: batch", "status: 200"), `the suite's tokens hold no "batch"`},
		{aCase("path: /, certificate: alice", "status: 200"), `the suite's certificates hold no "alice"`},
		{aCase("path: /, subject: alice", "status: 200"), `the suite's subjects hold no "alice"`},
		{aCase("path: /, subject: carol, token: alice", "status: 200"), "shows no token"},
		{aCase("path: /, body_file: b.json", "status: 200"), `hold no file "b.json"`},
		{aCase("path: /, body_file: ../bundle.yaml", "status: 200"), `hold no file "../bundle.yaml"`},
		{aCase("path: /, body_file: /tests/s.yaml", "status: 200"), `hold no file "/tests/s.yaml"`},
		{aCase("host: a", "status: 200"), "it needs a path"},
		{aCase("domain: edgy, descriptors: [{entries: [{key: a}]}]", "status: 200"), `the bundle's ratelimits hold no domain "edgy", and nothing is limited there (did you mean "edge"?)`},
		{aCase("domain: edge", "status: 200"), "a domain and a list of descriptors"},
		{aCase("descriptors: [{entries: [{key: a}]}]", "status: 200"), "a domain and a list of descriptors"},
		{aCase("hits_addend: 1, path: /", "status: 200"), "descriptors ask for limits alone"},
		{aCase("domain: edge, descriptors: [{entries: [{key: a}]}], token: alice", "status: 200"), "descriptors ask for limits alone"},
		{aCase("domain: edge, descriptors: [{entries: [{key: a}], hits_addend: -1}]", "status: 200"), "hits and requests_per_unit are from 0 to 4294967295"},
		{aCase("domain: edge, hits_addend: 4294967296, descriptors: [{entries: [{key: a}]}]", "status: 200"), "hits and requests_per_unit are from 0 to 4294967295"},
		{aCase("domain: edge, descriptors: [{entries: [{key: a}], limit: {unit: day, requests_per_unit: -1}}]", "status: 200"), "hits and requests_per_unit are from 0 to 4294967295"},
		{aCase("path: /", ""), "a test that cannot fail"},
		{aCase("path: /", "upstream: {}"), "an empty list expects nothing"},
		{aCase("path: /", "remaining: {}"), "an empty list expects nothing"},
		{aCase("path: /", "decision: allow, upstream_absent: []"), "an empty list expects nothing"},
		{aCase("path: /", "response_absent: []"), "an empty list expects nothing"},
		{aCase("path: /", "upstream_absent: [x-a]"), "every denial fulfils this (expect decision: allow too)"},
		{aCase("path: /", "decision: deny, upstream_absent: [x-a]"), "every denial fulfils this"},
		{aCase("path: /", "decision: permit"), "allow or deny"},
		{aCase("path: /", "status: 204"), "a status is 200"},
		{aCase("path: /", "retry_after: -1"), "0 or more"},
		{aCase("path: /", "reason: token_expird"), `did you mean "token_expired"?`},
		{aCase("path: /", "public_reason: token_expired"), `no client is told`},
		{aCase("path: /", "rule: \"policy.csv\""), "named by its place"},
		{aCase("path: /", "rule: \"services/orders/polcy.csv:3\""), `did you mean "services/orders/policy.csv"?`},
		{aCase("path: /", "rule: \"services/orders/policy.csv:1\""), "no rule stands there"},
		{aCase("path: /", "rule: \"services/orders/policy.csv:99\""), "no rule stands there"},
		{aCase("path: /", "upstream: {X-A: b}"), "no header name in lower case"},
		{aCase("path: /", "response_absent: [\"a b\"]"), "no header name in lower case"},
		{"suite: s\ntokens: {a: {}}\n" + good, "needs an authenticator"},
		{"suite: s\ntokens: {a: {authenticator: crop}}\n" + good, `did you mean "corp"?`},
		{"suite: s\ntokens: {a: {authenticator: workloads}}\n" + good, "takes no tokens"},
		{"suite: s\ntokens: {a: {extends: a}}\n" + good, "in a circle"},
		{"suite: s\ntokens: {a: {extends: b}}\n" + good, `has no token "b"`},
		{"suite: s\ntokens: {a: {extends: b}, b: {raw: x}}\n" + good, "cannot be extended"},
		{"suite: s\ntokens: {a: {raw: x, exp: +1s}}\n" + good, "sent as it is"},
		{"suite: s\ntokens: {a: {raw: \"x y\"}}\n" + good, "visible ASCII"},
		{"suite: s\ntokens: {a: {authenticator: corp, exp: +1s, claims: {exp: 7}}}\n" + good, "exp stands here and among the claims"},
		{"suite: s\ntokens: {a: {authenticator: corp, omit: [iss]}}\n" + good, "iss chooses the authenticator"},
		{"suite: s\ntokens: {anonymous: {raw: x}}\n" + good, "shows no credentials"},
		{"suite: s\ntokens: {\"a b\": {raw: x}}\n" + good, "is no name"},
		{"suite: s\ntokens: {a: {raw: x}}\nsubjects: {a: {key: anonymous}}\n" + good, "stands for two things"},
		{"suite: s\ncertificates: {a: {subject: CN=a}}\n" + good, "needs sans"},
		{"suite: s\nsubjects: {a: {key: alice}}\n" + good, "is no key"},
		{"suite: s\nsubjects: {a: {key: \"user:corp:alice\", id: alice}}\n" + good, "holds kind, authenticator and id"},
		{"suite: s\nsubjects: {a: {key: \"user:crop:alice\"}}\n" + good, `did you mean "corp"?`},
		{"suite: s\nsubjects: {a: {key: \"robot:corp:alice\"}}\n" + good, "user, service or anonymous"},
		{"suite: s\nsubjects: {a: {authenticator: corp}}\n" + good, "needs an id"},
		{"suite: s\nsubjects: {a: {kind: anonymous, id: b}}\n" + good, "neither authenticator and id nor roles"},
		{"suite: s\nsubjects: {a: {key: anonymous, roles: [writer]}}\n" + good, "an anonymous subject has nothing"},
		{"suite: s\nmatrix: {golden: s.csv}\n", "a matrix needs subjects"},
		{"suite: s\nmatrix: {subjects: [anonymous, anonymous], golden: s.csv}\n", `2:32: "anonymous" stands twice`},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: .s.csv}\n", "needs a golden file"},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: a/b/s.csv}\n", "needs a golden file"},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: \"a b.csv\"}\n", "needs a golden file"},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: s.csv, params: {idd: \"7\"}}\n", `no route has a parameter "idd"`},
		{"suite: s\nmatrix: {subjects: [alic], golden: s.csv}\ntokens: {alice: {raw: x}}\n", `did you mean "alice"?`},
		{"suite: s\nmatrix: {subjects: [anonymous]}\n", "needs a golden file"},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: ../s.csv}\n", "needs a golden file"},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: s.txt}\n", "needs a golden file"},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: s.csv, services: [order]}\n", `did you mean "orders"?`},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: s.csv, routes: [raed]}\n", `did you mean "read"?`},
		{"suite: s\nmatrix: {subjects: [anonymous], golden: s.csv}\ncases: [{name: matrix, request: {path: /}, expect: {status: 200}}]\n", "a second case named"},
	} {
		b := *off.Bundle()
		b.Files = format.NewFiles(with(map[string]string{"tests/s.yaml": c.suite, "tests/o.yaml": other}))
		_, problems := decisiontest.Load(&b)
		if text := problems.Error(); len(problems) != 1 || !strings.Contains(text, c.want) || !strings.Contains(text, "tests/s.yaml:") {
			t.Errorf("%s\ngot %q\nwant %q", c.suite, text, c.want)
		}
	}
}

// stub is a lab that allows every GET: what runs on it takes the same way each time.
type stub struct{}

func (stub) Mint(string, map[string]any, map[string]any) (string, error) { return "x", nil }
func (stub) Open(time.Time) (decisiontest.Session, error)                { return stub{}, nil }
func (stub) Set(time.Time, bool)                                         {}
func (stub) Close() error                                                { return nil }

func (stub) Decide(_ context.Context, r *request.Request, _ *subject.Subject) decisiontest.Answer {
	v := verdict.Verdict{Reason: verdict.NoMatchingRule}
	if r.Method == "GET" {
		v = verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed}
	}
	return decisiontest.Answer{Verdict: v, Service: "orders", Route: "read"}
}

// FuzzLoad reads any text as a suite. What loads can be run and reported: no name is left that stands for nothing.
func FuzzLoad(f *testing.F) {
	f.Add(people + "cases: [{name: a, request: {path: /}, expect: {status: 200}}]\n")
	f.Add(cases("path: /health, token: bob => decision: allow", "path: /orders/7/a, certificate: old, headers: {a: b}, body_file: s.yaml => rule: \"services/orders/policy.csv:3\"",
		"steps: [{at: +5s, given: {redis: down}, request: {path: /, subject: carol}, expect: {remaining: {a: 1}, upstream: {a: b}}}]"))
	f.Add(people + "matrix: {subjects: [alice, batch, carol, anonymous], golden: s.csv, params: {id: a/b}}\n")
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: with(nil)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := *off.Bundle()
		b.Files = format.NewFiles(with(map[string]string{"tests/s.yaml": text}))
		suites, problems := decisiontest.Load(&b)
		if len(problems) > 0 || strings.Contains(text, "repeat") { // 100,000 times is sound and long
			return
		}
		report, err := decisiontest.Run(t.Context(), decisiontest.Options{Lab: stub{}, Bundle: &b, Suites: suites})
		if errors.Is(err, decisiontest.ErrMatrix) { // services and routes that are each there, and have nothing in common
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{"pretty", "json", "junit", "github"} {
			if err := report.Write(io.Discard, decisiontest.Layout{Form: form, Coverage: true, Cases: true}); err != nil {
				t.Error(err)
			}
		}
	})
}
