package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
	"github.com/durward-pdp/durward/pdp/state/memory"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const vaultYAML = `service: orders
match:
  - {host: orders.example.com}
identity: {mode: required, accept: [corp, partner, mesh], audiences: [orders-api], dpop: {algorithms: [ES256, EdDSA]}}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: read, path: /orders, methods: [GET]}
  - {name: write, path: /orders, methods: [POST], scopes: ["orders:read", "orders:write"]}
  - {name: browse, path: /browse, methods: [GET], identity: optional, require: bound}
  - {name: vault, path: /vault, methods: [GET], require: bound}
  - {name: deep, path: /deep, methods: [GET], require: bound, scopes: ["orders:read", "orders:write"]}
`

// The routes of vaultYAML by index, beside those of serviceYAML.
const (
	routeOptionalVault = iota + 3
	routeVault
	routeDeep
)

const (
	dpopOffer   = `DPoP realm="orders", algs="ES256 EdDSA"`
	bearerOffer = `Bearer realm="orders"`
	dpopToken   = `DPoP realm="orders", error="invalid_token", ` +
		`error_description="The credentials are missing something, no longer valid, or not meant for this service", algs="ES256 EdDSA"`
	dpopProof = `DPoP realm="orders", error="invalid_dpop_proof", ` +
		`error_description="The proof of possession is missing, not sound, or not for this request", algs="ES256 EdDSA"`
	dpopNonce = `DPoP realm="orders", error="use_dpop_nonce", ` +
		`error_description="The proof of possession must hold the nonce in DPoP-Nonce", algs="ES256 EdDSA"`
	dpopScope = `DPoP realm="orders", error="insufficient_scope", ` +
		`error_description="The access token does not cover this operation", scope="orders:read orders:write", algs="ES256 EdDSA"`
	dpopRequest = `DPoP realm="orders", error="invalid_request", ` +
		`error_description="The request must carry one access token, in one Authorization field", algs="ES256 EdDSA"`
)

// vaultKey is the operator's key of nonces.
const vaultKey = "0123456789abcdef0123456789abcdef"

// counted are marks in memory that count what they are asked.
type counted struct {
	*memory.Store
	mu    sync.Mutex
	calls int
	lasts time.Duration
	err   error
}

func (m *counted) Mark(ctx context.Context, key string, lasts time.Duration) (bool, error) {
	m.mu.Lock()
	m.calls, m.lasts = m.calls+1, lasts
	err := m.err
	m.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		return false, errors.New("a call without a deadline")
	}
	if err != nil {
		return false, err
	}
	return m.Store.Mark(ctx, key, lasts)
}

// vault is a world whose service takes proofs.
type vault struct {
	*world
	marks      *counted
	client     *token.Signer
	thumbprint string
	proofs     int
}

// newVault compiles vaultYAML with another text for its dpop.
func newVault(t testing.TB, written string) *vault {
	t.Helper()
	nonces, err := dpop.NewNonces([]byte(vaultKey))
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{world: newWorld(t), marks: &counted{Store: memory.New(func() time.Time { return testNow })}}
	v.stage = New(Options{Marks: v.marks, MarkTimeout: time.Minute, Nonces: nonces, TokenCache: 1 << 20})
	text := vaultYAML
	if written != "" {
		text = strings.Replace(text, "dpop: {algorithms: [ES256, EdDSA]}", written, 1)
	}
	v.files["services/orders/service.yaml"] = text
	b, s := load(t, v.files)
	compiled, problems := v.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	v.service = &pipeline.Service{Route: &route.Service{Name: "orders"}, Parts: map[string]any{Name: compiled}}
	for i, r := range s.Routes {
		v.service.Route.Routes = append(v.service.Route.Routes, &route.Route{Service: v.service.Route, Index: i, Name: r.Name, Public: r.Access == "public"})
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v.client = signer(t, key, "ES256", "unused")
	thumbprint := v.client.PublicKey().Thumbprint()
	v.thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	return v
}

// evaluate evaluates once: a proof is good for no more.
func (v *vault) evaluate(t testing.TB, c *pipeline.Case) pipeline.Outcome {
	t.Helper()
	outcome, err := v.stage.Evaluate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// wantSubject evaluates and fails unless the case goes on with the subject.
func (v *vault) wantSubject(t testing.TB, c *pipeline.Case, key string) {
	t.Helper()
	if v.evaluate(t, c) != pipeline.Continue || c.Subject.Key != key || len(c.Verdict.Obligations.SetResponse) > 0 {
		t.Errorf("subject %q, want %q: %s (%s)", c.Subject.Key, key, c.Verdict.Reason, c.Verdict.Explanation.Detail)
	}
}

// bound mints a token of corp that is bound to the client's key, with changes.
func (v *vault) bound(t testing.TB, changes claims) string {
	t.Helper()
	c := claims{"cnf": claims{"jkt": v.thumbprint}}
	maps.Copy(c, changes)
	return v.mint(t, c)
}

// prove makes a proof of the client for a token and the request of newCase, with changes; a nil removes.
func (v *vault) prove(t testing.TB, raw string, changes claims) string {
	t.Helper()
	v.proofs++
	sum := sha256.Sum256([]byte(raw))
	c := claims{
		"jti": "jti-marker-" + strings.Repeat("x", v.proofs), "htm": "GET", "htu": "https://orders.example.com/orders", "iat": testNow.Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, value any) bool { return value == nil })
	proof, err := v.client.SignProof(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// withProof makes a case on a route with a scheme, a token and proofs.
func (v *vault) withProof(index int, scheme, raw string, proofs ...string) *pipeline.Case {
	c := v.authorization(index, scheme+" "+raw)
	c.Request.Host, c.Request.Target, c.Request.Scheme = "orders.example.com", "/orders?page=1", "https"
	for _, proof := range proofs {
		c.Request.Header = append(c.Request.Header, request.Field{Name: "dpop", Value: proof})
	}
	return c
}

// wantRefused evaluates and fails unless nobody is left, for the reason, with the challenge.
func (v *vault) wantRefused(t *testing.T, c *pipeline.Case, reason verdict.Reason, challenge string) {
	t.Helper()
	if v.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != reason || c.IsOutage() {
		t.Errorf("reason %q (%s), outage %v; want %s", c.Verdict.Reason, c.Verdict.Explanation.Detail, c.IsOutage(), reason)
	}
	if got := responseField(c, "www-authenticate"); got != challenge {
		t.Errorf("challenge\n  %s\nwant\n  %s", got, challenge)
	}
	known := reason == verdict.ScopeMissing || reason == verdict.BindingRequired
	if c.Subject.IsAnonymous() == known {
		t.Errorf("the subject is %q", c.Subject.Key)
	}
	wantNoLeak(t, c)
}

func responseField(c *pipeline.Case, name string) string {
	out := ""
	for _, f := range c.Verdict.Obligations.SetResponse {
		if f.Name == name {
			out += f.Value
		}
	}
	return out
}

// testProofOfPossession: what a bound token needs, and what is refused in its place.
func testProofOfPossession(t *testing.T) {
	v := newVault(t, "")
	raw := v.bound(t, nil)
	c := v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil))
	v.wantSubject(t, c, alice)
	if c.Subject.Binding != "dpop" || c.Subject.KeyThumbprint != v.thumbprint || v.marks.calls != 1 || v.marks.lasts != 70*time.Second {
		t.Errorf("%+v, %d marks for %v", c.Subject, v.marks.calls, v.marks.lasts)
	}
	v.wantSubject(t, v.withProof(routeRead, "dPoP ", raw, v.prove(t, raw, nil)), alice)
	v.wantSubject(t, v.bearer(routeRead, v.mint(t, nil)), alice) // others need none

	used := v.marks.calls
	proof := func(changes claims) string { return v.prove(t, raw, changes) }
	for _, row := range []struct {
		name      string
		c         *pipeline.Case
		reason    verdict.Reason
		challenge string
	}{
		{"a bearer token", v.withProof(routeRead, "Bearer", raw, proof(nil)), verdict.TokenBinding, wantToken + ", " + dpopOffer},
		{"a bearer token without a proof", v.withProof(routeRead, "Bearer", raw), verdict.TokenBinding, wantToken + ", " + dpopOffer},
		{"a token that is bound to nothing", v.withProof(routeRead, "DPoP", v.mint(t, nil), proof(nil)), verdict.TokenBinding, dpopToken + ", " + bearerOffer},
		{"no proof", v.withProof(routeRead, "DPoP", raw), verdict.ProofMissing, dpopProof + ", " + bearerOffer},
		{"two proofs", v.withProof(routeRead, "DPoP", raw, proof(nil), proof(nil)), verdict.ProofInvalid, dpopProof + ", " + bearerOffer},
		{"a proof of another method", v.withProof(routeRead, "DPoP", raw, proof(claims{"htm": "PUT"})), verdict.ProofInvalid, dpopProof + ", " + bearerOffer},
		{"a proof of another token", v.withProof(routeRead, "DPoP", raw, v.prove(t, "another", nil)), verdict.ProofInvalid, dpopProof + ", " + bearerOffer},
		{"a token of another key", v.withProof(routeRead, "DPoP", v.bound(t, claims{"cnf": claims{"jkt": strings.Repeat("A", 43)}}), proof(nil)), verdict.TokenBinding, dpopToken + ", " + bearerOffer},
		{"a jkt that is no text", v.withProof(routeRead, "DPoP", v.bound(t, claims{"cnf": claims{"jkt": []string{v.thumbprint}}}), proof(nil)), verdict.TokenBinding, dpopToken + ", " + bearerOffer},
		{"an expired token", v.withProof(routeRead, "DPoP", v.bound(t, claims{"exp": testNow.Unix()}), proof(nil)), verdict.TokenExpired, dpopToken + ", " + bearerOffer},
		{"two tokens", v.authorization(routeRead, "DPoP "+raw, "Bearer "+raw), verdict.CredentialsClash, wantRequest + ", " + dpopOffer},
		{"a token behind another scheme", v.authorization(routeRead, "Basic YTpi, DPoP "+raw), verdict.CredentialsClash, wantRequest + ", " + dpopOffer},
		{"no token", v.authorization(routeRead, "DPoP"), verdict.CredentialsMalformed, dpopRequest + ", " + bearerOffer},
		{"nothing", v.newCase(routeRead), verdict.TokenMissing, bearerOffer + ", " + dpopOffer},
	} {
		t.Run(row.name, func(t *testing.T) { v.wantRefused(t, row.c, row.reason, row.challenge) })
	}
	if v.marks.calls != used {
		t.Errorf("%d refusals were looked up", v.marks.calls-used)
	}
}

// testReplay: a proof is good once, for whatever is decided and in force.
func testReplay(t *testing.T) {
	v := newVault(t, "")
	raw := v.bound(t, nil)
	proof := v.prove(t, raw, nil)
	use := func(change func(*request.Request)) *pipeline.Case {
		c := v.withProof(routeRead, "DPoP", raw, proof)
		if change != nil {
			change(c.Request)
		}
		return c
	}
	v.wantSubject(t, use(func(r *request.Request) { r.Mode = request.Dry }), alice)
	v.wantSubject(t, use(func(r *request.Request) { r.Failure = &request.Failure{} }), alice)
	if v.marks.calls != 0 {
		t.Errorf("%d marks without a decision in force", v.marks.calls)
	}
	v.wantSubject(t, use(func(r *request.Request) { r.Explain = request.ExplainAll }), alice)
	v.wantRefused(t, use(nil), verdict.ProofReplayed, dpopProof+", "+bearerOffer)
	v.wantSubject(t, use(func(r *request.Request) { r.Failure = &request.Failure{} }), alice) // the report of the call that passed
	// A new token of the same client, and the same jti.
	other := v.bound(t, claims{"jti": "another"})
	v.wantRefused(t, v.withProof(routeRead, "DPoP", other, v.prove(t, other, claims{"jti": "jti-marker-x"})), verdict.ProofReplayed, dpopProof+", "+bearerOffer)
	// Nobody else's proof is in the way.
	stranger := newVault(t, "")
	stranger.stage, stranger.service, stranger.corp, stranger.files = v.stage, v.service, v.corp, v.files
	theirs := stranger.bound(t, nil)
	stranger.wantSubject(t, stranger.withProof(routeRead, "DPoP", theirs, stranger.prove(t, theirs, nil)), alice)
}

// TestMarkIsLast: nothing is looked up for a subject that may not use the route.
func TestMarkIsLast(t *testing.T) {
	v := newVault(t, "")
	raw := v.bound(t, nil)
	v.wantRefused(t, v.withProof(routeWrite, "DPoP", raw, v.prove(t, raw, nil)), verdict.ScopeMissing, dpopScope+", "+bearerOffer)
	v.wantRefused(t, v.withProof(routeDeep, "DPoP", raw, v.prove(t, raw, nil)), verdict.ScopeMissing, dpopScope)
	if v.marks.calls != 0 {
		t.Errorf("%d marks", v.marks.calls)
	}
}

// TestMarksUnavailable: what the service says decides while nobody knows whether a proof was used.
func TestMarksUnavailable(t *testing.T) {
	for written, lenient := range map[string]bool{"": false, "dpop: {on_error: deny}": false, "dpop: {on_error: allow}": true} {
		v := newVault(t, written)
		v.marks.err = errors.New("marker: connection refused")
		raw := v.bound(t, nil)
		c := v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil))
		outcome := v.evaluate(t, c)
		if !c.Verdict.Degraded || (outcome == pipeline.Continue) != lenient || c.IsOutage() == lenient || c.Subject.IsAnonymous() == lenient {
			t.Errorf("%q: outcome %v, %+v, subject %s", written, outcome, c.Verdict, c.Subject.Key)
		}
		if !lenient && (c.Verdict.Reason != verdict.ProofUnavailable || c.Verdict.HTTPStatus() != 503 || len(c.Verdict.Obligations.SetResponse) > 0) {
			t.Errorf("%q: %+v", written, c.Verdict)
		}
		wantNoLeak(t, c)
		// A proof that is not sound is refused all the same.
		if c = v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, claims{"htm": "PUT"})); v.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.ProofInvalid {
			t.Errorf("%q: %+v", written, c.Verdict)
		}
		// Without a store nothing can be known, either.
		v.stage = New(Options{})
		c = v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil))
		if outcome := v.evaluate(t, c); (outcome == pipeline.Continue) != lenient {
			t.Errorf("%q without a store: %v", written, outcome)
		}
	}
}

// testBindings is T19 and T21: what a cnf may hold, and that all of it is checked.
func testBindings(t *testing.T) {
	v := newVault(t, "")
	shown, other := certificate("spiffe://example.com/ns/prod/web"), certificate("spiffe://example.com/ns/prod/web")
	shown.Thumbprint, other.Thumbprint = sha256.Sum256([]byte("shown")), sha256.Sum256([]byte("other"))
	of := func(c *request.Certificate) string { return base64.RawURLEncoding.EncodeToString(c.Thumbprint[:]) }
	for _, row := range []struct {
		name        string
		cnf         any
		certificate *request.Certificate
		scheme      string
		proof       bool
		binding     string // "" where it is refused
	}{
		{"a certificate", claims{"x5t#S256": of(shown)}, shown, "Bearer", false, "certificate"},
		{"both", claims{"x5t#S256": of(shown), "jkt": v.thumbprint}, shown, "DPoP", true, "certificate+dpop"},
		{"both, and another certificate", claims{"x5t#S256": of(shown), "jkt": v.thumbprint}, other, "DPoP", true, ""},
		{"both, and no certificate", claims{"x5t#S256": of(shown), "jkt": v.thumbprint}, nil, "DPoP", true, ""},
		{"both, and no proof", claims{"x5t#S256": of(shown), "jkt": v.thumbprint}, shown, "DPoP", false, ""},
		{"both, as a bearer token", claims{"x5t#S256": of(shown), "jkt": v.thumbprint}, shown, "Bearer", true, ""},
		{"a certificate with the scheme DPoP", claims{"x5t#S256": of(shown)}, shown, "DPoP", true, ""},
		{"another certificate", claims{"x5t#S256": of(shown)}, other, "Bearer", false, ""},
		{"no certificate", claims{"x5t#S256": of(shown)}, nil, "Bearer", false, ""},
		{"the certificate in hexadecimal", claims{"x5t#S256": strings.Repeat("ab", 32)}, shown, "Bearer", false, ""},
		{"an unknown member", claims{"kid": "x"}, shown, "Bearer", false, ""},
		{"a key of its own", claims{"jwk": claims{"kty": "EC"}}, shown, "DPoP", true, ""},
		{"an unknown member beside a certificate", claims{"x5t#S256": of(shown), "kid": "x"}, shown, "Bearer", false, ""},
		{"an unknown member beside a key", claims{"jkt": v.thumbprint, "osc": "x"}, shown, "DPoP", true, ""},
		{"nothing", claims{}, shown, "Bearer", false, ""},
		{"text", v.thumbprint, shown, "DPoP", true, ""},
		{"a list", []any{v.thumbprint}, shown, "DPoP", true, ""},
		{"null for a key", claims{"jkt": nil}, shown, "Bearer", false, ""},
		{"null for a certificate", claims{"x5t#S256": nil}, shown, "Bearer", false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := v.mint(t, claims{"cnf": row.cnf})
			c := v.withProof(routeVault, row.scheme, raw)
			if row.proof {
				c = v.withProof(routeVault, row.scheme, raw, v.prove(t, raw, nil))
			}
			c.Request.Certificate = row.certificate
			if row.binding != "" {
				v.wantSubject(t, c, alice)
				if c.Subject.Binding != row.binding {
					t.Errorf("bound to %q", c.Subject.Binding)
				}
				return
			}
			if v.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.TokenBinding && c.Verdict.Reason != verdict.ProofMissing || !c.Subject.IsAnonymous() {
				t.Errorf("%s, subject %s", c.Verdict.Reason, c.Subject.Key)
			}
		})
	}
}

// TestRequireBound: a route that wants bound credentials takes no others.
func TestRequireBound(t *testing.T) {
	v := newVault(t, "")
	v.wantRefused(t, v.bearer(routeVault, v.mint(t, nil)), verdict.BindingRequired, dpopToken)
	v.wantRefused(t, v.bearer(routeOptionalVault, v.mint(t, nil)), verdict.BindingRequired, dpopToken)
	v.wantRefused(t, v.bearer(routeDeep, v.mint(t, nil)), verdict.BindingRequired, dpopToken) // before the scopes
	v.wantRefused(t, v.newCase(routeVault), verdict.TokenMissing, dpopOffer)
	v.wantRefused(t, v.withProof(routeVault, "DPoP", v.bound(t, nil)), verdict.ProofMissing, dpopProof)
	v.wantRefused(t, v.bearer(routeVault, v.bound(t, nil)), verdict.TokenBinding, wantToken+", "+dpopOffer)
	v.wantSubject(t, v.newCase(routeOptionalVault), subject.AnonymousKey)
	raw := v.bound(t, nil)
	v.wantSubject(t, v.withProof(routeVault, "DPoP", raw, v.prove(t, raw, nil)), alice)
	withCertificate := v.newCase(routeVault)
	withCertificate.Request.Certificate = certificate("spiffe://example.com/ns/prod/web")
	v.wantSubject(t, withCertificate, "service:mesh:spiffe://example.com/ns/prod/web")
	given := v.newCase(routeVault)
	given.Given = &subject.Subject{Key: subject.Key(subject.KindUser, "corp", "bob"), Kind: subject.KindUser, Authenticator: "corp", ID: "bob"}
	v.wantSubject(t, given, "user:corp:bob")
	all := newVault(t, "require: bound, dpop: {algorithms: [ES256, EdDSA]}")
	all.wantRefused(t, all.bearer(routeRead, all.mint(t, nil)), verdict.BindingRequired, dpopToken)
	without := newVault(t, "require: bound")
	without.wantRefused(t, without.bearer(routeRead, without.mint(t, nil)), verdict.BindingRequired, wantToken)
}

// TestWithoutProofs: where a service takes none, the scheme DPoP is another scheme, and a token that is bound to a key no good.
func TestWithoutProofs(t *testing.T) {
	v := newVault(t, "resource_metadata: https://orders.example.com/metadata")
	raw := v.bound(t, nil)
	metadata := `, resource_metadata="https://orders.example.com/metadata"`
	v.wantRefused(t, v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil)), verdict.TokenMissing, wantMissing+metadata)
	c := v.withProof(routeRead, "Bearer", raw, v.prove(t, raw, nil))
	v.wantRefused(t, c, verdict.TokenBinding, wantToken+metadata)
	if !strings.Contains(c.Verdict.Explanation.Detail, "the service takes no proofs") {
		t.Errorf("the operator is told %q", c.Verdict.Explanation.Detail)
	}
	both := newVault(t, "dpop: {algorithms: [ES256, EdDSA]}, resource_metadata: https://orders.example.com/metadata")
	both.wantRefused(t, both.newCase(routeRead), verdict.TokenMissing, bearerOffer+metadata+`, DPoP realm="orders"`+metadata+`, algs="ES256 EdDSA"`)
}

// TestOperations: a question without a request has no method and no URL to prove anything for.
func TestOperations(t *testing.T) {
	v := newVault(t, "")
	raw := v.bound(t, nil)
	for name, credential := range map[string]string{"bound": raw, "not bound": v.mint(t, nil)} {
		c := v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil)) // of the caller's own call
		c.Request.Operation = &request.Operation{Service: "orders", Action: "orders:read", Credential: credential}
		if name == "bound" {
			v.wantRefused(t, c, verdict.TokenBinding, wantToken+", "+dpopOffer)
		} else {
			v.wantSubject(t, c, alice)
		}
	}
}

// TestRequiredNonces: the client is told the nonce, and the next in time.
func TestRequiredNonces(t *testing.T) {
	v := newVault(t, "dpop: {algorithms: [ES256, EdDSA], nonce: required}")
	raw := v.bound(t, nil)
	c := v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil))
	v.wantRefused(t, c, verdict.ProofNonce, dpopNonce+", "+bearerOffer)
	nonce := responseField(c, "dpop-nonce")
	if nonce == "" || v.marks.calls != 0 {
		t.Fatalf("nonce %q, %d marks", nonce, v.marks.calls)
	}
	// It is the one of any server with that key, for this service of this bundle alone.
	nonces, err := dpop.NewNonces([]byte(vaultKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]bool{"acme/orders": true, "acme/payments": false, "other/orders": false} {
		elsewhere, err := dpop.New(dpop.Options{Nonces: nonces.For(name)})
		if err != nil || (elsewhere.Nonce(testNow) == nonce) != same {
			t.Errorf("%s has the nonce %s, %v", name, elsewhere.Nonce(testNow), err)
		}
	}
	v.wantSubject(t, v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, claims{"nonce": nonce})), alice)
	c = v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, claims{"nonce": nonce, "iat": testNow.Unix() + 180}))
	c.Now = testNow.Add(3 * time.Minute)
	if next := ""; v.evaluate(t, c) != pipeline.Continue {
		t.Errorf("%s: %s", c.Verdict.Reason, c.Verdict.Explanation.Detail)
	} else if next = responseField(c, "dpop-nonce"); next == "" || next == nonce {
		t.Errorf("the next nonce is %q", next)
	}
}

// TestProofSettings: what a bundle cannot say.
func TestProofSettings(t *testing.T) {
	for _, row := range []struct{ from, to, at, message string }{
		{"algorithms: [ES256, EdDSA]", "algorithms: [HS256]", "services/orders/service.yaml:4", "HMAC has none"},
		{"algorithms: [ES256, EdDSA]", "algorithms: [ES257]", "services/orders/service.yaml:4", "not a supported algorithm"},
		{"algorithms: [ES256, EdDSA]", "window: 11min", "services/orders/service.yaml:4", "between 1s and 10min"},
		{"algorithms: [ES256, EdDSA]", "window: 0s", "services/orders/service.yaml:4", "between 1s and 10min"},
		{"algorithms: [ES256, EdDSA]", "ahead: 61s", "services/orders/service.yaml:4", "between 0s and 60s"},
		{"algorithms: [ES256, EdDSA]", "nonce: required", "services/orders/service.yaml:4", "identity.nonce_key_file"},
		{"accept: [corp, partner, mesh]", "accept: [mesh]", "services/orders/service.yaml:4", "no token is accepted here"},
		{"mode: required", `mode: required, credentials: ["cookie:session"]`, "services/orders/service.yaml:4", "credentials does not name it"},
		{"require: bound}", "require: proof}", "services/orders/service.yaml:9", "write bound"},
		{"access: public", "access: public, require: bound", "services/orders/service.yaml:6", "no credential is looked at"},
		{"identity: optional", "identity: none", "services/orders/service.yaml:9", "no credential is looked at"},
		{"mode: required", "mode: required, require: all", "services/orders/service.yaml:4", "write bound"},
	} {
		w := newWorld(t)
		w.files["services/orders/service.yaml"] = strings.Replace(vaultYAML, row.from, row.to, 1)
		b, s := load(t, w.files)
		_, problems := New(Options{}).Compile(b, s)
		if !strings.Contains(problems.Error(), row.at+":") || !strings.Contains(problems.Error(), row.message) {
			t.Errorf("%s: %v", row.to, problems)
		}
	}
}

// TestForgedProofsCostNoLookup: who cannot sign can neither ask the store for anything nor fill it, however often.
func TestForgedProofsCostNoLookup(t *testing.T) {
	v := newVault(t, "")
	raw := v.bound(t, nil)
	proof := v.prove(t, raw, nil)
	forged := proof[:len(proof)-6] + "AAAAAA"
	c := v.withProof(routeRead, "DPoP", raw, forged)
	attack := func(n int) {
		for range n {
			c.Verdict = verdict.Verdict{}
			if outcome, err := v.stage.Evaluate(t.Context(), c); outcome != pipeline.Stop || err != nil || c.Verdict.Reason != verdict.ProofInvalid {
				t.Fatal(outcome, err, c.Verdict.Reason)
			}
		}
	}
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	attack(1000)
	before := held()
	attack(100_000)
	if after := held(); after > before+256<<10 {
		t.Errorf("%d bytes are held after the attack, %d before", after, before)
	}
	if v.marks.calls != 0 {
		t.Errorf("%d look-ups", v.marks.calls)
	}
}

// TestProofAllocations pins what a decision with a proof costs.
func TestProofAllocations(t *testing.T) {
	v := newVault(t, "")
	raw := v.bound(t, nil)
	for _, row := range []struct {
		name  string
		c     *pipeline.Case
		limit float64
	}{
		{"no proof", v.withProof(routeRead, "DPoP", raw), 8},
		{"forged", v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil)+"A"), 114},
		{"sound", v.withProof(routeRead, "DPoP", raw, v.prove(t, raw, nil)), 137},
	} {
		row.c.Request.Mode = request.Dry
		got := testing.AllocsPerRun(100, func() {
			row.c.Verdict = verdict.Verdict{}
			if _, err := v.stage.Evaluate(t.Context(), row.c); err != nil {
				t.Fatal(err)
			}
		})
		if got > row.limit {
			t.Errorf("%s: %v allocations, want at most %v", row.name, got, row.limit)
		}
	}
}
