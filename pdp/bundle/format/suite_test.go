package format

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
)

const suiteYAML = `suite: orders
now: 2026-01-01T12:00:00Z
tokens:
  alice: {authenticator: corp, claims: {sub: alice, aud: [orders-api], realm_access: {roles: [reader]}}, exp: +5min}
  stale: {extends: alice, exp: -1s}
cases:
  - name: a burst
    given: {redis: down}
    steps:
      - {repeat: 20, request: {host: orders.example.com, path: /orders/7, token: alice, headers: {a: b}, lines: [{name: c, value: d}]}, expect: {decision: allow, degraded: true}}
      - {at: +30s, request: {path: /orders/7, body: "{}"}, expect: {status: 429, retry_after: 30, remaining: {per-subject: 4}}}
matrix: {subjects: [alice, anonymous], golden: orders.csv, params: {id: "7"}}
`

func TestDecodeSuite(t *testing.T) {
	var got suite.Suite
	if problems := Decode(&File{Path: "tests/orders.yaml", Data: []byte(suiteYAML)}, &got); len(problems) > 0 {
		t.Fatal(problems)
	}
	if got.Suite != "orders" || len(got.Cases) != 1 || len(got.Cases[0].Steps) != 2 || got.Matrix.Golden != "orders.csv" {
		t.Errorf("got %+v", got)
	}
	now := got.Now.After(time.Time{})
	if want := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC); !now.Equal(want) {
		t.Errorf("now is %v, want %v", now, want)
	}
	for name, want := range map[string]time.Duration{"alice": 5 * time.Minute, "stale": -time.Second} {
		if at := got.Tokens[name].Exp.After(now); at.Sub(now) != want {
			t.Errorf("%s expires %v after now, want %v", name, at.Sub(now), want)
		}
	}
	claims := map[string]any{"sub": "alice", "aud": []any{"orders-api"}, "realm_access": map[string]any{"roles": []any{"reader"}}}
	if diff := cmp.Diff(claims, got.Tokens["alice"].Claims); diff != "" {
		t.Error(diff)
	}
	step := got.Cases[0].Steps[1]
	if *step.Request.Body != "{}" || *step.Expect.RetryAfter != 30 || step.Expect.Remaining["per-subject"] != 4 {
		t.Errorf("got %+v", step)
	}
}

func TestDecodeSuiteRefuses(t *testing.T) {
	for _, c := range []struct{ yaml, place, message string }{
		{"suite: a\ncase: []\n", "t.yaml:2:1", `did you mean "cases"?`},
		{"cases: [{expect: {desision: allow}}]\n", "t.yaml:1:19", `did you mean "decision"?`},
		{"tokens: {a: {exp: 5min}}\n", "t.yaml:1:19", "no instant"},
		{"tokens: {a: {exp: +5}}\n", "t.yaml:1:19", "expected text"},
		{"tokens: {a: {exp: +5x}}\n", "t.yaml:1:19", "no offset"},
		{"tokens: {a: {exp: ++5s}}\n", "t.yaml:1:19", "no instant"},
		{"tokens: {a: {exp: +99999999999d}}\n", "t.yaml:1:19", "no offset"},
		{"now: 2026-01-01\n", "t.yaml:1:6", "no instant"},
		{"cases: [{expect: {retry_after: soon}}]\n", "t.yaml:1:32", "whole number"},
		{"cases: [{expect: {status: ok}}]\n", "t.yaml:1:27", "whole number"},
	} {
		problems := Decode(&File{Path: "t.yaml", Data: []byte(c.yaml)}, new(suite.Suite))
		if text := problems.Error(); len(problems) != 1 || !strings.Contains(text, c.place) || !strings.Contains(text, c.message) {
			t.Errorf("%q: got %q, want %q at %s", c.yaml, text, c.message, c.place)
		}
	}
}
