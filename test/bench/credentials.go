package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/token"
)

// establishOpaque asks an issuer on this machine, over TLS, about each token, or about the first one alone.
func establishOpaque(kept bool) (func(context.Context) error, error) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"active":true,"iss":"%s","sub":"alice","aud":"%s","scope":"orders:read","exp":%d}`, issuerName, audience, time.Now().Add(time.Hour).Unix())
	})) // it ends with the process
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	fetcher, err := egress.New([]egress.Host{{Name: strings.TrimPrefix(server.URL, "https://"), Private: true, Roots: roots}})
	if err != nil {
		return nil, err
	}
	cache := "0s"
	if kept {
		cache = "10min"
	}
	files := map[string]string{
		"bundle.yaml": fmt.Sprintf(`format: 1
requires: "1.0"
name: bench
authenticators:
  idp:
    kind: introspection
    issuer: %s
    introspection: {url: %s/introspect, client: {id: bench, authentication: basic, secret: idp}, cache: %s, timeout: 5s}
`, issuerName, server.URL, cache),
		"services/orders/service.yaml": serviceOf("identity: {accept: [idp], audiences: [" + audience + "]}"),
	}
	o := identity.Options{Fetcher: fetcher, Introspector: introspection.New(introspection.Options{Fetcher: fetcher, Secrets: anySecret{}, Clock: time.Now, Random: rand.Reader})}
	return establishing(files, o, "user:idp:", func(r *request.Request) {
		r.Header = request.Header{{Name: "authorization", Value: "Bearer 2YotnFZFEjr1zCsicMWpAA"}}
	})
}

// anySecret has the same secret for all.
type anySecret struct{}

func (anySecret) Secret(string, string) (string, error) { return "a secret of some length", nil }

// establishKey checks an API key of a bundle's file. Nothing is kept of it.
func establishKey(bool) (func(context.Context) error, error) {
	hasher, err := apikey.NewHasher(apikey.HashKey{Name: "first", Secret: []byte(strings.Repeat("bench", 10))})
	if err != nil {
		return nil, err
	}
	text, key, err := apikey.New(rand.Reader, "dwk_")
	if err != nil {
		return nil, err
	}
	sum, _ := hasher.Hash("bench", "machines", text)
	files := map[string]string{
		"bundle.yaml": `format: 1
requires: "1.0"
name: bench
authenticators:
  machines: {kind: api_key, keys: {table: true}, roles: {allow: [reader]}}
`,
		"services/orders/service.yaml": serviceOf("identity: {accept: [machines]}"),
	}
	book := apikey.NewBook(apikey.BookOptions{}, apikey.Record{
		ID: key.ID, Hash: sum, HashKey: "first", Bundle: "bench", Authenticator: "machines", Owner: "billing", Kind: "service", Roles: []string{"reader"},
		Created: time.Now().Add(-time.Hour), Expires: time.Now().Add(time.Hour),
	})
	return establishing(files, identity.Options{APIKeys: &identity.APIKeys{Hasher: hasher, Table: book}}, "service:machines:", func(r *request.Request) {
		r.Header = request.Header{{Name: "authorization", Value: "Bearer " + text}}
	})
}

// establishBound checks a token and the proof that comes with it. Each decision verifies the proof; the round trip that marks it as used is
// left out, so that one proof serves for many decisions.
func (i *issuer) establishBound(kept bool) (func(context.Context) error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a client's key: %w", err)
	}
	client, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "client", Random: rand.Reader})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	thumbprint := client.PublicKey().Thumbprint()
	now := time.Now()
	bound, err := i.sign(now, map[string]any{"cnf": map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(thumbprint[:])}})
	if err != nil {
		return nil, err
	}
	files := i.bundle("dpop: {}, ")
	o := identity.Options{Marks: unmarked{}, MarkTimeout: time.Second}
	if kept {
		o.TokenCache = tokenCache
	}
	var asked *request.Request
	establish, err := establishing(files, o, "user:corp:", func(r *request.Request) { asked = r })
	if err != nil {
		return nil, err
	}
	ath, made := sha256.Sum256([]byte(bound)), time.Time{}
	return func(ctx context.Context) error {
		if now := time.Now(); now.Sub(made) > 20*time.Second { // within its time
			proof, err := client.SignProof(nil, map[string]any{
				"jti": "bench", "htm": "GET", "htu": "https://orders.example.com/orders", "iat": now.Unix(), "ath": base64.RawURLEncoding.EncodeToString(ath[:]),
			})
			if err != nil {
				return err
			}
			made = now
			asked.Header = request.Header{{Name: "authorization", Value: "DPoP " + bound}, {Name: "dpop", Value: proof}}
		}
		return establish(ctx)
	}, nil
}

// unmarked takes every proof for new.
type unmarked struct{}

func (unmarked) Mark(context.Context, string, time.Duration) (bool, error) { return true, nil }
