package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestDecided: an answer without a decision's name is none, whatever it says.
func TestDecided(t *testing.T) {
	outage := errors.New("no server")
	if d, err := decided(authz.Decision{ID: "7", Status: 403, Reason: "no_route"}, authz.ErrDenied); err != nil || d.Decision != "deny" || d.DecisionID != "7" {
		t.Errorf("a denial: %+v, %v", d, err)
	}
	if d, err := decided(authz.Decision{Status: 503}, outage); d != nil || !errors.Is(err, outage) {
		t.Errorf("no server: %+v, %v", d, err)
	}
	if d, err := decided(authz.Decision{Allowed: true, Status: 200, Reason: "allowed"}, nil); d != nil || err == nil {
		t.Errorf("a nameless allow: %+v, %v", d, err)
	}
}

// TestExpected: a denial that is no policy's answer neither is what a check expects nor fails it, unless it is named.
func TestExpected(t *testing.T) {
	for _, tc := range []struct {
		expect, decision string
		reason           verdict.Reason
		code             int
	}{
		{"", "deny", verdict.NoSnapshot, exitOK},
		{"deny", "deny", verdict.NoMatchingRule, exitOK},
		{"deny", "deny", verdict.LimitsUnavailable, exitOK}, // the limit's own on_error
		{"deny", "allow", verdict.Allowed, exitFailed},
		{"allow", "allow", verdict.Allowed, exitOK},
		{"allow", "deny", verdict.NoMatchingRule, exitFailed},
		{"deny:no_route", "deny", verdict.NoMatchingRule, exitFailed},
		{"deny:no_snapshot", "deny", verdict.NoSnapshot, exitOK},
		{"deny", "deny", verdict.NoSnapshot, exitInternal},
		{"deny", "deny", verdict.CallerNotTrusted, exitInternal},
		{"allow", "deny", verdict.Deadline, exitInternal},
		{"deny:no_route", "deny", verdict.Internal, exitInternal},
	} {
		c := &checkCommand{Expect: tc.expect}
		code := exitOK
		if err := c.expected(&decision{Decision: tc.decision, Reason: string(tc.reason)}); err != nil {
			code = codeOf(err)
		}
		if code != tc.code {
			t.Errorf("%q, got %s:%s: exit code %d, want %d", tc.expect, tc.decision, tc.reason, code, tc.code)
		}
	}
}

// TestInterrupt: who is interrupted has no answer, neither a fault of the bundle nor a test that failed.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const bundle = "../../deploy/quickstart/bundle"
	const line = `{"decision_id":"d","time":"2026-01-02T03:04:05Z","bundle":"acme","service":"orders","route":"health","template":"/health",` +
		`"request":{"method":"GET","scheme":"https","host":"orders.example.com"},"subject":{"kind":"anonymous"},"effect":"allow","status":200,"reason":"allowed"}`
	for _, args := range [][]string{
		{"test", bundle}, {"matrix", bundle}, {"check", bundle, "orders.example.com/health", "--expect", "deny"},
		{"explain", "-", "--bundle", bundle, "--any-revision"},
	} {
		var out, problems bytes.Buffer
		if code := run(ctx, args, streams{in: strings.NewReader(line), out: &out, err: &problems}); code != exitInternal {
			t.Errorf("%q: exit code %d\n%s%s", args, code, &out, &problems)
		}
	}
}

// TestSubjectOf: a key leads back to its subject, whatever the id holds.
func TestSubjectOf(t *testing.T) {
	for _, want := range []subject.Subject{
		subject.Anonymous(),
		{Key: "user:corp:alice", Kind: subject.KindUser, Authenticator: "corp", ID: "alice"},
		{Key: "service:mesh:spiffe://example.com/a:b", Kind: subject.KindService, Authenticator: "mesh", ID: "spiffe://example.com/a:b"},
	} {
		got, ok := subjectOf(want.Key)
		if !ok || got.Key != want.Key || got.Kind != want.Kind || got.Authenticator != want.Authenticator || got.ID != want.ID {
			t.Errorf("%q: %+v, %v", want.Key, got, ok)
		}
	}
	for _, key := range []string{"", "alice", "user", "user:", "user:corp", "user:corp:", "user::alice", "anonymous:a:b", "robot:corp:a", "Anonymous"} {
		if got, ok := subjectOf(key); ok || got.Key != "" {
			t.Errorf("%q: %+v, %v", key, got, ok)
		}
	}
}

// TestCutURL: a URL is taken apart and nothing in it is changed.
func TestCutURL(t *testing.T) {
	for _, tc := range []struct{ url, scheme, host, target string }{
		{"orders.example.com", "https", "orders.example.com", "/"},
		{"http://Orders.Example.com:80/a/../b?x=%2e#part", "http", "Orders.Example.com:80", "/a/../b?x=%2e"},
		{"orders.example.com?x=1", "https", "orders.example.com", "/?x=1"},
		{"orders.example.com/?next=http://x/", "https", "orders.example.com", "/?next=http://x/"},
		{"https:////a", "https", "", "//a"},
		{"/a", "https", "", "/a"},
		{"[::1]:80/%", "https", "[::1]:80", "/%"},
	} {
		if scheme, host, target := cutURL(tc.url); scheme != tc.scheme || host != tc.host || target != tc.target {
			t.Errorf("%s: %s, %s, %s", tc.url, scheme, host, target)
		}
	}
}
