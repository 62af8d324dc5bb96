package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const limitsFile = `domain: edge
descriptors:
  - {key: user, rate_limit: {unit: day, requests_per_unit: 1}}
  - key: tenant
    descriptors:
      - {key: path, value: "/a*", shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 0}}
      - {key: host, detailed_metric: true, rate_limit: {unit: hour, requests_per_unit: 9}}
`

// recordLimits lets a real server answer rate limit requests, JSON texts, and returns its records.
func recordLimits(t *testing.T, bundle string, requests ...string) []string {
	t.Helper()
	for name, text := range map[string]string{"bundle.yaml": "format: 1\nname: acme\n", "ratelimits/edge.yaml": limitsFile} {
		path := filepath.Join(bundle, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(t.TempDir()) // the path of a socket has a bound
	settings := "listeners: [{address: \"unix:l\", protocols: [ratelimit_json]}]\nadmin: {address: \"unix:a\"}\ndrain: 0s\nbundles: [{dir: " + bundle + "}]\n"
	if err := os.WriteFile("durward.yaml", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log, told bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--config", "durward.yaml"}, streams{out: &log, err: &told})
	}()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "l")
	}}}
	defer client.CloseIdleConnections()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if code, _, _ := command(t, "", "healthcheck", "--admin", "unix:a"); code == exitOK {
			break
		}
		if time.Since(begin) > patience {
			t.Fatalf("the server is not ready: %s", told.String())
		}
	}
	for _, text := range requests {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://durward/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	client.CloseIdleConnections()
	stop()
	if code := <-done; code != exitOK {
		t.Fatalf("the server ended with %d: %s", code, told.String())
	}
	return strings.SplitAfter(strings.TrimRight(log.String(), "\n"), "\n")
}

// TestExplainLimits: of a rate limit request the rules are named that it met, with their places and what they say.
func TestExplainLimits(t *testing.T) {
	const user = `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]}%s]}`
	bundle := filepath.Join(t.TempDir(), "bundle")
	lines := recordLimits(t, bundle,
		strings.Replace(user, "%s", `,{"entries":[{"key":"tenant","value":"t"},{"key":"path","value":"/ab"}]}`, 1),
		strings.Replace(user, "%s", "", 1),
		`{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"bob"}],"limit":{"requestsPerUnit":7,"unit":"DAY"}}]}`,
		`{"domain":"edge","descriptors":[{"entries":[{"key":"tenant","value":"t"},{"key":"host","value":"h"}]}]}`,
		`{"domain":"edge","descriptors":[{"entries":[{"key":"other"}]}]}`,
		`{"domain":"nowhere","descriptors":[{}]}`,
		`{"domain":"edge"}`)
	for i, c := range []struct {
		code int
		want []string
	}{
		{exitOK, []string{
			"recorded: allow 200 allowed", "domain    edge\n", "edge.user: 0 left of 1 per 24h0m0s",
			"rule edge.user: ratelimits/edge.yaml:3:5  1 per day for each user\n",
			"rule edge.tenant.path_/a*: ratelimits/edge.yaml:6:9  refuses everything; counted and never refused (shadow)\n",
			"not replayed: counters decided, and no record holds values of descriptors",
		}},
		{exitOK, []string{"recorded: deny 429 limit_exceeded", "edge.user: 0 left of 1 per 24h0m0s, refused", "rule edge.user: ratelimits/edge.yaml:3:5  1 per day"}},
		{exitOK, []string{"rule edge.user: the record says 7: the request brought a limit of its own\n"}},
		{exitOK, []string{"rule edge.tenant_t.host_h: no rule has this name: values of the request stand in it"}},
		{exitOK, []string{"no limit was met\n"}},
		{exitInvalid, []string{"not replayed: no bundle has its domain"}},
		{exitInvalid, []string{"not replayed: the request was refused for its raw form"}},
	} {
		code, stdout, stderr := command(t, lines[i], "explain", "-", "--bundle", bundle)
		if code != c.code {
			t.Errorf("record %d: exit code %d, want %d\n%s%s%s", i, code, c.code, lines[i], stdout, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("record %d: %q is missing\n%s", i, want, stdout)
			}
		}
		if strings.Contains(stdout, "replayed: allow") || strings.Contains(stdout, "alice") {
			t.Errorf("record %d: it was decided again, or holds a value\n%s", i, stdout)
		}
	}
	code, stdout, stderr := command(t, lines[1], "explain", "-", "--bundle", bundle, "-o", "json")
	var x explained
	if err := json.Unmarshal([]byte(stdout), &x); code != exitOK || err != nil || !x.SameRevision || len(x.Rules) != 1 || x.Rules[0].Rules[0].Place != "ratelimits/edge.yaml:3:5" || x.Replayed != nil {
		t.Errorf("as JSON: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	// Another revision is not taken for the recorded one.
	if err := os.WriteFile(filepath.Join(bundle, "ratelimits/edge.yaml"), []byte("domain: edge\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command(t, lines[1], "explain", "-", "--bundle", bundle); code != exitInvalid || !strings.Contains(stderr, "the record names ") {
		t.Errorf("another revision: exit code %d, %s", code, stderr)
	}
	if code, stdout, _ := command(t, lines[1], "explain", "-", "--bundle", bundle, "--any-revision"); code != exitOK || !strings.Contains(stdout, "the rules are of another revision than the recorded one:\nrule edge.user: no rule has this name") {
		t.Errorf("on any revision: exit code %d\n%s", code, stdout)
	}
}
