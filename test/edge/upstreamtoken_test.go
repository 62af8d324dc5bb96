package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

const tokensIssuer = "https://tokens.example.com"

// tokenAPI is an API that keeps the Authorization fields that reach it, and tells the decision's id.
type tokenAPI struct {
	mu   sync.Mutex
	seen []string
}

// ServeHTTP implements http.Handler.
func (a *tokenAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(decisionHeader, r.Header.Get(decisionHeader))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, strings.Join(r.Header.Values("Authorization"), "|"))
}

// last returns what arrived since it was asked last.
func (a *tokenAPI) last() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.seen
	a.seen = nil
	return out
}

// tokenStack is a stack whose edge service gives its API tokens.
type tokenStack struct {
	*edge
	api    *tokenAPI
	public []string // addresses of the replicas' public listeners
}

func startTokens(t *testing.T) *tokenStack {
	t.Helper()
	s := &tokenStack{api: &tokenAPI{}}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.api, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	port := listener.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing)
	sealingFile := filepath.Join(dir, "sealing")
	if err := errors.Join(writeForeign(dir), os.WriteFile(sealingFile, []byte(base64.StdEncoding.EncodeToString(sealing)+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.public = append(s.public, l.Addr().String())
		defer l.Close() // for the server that comes to listen there
		_ = l.Close()
	}
	files, replica := bundleFiles(), 0
	files["services/edge/service.yaml"] = strings.Replace(edgeService, "  remove: [authorization]\n",
		"  token: {ttl: 30s, claims: {tenant: subject.tenant, roles: subject.roles}}\n", 1)
	s.edge, err = start(stack.Options{
		Bundle: files, Envoy: gateway(&backends{host: "127.0.0.1", greeter: port, sockets: port}, dir),
		Settings: func(text string) string {
			text = patientServer(text) + fmt.Sprintf("http: {address: %q}\ntokens: {issuer: %q, sealing_key_file: %q}\n", s.public[replica], tokensIssuer, sealingFile)
			replica++
			return text
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// document is what a public listener answered.
type document struct {
	status int
	header http.Header
	body   []byte
}

// get reads a document of a replica's public listener.
func (s *tokenStack) get(t *testing.T, replica int, path string) document {
	t.Helper()
	r, err := http.NewRequestWithContext(soon(t), http.MethodGet, "http://"+s.public[replica]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return document{response.StatusCode, response.Header, body}
}

// verifyES256 checks a token against a JWK set with the standard library alone, and returns header and claims.
func verifyES256(t *testing.T, set []byte, raw string) (header, claims map[string]any) {
	t.Helper()
	part := func(text string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	pieces := strings.Split(raw, ".")
	var keys struct {
		Keys []map[string]string `json:"keys"`
	}
	if len(pieces) != 3 {
		t.Fatalf("no token: %q", raw)
	}
	if err := errors.Join(json.Unmarshal(set, &keys), json.Unmarshal(part(pieces[0]), &header), json.Unmarshal(part(pieces[1]), &claims)); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Keys {
		if k["kid"] != header["kid"] {
			continue
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, append(part(k["x"]), part(k["y"])...)...))
		if err != nil {
			t.Fatal(err)
		}
		digest, signature := sha256.Sum256([]byte(pieces[0]+"."+pieces[1])), part(pieces[2])
		if len(signature) != 64 || !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			t.Fatal("the signature does not verify")
		}
		return header, claims
	}
	t.Fatalf("the set has no key %v: %s", header["kid"], set)
	return nil, nil
}

// TestUpstreamToken: the API behind gets Durward's token and never the client's, and verifies it with what any replica publishes.
func TestUpstreamToken(t *testing.T) {
	s := startTokens(t)
	mine := s.issuer.token(t, "alice", "reader")
	ask := func(fields ...string) (raw, id string) {
		t.Helper()
		got := s.send(t, edgeDoor, request("GET", "edge.example.com", "/socket", fields...))
		seen := s.api.last()
		if got.status != 200 || len(seen) != 1 || strings.Contains(seen[0], mine) || strings.Contains(seen[0], "|") {
			t.Fatalf("status %d; the API got %.80q\n%s", got.status, seen, got.body)
		}
		raw, _ = strings.CutPrefix(seen[0], "Bearer ")
		return raw, got.id
	}
	kids := map[any]bool{}
	for range 4 { // replicas take turns
		raw, id := ask(bearer(mine))
		for replica := range s.public {
			keys := s.get(t, replica, "/.well-known/jwks.json")
			if keys.status != 200 || keys.header.Get("Cache-Control") != "public, max-age=300" || strings.Contains(string(keys.body), `"d"`) {
				t.Errorf("replica %d: %d, %v, %s", replica, keys.status, keys.header, keys.body)
			}
			header, claims := verifyES256(t, keys.body, raw)
			kids[header["kid"]] = true
			lives, _ := claims["exp"].(float64)
			issued, _ := claims["iat"].(float64)
			if header["typ"] != "at+jwt" || claims["iss"] != tokensIssuer || claims["aud"] != "edge-api" || claims["sub"] != "user:corp:alice" ||
				claims["client_id"] != "edge-test" || claims["orig_iss"] != "https://idp.example.com" || claims["jti"] != id || lives-issued != 30 ||
				fmt.Sprint(claims["roles"]) != "[reader]" || claims["scope"] != nil {
				t.Errorf("%v %v; the decision was %s", header, claims, id)
			}
		}
	}
	if len(kids) != 1 {
		t.Errorf("replicas sign with %d keys", len(kids))
	}

	// A denied request reaches no API, and a public one brings neither a token nor the client's.
	if got := s.send(t, edgeDoor, request("GET", "edge.example.com", "/socket")); got.status != 401 || len(s.api.last()) > 0 {
		t.Errorf("without a token: %d", got.status)
	}
	got := s.send(t, edgeDoor, request("GET", "edge.example.com", "/public/x", bearer(mine)))
	if got.arrived == nil || got.arrived.Credentials {
		t.Errorf("a public route: %d, %+v", got.status, got.arrived)
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		var metadata map[string]any
		if got := s.get(t, 0, path); json.Unmarshal(got.body, &metadata) != nil || metadata["issuer"] != tokensIssuer || metadata["jwks_uri"] != tokensIssuer+"/.well-known/jwks.json" {
			t.Errorf("%s: %s", path, got.body)
		}
	}

	// A replica that starts anew signs with the same key; both go on while Redis is away.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Replicas[0].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Replicas[0].Ready(ctx); err != nil {
		t.Fatal(err)
	}
	set := s.get(t, 0, "/.well-known/jwks.json").body
	raw, _ := ask(bearer(mine))
	verifyES256(t, set, raw)
	if err := s.Redis.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		raw, _ := ask(bearer(mine))
		verifyES256(t, set, raw)
	}
}
