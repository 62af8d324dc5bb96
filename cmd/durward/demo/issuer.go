package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

const (
	// The issuer and the type of its tokens are those of the quickstart's bundle.
	issuerName, tokenType = "https://idp.example.com", "at+jwt"
	ordersAPI, reportsAPI = "orders-api", "reports-api"
	tokensDir             = "tokens"
)

// kind is how a token is made.
type kind int

const (
	signed  kind = iota
	expired      // signed, an hour too old
	unsigned
	confused // an HMAC whose secret is the public key
)

// bearer is a token of the tour.
type bearer struct {
	name, subject, tenant, scope, audience string
	roles                                  []string
	kind                                   kind
}

// bearers are the tokens of the tour. Every one says which roles its subject has; the rules say what that means.
var bearers = []bearer{
	{name: "alice", subject: "alice", tenant: "acme", audience: ordersAPI, roles: []string{"reader"}},
	{name: "bob", subject: "bob", tenant: "acme", audience: ordersAPI, roles: []string{"writer"}, scope: "orders:refund"},
	{name: "bianca", subject: "bianca", tenant: "acme", audience: ordersAPI, roles: []string{"reader"}},
	{name: "mallory", subject: "mallory", tenant: "acme", audience: ordersAPI, roles: []string{"writer"}},
	{name: "alice-expired", subject: "alice", tenant: "acme", audience: ordersAPI, roles: []string{"reader"}, kind: expired},
	{name: "alice-alg-none", subject: "alice", tenant: "acme", audience: ordersAPI, roles: []string{"writer"}, kind: unsigned},
	{name: "alice-hs256", subject: "alice", tenant: "acme", audience: ordersAPI, roles: []string{"writer"}, kind: confused},
	{name: "alice-reports", subject: "alice", tenant: "acme", audience: reportsAPI, roles: []string{"reader"}},
	{name: "alice-reports-expired", subject: "alice", tenant: "acme", audience: reportsAPI, roles: []string{"reader"}, kind: expired},
}

// issuer mints tokens with a key that is thrown away with the process.
type issuer struct {
	signer *token.Signer
	keys   []byte // the public JWK set
	key    *ecdsa.PrivateKey
	now    time.Time
}

func newIssuer(now time.Time) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the issuer's key: %w", err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "throw-away", Random: rand.Reader})
	if err != nil {
		return nil, fmt.Errorf("making the issuer: %w", err)
	}
	keys, err := token.MarshalKeySet(signer)
	if err != nil {
		return nil, fmt.Errorf("making the issuer: %w", err)
	}
	return &issuer{signer: signer, keys: keys, key: key, now: now}, nil
}

// mint makes all tokens of the tour, by name, and writes each into a file of its own in dir/tokens.
func (i *issuer) mint(dir string) (map[string]string, error) {
	dir = filepath.Join(dir, tokensDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("writing tokens: %w", err)
	}
	out := map[string]string{}
	for _, b := range bearers {
		text, err := i.token(b)
		if err != nil {
			return nil, fmt.Errorf("minting %s: %w", b.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, b.name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("writing tokens: %w", err)
		}
		out[b.name] = text
	}
	return out, nil
}

func (i *issuer) token(b bearer) (string, error) {
	issued := i.now.Add(-time.Minute)
	expires := i.now.Add(12 * time.Hour)
	if b.kind == expired {
		issued, expires = i.now.Add(-2*time.Hour), i.now.Add(-time.Hour)
	}
	claims := map[string]any{
		"iss": issuerName, "sub": b.subject, "aud": []string{b.audience}, "iat": issued.Unix(), "exp": expires.Unix(),
		"jti": "demo-" + b.name, "client_id": "demo", "tenant": b.tenant, "realm_access": map[string]any{"roles": b.roles},
	}
	if b.scope != "" {
		claims["scope"] = b.scope
	}
	switch b.kind {
	case unsigned:
		text, err := unsignedToken("none", claims)
		return text + ".", err
	case confused:
		text, err := unsignedToken("HS256", claims)
		if err != nil {
			return "", err
		}
		public, err := i.key.PublicKey.Bytes()
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
	default:
		return i.signer.Sign(tokenType, claims)
	}
}

// unsignedToken is what a forger writes: the header of his choice and the claims.
func unsignedToken(algorithm string, claims map[string]any) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": algorithm, "typ": tokenType, "kid": "throw-away"})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload), nil
}
