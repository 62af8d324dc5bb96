package lint_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/lint"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// soundService declares more than the rules of the random policies know, and less.
const soundService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: optional, accept: [corp], audiences: [orders-api]}
policies:
  - name: main
    model: model.conf
    rules: [policy.csv]
    request: {sub: subject.key, obj: OBJECT, act: action}
    token_roles: {from: subject.roles, relation: g}
routes:
  - {name: read-order, path: "/orders/{id}", methods: [GET], action: read, resource: {type: order, id: params.id}}
  - {name: change-order, path: "/orders/{id}", methods: [PUT], action: write, resource: {type: order, id: params.id}}
  - {name: lines, path: "/orders/{id}/lines", methods: [GET], action: read, resource: {type: line, id: params.id}}
  - {name: latest, path: /orders/latest, methods: [GET, PUT], resource: {type: order}}
`

// matchersOf are matchers with the objects that their rules know.
var matchersOf = []struct {
	matcher, attribute string
	objects            []string
}{
	{"g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", "resource.type", []string{"order", "line", "nothing"}},
	{"g(r.sub, p.sub) && (r.obj == p.obj || p.obj == \"*\") && (r.act == p.act || p.act == \"*\")", "resource.type", []string{"order", "line", "*"}},
	{"(g(r.sub, p.sub) || p.sub == \"*\") && keyMatch2(r.obj, p.obj) && r.act == p.act", "request.path", []string{"/orders/:id", "/orders/7", "/orders/*", "/orders/:id/lines", "/*", "/orders/v.1", "/orders/7.lines", "/o*"}},
	{"g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && (r.act == p.act || p.act == \"*\")", "request.path", []string{"/orders/*", "/orders/7", "/*", "/orders/7*", "*", "/orders/latest"}},
	{"g(r.sub, p.sub) && keyMatch3(r.obj, p.obj) && regexMatch(r.act, p.act)", "request.path", []string{"/orders/{id}", "/orders/7", "/orders/{id}/{x}", "/*"}},
	{"g(r.sub, p.sub) && r.act == p.act && (r.obj == p.obj || r.sub == \"user:corp:carol\")", "resource.type", []string{"order", "line"}},
	{"r.sub == p.sub && r.act == p.act || g(r.sub, p.sub) && r.obj == p.obj", "resource.type", []string{"order", "line"}},
	{"g(r.sub, p.sub) && r.obj == p.obj && r.act != p.act", "resource.type", []string{"order", "line"}},
	{"(g(r.sub, p.sub) || g2(r.sub, p.sub)) && r.obj == p.obj && r.act == p.act", "resource.type", []string{"order", "line"}},
	{"(g3(r.sub, p.sub, p.obj) || p.sub == \"*\" || g(r.sub, p.sub)) && r.act == p.act", "resource.type", []string{"order", "line"}},
	{"(g(r.sub, p.sub) || p.sub == \"*\") && (keyMatch2(r.obj, p.obj) || p.obj == \"any\") && r.act == p.act", "request.path", []string{"/orders/*", "/orders/:id", "/orders/:id/:line", "/orders/v:id", "/:a/:b", "any"}},
	{"g(r.sub, p.sub) && (keyMatch2(r.obj, p.obj) || keyMatch3(r.obj, p.obj) || r.obj == p.obj) && regexMatch(r.act, p.act)", "request.path", []string{"/orders/*", "/orders/:id", "/orders/{id}", "/:a/{id}", "/{a}/:b", "/orders/7"}},
	{"(g(r.sub, p.sub) || r.act == p.sub) && r.obj == p.obj && g(r.sub, \"staff\")", "resource.type", []string{"order", "line"}},
}

// TestFindingsAreTrue: a rule or link that is said to be shadowed, unreachable, unused or ignored can go without a change of any answer, and a
// route that no rule is said to allow is never allowed. Requests and policies are random; every matcher and effect comes up.
func TestFindingsAreTrue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 7))
	base := example(t)
	effects := []string{"some(where (p.eft == allow))", "some(where (p.eft == allow)) && !some(where (p.eft == deny))", "priority(p.eft) || deny"}
	seen := map[string]int{}
	for range 400 {
		files := maps.Clone(base)
		m := matchersOf[random.IntN(len(matchersOf))]
		files["services/orders/service.yaml"] = strings.Replace(soundService, "OBJECT", m.attribute, 1)
		files["services/orders/model.conf"] = fmt.Sprintf("[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act, eft\n[role_definition]\ng = _, _\ng2 = _, _\ng3 = _, _, _\n[policy_effect]\ne = %s\n[matchers]\nm = %s\n",
			effects[random.IntN(len(effects))], m.matcher)
		rules := randomRules(random, m.objects)
		files["services/orders/policy.csv"] = strings.Join(rules, "\n") + "\n"
		report := look(t, files)
		if slices.ContainsFunc(report.Findings, func(f lint.Finding) bool { return isLoadCode(f.Code) }) {
			continue // duplicates, and too few rules
		}
		before := answers(t, files)
		for _, f := range report.Findings {
			switch f.Code {
			case "route-never-allowed":
				seen[f.Code]++
				for at, allowed := range before {
					if _, name, _ := strings.Cut(f.Message, "route \""); allowed && strings.HasPrefix(name, strings.Fields(at)[0]+"\"") {
						t.Errorf("%s is allowed\n%v\n%s", at, f.Error(), files)
					}
				}
			case "rule-shadowed", "rule-unreachable", "deny-ignored", "role-unassigned", "role-unused", "member-unknown", "subject-unknown":
				seen[f.Code]++
				without := maps.Clone(files)
				without["services/orders/policy.csv"] = strings.Join(slices.Delete(slices.Clone(rules), f.Line-1, f.Line), "\n") + "\n"
				if !strings.Contains(without["services/orders/policy.csv"], "p, ") {
					continue
				}
				if after := answers(t, without); !maps.Equal(before, after) {
					t.Errorf("%s\n%s\n%s", f.Error(), files["services/orders/model.conf"], files["services/orders/policy.csv"])
				}
			}
		}
	}
	for _, code := range []string{"rule-shadowed", "rule-unreachable", "deny-ignored", "role-unassigned", "role-unused", "member-unknown", "subject-unknown", "route-never-allowed"} {
		if seen[code] < 20 {
			t.Errorf("%s came up %d times only", code, seen[code])
		}
	}
}

func randomRules(random *rand.Rand, objects []string) []string {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	var rules []string
	for range 3 + random.IntN(9) {
		rules = append(rules, fmt.Sprintf("p, %s, %s, %s, %s", pick("reader", "writer", "chief", "auditor", "user:corp:carol", "user:partner:bob", "*", "read"), pick(objects...),
			pick("read", "write", "GET", "PUT", "*", "^read$"), pick("allow", "allow", "deny")))
	}
	for _, link := range []string{"g, writer, reader", "g, chief, writer", "g, user:corp:carol, chief", "g, user:corp:dave, auditor", "g, user:corp:carol, staff",
		"g, user:corp:reader, staff", "g, stray, reader", "g, user:partner:bob, writer", "g2, user:corp:dave, writer", "g2, user:corp:carol, reader", "g3, user:corp:dave, writer, line"} {
		if random.IntN(2) == 0 {
			rules = append(rules, link)
		}
	}
	return rules
}

// answers asks everything that tells policies apart.
func answers(t *testing.T, files map[string]string) map[string]bool {
	t.Helper()
	contents := map[string][]byte{}
	for name, text := range files {
		contents[name] = []byte(text)
	}
	o, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents})
	if err != nil {
		t.Fatalf("%v\n%s", err, files)
	}
	s, err := o.Open(today)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	out := map[string]bool{}
	for _, who := range []string{"", "reader", "writer", "carol", "dave"} {
		as := subject.Anonymous()
		if who != "" {
			as = subject.Subject{Key: "user:corp:" + who, Kind: subject.KindUser, Authenticator: "corp", ID: who}
			if who == "reader" || who == "writer" {
				as.Roles = []string{who}
			}
		}
		for _, c := range []struct{ route, method, path string }{
			{"read-order", "GET", "/orders/7"}, {"read-order", "GET", "/orders/v.1"}, {"change-order", "PUT", "/orders/7"}, {"lines", "GET", "/orders/7/lines"},
			{"latest", "GET", "/orders/latest"}, {"latest", "PUT", "/orders/latest"}, {"lines", "GET", "/orders/8/lines"},
		} {
			r := &request.Request{Method: c.method, Scheme: "https", Host: "orders.example.com", Target: c.path, Protocol: "HTTP/1.1"}
			v := s.DecideAs(t.Context(), r, as)
			if v.Reason == verdict.NoRoute || v.Reason == verdict.NoService || v.Reason == verdict.PlainText || v.Reason == verdict.RouteMethod {
				t.Fatalf("%s: %s", c.path, v.Reason)
			}
			out[c.route+" "+c.method+" "+c.path+" "+who] = v.Effect == verdict.Allow
		}
	}
	return out
}
