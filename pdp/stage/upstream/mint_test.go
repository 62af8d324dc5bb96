package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// issuer is a minter with one key, or none.
type issuer struct {
	signer *token.Signer
	err    error
	signed int
}

func (*issuer) Issuer() string { return "https://durward.example.com" }

func (i *issuer) Sign(typ string, claims map[string]any) (string, error) {
	i.signed++
	if i.err != nil {
		return "", i.err
	}
	return i.signer.Sign(typ, claims)
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "k1", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{signer: signer}
}

// minting compiles service.yaml's upstream with a minter.
func minting(t testing.TB, m Minter, text string) (*Stage, *part, format.Problems) {
	t.Helper()
	s := format.Service{
		Name: "orders", Identity: format.Identity{Audiences: []string{"orders-api", "other"}},
		Routes: []format.Route{{Path: "/orders/{id}", Scopes: []string{"orders:read", "orders:list"}}, {Path: "/health"}},
	}
	file := &format.File{Path: "services/orders/service.yaml", Data: []byte(text)}
	if problems := format.Decode(file, &s.Upstream); len(problems) > 0 {
		t.Fatal(problems)
	}
	stage := New(Options{Minter: m})
	compiled, problems := stage.Compile(&format.Bundle{}, &s)
	p, _ := compiled.(*part)
	return stage, p, problems
}

var now = time.Unix(1_790_000_000, 500)

// asked is a case for the first route.
func asked(p *part, s subject.Subject, h request.Header) *pipeline.Case {
	return &pipeline.Case{
		Facts: attribute.Facts{
			Request: &request.Request{Header: h}, Subject: s, Now: now,
			Match: route.Match{Route: &route.Route{}, Params: []route.Param{{Name: "id", Value: "7"}}},
		},
		Service: &pipeline.Service{Parts: map[string]any{name: p}},
		Verdict: verdict.Verdict{DecisionID: "d1"},
	}
}

func bearerOf(c *pipeline.Case, header string) (string, bool) {
	for _, f := range c.Verdict.Obligations.SetUpstream {
		if f.Name == header {
			return f.Value, true
		}
	}
	return "", false
}

// read returns header and claims of a token.
func read(t testing.TB, raw string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(raw, ".")
	for i, into := range []*map[string]any{&header, &claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func known() subject.Subject {
	return subject.Subject{
		Key: "user:corp:alice", Kind: subject.KindUser, ID: "alice", Issuer: "https://idp.example.com", Tenant: "acme", Roles: []string{"reader", "a, b"},
		Scopes: []string{"orders:read", "orders:list", "payments:write"},
		Claims: map[string]any{"exp": float64(now.Unix() + 3600), "azp": "shop", "level": float64(3), "exact": json.Number("9007199254740993"), "address": map[string]any{"city": "x"}, "mixed": []any{"a", true, 1.5}, "deep": []any{[]any{"a"}}},
	}
}

func TestTokenForTheAPI(t *testing.T) {
	m := newIssuer(t)
	stage, p, problems := minting(t, m, `token:
  claims: {tenant: subject.tenant, roles: subject.roles, order: params.id, level: claims.level, exact: claims.exact, mixed: claims.mixed, none: claims.none, dash: {attr: claims.none, missing: "-"}}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c := asked(p, known(), request.Header{{Name: "authorization", Value: "Bearer client"}})
	if outcome, err := stage.Evaluate(t.Context(), c); outcome != pipeline.Continue || err != nil {
		t.Fatal(outcome, err, c.Verdict.Reason)
	}
	value, _ := bearerOf(c, "authorization")
	raw, ok := strings.CutPrefix(value, "Bearer ")
	if !ok || slices.Contains(c.Verdict.Obligations.RemoveUpstream, "authorization") {
		t.Errorf("%q, removed %q", value, c.Verdict.Obligations.RemoveUpstream)
	}
	header, claims := read(t, raw)
	if diff := cmp.Diff(map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, header); diff != "" {
		t.Errorf("header (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{
		"iss": "https://durward.example.com", "aud": "orders-api", "sub": "user:corp:alice", "client_id": "shop", "orig_iss": "https://idp.example.com",
		"iat": float64(now.Unix()), "exp": float64(now.Unix() + 60), "jti": "d1", "scope": "orders:read orders:list",
		"tenant": "acme", "roles": []any{"reader", "a, b"}, "order": "7", "level": float64(3), "exact": float64(9007199254740993), "mixed": []any{"a", true, 1.5}, "dash": "-",
	}, claims); diff != "" {
		t.Errorf("claims (-want +got)\n%s", diff)
	}
	if payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1]); !strings.Contains(string(payload), `"exact":9007199254740993`) {
		t.Errorf("a number was rounded: %s", payload)
	}
}

func TestTokenVariants(t *testing.T) {
	own := func(change func(*subject.Subject)) subject.Subject {
		s := known()
		change(&s)
		return s
	}
	certificate := subject.Subject{Key: "service:mesh:payments", Kind: subject.KindService, ID: "payments"}
	for name, tt := range map[string]struct {
		text   string
		who    subject.Subject
		header string
		change func(*pipeline.Case)
		want   map[string]any // some claims; nil: no token
	}{
		"its own header":         {text: "token: {header: x-token, audience: a, ttl: 5s}", who: known(), header: "x-token", want: map[string]any{"aud": "a", "exp": float64(now.Unix() + 5)}},
		"a credential that ends": {text: "token: {}", who: own(func(s *subject.Subject) { s.Claims = map[string]any{"exp": float64(now.Unix() + 7)} }), want: map[string]any{"exp": float64(now.Unix() + 7)}},
		"and has just ended":     {text: "token: {}", who: own(func(s *subject.Subject) { s.Claims = map[string]any{"exp": float64(now.Unix())} }), want: map[string]any{"exp": float64(now.Unix() + 1)}},
		"client_id before azp":   {text: "token: {}", who: own(func(s *subject.Subject) { s.Claims = map[string]any{"client_id": "c", "azp": "a"} }), want: map[string]any{"client_id": "c"}},
		"a certificate":          {text: "token: {}", who: certificate, want: map[string]any{"sub": "service:mesh:payments", "client_id": "service:mesh:payments", "orig_iss": nil}},
		"a route without scopes": {text: "token: {}", who: known(), change: func(c *pipeline.Case) { c.Match.Route.Index = 1 }, want: map[string]any{"scope": nil}},
		"nobody":                 {text: "token: {}", who: subject.Anonymous()},
		"nobody, asked for":      {text: "token: {anonymous: true, claims: {tenant: subject.tenant}}", who: subject.Anonymous(), want: map[string]any{"sub": "anonymous", "client_id": "anonymous", "tenant": nil}},
		"nobody, nothing sent":   {text: "token: {}", who: subject.Anonymous(), change: func(c *pipeline.Case) { c.Request.Header = nil }, want: nil},
		"a dry run":              {text: "token: {}", who: known(), change: func(c *pipeline.Case) { c.Request.Mode = request.Dry }},
	} {
		t.Run(name, func(t *testing.T) {
			m := newIssuer(t)
			stage, p, problems := minting(t, m, tt.text+"\n")
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			header := tt.header
			if header == "" {
				header = "authorization"
			}
			underscored := strings.ReplaceAll(header, "-", "_")
			c := asked(p, tt.who, request.Header{{Name: header, Value: "Bearer forged"}, {Name: underscored, Value: "forged"}})
			if tt.change != nil {
				tt.change(c)
			}
			if outcome, err := stage.Evaluate(t.Context(), c); outcome != pipeline.Continue || err != nil {
				t.Fatal(outcome, err, c.Verdict.Reason)
			}
			value, set := bearerOf(c, header)
			if removed := slices.Contains(c.Verdict.Obligations.RemoveUpstream, header); set == removed || set != (tt.want != nil) || m.signed > 0 != set {
				t.Fatalf("set %v, removed %v, signed %d", set, removed, m.signed)
			}
			if underscored != header && len(c.Request.Header) > 0 && !slices.Contains(c.Verdict.Obligations.RemoveUpstream, underscored) {
				t.Errorf("%s passes", underscored)
			}
			if !set {
				return
			}
			raw, isBearer := strings.CutPrefix(value, "Bearer ")
			if isBearer != (header == "authorization") {
				t.Errorf("%s: %q", header, value)
			}
			_, claims := read(t, raw)
			for name, want := range tt.want {
				if got := claims[name]; got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestTokenDenials(t *testing.T) {
	long := known()
	long.Tenant = strings.Repeat("x", maxValue)
	broken := known()
	broken.Tenant = "\xff"
	for name, tt := range map[string]struct {
		claims string
		err    error
		who    subject.Subject
		header request.Header
		want   verdict.Reason
		outage bool
	}{
		"no key":            {err: errors.New("no signing key"), who: known(), want: verdict.UpstreamToken, outage: true},
		"too long":          {claims: "tenant: subject.tenant", who: long, want: verdict.HeaderUnsafe},
		"no text":           {claims: "tenant: subject.tenant", who: broken, want: verdict.HeaderUnsafe},
		"an object":         {claims: "address: claims.address", who: known(), want: verdict.HeaderUnsafe},
		"a list in a list":  {claims: "deep: claims.deep", who: known(), want: verdict.HeaderUnsafe},
		"twice":             {claims: "trace: request.header.x-trace", who: known(), header: request.Header{{Name: "x-trace", Value: "a"}, {Name: "x-trace", Value: "b"}}, want: verdict.AttributeMany},
		"named by a client": {who: known(), header: request.Header{{Name: "connection", Value: "close, Authorization"}}, want: verdict.HeaderInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			m := newIssuer(t)
			m.err = tt.err
			stage, p, problems := minting(t, m, "token: {claims: {"+tt.claims+"}}\n")
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			c := asked(p, tt.who, tt.header)
			outcome, err := stage.Evaluate(t.Context(), c)
			if outcome != pipeline.Stop || err != nil || c.Verdict.Reason != tt.want || c.IsOutage() != tt.outage || len(c.Verdict.Obligations.SetUpstream) > 0 {
				t.Errorf("%v, %v, %s, outage %v", outcome, err, c.Verdict.Reason, c.IsOutage())
			}
			if info := tt.want.Info(); tt.outage && (info.Status != 503 || info.Public != verdict.Unavailable) {
				t.Errorf("%+v", info)
			}
		})
	}
}

func TestTokenProblems(t *testing.T) {
	many := make([]string, 0, maxClaims+1)
	for i := range maxClaims + 1 {
		many = append(many, fmt.Sprintf("c%d: action", i))
	}
	for name, tt := range map[string]struct {
		text, want string
		none       bool
	}{
		"no issuer":             {text: "token: {}", none: true, want: "service.yaml:2:3: wants an issuer of such tokens"},
		"a header set":          {text: "headers: {x-a: action}\ntoken: {header: x-a}", want: "x-a is set by upstream.headers already"},
		"in another spelling":   {text: "headers: {x-a: action}\ntoken: {header: x_a}", want: "x_a is set by upstream.headers already"},
		"a header removed":      {text: "token: {}\nremove: [authorization]", want: "authorization is set and cannot be removed"},
		"framing":               {text: "token: {header: proxy-authorization}", want: "cannot be set"},
		"ours":                  {text: "token: {header: x-durward-decision-id}", want: "always"},
		"capitals":              {text: "token: {header: X-Token}", want: "lower case"},
		"short":                 {text: "token: {ttl: 4s}", want: "5s to 10min"},
		"long":                  {text: "token: {ttl: 11min}", want: "5s to 10min"},
		"not whole":             {text: "token: {ttl: 5500ms}", want: "whole seconds"},
		"an audience":           {text: "token: {audience: " + strings.Repeat("x", 129) + "}", want: "at most 128"},
		"a claim of ours":       {text: "token: {claims: {sub: subject.id}}", want: "sub has a meaning of its own"},
		"a claim that confuses": {text: "token: {claims: {cnf: claims.cnf}}", want: "cnf has a meaning of its own"},
		"an object":             {text: "token: {claims: {all: claims}}", want: "claims is a whole object"},
		"an attribute":          {text: "token: {claims: {a: subject.tenat}}", want: "did you mean"},
		"a parameter":           {text: "token: {claims: {a: params.nobody}}", want: "no parameter {nobody}"},
		"a name":                {text: "token: {claims: {\" a\": action}}", want: "visible ASCII"},
		"too many":              {text: "token: {claims: {" + strings.Join(many, ", ") + "}}", want: "more than 32"},
	} {
		t.Run(name, func(t *testing.T) {
			var m Minter
			if !tt.none {
				m = newIssuer(t)
			}
			s := format.Service{Name: "orders", Routes: []format.Route{{Path: "/orders/{id}"}}}
			s.File = &format.File{Path: "service.yaml", Data: []byte("upstream:\n  " + strings.ReplaceAll(tt.text, "\n", "\n  ") + "\n")}
			var whole struct {
				Upstream format.Upstream `yaml:"upstream"`
			}
			if problems := format.Decode(s.File, &whole); len(problems) > 0 {
				t.Fatal(problems)
			}
			s.Upstream = whole.Upstream
			_, problems := New(Options{Minter: m}).Compile(&format.Bundle{}, &s)
			if !strings.Contains(problems.Error(), tt.want) {
				t.Errorf("%v\ndoes not hold %q", problems, tt.want)
			}
		})
	}
}

// TestTokenAudienceByDefault: the first audience, or the service's name.
func TestTokenAudienceByDefault(t *testing.T) {
	var u format.Upstream
	if problems := format.Decode(&format.File{Path: "s", Data: []byte("token: {}\n")}, &u); len(problems) > 0 {
		t.Fatal(problems)
	}
	compiled, problems := New(Options{Minter: newIssuer(t)}).Compile(&format.Bundle{}, &format.Service{Name: "orders", Upstream: u})
	if len(problems) > 0 || compiled.(*part).token.audience != "orders" || compiled.(*part).token.ttl != time.Minute {
		t.Errorf("%+v, %v", compiled, problems)
	}
}

func BenchmarkMint(b *testing.B) {
	m := newIssuer(b)
	stage, p, problems := minting(b, m, "token: {claims: {tenant: subject.tenant, roles: subject.roles}}\n")
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	who := known()
	b.ReportAllocs()
	for b.Loop() {
		if outcome, err := stage.Evaluate(b.Context(), asked(p, who, nil)); outcome != pipeline.Continue || err != nil {
			b.Fatal(outcome, err)
		}
	}
}
