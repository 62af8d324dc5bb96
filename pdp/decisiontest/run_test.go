package decisiontest_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/decisiontest"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
)

// truths hold on the fixture's bundle. Each has a twin that does not, which must fail for that key.
var truths = []struct{ truth, lie, key string }{
	{"path: /health => decision: allow", "path: /health => decision: deny", "decision"},
	{"path: /health => decision: allow, status: 200", "path: /health => status: 403", "status"},
	{"path: /orders/7/a => status: 401, reason: token_missing", "path: /orders/7/a => reason: token_expired", "reason"},
	{"path: /orders/7/a, token: alice => decision: allow, rule: \"services/orders/policy.csv:2\", policy: main", "path: /orders/7/a, token: alice => rule: \"services/orders/policy.csv:3\"", "rule"},
	{"path: /orders/7/a, token: alice => upstream: {x-subject: alice}", "path: /orders/7/a, token: bob => upstream: {x-subject: alice}", "upstream.x-subject"},
	{"path: /orders/7/a, token: alice => upstream_token: {sub: \"user:corp:alice\", aud: orders-api, roles: [reader]}", "path: /orders/7/a, token: bob => upstream_token: {sub: \"user:corp:alice\"}", "upstream_token.sub"},
	{"path: /orders/7/a, token: stale => reason: token_expired, public_reason: invalid_token", "path: /orders/7/a, token: stale => public_reason: access_denied", "public_reason"},
	{"path: /orders/7/a, token: later => reason: token_not_yet_valid", "path: /orders/7/a, token: later => decision: allow", "decision"},
	{"path: /orders/7/a, token: signed => decision: allow", "path: /orders/7/a, token: signed => stage: identity", "stage"},
	{"path: /orders/7/a, token: other-key => reason: token_key_unknown, stage: identity", "path: /orders/7/a, token: other-key => decision: allow", "decision"},
	{"path: /orders/7/a, token: nameless => reason: token_claim", "path: /orders/7/a, token: nameless => decision: allow", "decision"},
	{"path: /orders/7/a, token: junk => reason: token_malformed", "path: /orders/7/a, token: junk => decision: allow", "decision"},
	{"path: /orders/7/a, certificate: batch => decision: allow", "path: /orders/7/a, certificate: batch => decision: deny", "decision"},
	{"path: /orders/7/a, certificate: old => reason: certificate_invalid", "path: /orders/7/a, certificate: old => decision: allow", "decision"},
	{"method: PUT, path: /orders/7, subject: carol => decision: allow", "method: PUT, path: /orders/7, subject: carol => decision: deny", "decision"},
	{"method: PUT, path: /orders/7, subject: dave => reason: insufficient_scope", "method: PUT, path: /orders/7, subject: dave => decision: allow", "decision"},
	{"method: PUT, path: /orders/7, subject: nobody => reason: token_missing", "method: PUT, path: /orders/7, subject: nobody => decision: allow", "decision"},
	{"method: PUT, path: /orders/7, token: alice => reason: no_matching_rule, change: would be allowed", "method: PUT, path: /orders/7, token: alice => change: admin", "change"},
	{"method: HEAD, path: /orders/7/a, token: bob => remaining: {heads: 59}", "method: HEAD, path: /orders/7/a, token: alice => remaining: {heads: 59}", "remaining.heads"},
	{"method: HEAD, path: /orders/7/a, token: alice => remaining: {heads: 19, per-subject: 1}", "path: /orders/7/a, token: alice => remaining: {heads: 19}", "remaining.heads"},
	{"method: POST, path: /login, body: \"{}\", headers: {content-type: application/json} => decision: allow, remaining: {logins: 1}", "method: POST, path: /login => remaining: {logins: 2}", "remaining.logins"},
	{"method: POST, path: /login, body: \"{   }\", headers: {content-type: application/json} => reason: body_too_large", "method: POST, path: /login, size: 4 => reason: body_too_large", "reason"},
	{"method: POST, path: /login, body_file: a.json, headers: {content-type: text/xml} => reason: body_type", "method: POST, path: /login, body_file: a.json, headers: {content-type: application/json} => reason: body_type", "reason"},
	{"scheme: http, path: /health => reason: tls_required", "scheme: http, path: /health => decision: allow", "decision"},
	{"path: /health, lines: [{name: host, value: b.example.com}] => reason: duplicate_header", "path: /health => reason: duplicate_header", "reason"},
	{"path: /health, extensions: {durward.service: nowhere} => reason: no_service", "path: /health, extensions: {durward.service: orders} => reason: no_service", "reason"},
	{"path: /nothing => reason: no_route, response_absent: [retry-after]", "path: /nothing => reason: no_service", "reason"},
	{"path: /health, method: PUT => status: 405, response: {allow: GET}", "path: /health, method: PUT => response_absent: [allow]", "response_absent[0]"},
	{"given: {redis: down}, request: {host: a.example.com, method: POST, path: /login}, expect: {reason: limits_unavailable, limit: logins, degraded: true}", "request: {host: a.example.com, method: POST, path: /login}, given: {redis: up}, expect: {degraded: true}", "degraded"},
	{
		"steps: [{repeat: 2, request: {host: a.example.com, method: POST, path: /login}, expect: {decision: allow}}, {request: {host: a.example.com, method: POST, path: /login}, expect: {status: 429, retry_after: 30}}, {request: {host: a.example.com, method: POST, path: /login, address: 198.51.100.9}, expect: {decision: allow}}, {at: +30s, request: {host: a.example.com, method: POST, path: /login}, expect: {decision: allow}}]",
		"steps: [{repeat: 3, request: {host: a.example.com, method: POST, path: /login}, expect: {decision: allow}}]", "decision",
	},
	{
		"steps: [{request: {host: a.example.com, method: POST, path: /login}, expect: {decision: allow}}, {given: {redis: down}, request: {host: a.example.com, method: POST, path: /login}, expect: {status: 503}}, {given: {redis: up}, request: {host: a.example.com, method: POST, path: /login}, expect: {decision: allow}}]",
		"steps: [{at: +30s, request: {host: a.example.com, method: POST, path: /login}, expect: {retry_after: 1}}]", "retry_after",
	},
	{"steps: [{request: {host: a.example.com, path: /orders/7/a, token: alice}, expect: {decision: allow}}, {at: +6min, request: {host: a.example.com, path: /orders/7/a, token: alice}, expect: {reason: token_expired}}]", "steps: [{at: +4min, request: {host: a.example.com, path: /orders/7/a, token: alice}, expect: {reason: token_expired}}]", "reason"},
	{
		"steps: [{repeat: 3, request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}]}]}, expect: {decision: allow}}, {request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}]}]}, expect: {status: 429, reason: limit_exceeded, limit: edge.user, retry_after: 3600, remaining: {edge.user: 0}}}, {at: +1h, request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}]}]}, expect: {remaining: {edge.user: 2}}}]",
		"steps: [{repeat: 4, request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}]}]}, expect: {decision: allow}}]", "decision",
	},
	{ // an override, a look, and what a refusal charges: the others, and what was left
		"steps: [{request: {domain: edge, hits_addend: 2, descriptors: [{entries: [{key: user, value: alice}]}, {entries: [{key: tenant, value: t}, {key: path, value: /ab}]}]}, expect: {remaining: {edge.user: 1, 'edge.tenant.path_/a*': 8}}}, {request: {domain: edge, hits_addend: 2, descriptors: [{entries: [{key: user, value: alice}]}, {entries: [{key: tenant, value: t}, {key: path, value: /ab}]}]}, expect: {decision: deny}}, {request: {domain: edge, descriptors: [{entries: [{key: tenant, value: t}, {key: path, value: /ab}], hits_addend: 0, limit: {unit: DAY, requests_per_unit: 20}}]}, expect: {remaining: {edge.tenant.path: 16}}}, {request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}], hits_addend: 0}]}, expect: {decision: deny}}]",
		"steps: [{request: {domain: edge, descriptors: [{entries: [{key: tenant, value: t}, {key: path, value: /ab}]}]}, expect: {remaining: {'edge.tenant.path_/a*': 8}}}]", "remaining.edge.tenant.path_/a*",
	},
	{"given: {redis: down}, request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}]}]}, expect: {reason: limits_unavailable, degraded: true}", "given: {redis: up}, request: {domain: edge, descriptors: [{entries: [{key: user, value: alice}]}]}, expect: {degraded: true}", "degraded"},
	{"host: , operation: {service: orders, action: write}, token: bob => decision: allow", "host: , operation: {service: orders, action: write}, token: alice => decision: allow", "decision"},
}

// TestRun runs the truths, which must all pass, and the lies, which must all fail for the key that lies.
func TestRun(t *testing.T) {
	var right, wrong []string
	for _, c := range truths {
		fix := func(s string) string {
			return strings.Replace(s, "host: , operation", "operation", 1)
		}
		right, wrong = append(right, fix(c.truth)), append(wrong, fix(c.lie))
	}
	operation := func(s string) string {
		return strings.ReplaceAll(s, "host: a.example.com, operation", "operation")
	}
	for _, r := range run(t, operation(cases(right...))).Results {
		if r.Failure != nil {
			t.Errorf("%s (%s): %+v", r.Case, truths[index(t, r.Case)].truth, r.Failure)
		}
	}
	results := run(t, operation(cases(wrong...))).Results
	if len(results) != len(truths) {
		t.Fatalf("%d results of %d", len(results), len(truths))
	}
	for i, r := range results {
		if r.Failure == nil || len(r.Failure.Differences) != 1 || r.Failure.Differences[0].Key != truths[i].key || r.Failure.Differences[0].Line == 0 {
			t.Errorf("%s: %+v, want a failure of %s", truths[i].lie, r.Failure, truths[i].key)
		}
	}
}

func index(t *testing.T, name string) int {
	t.Helper()
	n := 0
	for _, c := range strings.TrimPrefix(name, "c") {
		n = 10*n + int(c-'0')
	}
	return n
}

// TestFailure pins what a failure says.
func TestFailure(t *testing.T) {
	report := run(t, cases(
		"method: PUT, path: \"/orders/7?a=%20\", token: alice, headers: {x-secret: hidden} => decision: allow, rule: \"services/orders/policy.csv:3\"",
		"steps: [{request: {host: a.example.com, path: /health}, expect: {decision: allow}}, {repeat: 3, request: {host: a.example.com, method: POST, path: /login, address: \"2001:db8::1\"}, expect: {status: 200}}]",
		"steps: [{request: {host: a.example.com, path: /health}, expect: {decision: deny}}, {request: {host: a.example.com, path: /health}, expect: {decision: allow}}]",
	))
	want := &decisiontest.Failure{
		Request: "PUT https://a.example.com/orders/7?a=%20, token alice, from 192.0.2.1, headers x-secret",
		Verdict: "deny 403 no_matching_rule, stage policy, policy main",
		Differences: []decisiontest.Difference{
			{Key: "decision", Line: 19, Column: 148, Want: "allow", Got: "deny"},
			{Key: "rule", Line: 19, Column: 161, Want: "services/orders/policy.csv:3", Got: "nothing"},
		},
	}
	got := *report.Results[0].Failure
	explained := strings.Join(got.Explanation, "\n")
	got.Explanation = nil
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"policy main: deny, no rule matches", "nearly: services/orders/policy.csv:3", "✗", "writer"} {
		if !strings.Contains(explained, text) {
			t.Errorf("the explanation lacks %q:\n%s", text, explained)
		}
	}
	if second := report.Results[1].Failure; second == nil || second.Step != 2 || second.Time != 3 || second.Differences[0].Got != "429" {
		t.Errorf("got %+v, want the third request of the second step", second)
	}
	if third := report.Results[2].Failure; third == nil || third.Step != 1 || third.Time != 0 {
		t.Errorf("got %+v, want the first step", third)
	}
	if report.Failed() != 3 {
		t.Errorf("%d failed", report.Failed())
	}
}

func TestRunChooses(t *testing.T) {
	options, problems := open(t, with(map[string]string{"tests/s.yaml": cases("path: /health => decision: allow", "path: /health => decision: deny")}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	options.Filter = regexp.MustCompile("^s/c0$")
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil || len(report.Results) != 1 || report.Failed() != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	options.Filter = regexp.MustCompile("none")
	if _, err := decisiontest.Run(t.Context(), options); !errors.Is(err, decisiontest.ErrNothingRun) {
		t.Errorf("got %v, want ErrNothingRun", err)
	}
	options.Filter = nil
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := decisiontest.Run(cancelled, options); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancelled run", err)
	}
}

// quitter is a lab whose user gives up while it decides.
type quitter struct {
	stub
	quit context.CancelFunc
}

func (q quitter) Open(time.Time) (decisiontest.Session, error) { return q, nil }

func (q quitter) Decide(ctx context.Context, r *request.Request, as *subject.Subject) decisiontest.Answer {
	q.quit()
	return q.stub.Decide(ctx, r, as)
}

// TestRunIsCancelled: the answer to the last request of a run that was given up is no answer, and no cell of a table.
func TestRunIsCancelled(t *testing.T) {
	for _, text := range []string{
		"suite: s\ncases: [{name: a, request: {path: /}, expect: {decision: deny}}]\n",
		"suite: s\nmatrix: {subjects: [anonymous], routes: [write], golden: s.csv}\n",
	} {
		options, problems := open(t, with(map[string]string{"tests/s.yaml": text}))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		ctx, cancel := context.WithCancel(t.Context())
		options.Lab = quitter{quit: cancel}
		if report, err := decisiontest.Run(ctx, options); !errors.Is(err, context.Canceled) || report != nil {
			t.Errorf("%s: got %+v, %v", text, report, err)
		}
	}
}

// TestExtends: the token above has the last word, in whichever form a claim is written.
func TestExtends(t *testing.T) {
	const more = `  timeless: {extends: alice, omit: [exp]}
  timed: {extends: timeless, exp: +1min}
  fixed: {extends: alice, claims: {exp: 7}}
  fresh: {extends: fixed, exp: +1min}
  fixed-again: {extends: fresh, claims: {exp: 7}}
  early: {extends: timed, nbf: +1h, iat: -1min}
  junk:`
	text := cases(
		"path: /orders/7/a, token: timeless => reason: token_claim",
		"path: /orders/7/a, token: timed => decision: allow",
		"path: /orders/7/a, token: fixed => reason: token_expired",
		"path: /orders/7/a, token: fresh => decision: allow",
		"path: /orders/7/a, token: fixed-again => reason: token_expired",
		"path: /orders/7/a, token: early => reason: token_not_yet_valid",
	)
	for _, r := range run(t, strings.Replace(text, "  junk:", more, 1)).Results {
		if r.Failure != nil {
			t.Errorf("%s: %+v", r.Case, r.Failure)
		}
	}
}

// TestRunRefusesTokens names the token that cannot be made.
func TestRunRefusesTokens(t *testing.T) {
	text := strings.Replace(cases("path: /orders/7/a, token: bad => decision: deny"), "  junk:", "  bad: {extends: alice, header: {alg: none}}\n  junk:", 1)
	options, problems := open(t, with(map[string]string{"tests/s.yaml": text}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	_, err := decisiontest.Run(t.Context(), options)
	var found format.Problems
	if !errors.As(err, &found) || found[0].Line != 10 || !strings.Contains(found[0].Message, "none") {
		t.Errorf("got %v", err)
	}
}

func TestCoverage(t *testing.T) {
	report := run(t, cases(
		"path: /health => decision: allow",
		"method: POST, path: /login => decision: allow",
		"path: /orders/7/a, token: alice => decision: allow",
		"path: /orders/7/a => decision: deny",
		"method: PUT, path: /orders/7, token: alice => decision: deny",
		"method: DELETE, path: /orders/7, token: alice => decision: deny",
	))
	routes, rules := report.Coverage.Percent()
	if routes != 75 || rules != 50 {
		t.Errorf("%v %% of the routes, %v %% of the rules", routes, rules)
	}
	want := []string{
		"services/orders/service.yaml:21:12: route write of orders: no allow",
		"services/orders/policy.csv:3: the rule decided nothing",
	}
	if diff := cmp.Diff(want, report.Coverage.Missing()); diff != "" {
		t.Error(diff)
	}
	empty := &decisiontest.Coverage{}
	if routes, rules := empty.Percent(); routes != 100 || rules != 100 {
		t.Errorf("nothing is covered to %v and %v %%", routes, rules)
	}
}
