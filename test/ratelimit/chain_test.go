package ratelimit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/token"
)

// chainConfig is an Envoy with both filters: ext_authz asks the first server, ratelimit the second. What ext_authz says of
// the subject becomes a descriptor. A log-in looks at the limit of failures before it is tried, and the API's own word,
// a response header that clients never see, is charged when the response has gone.
const chainConfig = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
    - name: edge
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: edge
                normalize_path: true
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {path: /login}
                          route: {cluster: api}
                          typed_per_filter_config:
                            envoy.filters.http.ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                              rate_limits:
                                - actions: [{request_headers: {header_name: x-account, descriptor_key: failed_login}}]
                                  hits_addend: {number: 0}
                                - actions: [{request_headers: {header_name: x-account, descriptor_key: failed_login}}]
                                  hits_addend: {format: "%DYNAMIC_METADATA(api.outcome:login_failures)%"}
                                  apply_on_stream_done: true
                        - match: {prefix: /}
                          route:
                            cluster: api
                            rate_limits:
                              - actions:
                                  - metadata:
                                      descriptor_key: subject
                                      default_value: unknown
                                      metadata_key: {key: envoy.filters.http.ext_authz, path: [{key: subject}]}
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 10s}
                      failure_mode_allow: false
                      encode_raw_headers: true
                      validate_mutations: true
                  - name: envoy.filters.http.header_to_metadata
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
                      response_rules:
                        - header: x-login-failures
                          on_header_present: {metadata_namespace: api.outcome, key: login_failures, type: NUMBER}
                          remove: true
                  - name: envoy.filters.http.ratelimit
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
                      domain: edge
                      timeout: 10s
                      failure_mode_deny: true
                      status_on_error: {code: ServiceUnavailable}
                      enable_x_ratelimit_headers: DRAFT_VERSION_03
                      rate_limit_service:
                        transport_api_version: V3
                        grpc_service: {envoy_grpc: {cluster_name: limits}}
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: api
      type: STATIC
      connect_timeout: 5s
      load_assignment:
        cluster_name: api
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: API}}}}]}]
    - name: authz
      type: STATIC
      connect_timeout: 5s
      typed_extension_protocol_options: &http2
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: authz
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: HOST, port_value: PORT}}}}]}]
    - name: limits
      type: STATIC
      connect_timeout: 5s
      typed_extension_protocol_options: *http2
      load_assignment:
        cluster_name: limits
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: HOST2, port_value: PORT2}}}}]}]
`

// chainLimits count in years, so that no window ends while a test runs.
const chainLimits = `domain: edge
descriptors:
  - {key: subject, rate_limit: {unit: year, requests_per_unit: 3}}
  - {key: failed_login, rate_limit: {unit: year, requests_per_unit: 2}}
compat: {charge_denied: true}   # what comes after the response must be counted whatever is left
`

// authzBundle lets everybody with a token read, and nobody delete.
func authzBundle(t *testing.T, s *token.Signer) map[string]string {
	t.Helper()
	keys, err := token.MarshalKeySet(s)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"bundle.yaml": `format: 1
name: acme
authenticators:
  corp: {kind: jwt, issuer: "https://idp.example.com", algorithms: [ES256], jwks: {file: keys/corp.jwks.json}}
`,
		"keys/corp.jwks.json": string(keys),
		"services/api/service.yaml": `service: api
match: [{host: api.example.com}]
tls: optional
identity: {mode: required, accept: [corp], audiences: [api]}
policies: [{name: main, model: model.conf, rules: [policy.csv], request: {act: action}}]
limit_definitions: {logins: {rate: 1000/min, by: [client.address]}}
routes:
  - {name: read, path: /read, methods: [GET], action: read}
  - {name: delete, path: /read, methods: [DELETE], action: delete}
  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login, limits: [logins]}
`,
		"services/api/model.conf": `[request_definition]
r = act
[policy_definition]
p = act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act
`,
		"services/api/policy.csv": "p, read\n",
	}
}

// chain is an Envoy with both filters, and what stands behind it.
type chain struct {
	url           string
	authz, limits *server
	signer        *token.Signer
}

func startChain(t *testing.T, config string) *chain {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &chain{}
	if c.signer, err = token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "one", Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	both := func(s *settings.Settings) { s.Listeners[0].Protocols = []string{"ext_authz", "ratelimit"} }
	c.authz = startWith(t, authzBundle(t, c.signer), both)
	c.limits = start(t, chainLimits)
	c.url = startEnvoy(t, config, logIn, c.authz, c.limits)
	return c
}

// logIn is an API that knows one password, and tells the gateway of wrong ones.
func logIn(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/login" && r.Header.Get("X-Password") != "right" {
		w.Header().Set("X-Login-Failures", "1")
		w.WriteHeader(http.StatusUnauthorized)
	}
	_, _ = w.Write([]byte("the API"))
}

// as returns the header fields of a request by a subject; "" has no token.
func (c *chain) as(t *testing.T, subject string) http.Header {
	t.Helper()
	header := http.Header{"Host": {"api.example.com"}}
	if subject == "" {
		return header
	}
	now := time.Now()
	signed, err := c.signer.Sign("at+jwt", map[string]any{
		"iss": "https://idp.example.com", "sub": subject, "aud": "api", "client_id": "test", "jti": rand.Text(),
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	header.Set("Authorization", "Bearer "+signed)
	return header
}

// left returns what a limit of the domain has left, without a charge.
func (s *server) left(t *testing.T, key, value string) uint32 {
	t.Helper()
	out, err := s.ask(t, `{"domain":"edge","descriptors":[{"entries":[{"key":"`+key+`","value":"`+value+`"}],"hitsAddend":"0"}]}`)
	if err != nil || len(out.GetStatuses()) != 1 {
		t.Fatalf("%s=%s: %v, %v", key, value, out, err)
	}
	return out.GetStatuses()[0].GetLimitRemaining()
}

// TestBothFilters: ext_authz decides first, and whom it named is limited; what it denies costs nothing.
func TestBothFilters(t *testing.T) {
	c := startChain(t, chainConfig)
	read := c.url + "read"
	for i, denied := range []struct {
		method, subject string
		status          int
	}{{http.MethodGet, "", 401}, {http.MethodDelete, "alice", 403}, {http.MethodDelete, "alice", 403}, {http.MethodDelete, "alice", 403}} {
		status, header, _ := send(t, denied.method, read, c.as(t, denied.subject))
		if status != denied.status || header.Get("x-ratelimit-limit") != "" || header.Get("RateLimit-Limit") != "" {
			t.Errorf("denial %d: %d, %v", i, status, header)
		}
	}
	for _, subject := range []string{"user:corp:alice", "anonymous", "unknown"} {
		if left := c.limits.left(t, "subject", subject); left != 3 {
			t.Errorf("denials charged the limit of %s: %d of 3 left", subject, left)
		}
	}
	for i, want := range []struct {
		status    int
		remaining string
	}{{200, "2"}, {200, "1"}, {200, "0"}, {429, "0"}} {
		status, header, body := get(t, read, c.as(t, "alice"))
		if status != want.status || (status == http.StatusOK) != (body == "the API") {
			t.Errorf("request %d: %d %q, want %d", i, status, body, want.status)
		}
		if !strings.HasPrefix(header.Get("x-ratelimit-limit"), "3, 3;w=") || header.Get("x-ratelimit-remaining") != want.remaining || header.Get("x-ratelimit-reset") == "" {
			t.Errorf("request %d: %v", i, header)
		}
	}
	if status, header, _ := get(t, read, c.as(t, "bob")); status != http.StatusOK || header.Get("x-ratelimit-remaining") != "2" {
		t.Errorf("bob: %d, %v", status, header)
	}
	if left := c.limits.left(t, "subject", "user:corp:alice"); left != 0 {
		t.Errorf("alice has %d left", left)
	}
	if left := c.limits.left(t, "subject", "unknown"); left != 3 {
		t.Errorf("a request came without a subject: %d of 3 left", left)
	}
}

// TestFailureMode: without the service of limits, Envoy denies or lets pass as failure_mode_deny says. ext_authz still denies.
func TestFailureMode(t *testing.T) {
	for name, c := range map[string]struct {
		deny string
		want int
	}{"closed": {"true", http.StatusServiceUnavailable}, "open": {"false", http.StatusOK}} {
		t.Run(name, func(t *testing.T) {
			chain := startChain(t, strings.Replace(chainConfig, "failure_mode_deny: true", "failure_mode_deny: "+c.deny, 1))
			read := chain.url + "read"
			if status, _, _ := get(t, read, chain.as(t, "alice")); status != http.StatusOK {
				t.Fatalf("with the service: %d", status)
			}
			chain.limits.stop(t)
			if status, _, body := get(t, read, chain.as(t, "alice")); status != c.want {
				t.Errorf("without it: %d %q, want %d", status, body, c.want)
			}
			if status, _, _ := send(t, http.MethodDelete, read, chain.as(t, "alice")); status != http.StatusForbidden {
				t.Errorf("a denial by policy: %d", status)
			}
		})
	}
}

// TestFailedLogins: what the API alone knows, that a password was wrong, is charged when its response has gone, and the
// next attempt is refused before the API sees it. Right passwords cost nothing.
func TestFailedLogins(t *testing.T) {
	c := startChain(t, chainConfig)
	try := func(account, password string) int {
		header := c.as(t, "")
		header.Set("X-Account", account)
		header.Set("X-Password", password)
		status, answered, _ := send(t, http.MethodPost, c.url+"login", header)
		if answered.Get("X-Login-Failures") != "" {
			t.Error("the client sees what is for the gateway")
		}
		return status
	}
	await := func(account string, want uint32) {
		for end := time.Now().Add(patience); c.limits.left(t, "failed_login", account) != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s has %d left, want %d", account, c.limits.left(t, "failed_login", account), want)
			}
		}
	}
	for range 3 {
		if status := try("alice", "right"); status != http.StatusOK {
			t.Fatalf("a right password: %d", status)
		}
	}
	await("alice", 2)
	for left := uint32(1); ; left-- {
		if status := try("alice", "wrong"); status != http.StatusUnauthorized {
			t.Fatalf("a wrong password, %d before it is the last: %d", left, status)
		}
		if await("alice", left); left == 0 { // the charge comes behind the response
			break
		}
	}
	for _, password := range []string{"wrong", "right"} {
		if status := try("alice", password); status != http.StatusTooManyRequests {
			t.Errorf("after two failures, a %s password: %d", password, status)
		}
	}
	if status := try("bob", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("another account: %d", status)
	}
}
