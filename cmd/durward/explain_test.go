package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// recorded is a server's log and what the server had decided on.
type recorded struct {
	bundle string
	lines  map[string]string // by reason, the last of each
}

// command runs a command line and returns what it printed.
func command(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	code = run(t.Context(), args, streams{in: strings.NewReader(stdin), out: &out, err: &errors})
	return code, out.String(), errors.String()
}

// record lets a real server decide on requests and returns its log.
func record(t *testing.T) *recorded {
	t.Helper()
	r := &recorded{bundle: filepath.Join(t.TempDir(), "bundle"), lines: map[string]string{}}
	if err := os.CopyFS(r.bundle, os.DirFS("../../deploy/quickstart/bundle")); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "k", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.MarshalKeySet(signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.bundle, "keys/corp.jwks.json"), keys, 0o600); err != nil {
		t.Fatal(err)
	}
	// A limit that does not fill up again while a slow test runs.
	replaceIn(t, filepath.Join(r.bundle, "services/orders/service.yaml"), "per-subject: {rate: 60/min,", "per-subject: {rate: 60/30d,")
	mint := func(sub string, roles ...string) string {
		raw, err := signer.Sign("at+jwt", map[string]any{
			"iss": "https://idp.example.com", "sub": sub, "jti": "1", "client_id": "tests", "aud": "orders-api", "tenant": "t1",
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "realm_access": map[string]any{"roles": roles},
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	// In a directory with a short name: the path of a socket has a bound.
	t.Chdir(t.TempDir())
	listen, admin := "unix:l", "unix:a"
	t.Setenv("DURWARD_DRAIN", "0s")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log, told bytes.Buffer
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"serve", "--bundle", r.bundle, "--listen", listen, "--admin", admin, "--client-address", "peer"}, streams{out: &log, err: &told})
	}()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if code, _, _ := command(t, "", "healthcheck", "--admin", admin); code == exitOK {
			break
		}
		if time.Since(begin) > patience {
			t.Fatal("the server is not ready")
		}
	}
	ask := func(url string, more ...string) {
		if code, _, stderr := command(t, "", append([]string{"check", "--server", listen, "--enforce", url}, more...)...); code != exitOK {
			t.Fatalf("check %s: exit code %d, %s", url, code, stderr)
		}
	}
	ask("orders.example.com/health?q=1")
	ask("orders.example.com/orders/7", "--expect", "deny:token_missing")
	ask("orders.example.com/nowhere", "--expect", "deny:no_route")
	ask("orders.example.com/orders/7", "-X", "DELETE", "--expect", "deny:method_not_allowed")
	ask("orders.example.com/orders/../7", "--expect", "deny:path_ambiguous")
	ask("orders.example.com/orders/7", "--token", "x.y.z", "--expect", "deny:token_malformed")
	ask("nowhere.example.com/", "--expect", "deny:no_service")
	ask("http://orders.example.com/health", "--expect", "deny:tls_required")
	code, stdout, stderr := command(t, "", "check", "--server", listen, "orders.example.com/orders/7", "--token", mint("bob", "guest"), "--explain")
	for _, want := range []string{"deny 403 no_matching_rule", "nearly    services/orders/policy.csv:3  p, reader, orders:read", "✗  g(r.sub, p.sub): wanted member of reader", "would be allowed if roles contained reader"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("a server's explanation: exit code %d, %q is missing\n%s%s", code, want, stdout, stderr)
		}
	}
	ask("orders.example.com/orders/7", "--token", mint("bob", "guest"), "--expect", "deny:no_matching_rule")
	ask("orders.example.com/orders/7", "--token", mint("mallory", "reader"), "--expect", "deny:guard_denied")
	ask("orders.example.com/orders/7/refund", "-X", "POST", "--token", mint("alice", "writer"), "--expect", "deny:insufficient_scope")
	for range 5 {
		ask("orders.example.com/orders/7%20a", "--token", mint("carol", "writer"), "--expect", "allow")
	}
	ask("orders.example.com/orders/8", "--token", mint("carol", "writer"), "--expect", "deny:limit_exceeded")
	ask("orders.example.com/orders/9", "-X", "PUT", "--token", mint("dave", "writer"), "--body", "{}", "-H", "content-type: application/json", "--expect", "allow")
	stop()
	if code := <-done; code != exitOK {
		t.Fatalf("the server ended with %d: %s", code, told.String())
	}
	for line := range strings.Lines(log.String()) {
		var fields struct{ Reason, Route string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		r.lines[strings.TrimSpace(fields.Reason+" "+fields.Route)] = line
	}
	return r
}

// replaceIn changes a text that stands in a file.
func replaceIn(t *testing.T, name, before, after string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(before)) {
		t.Fatalf("%s does not hold %q", name, before)
	}
	if err := os.WriteFile(name, bytes.Replace(data, []byte(before), []byte(after), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExplainRecords: what a server decided comes out of its records again.
func TestExplainRecords(t *testing.T) {
	r := record(t)
	for _, tc := range []struct {
		line string
		code int
		want []string
	}{
		{"allowed health", exitOK, []string{"recorded: allow 200 allowed", "replayed: allow 200 allowed", "the answer is the same; limits are not replayed",
			"not recorded, so that the answer may differ: query parameters (the bundle does not list all that came)"}},
		{"token_missing read-order", exitOK, []string{"subject   anonymous", "replayed: deny 401 token_missing"}},
		{"no_route", exitOK, []string{"replayed: deny 403 no_route", "orders.example.com/nowhere"}},
		{"method_not_allowed", exitOK, []string{"replayed: deny 405 method_not_allowed"}},
		{"tls_required health", exitOK, []string{"replayed: deny 403 tls_required"}},
		{"no_matching_rule read-order", exitOK, []string{"subject   user:corp:bob", "replayed: deny 403 no_matching_rule", "the answer is the same"}},
		{"guard_denied read-order", exitOK, []string{"replayed: deny 403 guard_denied", "the answer is the same"}},
		{"insufficient_scope refund", exitOK, []string{"replayed: deny 403 insufficient_scope", "the answer is the same"}},
		{"allowed read-order", exitOK, []string{"subject   user:corp:carol", "x-durward-tenant: t1", "the answer is the same"}},
		{"allowed change-order", exitOK, []string{"replayed: allow 200", "the answer is the same"}},
		{"limit_exceeded read-order", exitOK, []string{"per-subject: 0 left of 60 per 720h0m0s, refused", "replayed: allow 200", "the limit per-subject refused; limits are not replayed"}},
		{"path_ambiguous", exitInvalid, []string{"not replayed: the request was refused for its raw form"}},
		{"token_malformed read-order", exitInvalid, []string{"not replayed: the credentials were refused"}},
		{"no_service", exitInvalid, []string{"not replayed: no service answered for it"}},
	} {
		line := r.lines[tc.line]
		if line == "" {
			t.Errorf("%s: not in the log", tc.line)
			continue
		}
		code, stdout, stderr := command(t, line, "explain", "-", "--bundle", r.bundle)
		if code != tc.code || strings.Contains(stdout, "not the recorded one") {
			t.Errorf("%s: exit code %d, want %d\n%s%s%s", tc.line, code, tc.code, line, stdout, stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: %q is missing\n%s", tc.line, want, stdout)
			}
		}
	}
	t.Run("another revision", r.onAnotherRevision)
}

func (r *recorded) onAnotherRevision(t *testing.T) {
	changed := filepath.Join(t.TempDir(), "changed")
	if err := os.CopyFS(changed, os.DirFS(r.bundle)); err != nil {
		t.Fatal(err)
	}
	replaceIn(t, filepath.Join(changed, "services/orders/policy.csv"), "p, reader, orders:read\n", "")
	line := r.lines["allowed read-order"]
	if code, stdout, stderr := command(t, line, "explain", "-", "--bundle", changed); code != exitInvalid || stdout != "" || !strings.Contains(stderr, "the record names ") || !strings.Contains(stderr, changed+" is ") {
		t.Errorf("without the recorded revision: exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr := command(t, line, "explain", "-", "--bundle", changed, "--any-revision")
	for _, want := range []string{"which is not the recorded one: deny 403 no_matching_rule", "differs: effect was allow, is deny", "differs: rule_id was "} {
		if code != exitFailed || !strings.Contains(stdout, want) {
			t.Errorf("on another revision: exit code %d, %q is missing\n%s%s", code, want, stdout, stderr)
		}
	}
	if code, stdout, _ := command(t, line, "explain", "-", "--bundle", changed, "--bundle", r.bundle); code != exitOK || !strings.Contains(stdout, "the answer is the same") {
		t.Errorf("with both revisions: exit code %d\n%s", code, stdout)
	}
	// One of many lines, and the form for programs.
	log := filepath.Join(t.TempDir(), "records.jsonl")
	if err := os.WriteFile(log, []byte(r.lines["no_route"]+line+r.lines["guard_denied read-order"]), 0o600); err != nil {
		t.Fatal(err)
	}
	var fields struct {
		ID string `json:"decision_id"`
	}
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = command(t, "", "explain", log, "--bundle", r.bundle, "--id", fields.ID, "-o", "json")
	var x explained
	if err := json.Unmarshal([]byte(stdout), &x); code != exitOK || err != nil || !x.SameRevision || x.Record.DecisionID != fields.ID || x.Replayed.Decision != "allow" || len(x.Differences) != 0 {
		t.Errorf("as JSON: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	for _, args := range [][]string{{log}, {log, "--id", "none"}, {"missing.jsonl"}} {
		if code, _, stderr := command(t, "", append(append([]string{"explain"}, args...), "--bundle", r.bundle)...); code != exitInvalid {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
}
