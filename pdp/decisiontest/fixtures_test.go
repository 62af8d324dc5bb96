package decisiontest_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/decisiontest"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
)

// lab and session are the engine of a server, as the runner sees it.
type lab struct{ *assembly.Offline }

func (l lab) Open(now time.Time) (decisiontest.Session, error) {
	s, err := l.Offline.Open(now)
	return session{s}, err
}

type session struct{ *assembly.Session }

func (s session) Decide(ctx context.Context, r *request.Request, as *subject.Subject) decisiontest.Answer {
	var a decisiontest.Answer
	a.Service, a.Route = s.Place(r)
	if as != nil {
		a.Verdict = s.DecideAs(ctx, r, *as)
	} else {
		a.Verdict = s.Session.Decide(ctx, r)
	}
	return a
}

func (s session) Set(now time.Time, redisDown bool) {
	s.SetTime(now)
	s.SetOutage(redisDown)
}

// policy is a bundle of one service, without tests. Its keys are replaced by throw-away ones; they must only be sound.
var policy = map[string]string{
	"bundle.yaml": `format: 1
requires: "1.0"
name: shop
authenticators:
  corp:
    kind: jwt
    issuer: https://idp.example.com
    algorithms: [ES256, RS256]
    jwks: {file: keys/corp.jwks.json}
    subject: {id: sub, tenant: tenant, scopes: scope}
    roles: {from: roles, allow: [reader, writer]}
  workloads: {kind: mtls, sans: ["spiffe://example.com/*"]}
`,
	"keys/corp.jwks.json": `{"keys":[{"kty":"EC","use":"sig","alg":"ES256","kid":"a","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}
`,
	"services/orders/service.yaml": `service: orders
match: [{host: "*.example.com"}]
identity: {mode: required, accept: [corp, workloads], audiences: [orders-api]}
policies:
  - name: main
    model: model.conf
    rules: [policy.csv]
    request: {sub: subject.key, act: action}
    token_roles: {from: subject.roles, relation: g}
upstream:
  headers: {x-subject: subject.id}
  token: {header: x-token, claims: {tenant: subject.tenant, roles: subject.roles}}
limit_definitions:
  per-subject: {rate: 60/min, burst: 2, by: [subject.key]}
  logins: {rate: 2/min, by: [client.network], count: all, at: gate, on_error: deny}
  heads: {by: [subject.key], when: {request.method: HEAD}, by_class: {of: subject.roles, first_of: [{writer: 60/min}], otherwise: 20/min}}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login, limits: [logins], body: {max: 4, types: [application/json]}}
  - {name: read, path: "/orders/{id}/{rest...}", methods: [GET, HEAD], action: read, limits: [per-subject, heads]}
  - {name: write, path: "/orders/{id}", methods: [PUT], action: write, scopes: [orders]}
`,
	"ratelimits/edge.yaml": `domain: edge
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 3}}
  - {key: tenant, descriptors: [{key: path, value: "/a*", rate_limit: {unit: day, requests_per_unit: 10}}]}
compat: {charge_denied: true, on_error: deny}
`,
	"services/orders/model.conf": `[request_definition]
r = sub, act
[policy_definition]
p = sub, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.act == p.act
`,
	"services/orders/policy.csv": `# rules
p, reader, read
p, writer, write
g, writer, reader
g, service:workloads:spiffe://example.com/batch, reader
`,
}

// people are what most suites begin with.
const people = `suite: s
tokens:
  alice: {authenticator: corp, claims: {sub: alice, aud: orders-api, roles: [reader], scope: orders}}
  bob: {extends: alice, claims: {sub: bob, roles: [writer]}}
  stale: {extends: alice, exp: -1s}
  later: {extends: alice, nbf: +1h}
  signed: {extends: alice, header: {alg: RS256}}
  other-key: {extends: alice, header: {kid: other}}
  nameless: {extends: alice, omit: [sub]}
  junk: {raw: junk}
certificates:
  batch: {sans: ["spiffe://example.com/batch"]}
  old: {sans: ["spiffe://example.com/batch"], not_after: -1s}
subjects:
  carol: {key: "user:corp:carol", roles: [writer], scopes: [orders]}
  dave: {kind: user, authenticator: corp, id: dave, roles: [writer]}
  nobody: {key: anonymous}
`

// with returns the policy's files and the suites.
func with(suites map[string]string) map[string][]byte {
	contents := map[string][]byte{}
	for name, text := range policy {
		contents[name] = []byte(text)
	}
	for name, text := range suites {
		contents[name] = []byte(text)
	}
	return contents
}

// open compiles the files and loads their suites.
func open(t testing.TB, contents map[string][]byte) (decisiontest.Options, format.Problems) {
	t.Helper()
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: maps.Clone(contents), TestKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	suites, problems := decisiontest.Load(off.Bundle())
	return decisiontest.Options{Lab: lab{off}, Bundle: off.Bundle(), Suites: suites}, problems
}

// run runs one suite.
func run(t testing.TB, text string) *decisiontest.Report {
	t.Helper()
	options, problems := open(t, with(map[string]string{"tests/s.yaml": text, "tests/a.json": "{}"}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// cases returns a suite of cases, each written as its request and what is expected of it.
func cases(lines ...string) string {
	var b strings.Builder
	b.WriteString(people + "cases:\n")
	for i, line := range lines {
		if strings.Contains(line, "steps:") || strings.Contains(line, "given:") {
			fmt.Fprintf(&b, "  - {name: c%d, %s}\n", i, line)
		} else {
			request, expect, _ := strings.Cut(line, " => ")
			fmt.Fprintf(&b, "  - {name: c%d, request: {host: a.example.com, %s}, expect: {%s}}\n", i, request, expect)
		}
	}
	return b.String()
}
