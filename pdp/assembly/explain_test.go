package assembly

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

const explainedService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: none}
tls: optional
policies:
  - name: main
    model: model.conf
    rules: [policy.csv]
    request: {sub: subject.key, act: action}
routes:
  - {name: read-order, path: "/orders/{id}", methods: [GET], action: "orders:read"}
  - {name: write-order, path: "/orders/{id}", methods: [PUT], action: "orders:write"}
`

const explainedModel = `[request_definition]
r = sub, act
[policy_definition]
p = sub, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.act == p.act
`

// TestExplainedToCallers asks a whole server why, and shows that the answer is the same for who does not ask.
func TestExplainedToCallers(t *testing.T) {
	r := newRunning(t, brokenBundle)
	dir := filepath.Join(r.bundle, "services/orders")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"service.yaml": explainedService, "model.conf": explainedModel, "policy.csv": "p, guest, orders:read\np, writer, orders:write\ng, anonymous, guest\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	next := r.watch(t, "native")
	next()
	r.write(t, emptyBundle)
	if got := next(); got != serving {
		t.Fatalf("the bundle is not served: %v\n%s", got, r.log)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ask := func(method string, wanted durwardv1.Explain) *durwardv1.CheckResponse {
		t.Helper()
		answer, err := durwardv1.NewDecisionServiceClient(r.conn).Check(ctx, &durwardv1.CheckRequest{Explain: wanted, Question: &durwardv1.CheckRequest_Http{
			Http: &durwardv1.HTTPRequest{Method: method, Scheme: "https", Host: "orders.example.com", Target: "/orders/7"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for method, want := range map[string]durwardv1.Effect{"GET": durwardv1.Effect_EFFECT_ALLOW, "PUT": durwardv1.Effect_EFFECT_DENY} {
		plain, asked := ask(method, durwardv1.Explain_EXPLAIN_UNSPECIFIED), ask(method, durwardv1.Explain_EXPLAIN_DECISION)
		if plain.GetEffect() != want || asked.GetEffect() != want || plain.GetReason() != asked.GetReason() || plain.GetExplanation().GetRule() != asked.GetExplanation().GetRule() {
			t.Errorf("%s: %v, with an explanation %v", method, plain, asked)
		}
		if n := len(plain.GetExplanation().GetPolicies()); n != 0 {
			t.Errorf("%s: %d policies explained without being asked", method, n)
		}
		policies := asked.GetExplanation().GetPolicies()
		if len(policies) != 1 || policies[0].GetPolicy() != "main" || policies[0].GetEffect() != want {
			t.Fatalf("%s: %v", method, policies)
		}
		switch x := policies[0]; want {
		case durwardv1.Effect_EFFECT_ALLOW:
			if len(x.GetRoles()) != 1 || x.GetRoles()[0].GetPositions()[0] != "services/orders/policy.csv:3" {
				t.Errorf("roles %v", x.GetRoles())
			}
		default:
			if len(x.GetMisses()) != 2 || x.GetMisses()[0].GetConditions()[1].GetGot() != "orders:write" || x.GetChange() != "would be allowed if action were orders:read" {
				t.Errorf("misses %v, change %q", x.GetMisses(), x.GetChange())
			}
		}
	}
}
