package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	bundles "github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/identity"
)

// tokenCache is room for all tokens of the contest.
const tokenCache = 8 << 20

// credentialKind is one way to say who calls.
type credentialKind struct {
	name string
	// establish returns what makes a subject of a request with such a credential, which is kept for a while, or each time new.
	establish func(kept bool) (func(context.Context) error, error)
}

// runIdentity asks the identity stage for the subject of a request, for each kind of credential: one that it has seen before where the
// stage keeps some, and one that it has not. Beside each stands golang-jwt alone with the same token, an ES256 one where the
// credential is none; it makes no subject of the claims.
func runIdentity(ctx context.Context, s Setup) ([]Row, error) {
	issuers := map[string]*issuer{}
	for _, algorithm := range []string{"ES256", "RS256"} {
		i, err := newIssuer(algorithm, time.Now())
		if err != nil {
			return nil, err
		}
		issuers[algorithm] = i
	}
	var matches []match
	for _, kind := range []credentialKind{
		{"jwt_ES256", issuers["ES256"].establish},
		{"jwt_RS256", issuers["RS256"].establish},
		{"opaque", establishOpaque},
		{"api_key", establishKey},
		{"dpop", issuers["ES256"].establishBound},
		{"mtls", establishWorkload},
	} {
		fresh, err := kind.establish(false)
		if err != nil {
			return nil, err
		}
		kept, err := kind.establish(true)
		if err != nil {
			return nil, err
		}
		plain := issuers["ES256"]
		if kind.name == "jwt_RS256" {
			plain = issuers["RS256"]
		}
		matches = append(matches, match{name: "identity/" + kind.name, rounds: s.Rounds, contenders: []contender{
			repeated("durward", s.Span, fresh), repeated("durward_again", s.Span, kept), repeated("golang-jwt", s.Span, plain.verifyPlainly()),
		}})
	}
	return runAll(ctx, matches)
}

// establish returns what makes a subject of a request with the issuer's token.
func (i *issuer) establish(kept bool) (func(context.Context) error, error) {
	files := i.bundle("")
	o := identity.Options{}
	if kept {
		o.TokenCache = tokenCache
	}
	return establishing(files, o, "user:corp:", func(r *request.Request) {
		r.Header = request.Header{{Name: "authorization", Value: "Bearer " + i.bearer}}
	})
}

// bundle takes the issuer's tokens, with more of what identity is.
func (i *issuer) bundle(more string) map[string]string {
	return map[string]string{
		"bundle.yaml": fmt.Sprintf(`format: 1
requires: "1.0"
name: bench
authenticators:
  corp:
    kind: jwt
    issuer: %s
    algorithms: [%s]
    jwks: {file: keys/corp.jwks.json}
    subject: {id: sub, tenant: tenant, scopes: scope}
    roles: {from: realm_access.roles, allow: [reader]}
`, issuerName, i.algorithm),
		"keys/corp.jwks.json":          string(i.keys),
		"services/orders/service.yaml": serviceOf("identity: {" + more + "accept: [corp], audiences: [" + audience + "]}"),
	}
}

// establishWorkload returns what makes a subject of a request with a client certificate that the gateway verified. Nothing is kept of it.
func establishWorkload(bool) (func(context.Context) error, error) {
	files := map[string]string{
		"bundle.yaml": `format: 1
requires: "1.0"
name: bench
authenticators:
  mesh: {kind: mtls, sans: ["spiffe://example.com/ns/shop/*"]}
`,
		"services/orders/service.yaml": serviceOf("identity: {accept: [mesh]}"),
	}
	return establishing(files, identity.Options{}, "service:mesh:", func(r *request.Request) {
		r.Certificate = &request.Certificate{URIs: []string{"spiffe://example.com/ns/shop/sa/billing"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	})
}

func serviceOf(identityLine string) string {
	return "service: orders\nmatch: [{host: orders.example.com}]\n" + identityLine + "\nroutes:\n  - {name: read, path: /orders, methods: [GET]}\n"
}

// establishing compiles a bundle with one route for the identity stage, and returns what asks it about a request and wants a subject
// whose key begins with a text.
func establishing(files map[string]string, o identity.Options, key string, prepare func(*request.Request)) (func(context.Context) error, error) {
	contents := map[string][]byte{}
	for path, text := range files {
		contents[path] = []byte(text)
	}
	stage := identity.New(o)
	snapshot, problems := bundles.Build(contents, bundles.Options{Compilers: []bundles.Compiler{stage}})
	if len(problems) > 0 {
		return nil, fmt.Errorf("compiling the bundle: %w", problems)
	}
	var service *pipeline.Service
	for _, only := range snapshot.Services {
		service = only
	}
	r := &request.Request{Method: "GET", Scheme: "https", Host: "orders.example.com", Target: "/orders"}
	prepare(r)
	return func(ctx context.Context) error {
		c := pipeline.Case{
			Facts:   attribute.Facts{Request: r, Match: route.Match{Service: service.Route, Route: service.Route.Routes[0]}, Now: time.Now()},
			Service: service,
		}
		outcome, err := stage.Evaluate(ctx, &c)
		if err == nil && (outcome != pipeline.Continue || !strings.HasPrefix(c.Subject.Key, key)) {
			err = fmt.Errorf("%w: %s", errAnswer, c.Verdict.Reason)
		}
		return err
	}, nil
}
