package policies

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/deploy/quickstart"
	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// TestObserveNeedsThePermission: a bundle that lets denied requests pass is refused unless the server's settings permit it.
func TestObserveNeedsThePermission(t *testing.T) {
	t.Parallel()
	plain := sample(t)
	observing := edited(t, plain, servicePath, "routes:", "observe: [{route: read, until: \"2999-01-01\"}]\nroutes:")
	carol := question("GET", "/orders/7", bearer(t, "carol", nil))

	s := run(t, plain, options{})
	before := ask(t, s.client(t, "open", ""), carol)
	if why := s.refuses(t, observing); !strings.Contains(why, servicePath+":") || !strings.Contains(why, "the operator has not permitted it") {
		t.Errorf("refused: %s", why)
	}
	d := ask(t, s.client(t, "open", ""), carol)
	if diff := cmp.Diff(stable(before), stable(d), shown); diff != "" || d.Allowed || d.Reason != "no_matching_rule" || d.Explanation.Revision != before.Explanation.Revision {
		t.Errorf("after the refusal: %+v\n%s", d, diff)
	}

	permitted := run(t, observing, options{bundle: ", observe: true"})
	if d := ask(t, permitted.client(t, "open", ""), carol); !d.Allowed {
		t.Errorf("permitted: %+v", d)
	}
	// The day is over, or the key is gone: the policy denies again.
	for name, next := range map[string]map[string][]byte{
		"over": edited(t, observing, servicePath, "2999", "2020"), "gone": plain,
	} {
		permitted.reload(t, next)
		if d := ask(t, permitted.client(t, "open", ""), carol); d.Allowed || d.Reason != "no_matching_rule" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestObserveEveryDenialOfAPolicy: whatever a policy denies for becomes an alarm, and is said to be one.
func TestObserveEveryDenialOfAPolicy(t *testing.T) {
	t.Parallel()
	contents := edited(t, sample(t), servicePath, "routes:", "observe: [{route: read, until: \"2999-01-01\"}]\nroutes:")
	contents = edited(t, contents, modelPath, "p = sub, path, act", "p = sub, path, act, eft", "some(where (p.eft == allow))", "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
		"r.act == p.act", "r.act == p.act && r.claims.level > 3")
	contents = with(contents, rulesPath, "p, reader, /orders/:id, orders:read, allow\np, reader, /orders/9, orders:read, deny\n")
	s := run(t, contents, options{bundle: ", observe: true"})
	client := s.client(t, "open", "")
	for _, x := range []struct {
		name, target, authorization, observed string
	}{
		{"a rule allows", "/orders/7", bearer(t, "alice", []string{"reader"}, "level", 4), ""},
		{"no rule", "/orders/7", bearer(t, "alice", []string{"reader"}, "level", 2), "no_matching_rule"},
		{"a rule denies", "/orders/9", bearer(t, "alice", []string{"reader"}, "level", 4), "rule_denied"},
		{"a missing claim", "/orders/7", bearer(t, "alice", []string{"reader"}), "attribute_missing"},
		{"a claim of another type", "/orders/7", bearer(t, "alice", []string{"reader"}, "level", "4"), "policy_error"},
	} {
		d := ask(t, client, question("GET", x.target, x.authorization))
		if got := text(s.record(t, d.ID)["observed"]); !d.Allowed || d.Degraded || got != x.observed {
			t.Errorf("%s: %+v, recorded as observed: %q, want %q", x.name, d, got, x.observed)
		}
		name := `durward_observed_total{bundle="shop",reason="` + x.observed + `",service="orders"}`
		if counted := s.metrics(t)[name]; (counted == 1) != (x.observed != "") {
			t.Errorf("%s: %s is %v", x.name, name, counted)
		}
	}
}

// observedService observes its routes but two; each denies for a reason that is not the policy's, too.
const observedService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: required, accept: [corp], audiences: [orders-api]}
policies:
  - {name: main, model: model.conf, rules: [policy.csv], request: {sub: subject.key, path: request.path, act: action, claims: claims}, token_roles: {from: subject.roles, relation: g}}
upstream:
  headers: {x-durward-subject: subject.id}
  remove: [authorization]
limit_definitions:
  few: {rate: 2/24h, by: [subject.key]}
routes:
  - {name: list, path: /orders, methods: [GET], action: "orders:list"}
  - {name: read, path: "/orders/{id}", methods: [GET], action: "orders:read"}
  - {name: limited, path: "/orders/{id}", methods: [PUT], action: "orders:write", limits: [few], body: {max: 10}}
  - {name: refund, path: "/orders/{id}/refund", methods: [POST], action: "orders:refund", scopes: ["orders:refund"]}
  - {name: own, path: "/tenants/{tenant}/orders", methods: [GET], action: "orders:list", same: [subject.tenant, params.tenant]}
  - {name: over, path: /over, methods: [GET], action: "orders:list"}
observe:
  - {route: read, until: "2999-01-01"}
  - {route: limited, until: "2999-01-01"}
  - {route: refund, until: "2999-01-01"}
  - {route: own, until: "2999-01-01"}
  - {route: over, until: "2020-01-01"}
`

// edge is a real Envoy before one server.
type edge struct {
	*stack.Stack
	client *http.Client
}

// startEdge starts the quickstart's Envoy with this package's bundle. Envoy shows in the response what the API must not be
// asked for: metadata of Durward's answer.
func startEdge(t *testing.T, service string) *edge {
	t.Helper()
	files := onlySample(t)
	files[servicePath] = service
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{
		Binary: program, FreePorts: true, Replicas: 1, WithoutRedis: true, KeySet: keySet(t), Bundle: files,
		Settings: replaced(t, "{dir: bundle}", "{dir: bundle, observe: true}"),
		Envoy: replaced(t, "                route_config:\n                  name: apis\n", `                route_config:
                  name: apis
                  response_headers_to_add:
                    - header: {key: x-seen-observed, value: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:observed)%"}
                    - header: {key: x-seen-reason, value: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%"}
                    - header: {key: x-seen-decision, value: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:decision_id)%"}
`),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &edge{Stack: s, client: s.Client(nil)}
}

// replaced returns a change of a file in which the text stands once.
func replaced(t *testing.T, from, to string) func(string) string {
	return func(text string) string {
		if strings.Count(text, from) != 1 {
			t.Errorf("the file does not hold %q once", from)
		}
		return strings.Replace(text, from, to, 1)
	}
}

// passed is what a client got of a request.
type passed struct {
	status                     int
	code, decision             string // of a denial's body
	observed, reason, metadata string // of Durward's answer, as Envoy knows it; metadata is the decision's id there
	subject                    []string
}

func (e *edge) send(t *testing.T, method, path, authorization, body string) (p passed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "https://orders.example.com"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := e.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var decoded struct {
		Code     string              `json:"code"`
		Decision string              `json:"decision_id"`
		Identity map[string][]string `json:"identity"`
	}
	if err := json.Unmarshal(data, &decoded); err != nil {
		t.Fatalf("%s %s: status %d, %s", method, path, response.StatusCode, data)
	}
	seen := func(name string) string { return strings.TrimPrefix(response.Header.Get("x-seen-"+name), "-") }
	return passed{
		status: response.StatusCode, code: decoded.Code, decision: decoded.Decision,
		observed: seen("observed"), reason: seen("reason"), metadata: seen("decision"), subject: decoded.Identity["x-durward-subject"],
	}
}

// TestObserveThroughEnvoy lets requests that a policy denies pass through a real Envoy to the API, and no other.
func TestObserveThroughEnvoy(t *testing.T) {
	t.Parallel()
	e := startEdge(t, observedService)
	reader, carol := bearer(t, "alice", []string{"reader"}), bearer(t, "carol", nil)
	type want struct {
		status           int
		reason, observed string
	}
	alarm := want{200, "allowed", "no_matching_rule"}
	for _, x := range []struct {
		name, method, path, authorization, body string
		want                                    want
	}{
		{"a rule allows", "GET", "/orders/7", reader, "", want{200, "allowed", ""}},
		{"no rule", "GET", "/orders/7", carol, "", alarm},
		{"nobody", "GET", "/orders/7", "", "", want{401, "token_missing", ""}},
		{"a token that proves nothing", "GET", "/orders/7", carol[:len(carol)-8] + "AAAAAAAA", "", want{401, "token_signature", ""}},
		{"a guard", "GET", "/orders/7", bearer(t, "mallory", []string{"reader"}), "", want{403, "guard_denied", ""}},
		{"another tenant", "GET", "/tenants/other/orders", carol, "", want{403, "attributes_differ", ""}},
		{"no tenant", "GET", "/tenants/acme/orders", bearer(t, "carol", nil, "tenant", nil), "", want{403, "attribute_missing", ""}},
		{"without its scope", "POST", "/orders/7/refund", carol, "", want{403, "insufficient_scope", ""}},
		{"a body that is too large", "PUT", "/orders/7", carol, "12345678901", want{413, "body_too_large", ""}},
		{"the first that its limit takes", "PUT", "/orders/7", carol, "", alarm},
		{"the second that its limit takes", "PUT", "/orders/8", carol, "", alarm},
		{"more than its limit takes", "PUT", "/orders/9", carol, "", want{429, "limit_exceeded", "no_matching_rule"}},
		{"two readings", "GET", "/orders/7;a=b", carol, "", want{400, "path_ambiguous", ""}},
		{"a route that is not observed", "GET", "/orders", carol, "", want{403, "no_matching_rule", ""}},
		{"a day that is over", "GET", "/over", carol, "", want{403, "no_matching_rule", ""}},
		{"no route", "GET", "/elsewhere", carol, "", want{403, "no_route", ""}},
	} {
		calls := e.API.Calls()
		got := e.send(t, x.method, x.path, x.authorization, x.body)
		if got.status != x.want.status || (e.API.Calls() > calls) != (x.want.status == 200) {
			t.Errorf("%s: %+v, %d requests reached the API; want %d", x.name, got, e.API.Calls()-calls, x.want.status)
		}
		if got.metadata == "" || got.status != 200 && got.metadata != got.decision {
			t.Errorf("%s: Envoy knows the decision %q, the body names %q", x.name, got.metadata, got.decision)
			continue
		}
		fields := e.recordOf(t, got.metadata)
		recorded := want{int(number(fields["status"])), text(fields["reason"]), text(fields["observed"])}
		if diff := cmp.Diff(x.want, recorded, cmp.AllowUnexported(want{})); diff != "" {
			t.Errorf("%s: recorded (-want +got):\n%s", x.name, diff)
		}
		if got.observed != x.want.observed || got.reason != x.want.reason {
			t.Errorf("%s: metadata say %q, observed %q", x.name, got.reason, got.observed)
		}
		if got.status == 200 && (len(got.subject) != 1 || got.subject[0] == "") {
			t.Errorf("%s: the API is told the subject %q", x.name, got.subject)
		}
	}
	metrics := e.metrics(t)
	for name, value := range map[string]float64{
		`durward_observed_total{bundle="shop",reason="no_matching_rule",service="orders"}`: 4,
	} {
		if metrics[name] != value {
			t.Errorf("%s is %v, want %v", name, metrics[name], value)
		}
	}
}

// recordOf waits for the record of a decision.
func (e *edge) recordOf(t *testing.T, id string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := e.Await(ctx, func(r stack.Record) bool { return r.Fields["decision_id"] == id })
	if err != nil {
		t.Fatal(err)
	}
	return r.Fields
}

func (e *edge) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	return (&server{admin: e.Replicas[0].Admin}).metrics(t)
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) float64 {
	n, _ := v.(float64)
	return n
}

// onlySample returns this package's bundle, and removes what the quickstart's has besides.
func onlySample(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(quickstart.Files, "bundle", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files[strings.TrimPrefix(path, "bundle/")] = ""
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range sample(t) {
		files[path] = string(data)
	}
	return files
}
