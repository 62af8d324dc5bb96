package edge

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
	"github.com/durward-pdp/durward/pdp/token"
)

// vaultService takes proofs; with other names it says otherwise what happens without Redis, and wants nonces.
const vaultService = `service: vault
match:
  - {host: vault.example.com}
identity: {mode: required, accept: [corp], audiences: [edge-api], dpop: {}}
policies:
  - name: main
    model: /services/edge/model.conf
    rules: [/services/edge/policy.csv]
    request: {sub: subject.key, act: action}
    token_roles: {from: subject.roles, relation: g}
routes:
  - {name: pair, path: /a/b, methods: [GET], action: things:read}
  - {name: thing, path: "/things/{id}", methods: [GET, HEAD], action: things:read}
  - {name: bound, path: /bound, methods: [GET], action: things:read, require: bound}
`

const nonceKey = "a key of nonces that only this test knows"

// client holds the key that its tokens are bound to.
type client struct {
	signer     *token.Signer
	thumbprint string
	token      string
	number     int
}

func newClient(t *testing.T, i *issuer) *client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{}
	if c.signer, err = token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "unused", Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	thumbprint := c.signer.PublicKey().Thumbprint()
	c.thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	p := soundParts("prover", "reader")
	p.claims["cnf"] = map[string]any{"jkt": c.thumbprint}
	c.token = i.sign(t, p)
	return c
}

// proof makes a proof for GET and a URL, with changes.
func (c *client) proof(t *testing.T, url string, changes map[string]any) string {
	t.Helper()
	c.number++
	hash := sha256.Sum256([]byte(c.token))
	claims := map[string]any{
		"jti": fmt.Sprintf("%d-%d", time.Now().UnixNano(), c.number), "htm": "GET", "htu": url, "iat": time.Now().Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(hash[:]),
	}
	maps.Copy(claims, changes)
	proof, err := c.signer.SignProof(nil, claims)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// lines are the header lines of a use of the token.
func (c *client) lines(proofs ...string) []string {
	out := []string{"authorization: DPoP " + c.token}
	for _, p := range proofs {
		out = append(out, "dpop: "+p)
	}
	return out
}

// proofEdge is a stack whose bundle has services that take proofs.
func proofEdge(t *testing.T) *edge {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nonces")
	if err := os.WriteFile(file, []byte(nonceKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := bundleFiles()
	files["services/vault/service.yaml"] = vaultService
	for name, written := range map[string]string{"lenient": "dpop: {on_error: allow}", "fresh": "dpop: {nonce: required}"} {
		files["services/"+name+"/service.yaml"] = strings.NewReplacer("service: vault", "service: "+name, "vault.example.com", name+".example.com", "dpop: {}", written).Replace(vaultService)
	}
	e, err := start(stack.Options{
		Bundle: files, Envoy: func(text string) string { return anyHost(patientGateway(text)) },
		Settings: func(text string) string {
			return patientServer(text) + "identity: {nonce_key_file: " + file + "}\nlog: {level: debug}\n"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// asked returns how often Redis was asked for a mark.
func (e *edge) asked(t *testing.T) int {
	t.Helper()
	conn, err := net.Dial("tcp", e.Redis.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("INFO commandstats\r\nQUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "cmdstat_set:calls="); ok {
			calls, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(calls)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// straight connects to a replica as the gateway does.
func (e *edge) straight(t *testing.T, replica int) authv3.AuthorizationClient {
	t.Helper()
	certificate, err := e.Certificate("gateway")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(e.Replicas[replica].Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: e.Authority.Pool(), ServerName: "durward.example.com", Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

func (c *client) question(host, path string, proofs ...string) question {
	q := question{method: "GET", host: host, path: path, lines: [][2]string{{"authorization", "DPoP " + c.token}}}
	for _, p := range proofs {
		q.lines = append(q.lines, [2]string{"dpop", p})
	}
	return q
}

// TestProofs goes with bound tokens through a real gateway to two replicas that share a Redis, and without it.
func TestProofs(t *testing.T) {
	t.Parallel()
	e := proofEdge(t)
	c := newClient(t, e.issuer)
	const url = "https://vault.example.com/a/b"
	t.Run("through the gateway", func(t *testing.T) { throughGateway(t, e, c) })
	t.Run("nonces", func(t *testing.T) { gatewayNonces(t, e, c) })
	t.Run("once for both replicas", func(t *testing.T) {
		one, two := e.straight(t, 0), e.straight(t, 1)
		proof := c.proof(t, url, nil)
		e.putOnce(t, one, c.question("vault.example.com", "/a/b", proof).message(true)).want(t, "the first replica", "allow 200 allowed")
		e.putOnce(t, two, c.question("vault.example.com", "/a/b", proof).message(true)).want(t, "the second replica", "deny 401 proof_replayed")
		e.putOnce(t, one, c.question("vault.example.com", "/a/b", proof).message(false)).want(t, "the first replica again", "deny 401 proof_replayed")
		// A gateway that joins lines hides that there were two.
		both := c.question("vault.example.com", "/a/b", c.proof(t, url, nil), c.proof(t, url, nil))
		e.put(t, one, both).want(t, "two proofs", "deny 401 proof_invalid")
	})
	t.Run("once at a time", func(t *testing.T) {
		text, passed := request("GET", "vault.example.com", "/a/b", c.lines(c.proof(t, url, nil))...), 0
		var mu sync.Mutex
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				got, err := e.trySend(t, edgeDoor, text)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case got.arrived != nil:
					passed++
				case got.status != 401:
					t.Errorf("status %d: %s", got.status, got.body)
				}
			})
		}
		asking.Wait()
		if passed != 1 {
			t.Errorf("%d of 20 uses of one proof passed", passed)
		}
	})
	t.Run("forged proofs ask Redis for nothing", func(t *testing.T) {
		one, before := e.straight(t, 0), e.asked(t)
		if before == 0 {
			t.Fatal("Redis was never asked")
		}
		proof := c.proof(t, url, nil)
		for i := range 500 {
			forged := proof[:len(proof)-8] + fmt.Sprintf("%07dA", i)
			out, err := one.Check(soon(t), c.question("vault.example.com", "/a/b", forged).message(true))
			if err != nil || out.GetStatus().GetCode() == 0 {
				t.Fatal(out, err)
			}
		}
		if after := e.asked(t); after != before {
			t.Errorf("Redis was asked %d times", after-before)
		}
	})
	t.Run("without Redis", func(t *testing.T) {
		if err := e.Redis.Kill(); err != nil {
			t.Fatal(err)
		}
		got := e.send(t, edgeDoor, request("GET", "vault.example.com", "/a/b", c.lines(c.proof(t, url, nil))...))
		found := e.denied(t, got, 503, "proof_unavailable", "temporarily_unavailable")
		if found.text("degraded") != "true" || len(got.header.Values("www-authenticate")) > 0 || found.text("subject.key") != "anonymous" {
			t.Errorf("record %v, header %v", found, got.header)
		}
		const lenient = "https://lenient.example.com/a/b"
		found = e.allowed(t, e.send(t, edgeDoor, request("GET", "lenient.example.com", "/a/b", c.lines(c.proof(t, lenient, nil))...)))
		if found.text("degraded") != "true" {
			t.Errorf("record %v", found)
		}
		got = e.send(t, edgeDoor, request("GET", "lenient.example.com", "/a/b", c.lines(c.proof(t, url, nil))...))
		e.denied(t, got, 401, "proof_invalid", "invalid_dpop_proof")
	})
	e.checkArrivals(t)
	searchProofs(t, e, c)
}

// throughGateway sends what clients send, and what thieves do.
func throughGateway(t *testing.T, e *edge, c *client) {
	const url = "https://vault.example.com/a/b"
	send := func(path string, lines ...string) *reply {
		return e.send(t, edgeDoor, request("GET", "vault.example.com", path, lines...))
	}
	found := e.allowed(t, send("/a/b?page=1", c.lines(c.proof(t, url, nil))...))
	if found.text("subject.binding") != "dpop" || found.text("subject.key_thumbprint") != c.thumbprint || found.text("subject.key") != "user:corp:prover" {
		t.Errorf("the record says %v", found["subject"])
	}
	e.allowed(t, send("/a/b", c.lines(c.proof(t, "HTTPS://Vault.Example.com:443/a/b?q#f", nil))...))
	e.allowed(t, send("/things/%7e7%2C", c.lines(c.proof(t, "https://vault.example.com/things/~7%2c", nil))...))
	e.allowed(t, send("/bound", c.lines(c.proof(t, "https://vault.example.com/bound", nil))...))
	e.allowed(t, send("/a/b", bearer(e.issuer.token(t, "plain", "reader"))))

	const offer, bearerOffer = `DPoP realm="vault", algs="ES256 EdDSA Ed25519 PS256 RS256"`, `Bearer realm="vault"`
	stranger := newClient(t, e.issuer)
	forwarded := append(c.lines(c.proof(t, "https://evil.example/a/b", nil)), "x-forwarded-host: evil.example", "forwarded: host=evil.example", "x-original-url: https://evil.example/a/b")
	for name, one := range map[string]struct {
		path           string
		lines          []string
		reason, public string
		challenge      string // a part
	}{
		"as a bearer token":         {"/a/b", []string{bearer(c.token), "dpop: " + c.proof(t, url, nil)}, "token_binding", "invalid_token", ", " + offer},
		"no proof":                  {"/a/b", c.lines(), "proof_missing", "invalid_dpop_proof", `DPoP realm="vault", error="invalid_dpop_proof"`},
		"two proofs":                {"/a/b", c.lines(c.proof(t, url, nil), c.proof(t, url, nil)), "proof_invalid", "invalid_dpop_proof", bearerOffer},
		"another path":              {"/things/7", c.lines(c.proof(t, url, nil)), "proof_invalid", "invalid_dpop_proof", `error="invalid_dpop_proof"`},
		"a host that a client made": {"/a/b", forwarded, "proof_invalid", "invalid_dpop_proof", `error="invalid_dpop_proof"`},
		"an old proof":              {"/a/b", c.lines(c.proof(t, url, map[string]any{"iat": time.Now().Unix() - 70})), "proof_invalid", "invalid_dpop_proof", `algs="`},
		"another client's proof":    {"/a/b", c.lines(stranger.proof(t, url, nil)), "token_binding", "invalid_token", `DPoP realm="vault", error="invalid_token"`},
		"another token's proof":     {"/a/b", []string{"authorization: DPoP " + stranger.token, "dpop: " + c.proof(t, url, nil)}, "token_binding", "invalid_token", `error="invalid_token"`},
		"a token bound to nothing":  {"/a/b", []string{"authorization: DPoP " + e.issuer.token(t, "plain", "reader"), "dpop: " + c.proof(t, url, nil)}, "token_binding", "invalid_token", `DPoP realm="vault", error="invalid_token"`},
		"unbound where it must be":  {"/bound", []string{bearer(e.issuer.token(t, "plain", "reader"))}, "binding_required", "invalid_token", `DPoP realm="vault", error="invalid_token"`},
		"nothing":                   {"/a/b", nil, "token_missing", "credentials_required", bearerOffer + ", " + offer},
		"nothing where it is bound": {"/bound", nil, "token_missing", "credentials_required", offer},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(one.path, one.lines...)
			e.denied(t, got, 401, one.reason, one.public)
			if told := got.header.Values("www-authenticate"); len(told) != 1 || !strings.Contains(told[0], one.challenge) {
				t.Errorf("www-authenticate %q, want %s", told, one.challenge)
			}
		})
	}
}

// gatewayNonces does what a client does that is asked for a nonce.
func gatewayNonces(t *testing.T, e *edge, c *client) {
	const url = "https://fresh.example.com/a/b"
	send := func(changes map[string]any) *reply {
		return e.send(t, edgeDoor, request("GET", "fresh.example.com", "/a/b", c.lines(c.proof(t, url, changes))...))
	}
	got := send(nil)
	e.denied(t, got, 401, "proof_nonce", "use_dpop_nonce")
	nonce := got.header.Get("dpop-nonce")
	if told := got.header.Get("www-authenticate"); nonce == "" || !strings.HasPrefix(told, `DPoP realm="fresh", error="use_dpop_nonce"`) {
		t.Fatalf("nonce %q, www-authenticate %q", nonce, told)
	}
	for range 4 { // whichever replica answers
		e.allowed(t, send(map[string]any{"nonce": nonce}))
	}
	// One that the servers gave some minutes ago is good still, and the answer of the API brings the next.
	nonces, err := dpop.NewNonces([]byte(nonceKey))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := dpop.New(dpop.Options{Nonces: nonces.For("acme/fresh")})
	if err != nil {
		t.Fatal(err)
	}
	got = send(map[string]any{"nonce": verifier.Nonce(time.Now().Add(-3 * time.Minute))})
	e.allowed(t, got)
	if next := got.header.Get("dpop-nonce"); next != verifier.Nonce(time.Now()) && next != verifier.Nonce(time.Now().Add(-time.Minute)) {
		t.Errorf("the next nonce is %q", next)
	}
	e.denied(t, send(map[string]any{"nonce": verifier.Nonce(time.Now().Add(-6 * time.Minute))}), 401, "proof_nonce", "use_dpop_nonce")
}

// searchProofs looks for proofs and tokens in records and logs.
func searchProofs(t *testing.T, e *edge, c *client) {
	head, _, _ := strings.Cut(c.proof(t, "https://vault.example.com/a/b", nil), ".")
	files := 0
	err := filepath.WalkDir(e.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".jsonl" && filepath.Ext(path) != ".log" {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for what, secret := range map[string]string{"a proof": head, "the token": c.token[len(c.token)-40:], "the key of nonces": nonceKey} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds %s", path, what)
			}
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files were looked at, %v", files, err)
	}
}
