package assembly

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
)

// standIn is an authorization server in the place of all that a bundle names, for tools that decide without a network. It knows the
// tokens that it made, each at the endpoint of its issuer, and says of all others that they are not active.
type standIn struct {
	secret string // of every client: a private key, which is a password as well

	mu      sync.Mutex
	answers map[[2]string][]byte // by endpoint and token
}

// newStandIn returns the server, and what asks it. Nothing is remembered: every decision asks anew.
func newStandIn(random io.Reader) (*standIn, *introspection.Client, error) {
	_, key, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, nil, fmt.Errorf("make a test key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a test key: %w", err)
	}
	s := &standIn{secret: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), answers: map[[2]string][]byte{}}
	return s, introspection.New(introspection.Options{
		Fetcher: s, Secrets: s, Random: random, Clock: func() time.Time { return time.Unix(0, 0) },
		Patient: true, MaxAnswers: -1, MaxInactive: -1,
	}), nil
}

// token makes a token about which the endpoint answers with the claims. They hold active, as an answer does.
func (s *standIn) token(endpoint string, claims map[string]any) (string, error) {
	answer, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	at, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	endpoint = at.String() // as the question will have it
	sum := sha256.Sum256([]byte(endpoint + "\n" + string(answer)))
	raw := "opaque-" + hex.EncodeToString(sum[:16])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[[2]string{endpoint, raw}] = answer
	return raw, nil
}

// Secret implements introspection.Secrets.
func (s *standIn) Secret(string, string) (string, error) { return s.secret, nil }

// Allows implements introspection.Fetcher: where the operator lets a bundle fetch from is not known here.
func (*standIn) Allows(string, *url.URL) error { return nil }

// ShowsCertificate implements introspection.Fetcher.
func (*standIn) ShowsCertificate(string, *url.URL) bool { return true }

// Do implements introspection.Fetcher.
func (s *standIn) Do(r *http.Request, _ string, _ int64) (*egress.Response, error) {
	if err := r.ParseForm(); err != nil {
		return &egress.Response{Status: http.StatusBadRequest}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok := s.answers[[2]string{r.URL.String(), r.PostForm.Get("token")}]
	if !ok {
		answer = []byte(`{"active":false}`)
	}
	return &egress.Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: answer}, nil
}
