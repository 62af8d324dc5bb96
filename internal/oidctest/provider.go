package oidctest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// Options say what the provider is like. The zero Options are a provider without clients.
type Options struct {
	// Path is the issuer's path, as "/realms/acme"; "" is none.
	Path string
	// Clients may ask for tokens and introspect.
	Clients []Client
	// Lifetime is that of access tokens; 0 is five minutes.
	Lifetime time.Duration
	// Wrap, if not nil, gets every request first: to count, to delay, to lie.
	Wrap func(next http.Handler) http.Handler
}

// Client is a client of the provider, with a secret.
type Client struct {
	ID, Secret string
	// Audience is the aud of its access tokens; its own id where there is none.
	Audience []string
	// Scopes are those that it may ask for beside openid and offline_access.
	Scopes []string
	// Opaque gives it access tokens that nobody but the provider understands.
	Opaque bool
	// Claims are in its access tokens and in introspection.
	Claims map[string]any
}

// Provider is a running provider. It is safe for concurrent use and ends with the test.
type Provider struct {
	// Issuer is the issuer's exact name, an https URL on 127.0.0.1; Host its host and port.
	Issuer, Host string

	server  *httptest.Server
	storage *storage
	path    string

	mu       sync.Mutex
	requests map[string]int // by path, without the issuer's
	down     bool
}

// Start starts a provider.
func Start(tb testing.TB, o Options) *Provider {
	tb.Helper()
	if o.Lifetime == 0 {
		o.Lifetime = 5 * time.Minute
	}
	p := &Provider{storage: newStorage(tb, o), path: o.Path, requests: map[string]int{}}
	var inner http.Handler // needs the issuer, which needs the port
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(w, r) }))
	p.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	p.Host = p.server.Listener.Addr().String()
	p.Issuer = "https://" + p.Host + o.Path
	config := &op.Config{CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true, BackChannelLogoutSupported: true, BackChannelLogoutSessionSupported: true}
	_, _ = rand.Read(config.CryptoKey[:])
	provider, err := op.NewProvider(config, p.storage, op.StaticIssuer(p.Issuer))
	if err != nil {
		tb.Fatal(err)
	}
	inner = provider
	if o.Path != "" {
		inner = http.StripPrefix(o.Path, inner)
	}
	if o.Wrap != nil {
		inner = o.Wrap(inner)
	}
	inner = p.counted(inner)
	p.server.StartTLS()
	tb.Cleanup(p.server.Close)
	return p
}

// counted counts requests, and hangs up while the provider is down.
func (p *Provider) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests[strings.TrimPrefix(r.URL.Path, p.path)]++
		down := p.down
		p.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// Requests counts the requests for a path below the issuer, as "/keys" or "/.well-known/openid-configuration", those while it was down too.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// SetDown makes the provider hang up on every request, or answer again.
func (p *Provider) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Roots are the authorities to trust it by.
func (p *Provider) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.server.Certificate())
	return pool
}

// CAFile writes the authorities to a PEM file and returns its path.
func (p *Provider) CAFile(tb testing.TB) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "provider-ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// KeysURL is where its keys are.
func (p *Provider) KeysURL() string { return p.Issuer + "/keys" }

// TokenURL is where tokens are asked for.
func (p *Provider) TokenURL() string { return p.Issuer + "/oauth/token" }

// IntrospectionURL is where tokens are introspected.
func (p *Provider) IntrospectionURL() string { return p.Issuer + "/oauth/introspect" }

// RevocationURL is where tokens are revoked.
func (p *Provider) RevocationURL() string { return p.Issuer + "/revoke" }
