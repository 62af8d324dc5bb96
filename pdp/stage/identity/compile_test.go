package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// replaced returns the files with one text of one file replaced.
func replaced(t testing.TB, files map[string]string, path, before, after string) map[string]string {
	t.Helper()
	if !strings.Contains(files[path], before) {
		t.Fatalf("%s has no %q", path, before)
	}
	out := maps.Clone(files)
	out[path] = strings.Replace(files[path], before, after, 1)
	return out
}

func problemsOf(t testing.TB, files map[string]string) []string {
	t.Helper()
	b, s := load(t, files)
	part, problems := New(Options{}).Compile(b, s)
	if (part == nil) != (len(problems) > 0) {
		t.Errorf("part %v with %d problems", part != nil, len(problems))
	}
	var out []string
	for _, p := range problems {
		out = append(out, p.Position.String()+": "+p.Message)
	}
	return out
}

func TestProblems(t *testing.T) {
	w := newWorld(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(jwks(t, signer(t, p384, "ES384", "wrong")), "ES384", "ES256", 1)
	foreign := strings.Replace(jwks(t, signer(t, p384, "ES384", "foreign")), `"sig"`, `"enc"`, 1)
	corp := w.files["keys/corp.jwks.json"]
	beside := func(set string) string {
		return strings.TrimSuffix(corp, "]}") + ",\n" + strings.TrimPrefix(set, `{"keys":[`)
	}
	const (
		bundle  = "bundle.yaml"
		service = "services/orders/service.yaml"
		keys    = "keys/corp.jwks.json"
	)
	for _, row := range []struct{ name, path, before, after, want string }{
		{"sound", bundle, "acme", "acme", ""},
		{"aud-unset", service, ", audiences: [orders-api, refunds-api]", "",
			service + ":4:1: audiences are mandatory for tokens: the list of audiences is empty or holds an empty name"},
		{"empty audience", service, "refunds-api", `""`,
			service + ":4:67: audiences are mandatory for tokens: the list of audiences is empty or holds an empty name"},
		{"unknown authenticator", service, "[corp,", "[crop,", service + `:4:37: the bundle has no authenticator "crop"`},
		{"unknown kind", bundle, "kind: jwt", "kind: basic",
			bundle + `:5:11: this version has no authenticators of kind "basic", only jwt, introspection, mtls and api_key`},
		{"unknown mode", service, "mode: required", "mode: lax", service + `:4:18: "lax" is no mode; write required, optional or none`},
		{"unknown mode of a route", service, "identity: optional", "identity: Optional",
			service + `:9:61: "Optional" is no mode; write required, optional or none`},
		{"no issuer", bundle, "    issuer: https://idp.example.com\n", "", bundle + ":4:3: the issuer is missing: tokens are taken from one exact iss alone"},
		{"one issuer twice", bundle, "https://partner.example.com", "https://idp.example.com",
			service + `:4:43: the authenticators "corp" and "partner" have the same issuer: a token would have two meanings`},
		{"no algorithms", bundle, "    algorithms: [ES256]\n", "", bundle + ":4:3: the list of algorithms is missing or empty"},
		{"none", bundle, "[ES256]", "[ES256, none]", bundle + `:7:25: "none" is not a supported algorithm`},
		{"unknown algorithm", bundle, "[ES256]", "[es256]", bundle + `:7:18: "es256" is not a supported algorithm`},
		{"HS256", bundle, "[ES256]", "[HS256]", bundle + ":7:18: HS256 needs a secret that issuer and server share, and the keys here are public"},
		{"type", bundle, "[at+jwt, JWT]", "[at+jwt, logout+jwt]", bundle + `:16:21: tokens of type "logout+jwt" are not credentials`},
		{"leeway", bundle, "leeway: 0s", "leeway: 121s", bundle + ":17:13: the leeway is not between 0 and 120 s"},
		{"lifetime", bundle, "max_lifetime: 1h", "max_lifetime: 0s", bundle + ":18:19: a max_lifetime of zero would accept no token"},
		{"claim path", bundle, "tenant: tenant", "tenant: a..b", bundle + ":9:32: a claim path has an empty name"},
		{"no keys", bundle, "    jwks: {file: keys/corp.jwks.json}\n", "",
			bundle + ":4:3: an issuer's keys have one place: write jwks: {file: PATH}, {url: https://…} or {discovery: true}"},
		{"keys in two places", bundle, "{file: keys/corp.jwks.json}", "{file: keys/corp.jwks.json, discovery: true}",
			bundle + ":8:5: an issuer's keys have one place: write jwks: {file: PATH}, {url: https://…} or {discovery: true}"},
		{"keys by URL", bundle, "{file: keys/corp.jwks.json}", "{url: \"https://idp.example.com:8443/keys?a=b\", max_stale: 0s}", ""},
		{"keys by discovery", bundle, "{file: keys/corp.jwks.json}", "{discovery: true, max_stale: 720h}", ""},
		{"keys in plain text", bundle, "{file: keys/corp.jwks.json}", "{url: \"http://idp.example.com/keys\"}",
			bundle + ":8:17: url must be an https URL with a host, in ASCII, without user and fragment"},
		{"keys that are too old", bundle, "{file: keys/corp.jwks.json}", "{discovery: true, max_stale: 721h}", bundle + ":8:40: max_stale is between 0s and 720h"},
		{"a file that grows old", bundle, "{file: keys/corp.jwks.json}", "{file: keys/corp.jwks.json, max_stale: 1h}",
			bundle + ":8:50: max_stale has no meaning for keys in a file, which are never fetched"},
		{"no such keys", bundle, "keys/corp.jwks.json", "keys/crop.jwks.json", bundle + `:8:18: the bundle has no file "keys/crop.jwks.json"`},
		{"keys that are no JSON", keys, corp, "{\n \"keys\": [", keys + ":2:11: ends too early"},
		{"no keys in the set", keys, corp, `{"keys":[]}`, keys + ":1:1: no usable key: the set is empty"},
		{"a secret", keys, corp, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, keys + ":1:10: a secret (kty oct) in a set of public keys"},
		{"no usable key", keys, corp, wrong, keys + ":1:10: no usable key: alg does not fit the key's type, curve or size"},
		{"a wrong key beside a good one", keys, corp, beside(wrong), keys + ":2:1: alg does not fit the key's type, curve or size"},
		{"a foreign key beside a good one", keys, corp, beside(foreign), ""},
		{"no claim of roles", bundle, "from: realm_access.roles, ", "", bundle + ":10:5: from is missing: it names the claim that holds the roles"},
		{"no roles", bundle, ", allow: [reader, writer]", "",
			bundle + `:10:5: allow is missing: it lists the roles that the authenticator may assert, "*" for all`},
		{"a role like a subject", bundle, "[reader, writer]", `["user:corp:root", writer]`,
			bundle + `:10:47: "user:corp:root" can be no role: a role is 1 to 256 bytes without control characters and looks unlike the key of a subject`},
		{"no names", bundle, `    sans: ["spiffe://example.com/ns/prod/pilot"]` + "\n", "",
			bundle + ":24:3: sans and spiffe are missing: they list the subject alternative names to accept"},
		{"every certificate", bundle, "billing.example.com", `"*"`, bundle + ":23:46: the pattern would accept every certificate"},
		{"the first label", bundle, "billing.example.com", `"*.example.com"`, ""},
		{"every host", bundle, "billing.example.com", `"*."`, bundle + ":23:46: the pattern would accept every certificate"},
		{"a * inside", bundle, "billing.example.com", `"a.*.example.com"`,
			bundle + ":23:46: a * stands at the end of a URI, or as *. for the first label of a DNS name; an e-mail name has none"},
		{"a * behind a name", bundle, "billing.example.com", `"billing.*"`,
			bundle + ":23:46: a * stands at the end of a URI, or as *. for the first label of a DNS name; an e-mail name has none"},
		{"any mailbox", bundle, "ops@example.com", `"*@example.com"`,
			bundle + ":23:67: a * stands at the end of a URI, or as *. for the first label of a DNS name; an e-mail name has none"},
		{"any host of a URI", bundle, "billing.example.com", `"https://exam*"`,
			bundle + ":23:46: the * of a URI must stand in its path, or the host could be anybody's"},
		{"any trust domain", bundle, "billing.example.com", `"spiffe://exam*"`,
			bundle + ":23:46: pattern of SPIFFE ids: no SPIFFE id: a trust domain holds lower-case letters, digits, dots, hyphens and underscores"},
		{"a part of a segment", bundle, "/ns/prod/*", "/ns/pr*",
			bundle + `:23:12: pattern of SPIFFE ids: "pr*" is no segment; write a literal, {name}, or * as the last one: no SPIFFE id: a path holds letters, digits, dots, hyphens and underscores`},
		{"roles of certificates", bundle, "    sans: [\"spiffe://example.com/ns/prod/pilot\"]", "    sans: [a.example.com]\n    roles: {from: a, allow: [b]}",
			bundle + ":27:19: no path under spiffe has {a}"},
		{"nobody accepted", service, "accept: [corp, partner, mesh, pilots]", "accept: []",
			service + ":4:28: accept names no authenticator, and routes that are not public need one; name one, or write mode: none"},
		{"scopes without tokens", service, "[corp, partner, mesh, pilots]", "[mesh]",
			service + ":8:51: neither tokens nor keys are accepted here, so nobody could have the scopes\n" +
				service + ":11:71: neither tokens nor keys are accepted here, so nobody could have the scopes"},
		{"scopes of nobody", service, "identity: optional, scopes", "identity: none, scopes",
			service + ":11:67: neither tokens nor keys are accepted here, so nobody could have the scopes"},
		{"a scope with a space", service, "[basket]", `["a b"]`, service + `:11:80: "a b" is no scope: printable ASCII without space, quote and backslash`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := strings.Join(problemsOf(t, replaced(t, w.files, row.path, row.before, row.after)), "\n")
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblemsTogether(t *testing.T) {
	w := newWorld(t)
	files := replaced(t, w.files, "bundle.yaml", "[ES256]", "[none, HS256]")
	files = replaced(t, files, "services/orders/service.yaml", "mode: required", "mode: never")
	if got := problemsOf(t, files); len(got) != 3 {
		t.Errorf("want all three problems at once, got:\n%s", strings.Join(got, "\n"))
	}
}

// A service that takes no credentials needs nobody to vouch for them.
func TestNoIdentity(t *testing.T) {
	w := newWorld(t)
	files := maps.Clone(w.files)
	files["services/orders/service.yaml"] = `service: orders
identity: {mode: none}
routes:
  - {name: open, path: /open, methods: [GET]}
  - {name: health, path: /health, methods: [GET], access: public}
`
	if got := problemsOf(t, files); len(got) > 0 {
		t.Error(got)
	}
}
