package assembly

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
)

// publishers are services that publish metadata: a whole host, and a part of one beside a service that publishes none.
var publishers = map[string]string{
	"bundle.yaml": `format: 1
requires: "1.0"
name: acme
authenticators:
  corp: {kind: jwt, issuer: "https://idp.example.com", algorithms: [ES256], jwks: {file: keys/corp.jwks.json}}
  local: {kind: jwt, issuer: local, algorithms: [ES256], jwks: {file: keys/corp.jwks.json}}
  workloads: {kind: mtls, sans: ["spiffe://example.com/*"]}
`,
	"keys/corp.jwks.json": `{"keys":[{"kty":"EC","use":"sig","alg":"ES256","kid":"a","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}
`,
	"services/orders/service.yaml": `service: orders
match: [{host: orders.example.com}]
identity:
  accept: [workloads, local, corp]
  audiences: ["https://orders.example.com"]
  dpop: {algorithms: [ES256, Ed25519]}
  metadata: {resource: "https://orders.example.com", name: "Orders \"EU\"", documentation: "https://docs.example.com/orders", certificate_bound: true}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: write, path: /write, methods: [PUT], scopes: ["orders:write", "orders:read"]}
  - {name: read, path: /read, methods: [GET], scopes: ["orders:read"]}
policies: [{name: main, model: /shared/m.conf, rules: [/shared/p.csv], request: {sub: subject.key}}]
`,
	"services/refunds/service.yaml": `service: refunds
match: [{host: "*.example.net", prefix: /refunds}]
identity: {accept: [corp], audiences: [refunds], metadata: {resource: "https://api.example.net:8443/refunds/eu"}}
routes: [{name: health, path: /refunds/health, methods: [GET], access: public}]
`,
	"services/plain/service.yaml": `service: plain
match: [{host: "*.example.net"}]
identity: {accept: [corp], audiences: [plain], resource_metadata: "https://elsewhere.example.com/metadata"}
routes: [{name: health, path: /health, methods: [GET], access: public}]
`,
	"shared/m.conf": "[request_definition]\nr = sub\n[policy_definition]\np = sub\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.sub == p.sub\n",
	"shared/p.csv":  "p, user:corp:alice\n",
}

// TestResourceMetadata asks for the metadata of services by host and path, as RFC 9728, section 3.1, builds the address.
func TestResourceMetadata(t *testing.T) {
	contents := map[string][]byte{}
	for name, text := range publishers {
		contents[name] = []byte(text)
	}
	off, err := NewOffline(OfflineOptions{Contents: contents})
	if err != nil {
		t.Fatal(err)
	}
	var snapshot *pipeline.Snapshot
	m := &resourceMetadata{identity: identity.New(identity.Options{}), snapshot: func() *pipeline.Snapshot { return snapshot }}
	mux := http.NewServeMux()
	for pattern, handler := range m.handlers() {
		mux.Handle(pattern, handler)
	}
	ask := func(method, host, path string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, "https://"+host+path, nil)
		mux.ServeHTTP(w, r)
		return w
	}
	if got := ask("GET", "orders.example.com", identity.MetadataPath); got.Code != 503 {
		t.Errorf("before the first policy: %d", got.Code)
	}
	snapshot = off.snapshot
	for _, row := range []struct {
		method, host, path string
		status             int
	}{
		{"GET", "orders.example.com", "", 200},
		{"HEAD", "orders.example.com", "", 200},
		{"GET", "ORDERS.example.com:443", "", 200},
		{"GET", "api.example.net", "/refunds/eu", 200},
		{"GET", "other.example.net", "/refunds/eu", 200}, // the client compares the resource with its own idea of it
		{"POST", "orders.example.com", "", 405},
		{"GET", "orders.example.com", "/", 404},
		{"GET", "orders.example.com", "/orders", 404},
		{"GET", "orders.example.com", "s", 404},
		{"GET", "nobody.example.com", "", 404},
		{"GET", "api.example.net", "", 404},
		{"GET", "api.example.net", "/refunds", 404},
		{"GET", "api.example.net", "/refunds/eu/", 404},
		{"GET", "api.example.net", "/refunds/e%75", 404},
		{"GET", "api.example.net", "/refunds/%2e%2e/refunds/eu", 404},
	} {
		got := ask(row.method, row.host, identity.MetadataPath+row.path)
		if got.Code != row.status {
			t.Errorf("%s %s %q: %d, want %d", row.method, row.host, row.path, got.Code, row.status)
		}
	}
	got := ask("GET", "orders.example.com", identity.MetadataPath)
	wantDocument(t, got.Body.Bytes(), map[string]any{
		"resource":                                   "https://orders.example.com",
		"authorization_servers":                      []any{"https://idp.example.com"},
		"scopes_supported":                           []any{"orders:read", "orders:write"},
		"bearer_methods_supported":                   []any{"header"},
		"resource_name":                              `Orders "EU"`,
		"resource_documentation":                     "https://docs.example.com/orders",
		"tls_client_certificate_bound_access_tokens": true,
		"dpop_signing_alg_values_supported":          []any{"ES256", "Ed25519"},
	})
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"} {
		if got := got.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	wantDocument(t, ask("GET", "api.example.net", identity.MetadataPath+"/refunds/eu").Body.Bytes(), map[string]any{
		"resource":                 "https://api.example.net:8443/refunds/eu",
		"authorization_servers":    []any{"https://idp.example.com"},
		"bearer_methods_supported": []any{"header"},
	})
}

func wantDocument(t *testing.T, data []byte, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMetadataAreServed asks a whole server on its public listener.
func TestMetadataAreServed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range publishers {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log logged
	s := settings.Defaults()
	s.Bundles = []settings.Bundle{{Dir: dir}}
	s.Listeners = []settings.Listener{settings.DefaultListener()}
	s.Listeners[0].Address, s.Admin.Address, s.HTTP.Address = "127.0.0.1:0", "off", "127.0.0.1:0"
	s.Drain = format.Duration(0)
	server, err := New(Options{Settings: s, Logger: log.logger(), Records: &bytes.Buffer{}, Clock: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	addresses := server.Addresses()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addresses[len(addresses)-1]+identity.MetadataPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "orders.example.com"
	status, body := 0, ""
	for status != http.StatusOK && ctx.Err() == nil {
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		status, body = answer.StatusCode, string(data)
		time.Sleep(10 * time.Millisecond)
	}
	var document struct{ Resource string }
	if err := json.Unmarshal([]byte(body), &document); err != nil || document.Resource != "https://orders.example.com" {
		t.Errorf("%d %q, %v; log: %s", status, body, err, log.String())
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
