package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
)

// asked is what a server saw.
type asked struct {
	path, query, body, authorization, media string
	certificates                            int
}

// adminFake answers as told and notes what it was asked.
func adminFake(seen *asked, status int, answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*seen = asked{path: r.URL.Path, query: r.URL.RawQuery, body: string(body), authorization: r.Header.Get("Authorization"), media: r.Header.Get("Content-Type")}
		if r.TLS != nil {
			seen.certificates = len(r.TLS.PeerCertificates)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}
}

// pemFiles writes the certificate and key of a test server, which serve as a client's too.
func pemFiles(t *testing.T, server *httptest.Server) (certificate, key string) {
	t.Helper()
	dir := t.TempDir()
	pair := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	err = errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func TestAdminOverTLS(t *testing.T) {
	var seen asked
	server := httptest.NewUnstartedServer(adminFake(&seen, 200, `{"bundle":"acme","limit":"l","counter":"00","cleared":true,"stale_ms":1000}`))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	certificate, key := pemFiles(t, server)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := server.Listener.Addr().String()
	for _, admin := range []string{address, "https://" + address, "https://" + address + "/"} {
		c := &limitsUnblockCommand{Output: "pretty", Admin: adminFlags{Admin: admin, CA: certificate, Cert: certificate, Key: key, CallerTokenFile: token, Timeout: 10 * time.Second}}
		c.Counter.Scope.Limit, c.Counter.Key = "l", []string{"subject.key=a=b", "subject.tenant"}
		var out bytes.Buffer
		if err := c.Run(t.Context(), streams{out: &out}); err != nil {
			t.Fatalf("%s: %v", admin, err)
		}
		want := asked{
			path: limitsapi.UnblockPath, body: `{"limit":"l","key":[{"name":"subject.key","value":"a=b"},{"name":"subject.tenant","missing":true}]}`,
			authorization: "Bearer a-token", media: "application/json", certificates: 1,
		}
		if seen != want || !strings.HasPrefix(out.String(), "acme l: cleared\n") {
			t.Errorf("%s: %+v\n%s", admin, seen, out.String())
		}
	}
	// Whoever is not trusted is not asked.
	c := &limitsListCommand{Admin: adminFlags{Admin: "https://" + address, Timeout: 10 * time.Second}}
	if err := c.Run(t.Context(), streams{out: io.Discard}); err == nil {
		t.Error("a server of an unknown authority was believed")
	}
}

// TestAdminAnswers: what a server says is never printed as it is, and errors show no value of a request.
func TestAdminAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		answer, want string
		code         int
	}{
		"refused":       {403, `{"error":"no \u001b[31m"}`, `the server refuses: "no \x1b[31m"`, exitInternal},
		"wrong":         {400, `{"error":"name a limit"}`, "the server refuses: name a limit", exitInvalid},
		"not there":     {404, `{"error":"x"}`, "x", exitInvalid},
		"not Durward":   {404, `<html>`, "is that the admin address", exitInternal},
		"no document":   {200, `<html>`, "something else", exitInternal},
		"moved":         {302, ``, "is that the admin address", exitInternal},
		"no record":     {503, `{"error":"it cannot be recorded who does this"}`, "cannot be recorded", exitInternal},
		"unknown error": {500, `{}`, "is that the admin address", exitInternal},
	} {
		var seen asked
		server := httptest.NewServer(adminFake(&seen, c.status, c.answer))
		peek := &limitsPeekCommand{Output: "pretty", Admin: adminFlags{Admin: server.Listener.Addr().String(), Timeout: 10 * time.Second}}
		peek.Counter.Scope.Limit, peek.Counter.Key = "l", []string{"subject.key=secret"}
		err := peek.Run(t.Context(), streams{out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || codeOf(err) != c.code {
			t.Errorf("%s: %v (%d)", name, err, codeOf(err))
		}
		if seen.query != "key=subject.key%3Dsecret&limit=l" {
			t.Errorf("%s: asked %q", name, seen.query)
		}
		server.Close()
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	peek := &limitsPeekCommand{Admin: adminFlags{Admin: closed.Listener.Addr().String(), Timeout: 10 * time.Second}}
	peek.Counter.Scope.Limit, peek.Counter.Key = "l", []string{"subject.key=secret"}
	if err := peek.Run(context.Background(), streams{out: io.Discard}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody is there: %v", err)
	}
}

// TestAdminAddresses: what is no address is not taken for one far away, and a wrong one is named.
func TestAdminAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"": "no address", "localhost": "no address", "127.0.0.1": "no address", "::1": "no address", "localhost:": "no address", "http://": "a URL of the admin listener",
		"192.0.2.1:9192": "beyond this machine", ":9192": "beyond this machine",
		"unix:/nobody/there": "at unix:/nobody/there: dial unix", "127.0.0.1:1": "at 127.0.0.1:1: dial tcp", "https://127.0.0.1:1": "is that the admin address",
	} {
		list := &limitsListCommand{Admin: adminFlags{Admin: address, Timeout: 10 * time.Second}}
		if err := list.Run(t.Context(), streams{out: io.Discard}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
	}
}

// TestStatusOfAStranger: the words behind a status are whoever's answers at a wrong address.
func TestStatusOfAStranger(t *testing.T) {
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.WriteString(c, "HTTP/1.1 400 \x1b[31mred\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			err = errors.Join(err, c.Close())
		}
		done <- err
	}()
	list := &limitsListCommand{Admin: adminFlags{Admin: l.Addr().String(), Timeout: 10 * time.Second}}
	if err := list.Run(t.Context(), streams{out: io.Discard}); err == nil || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), `400 \x1b[31mred`) {
		t.Errorf("%q", err)
	}
	if err := errors.Join(<-done, l.Close()); err != nil {
		t.Error(err)
	}
}

// TestJSONOnATerminal: what acts on a terminal is escaped in JSON too, and reads as it was.
func TestJSONOnATerminal(t *testing.T) {
	for _, text := range []string{"plain", "ä→😀", "a\u009b31mb", "\u202eevil", "\x1b[31m", "\x7f", "\u200b", "a\nb\\\"", "\U000e0041<>&"} {
		var out strings.Builder
		if err := writeJSON(&out, map[string]string{"value": text}); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q: %q stands in %q", text, r, out.String())
			}
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back["value"] != text {
			t.Errorf("%q: read as %q, %v", text, back["value"], err)
		}
	}
}

// TestLimitsPages: values of requests cannot act on a terminal.
func TestLimitsPages(t *testing.T) {
	var p page
	writeTop(&p, &limitsapi.Top{Keys: []limitsapi.Key{{
		Bundle: "acme", Service: "orders", Limit: "l", Refused: 2, Near: 1, Missed: 3, Percent: 100, Hashed: true, Counter: "00ff",
		Values: []limitsapi.Value{{Name: "request.header.x", Value: "\x1b[2J\u202e"}, {Name: "subject.key", Missing: true}},
	}}})
	want := "acme/orders l: 2 refused, 1 near, up to 100% used; at most 3 more before it was noticed\n" +
		"  \"request.header.x=\\x1b[2J\\u202e\"\n  subject.key (missing)\n  values too long to be kept; counter 00ff\n"
	if p.String() != want {
		t.Errorf("%q\nwant %q", p.String(), want)
	}
	p.Reset()
	writeLimits(&p, &limitsapi.List{LeftOut: 2, Limits: []limitsapi.Limit{{
		Bundle: "acme", Name: "l", Rate: limitsapi.Rate{Count: 5, WindowMS: 60_000, Burst: 2}, Algorithm: "gcra", ClassOf: "subject.roles",
		Classes: []limitsapi.Class{{Name: "gold", Rate: limitsapi.Rate{Count: 9, WindowMS: 60_000, Burst: 3}}}, When: []string{"request.method"},
		CostOf: "claims.units", Counts: "all", OnError: "deny", At: "gate", Shadow: true, Lease: 7, Routes: []string{"orders"},
	}}, Domains: []limitsapi.Domain{{Bundle: "acme", Name: "edge", Rules: []limitsapi.Rule{
		{Path: "edge.user", RequestsPerUnit: 3, Unit: "minute", Shadow: true, Quota: true}, {Path: "edge.root", Unlimited: true},
	}, Usage: &limitsapi.Usage{Allowed: 1, Refused: 2}}}})
	want = `acme l
  rate      5 per 1m0s, gcra, 2 at once
            9 per 1m0s, gcra, 3 at once where subject.roles is gold
  by        nothing: one counter for all
  when      request.method
  cost      claims.units
  counts    all; on error deny; at the gate; a shadow, which never blocks; 7 in advance
  services  orders
  so far    not met on this server
acme domain edge
  limit     edge.user: 3 per minute, a shadow, which never blocks, a quota
  limit     edge.root: unlimited
  so far    1 allowed, 2 refused, since 0001-01-01T00:00:00Z
2 answers are counted nowhere: there are too many limits
`
	if p.String() != want {
		t.Errorf("%s\nwant %s", p.String(), want)
	}
	p.Reset()
	writeLimits(&p, &limitsapi.List{Limits: []limitsapi.Limit{{
		Bundle: "acme", Service: "orders", Name: "seen", Rate: limitsapi.Rate{Count: 5, WindowMS: 60_000, Burst: 5}, Algorithm: "distinct", Distinct: "resource.id",
		Counts: "allowed", OnError: "deny", Routes: []string{"read"},
	}, {
		Bundle: "acme", Service: "orders", Name: "exports", Rate: limitsapi.Rate{Count: 2, WindowMS: 30_000, Burst: 2}, Algorithm: "concurrency", WithoutRelease: "expire",
		Counts: "allowed", OnError: "deny", Routes: []string{"read"},
	}}})
	writePeek(&p, &limitsapi.Peek{
		Place: limitsapi.Place{Bundle: "acme", Service: "orders", Limit: "exports", Counter: "00ff"}, Rate: limitsapi.Rate{Count: 2, WindowMS: 30_000, Burst: 2},
		Algorithm: "concurrency", Used: 2, RetryAfterMS: 1000, FullMS: 29_000,
	})
	want = `acme/orders seen
  rate      5 different values of resource.id per 1m0s, distinct
  by        nothing: one counter for all
  counts    allowed; on error deny
  routes    read
  so far    not met on this server
acme/orders exports
  rate      2 at a time, each for at most 30s, concurrency
  by        nothing: one counter for all
  counts    allowed; on error deny; without release expire
  routes    read
  so far    not met on this server
acme/orders exports: 2 of 2 used, 0 left; the next one passes when one has ended or expires
  whole in  29s
  counter   00ff
`
	if p.String() != want {
		t.Errorf("%s\nwant %s", p.String(), want)
	}
}
