package assembly

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// quickstartBundle are the files of the quickstart's bundle as they are.
func quickstartBundle(t *testing.T) map[string][]byte {
	t.Helper()
	contents, err := bundle.ReadDirectory("../../deploy/quickstart/bundle")
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

func newOffline(t *testing.T, contents map[string][]byte) *Offline {
	t.Helper()
	o, err := NewOffline(OfflineOptions{Contents: contents, TestKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func openSession(t *testing.T, o *Offline) *Session {
	t.Helper()
	s, err := o.Open(instant())
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

// call is a request without credentials.
func call(method, host, target string) *request.Request {
	return &request.Request{
		Adapter: "test", Method: method, Scheme: "https", Host: host, Target: target, Protocol: "HTTP/1.1",
		Header: request.Header{{Name: "content-type", Value: "application/json"}},
		Peer:   request.Peer{Address: netip.MustParseAddrPort("198.51.100.7:1")}, Client: netip.MustParseAddr("198.51.100.7"),
	}
}

func withToken(r *request.Request, raw string) *request.Request {
	r.Header = append(r.Header, request.Field{Name: "authorization", Value: "Bearer " + raw})
	return r
}

func claimsOf(sub string, more map[string]any) map[string]any {
	claims := map[string]any{
		"sub": sub, "jti": "1", "client_id": "tests", "aud": "orders-api", "iat": instant().Unix(), "exp": instant().Add(time.Hour).Unix(),
		"realm_access": map[string]any{"roles": []string{"reader"}},
	}
	for name, value := range more {
		claims[name] = value
	}
	return claims
}

func minted(t *testing.T, o *Offline, authenticator string, header, claims map[string]any) string {
	t.Helper()
	raw, err := o.Mint(authenticator, header, claims)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestOfflineVerifiesMintedTokens(t *testing.T) {
	contents := quickstartBundle(t)
	o := newOffline(t, contents)
	if got, want := o.Info().Revision, bundle.Revision(contents); got != want || o.Info().Name != "acme" {
		t.Errorf("info %+v, want revision %s: test keys must not show in it", o.Info(), want)
	}
	if len(o.Bundle().Services) != 2 || o.Bundle().Authenticators["corp"].Issuer != "https://idp.example.com" {
		t.Errorf("decoded bundle: %+v", o.Bundle())
	}
	for _, tc := range []struct {
		name   string
		header map[string]any
		claims map[string]any
		want   verdict.Reason
	}{
		{"as it is", nil, nil, verdict.Allowed},
		{"expired", nil, map[string]any{"exp": instant().Unix()}, verdict.TokenExpired},
		{"another audience", nil, map[string]any{"aud": "reports-api"}, verdict.TokenAudience},
		{"another issuer", nil, map[string]any{"iss": "https://other.example.com"}, verdict.TokenIssuer},
		{"another type", map[string]any{"typ": "JWT"}, nil, verdict.TokenType},
		{"another key", map[string]any{"kid": "test-1"}, nil, verdict.TokenKeyUnknown},
		{"an extension", map[string]any{"crit": []string{"b64"}, "b64": false}, nil, verdict.TokenCritical},
		{"no role", nil, map[string]any{"realm_access": map[string]any{}}, verdict.NoMatchingRule},
	} {
		s := openSession(t, o)
		v := s.Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), minted(t, o, "corp", tc.header, claimsOf("alice", tc.claims))))
		if v.Reason != tc.want || v.Explanation.Revision != o.Info().Revision || len(v.DecisionID) != 32 {
			t.Errorf("%s: %s (%s), revision %s", tc.name, v.Reason, v.Explanation.Detail, v.Explanation.Revision)
		}
	}
}

// TestOfflineKeysAreThrowAway: the keys of one engine mean nothing to another, nor to one with the bundle's own keys.
func TestOfflineKeysAreThrowAway(t *testing.T) {
	contents := quickstartBundle(t)
	o := newOffline(t, contents)
	raw := minted(t, o, "corp", nil, claimsOf("alice", nil))
	if v := openSession(t, newOffline(t, contents)).Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), raw)); v.Reason != verdict.TokenSignature {
		t.Errorf("another engine with test keys: %s", v.Reason)
	}
	own, err := NewOffline(OfflineOptions{Contents: contents})
	if err != nil {
		t.Fatal(err)
	}
	if v := openSession(t, own).Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), raw)); v.Reason != verdict.TokenKeyUnknown {
		t.Errorf("an engine with the bundle's keys: %s", v.Reason)
	}
	if _, err := own.Mint("corp", nil, nil); !errors.Is(err, ErrNoTestKeys) {
		t.Errorf("minting without test keys: %v", err)
	}
	for _, name := range []string{"workloads", "nobody", ""} {
		if _, err := o.Mint(name, nil, nil); err == nil {
			t.Errorf("minted for %q", name)
		}
	}
	for _, alg := range []any{"RS256", "none", 7, nil} {
		if _, err := o.Mint("corp", map[string]any{"alg": alg}, nil); err == nil {
			t.Errorf("minted with algorithm %v, which the authenticator does not take", alg)
		}
	}
}

// TestOfflineTestKeysFitEveryAlgorithm: each algorithm that a bundle can name has a key, and issuers do not share them.
func TestOfflineTestKeysFitEveryAlgorithm(t *testing.T) {
	contents := quickstartBundle(t)
	main := string(contents["bundle.yaml"])
	main = strings.Replace(main, "algorithms: [ES256]", "algorithms: [EdDSA, Ed25519, ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512]", 1)
	main = strings.Replace(main, "  workloads:\n", `  partner:
    kind: jwt
    issuer: https://partner.example.com
    algorithms: [ES256]
    jwks: {file: keys/partner.jwks.json}
    types: [JWT]
  workloads:
`, 1)
	contents["bundle.yaml"] = []byte(main)
	contents["keys/partner.jwks.json"] = contents["keys/corp.jwks.json"]
	contents["services/orders/service.yaml"] = []byte(strings.Replace(string(contents["services/orders/service.yaml"]), "accept: [corp,", "accept: [corp, partner,", 1))
	o := newOffline(t, contents)
	s := openSession(t, o)
	for i, alg := range o.Bundle().Authenticators["corp"].Algorithms {
		raw := minted(t, o, "corp", map[string]any{"alg": alg}, claimsOf("alice"+alg, nil))
		if v := s.Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), raw)); !v.Allowed() {
			t.Errorf("%s: %s %s", alg, v.Reason, v.Explanation.Detail)
		}
		if first := minted(t, o, "corp", nil, claimsOf("alice"+alg, nil)); i == 0 && first != raw {
			t.Errorf("%s is not what an authenticator signs with by default", alg)
		}
	}
	forged := minted(t, o, "partner", map[string]any{"typ": "at+jwt"}, claimsOf("alice", map[string]any{"iss": "https://idp.example.com"}))
	if v := s.Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), forged)); v.Reason != verdict.TokenSignature {
		t.Errorf("the partner signed for corp: %s", v.Reason)
	}
}

// TestOfflineKeysStandInForFetchedOnes: nothing is fetched, wherever a server would take the keys from, and issuers do not share keys.
func TestOfflineKeysStandInForFetchedOnes(t *testing.T) {
	contents := quickstartBundle(t)
	delete(contents, "keys/corp.jwks.json")
	main := strings.Replace(string(contents["bundle.yaml"]), "{file: keys/corp.jwks.json}", "{discovery: true, max_stale: 1h}", 1)
	main = strings.Replace(main, "  workloads:\n", `  partner:
    kind: jwt
    issuer: https://partner.example.com
    algorithms: [ES256]
    jwks: {url: "https://partner.example.com/keys?a=../b"}
  third:
    kind: jwt
    issuer: https://third.example.com
    algorithms: [ES256]
    jwks: {discovery: true}
  workloads:
`, 1)
	contents["bundle.yaml"] = []byte(main)
	contents["services/orders/service.yaml"] = []byte(strings.Replace(string(contents["services/orders/service.yaml"]), "accept: [corp,", "accept: [corp, partner, third,", 1))
	o := newOffline(t, contents)
	s := openSession(t, o)
	ask := func(s *Session, raw string) verdict.Verdict {
		return s.Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), raw))
	}
	raw := minted(t, o, "corp", nil, claimsOf("alice", nil))
	if v := ask(s, raw); !v.Allowed() {
		t.Errorf("corp: %s %s", v.Reason, v.Explanation.Detail)
	}
	if v := ask(s, minted(t, o, "partner", nil, claimsOf("alice", nil))); v.Reason != verdict.NoMatchingRule {
		t.Errorf("partner: %s %s", v.Reason, v.Explanation.Detail)
	}
	for _, name := range []string{"partner", "third"} {
		if v := ask(s, minted(t, o, name, nil, claimsOf("alice", map[string]any{"iss": "https://idp.example.com"}))); v.Reason != verdict.TokenSignature {
			t.Errorf("%s signed for corp: %s", name, v.Reason)
		}
	}
	own, err := NewOffline(OfflineOptions{Contents: contents})
	if err != nil {
		t.Fatal(err)
	}
	if v := ask(openSession(t, own), raw); v.Reason != verdict.KeysUnavailable {
		t.Errorf("without test keys: %s", v.Reason)
	}
}

// TestOfflineRefusesWhatAServerRefuses: a key that a server would refuse is not hidden by a test key.
func TestOfflineRefusesWhatAServerRefuses(t *testing.T) {
	contents := quickstartBundle(t)
	contents["keys/corp.jwks.json"] = []byte(`{"keys": []}`)
	for _, keys := range []bool{false, true} {
		o, err := NewOffline(OfflineOptions{Contents: contents, TestKeys: keys})
		problems, ok := errors.AsType[format.Problems](err)
		if !ok || o != nil || len(problems) != 1 || problems[0].File != "keys/corp.jwks.json" {
			t.Errorf("test keys %v: %v", keys, err)
		}
	}
}

func TestOfflineSessionsCountApart(t *testing.T) {
	o := newOffline(t, quickstartBundle(t))
	ask := func(s *Session) verdict.Verdict {
		return s.Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), minted(t, o, "corp", nil, claimsOf("alice", nil))))
	}
	s := openSession(t, o)
	for i := range 5 {
		if v := ask(s); !v.Allowed() {
			t.Fatalf("request %d: %s", i, v.Reason)
		}
	}
	v := ask(s)
	if v.Reason != verdict.LimitExceeded || v.Explanation.Limit != "per-subject" || v.RetryAfter <= 0 {
		t.Errorf("the sixth of a burst of five: %s by %q", v.Reason, v.Explanation.Limit)
	}
	if v := ask(openSession(t, o)); !v.Allowed() {
		t.Errorf("a session begins with another's counters: %s", v.Reason)
	}
	s.SetTime(instant().Add(v.RetryAfter))
	if v := ask(s); !v.Allowed() {
		t.Errorf("after the wait: %s", v.Reason)
	}
	if v := ask(s); v.Reason != verdict.LimitExceeded {
		t.Errorf("at once after it: %s", v.Reason)
	}
	dry := withToken(call("GET", "orders.example.com", "/orders/7"), minted(t, o, "corp", nil, claimsOf("bob", nil)))
	dry.Mode = request.Dry
	for range 9 {
		if v := s.Decide(t.Context(), dry); !v.Allowed() {
			t.Fatalf("dry: %s", v.Reason)
		}
	}
}

// TestOfflineChargesDenialsAtOnce: a limit that counts denials must hold for the very next decision.
func TestOfflineChargesDenialsAtOnce(t *testing.T) {
	contents := quickstartBundle(t)
	contents["services/orders/service.yaml"] = []byte(strings.Replace(string(contents["services/orders/service.yaml"]),
		"limit_definitions:\n", "limit_definitions:\n  failures: {rate: 3/min, by: [client.network], count: denied}\n", 1))
	contents["services/orders/service.yaml"] = []byte(strings.Replace(string(contents["services/orders/service.yaml"]), "limits: [per-address]", "limits: [per-address, failures]", 1))
	o := newOffline(t, contents)
	for _, down := range []bool{false, true} {
		for range 20 {
			s := openSession(t, o)
			s.SetOutage(down)
			denials := 3
			if down {
				denials = 1 // a local share begins with room for one
			}
			for i := range denials {
				if v := s.Decide(t.Context(), call("GET", "orders.example.com", "/orders/7")); v.Reason != verdict.TokenMissing {
					t.Fatalf("down %v, denial %d: %s", down, i, v.Reason)
				}
			}
			v := s.Decide(t.Context(), withToken(call("GET", "orders.example.com", "/orders/7"), minted(t, o, "corp", nil, claimsOf("alice", nil))))
			if v.Reason != verdict.LimitExceeded || v.Explanation.Limit != "failures" {
				t.Fatalf("down %v, after the denials: %s by %q", down, v.Reason, v.Explanation.Limit)
			}
		}
	}
}

func TestOfflineOutage(t *testing.T) {
	o := newOffline(t, quickstartBundle(t))
	s := openSession(t, o)
	login := call("POST", "orders.example.com", "/login")
	if v := s.Decide(t.Context(), login); !v.Allowed() || v.Degraded {
		t.Fatalf("before: %s, degraded %v", v.Reason, v.Degraded)
	}
	s.SetOutage(true)
	if v := s.Decide(t.Context(), login); v.Reason != verdict.LimitsUnavailable || v.HTTPStatus() != 503 || !v.Degraded {
		t.Errorf("a limit that denies in an outage: %s, degraded %v", v.Reason, v.Degraded)
	}
	if v := s.Decide(t.Context(), call("GET", "orders.example.com", "/health")); !v.Allowed() || !v.Degraded {
		t.Errorf("a limit with a local share: %s, degraded %v", v.Reason, v.Degraded)
	}
	s.SetOutage(false)
	for i := range 5 {
		want := verdict.Allowed
		if i == 4 {
			want = verdict.LimitExceeded // the first counted, the one in the outage did not
		}
		if v := s.Decide(t.Context(), login); v.Reason != want || v.Degraded {
			t.Errorf("after the outage, %d: %s, degraded %v", i, v.Reason, v.Degraded)
		}
	}
}

func user(id string, roles ...string) subject.Subject {
	return subject.Subject{Key: subject.Key(subject.KindUser, "corp", id), Kind: subject.KindUser, Authenticator: "corp", ID: id, Roles: roles}
}

func TestDecideAs(t *testing.T) {
	o := newOffline(t, quickstartBundle(t))
	workload := subject.Subject{Key: "service:workloads:spiffe://example.com/ns/shop/batch", Kind: subject.KindService, Authenticator: "workloads", ID: "spiffe://example.com/ns/shop/batch"}
	scoped := user("alice", "writer")
	scoped.Scopes = []string{"orders:refund"}
	read := func() *request.Request { return call("GET", "orders.example.com", "/orders/7") }
	for _, tc := range []struct {
		name    string
		request *request.Request
		who     subject.Subject
		want    verdict.Reason
	}{
		{"a reader reads", read(), user("alice", "reader"), verdict.Allowed},
		{"without a role", read(), user("alice"), verdict.NoMatchingRule},
		{"with a role that the authenticator may not assert", read(), user("alice", "admin"), verdict.NoMatchingRule},
		{"suspended", read(), user("mallory", "writer"), verdict.GuardDenied},
		{"a workload", read(), workload, verdict.Allowed},
		{"nobody", read(), subject.Anonymous(), verdict.TokenMissing},
		{"the zero subject", read(), subject.Subject{}, verdict.TokenMissing},
		{"nobody, on a public route", call("GET", "orders.example.com", "/health"), subject.Anonymous(), verdict.Allowed},
		{"without the scope", call("POST", "orders.example.com", "/orders/7/refund"), user("alice", "writer"), verdict.ScopeMissing},
		{"with the scope", call("POST", "orders.example.com", "/orders/7/refund"), scoped, verdict.Allowed},
		{"credentials do not count beside it", withToken(read(), "nonsense"), user("alice", "reader"), verdict.Allowed},
		{"shape still counts", call("GET", "orders.example.com", "/orders/../7"), user("alice", "reader"), verdict.PathAmbiguous},
	} {
		if v := openSession(t, o).DecideAs(t.Context(), tc.request, tc.who); v.Reason != tc.want {
			t.Errorf("%s: %s (%s), want %s", tc.name, v.Reason, v.Explanation.Detail, tc.want)
		}
	}
	// The same request in the ordinary way: nothing of the subject is left behind in the session.
	s := openSession(t, o)
	s.DecideAs(t.Context(), read(), user("alice", "reader"))
	if v := s.Decide(t.Context(), read()); v.Reason != verdict.TokenMissing {
		t.Errorf("without a given subject: %s", v.Reason)
	}
}

// TestGivenSubjectsComeFromTheOfflineEngineAlone: DecideGiven skips authentication. Outside the engine only offline.go
// may name it, and adapters, which may not import the engine's package, cannot name its parameter.
func TestGivenSubjectsComeFromTheOfflineEngineAlone(t *testing.T) {
	allowed := map[string]bool{"pdp/engine.go": true, "pdp/assembly/offline.go": true}
	seen := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if file == nil {
			return err // a file in a strange form still names what it names
		}
		name, _ := filepath.Rel(root, path)
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "DecideGiven" {
				seen[filepath.ToSlash(name)] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		if !allowed[name] {
			t.Errorf("%s names DecideGiven, which skips authentication", name)
		}
	}
	if len(seen) != len(allowed) {
		t.Errorf("found in %v; was the tree searched?", seen)
	}
}

func TestPlace(t *testing.T) {
	s := openSession(t, newOffline(t, quickstartBundle(t)))
	for _, tc := range []struct{ method, host, target, service, route string }{
		{"GET", "orders.example.com", "/orders/7", "orders", "read-order"},
		{"DELETE", "orders.example.com", "/orders/7", "orders", ""},
		{"GET", "nowhere.example.com", "/orders/7", "", ""},
	} {
		if service, route := s.Place(call(tc.method, tc.host, tc.target)); service != tc.service || route != tc.route {
			t.Errorf("%s %s%s leads to %q, %q", tc.method, tc.host, tc.target, service, route)
		}
	}
}

func TestOfflineIsSafeForConcurrentUse(t *testing.T) {
	o := newOffline(t, quickstartBundle(t))
	shared := openSession(t, o)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			s, err := o.Open(instant())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = s.Close() }()
			for i := range 10 {
				raw, err := o.Mint("corp", nil, claimsOf("alice", nil))
				if err != nil {
					t.Error(err)
				}
				r := withToken(call("GET", "orders.example.com", "/orders/7"), raw)
				if v := s.Decide(context.Background(), r); v.Allowed() != (i < 5) {
					t.Errorf("request %d: %s", i, v.Reason)
				}
				shared.SetOutage(i%2 == 0)
				shared.SetTime(instant().Add(time.Duration(i) * time.Second))
				shared.Decide(context.Background(), r)
			}
		})
	}
	all.Wait()
}

func TestValidateBundleReadsADirectory(t *testing.T) {
	if _, _, err := ValidateBundle(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, bundle.ErrRead) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// A session counts every decision at once: what a replica would have in hand is no answer to a test.
func TestSessionsTakeNothingInAdvance(t *testing.T) {
	s := openSession(t, newOffline(t, map[string][]byte{
		"bundle.yaml": []byte("format: 1\nname: acme\n"),
		"services/orders/service.yaml": []byte("service: orders\nmatch: [{host: orders.example.com}]\nidentity: {mode: none}\n" +
			"limit_definitions: {l: {rate: 100/min, by: [], lease: 25, on_error: deny}}\n" +
			"routes: [{name: r, path: /r, methods: [GET], access: public, limits: [l]}]\n"),
	}))
	ask := func() verdict.Verdict { return s.Decide(t.Context(), call("GET", "orders.example.com", "/r")) }
	for i := range 3 {
		v := ask()
		if l := v.Explanation.Limits; !v.Allowed() || len(l) != 1 || l[0].Leased || l[0].Remaining != int64(87-i) {
			t.Fatalf("%s: %+v", v.Reason, l)
		}
	}
	s.SetOutage(true)
	if v := ask(); v.Reason != verdict.LimitsUnavailable {
		t.Errorf("without Redis: %s", v.Reason)
	}
}
