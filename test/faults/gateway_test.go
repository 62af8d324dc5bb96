package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	"github.com/durward-pdp/durward/pdp/token"
)

// ordersService is the service that most tests use: three limits that differ in what they do without Redis.
const ordersService = `service: orders
match:
  - {host: orders.example.com}
identity: {mode: required, accept: [corp], audiences: [orders-api]}
policies:
  - name: main
    model: model.conf
    rules: [/shared/roles.csv, policy.csv]
    request: {sub: subject.key, act: action}
    token_roles: {from: subject.roles, relation: g}
upstream:
  headers: {x-durward-subject: subject.id}
  remove: [authorization]
limit_definitions:
  wide: {rate: 1000000/min, by: [client.network], on_error: allow}
  share: {rate: 100/24h, by: [params.id], count: allowed, on_error: local_share}
  open: {rate: 2/24h, by: [params.id], count: allowed, on_error: allow}
  closed: {rate: 100/24h, by: [params.id], count: allowed, on_error: deny}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: list, path: /orders, methods: [GET], action: orders:list, limits: [wide]}
  - {name: share, path: "/orders/{id}", methods: [GET], action: orders:read, limits: [share]}
  - {name: open, path: "/orders/{id}", methods: [PUT], action: orders:write, limits: [open]}
  - {name: closed, path: "/orders/{id}/refund", methods: [POST], action: orders:refund, limits: [closed]}
`

const servicePath = "services/orders/service.yaml"

// issuer signs the tokens of a stack.
type issuer struct {
	keys   []byte
	bearer string // alice's, who may do everything
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Algorithm: "ES256", Key: key, KeyID: "faults", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.MarshalKeySet(signer)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	bearer, err := signer.Sign("at+jwt", map[string]any{
		"iss": "https://idp.example.com", "sub": "alice", "aud": []string{"orders-api"}, "client_id": "faults", "jti": "faults-1",
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(12 * time.Hour).Unix(), "tenant": "acme",
		"realm_access": map[string]any{"roles": []string{"reader", "writer"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return issuer{keys: keys, bearer: bearer}
}

// gateway is a running stack, and whoever sends requests to its Envoy.
type gateway struct {
	*stack.Stack
	issuer
	reader reader
}

// start starts a stack, and checks in the end what Envoy says of Durward's answers.
func start(t *testing.T, o stack.Options) *gateway {
	t.Helper()
	return startWith(t, newIssuer(t), o)
}

func startWith(t *testing.T, i issuer, o stack.Options) *gateway {
	t.Helper()
	o.Binary, o.FreePorts, o.KeySet = durward(t), true, i.keys
	change := o.Envoy
	o.Envoy = func(text string) string {
		if change != nil {
			text = change(text)
		}
		return unhurried(t, text)
	}
	if o.Bundle == nil {
		o.Bundle = map[string]string{servicePath: ordersService}
	}
	s, err := stack.Start(within(t, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &gateway{Stack: s, issuer: i}
}

// unhurried lets Envoy wait ten times as long for an answer, in all and of one replica: on a busy machine a program can be kept
// waiting for a core longer than the shipped deadlines, which says nothing about Durward. One that did not answer at all would
// still be a failed question.
func unhurried(t *testing.T, text string) string {
	t.Helper()
	const question = "envoy_grpc: {cluster_name: durward, authority: durward}\n                        timeout: "
	for shipped, longer := range map[string]string{question + "1s": question + "10s", "max_interval: 0.400s": "max_interval: 4s"} {
		if strings.Count(text, shipped) != 1 {
			t.Errorf("envoy.yaml does not hold %q once", shipped)
		}
		text = strings.Replace(text, shipped, longer, 1)
	}
	return text
}

// settings returns an option that changes durward.yaml; each pair must find its text.
func settings(t *testing.T, pairs ...string) func(string) string {
	t.Helper()
	return func(text string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Errorf("durward.yaml does not hold %q", pairs[i])
			}
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		return text
	}
}

// patient lets decisions wait for a Redis that shares two busy cores with everything else: these tests are about
// counting, not about what happens without Redis.
func patient(t *testing.T) func(string) string {
	t.Helper()
	return settings(t, "/0, replicas", "/0, timeout: 250ms, replicas", "audit:", "budget: 300ms\naudit:")
}

// answer is what a client got.
type answer struct {
	path   string
	status int
	err    error
	// request is the id of an allowed request, which the sample API returned; decision that of a denial, from its body.
	request, decision string
	code              string
	header            http.Header
	body              string
	at                time.Time
}

// id names the record that belongs to an answer: by its correlation or by its own id.
func (a *answer) id() string { return a.request + a.decision }

// own reports whether Durward decided: the API answered because it said yes, or its problem document says no.
func (a *answer) own() bool { return a.err == nil && (a.request != "") != (a.decision != "") }

// send sends one request.
func (g *gateway) send(client *http.Client, method, path string) (a answer) {
	a.path, a.at = path, time.Now()
	request, err := http.NewRequest(method, "https://orders.example.com"+path, nil)
	if err != nil {
		a.err = err
		return a
	}
	request.Header.Set("Authorization", "Bearer "+g.bearer)
	response, err := client.Do(request)
	if err != nil {
		a.err = err
		return a
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	a.status, a.err, a.header, a.body = response.StatusCode, err, response.Header, string(body)
	if response.StatusCode == http.StatusOK {
		a.request = response.Header.Get("X-Request-Id")
		return a
	}
	var problem struct {
		Code     string `json:"code"`
		Decision string `json:"decision_id"`
	}
	if response.Header.Get("Content-Type") == "application/problem+json" {
		a.err = errors.Join(a.err, json.Unmarshal(body, &problem))
	}
	a.code, a.decision = problem.Code, problem.Decision
	return a
}

// load is a number of clients, each with a connection of its own, that send one request after the other.
type load struct {
	stop    chan struct{}
	clients sync.WaitGroup
	mu      sync.Mutex
	answers []answer
}

// call is one request of a client.
type call struct{ method, path string }

// load starts clients that send what next says, with a pause after each, until they are stopped.
func (g *gateway) load(clients int, pause time.Duration, next func(client, n int) call) *load {
	l := &load{stop: make(chan struct{})}
	for i := range clients {
		client := g.Client(nil)
		l.clients.Go(func() {
			var got []answer
			defer func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.answers = append(l.answers, got...)
			}()
			for n := 0; ; n++ {
				c := next(i, n)
				got = append(got, g.send(client, c.method, c.path))
				select {
				case <-l.stop:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	return l
}

// end stops the clients and returns all answers.
func (l *load) end() []answer {
	close(l.stop)
	l.clients.Wait()
	return l.answers
}

// checkEnvoy fails the test when Envoy could not ask Durward, or could not use what it answered. It returns the
// number of decisions that Envoy got.
func (g *gateway) checkEnvoy(t *testing.T) int64 {
	t.Helper()
	failed, invalid, decided := g.asked(t)
	if failed != 0 || invalid != 0 {
		g.explain(t)
		t.Errorf("Envoy counts %d failed questions and %d invalid answers; none may be", failed, invalid)
	}
	if decided == 0 {
		t.Error("Envoy asked nothing at all")
	}
	return decided
}

// asked returns what Envoy counted of its questions to Durward.
func (g *gateway) asked(t *testing.T) (failed, invalid, decided int64) {
	t.Helper()
	stats, err := g.Stats(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range stats {
		switch {
		case !strings.HasPrefix(name, "http.edge.ext_authz."): // the clusters count the same again
		case strings.HasSuffix(name, ".error"):
			failed += n
		case strings.HasSuffix(name, ".invalid"):
			invalid += n
		case strings.HasSuffix(name, ".ok"), strings.HasSuffix(name, ".denied"):
			decided += n
		}
	}
	return failed, invalid, decided
}

// checkAll fails the test for each answer that is not a 200 of the sample API, the first few in full.
func checkAll(t *testing.T, answers []answer) {
	t.Helper()
	if bad := refused(answers); len(bad) > 0 {
		t.Errorf("%d of %d requests failed", len(bad), len(answers))
		for _, a := range bad[:min(5, len(bad))] {
			t.Errorf("at %s: status %d, %v, %s", a.at.Format(time.TimeOnly+".000"), a.status, a.err, a.body)
		}
	}
}

func refused(answers []answer) []answer {
	var bad []answer
	for _, a := range answers {
		if a.err != nil || a.status != http.StatusOK || a.request == "" {
			bad = append(bad, a)
		}
	}
	return bad
}

// explain logs what Envoy counted of Durward's replicas.
func (g *gateway) explain(t *testing.T) {
	t.Helper()
	stats, err := g.Stats(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		if strings.HasPrefix(name, "cluster.durward.upstream_") || strings.HasPrefix(name, "cluster.durward.health") {
			t.Logf("%s: %d", name, stats[name])
		}
	}
}
