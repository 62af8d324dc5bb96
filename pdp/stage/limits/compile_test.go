package limits

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/ratelimiter"
)

func compileText(t *testing.T, bundle, service string) (*part, []string) {
	t.Helper()
	b, s := load(t, bundle, service)
	compiled, problems := (&Stage{}).Compile(b, s)
	if (compiled == nil) != (len(problems) > 0) {
		t.Errorf("part %v with %d problems", compiled != nil, len(problems))
	}
	var texts []string
	for _, p := range problems {
		texts = append(texts, p.Position.String()+": "+p.Message)
	}
	p, _ := compiled.(*part)
	return p, texts
}

func TestProblems(t *testing.T) {
	const file = "services/orders/service.yaml:3:"
	for _, row := range []struct{ name, limit, routes, want string }{
		{"sound", "{rate: 1/s, by: [client.address]}", "", ""},
		{"a sound limit of everything", "{rate: 1/s, burst: 9, algorithm: gcra, by: [{attr: client.address, missing: skip}], cost: 9, count: denied, at: gate, on_error: deny, shadow: true, missing: share}", "", ""},
		{"no rate", "{by: []}", "", file + "3: invalid limit \"a\": invalid rate: count 0 is not between 1 and 1000000000"},
		{"burst too large", "{rate: 1/366d, burst: 1000, by: []}", "", file + "3: invalid limit \"a\": invalid rate: a burst of 1000 takes longer than 87840h0m0s to come back"},
		{"negative burst", "{rate: 1/s, burst: -1, by: []}", "", file + "3: invalid limit \"a\": invalid rate: burst -1 is not between 1 and 1000000000"},
		{"on_error", "{rate: 1/s, by: [], on_error: open}", "", file + "36: on_error is local_share, allow or deny, not \"open\""},
		{"count", "{rate: 1/s, by: [], count: some}", "", file + "33: count is allowed, denied or all, not \"some\""},
		{"at", "{rate: 1/s, by: [], at: take}", "", file + "30: at is gate or left out, not \"take\""},
		{"algorithm", "{rate: 1/s, by: [], algorithm: sliding_log}", "", file + "37: algorithm is gcra, not \"sliding_log\""},
		{"missing", "{rate: 1/s, by: [], missing: pass}", "", file + "35: missing is deny, skip or share, not \"pass\""},
		{"missing of an attribute", "{rate: 1/s, by: [{attr: client.address, missing: \"-\"}]}", "", file + "23: missing is deny, skip or share, not \"-\""},
		{"missing of an attribute, empty", "{rate: 1/s, by: [{attr: client.address, missing: \"\"}]}", "", file + "23: missing is deny, skip or share, not \"\""},
		{"unknown attribute", "{rate: 1/s, by: [client.adress]}", "", file + "23: unknown attribute \"client.adress\", did you mean \"client.address\"?"},
		{"a list", "{rate: 1/s, by: [subject.roles]}", "", file + "23: subject.roles has no single value; a limit counts by single values"},
		{"an object", "{rate: 1/s, by: [subject]}", "", file + "23: subject has no single value; a limit counts by single values"},
		{"subject at the gate", "{rate: 1/s, by: [subject.key], at: gate}", "", file + "23: a limit at the gate is taken before the subject is known; subject.key cannot be used there"},
		{"claims at the gate", "{rate: 1/s, by: [], cost: claims.n, at: gate}", "", file + "32: a limit at the gate is taken before the subject is known; claims.n cannot be used there"},
		{"cost of nothing", "{rate: 1/s, by: [], cost: 0}", "", file + "32: a cost is from 1 to the burst, 1: what costs more can never pass"},
		{"cost above the burst", "{rate: 5/s, burst: 2, by: [], cost: 3}", "", file + "42: a cost is from 1 to the burst, 2: what costs more can never pass"},
		{"cost of a list", "{rate: 1/s, by: [], cost: subject.scopes}", "", file + "32: subject.scopes has no single value; a limit counts by single values"},
		{"cost of two kinds", "{rate: 1/s, by: [], cost: 1.5}", "", file + "32: a cost is a whole number or the name of an attribute"},
		{"no such limit", "{rate: 1/s, by: []}", "routes: [{name: r, path: /r, limits: [b]}]", "services/orders/service.yaml:4:"},
		{"no such parameter", "{rate: 1/s, by: [params.id]}", "routes: [{name: r, path: /r, limits: [a]}]", file + "23: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}; say missing: skip, or do not use the limit there"},
		{"no such parameter, foreseen", "{rate: 1/s, by: [params.id], missing: skip}", "routes: [{name: r, path: /r, limits: [a]}]", ""},
		{"no such parameter as cost", "{rate: 1/s, by: [], cost: params.id, missing: skip}", "routes: [{name: r, path: /r, limits: [a]}]", file + "32: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}"},
		{"a parameter", "{rate: 1/s, by: [params.id]}", "routes: [{name: r, path: \"/r/{id}\", limits: [a]}]", ""},
		{"subject on a public route", "{rate: 1/s, by: [subject.key]}", "routes: [{name: r, path: /r, access: public, limits: [a]}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject on an optional route", "{rate: 1/s, by: [claims.org]}", "routes: [{name: r, path: /r, identity: optional, limits: [a]}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject in a service without identity", "{rate: 1/s, by: [subject.tenant]}", "identity: {mode: none}\nroutes: [{name: r, path: /r, limits: [a]}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject by default", "{rate: 1/s, by: [subject.tenant]}", "identity: {mode: optional}\ndefaults: {limits: [a]}\nroutes: [{name: r, path: /r}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject, required on the route", "{rate: 1/s, by: [subject.tenant]}", "identity: {mode: optional}\nroutes: [{name: r, path: /r, identity: required, limits: [a]}]", ""},
		{"subject, foreseen", "{rate: 1/s, by: [subject.tenant], missing: deny}", "identity: {mode: none}\nroutes: [{name: r, path: /r, limits: [a]}]", ""},
		{"subject of the attribute, foreseen", "{rate: 1/s, by: [{attr: subject.tenant, missing: share}]}", "identity: {mode: none}\nroutes: [{name: r, path: /r, limits: [a]}]", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, got := compileText(t, "", "limit_definitions:\n  a: "+row.limit+"\n"+row.routes+"\n")
			if row.want == "" {
				if len(got) > 0 {
					t.Errorf("%s", got)
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], row.want) {
				t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), row.want)
			}
		})
	}
	t.Run("a name twice", func(t *testing.T) {
		_, got := compileText(t, "limit_definitions: {a: {rate: 1/s, by: []}}\n", "limit_definitions: {a: {rate: 2/s, by: []}}\n")
		if want := `services/orders/service.yaml:2:21: the bundle shares a limit of the name "a"; a name means one limit`; len(got) != 1 || got[0] != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
	t.Run("a name that no header field takes", func(t *testing.T) {
		if _, got := compileText(t, "", "limit_definitions: {é: {rate: 2/s, by: []}}\n"); len(got) != 1 || !strings.Contains(got[0], "printable ASCII") {
			t.Errorf("%s", got)
		}
	})
	t.Run("too many limits", func(t *testing.T) {
		var names []string
		text := "limit_definitions:\n"
		for i := range ratelimiter.MaxCharges + 1 {
			names = append(names, fmt.Sprintf("l%d", i))
			text += "  " + names[i] + ": {rate: 1/s, by: []}\n"
		}
		route := "routes: [{name: r, path: /r, limits: [" + strings.Join(names, ", ") + "]}]\n"
		if _, got := compileText(t, "", text+route); len(got) != 1 || !strings.Contains(got[0], `the route "r" has 33 limits, at most 32`) {
			t.Errorf("%s", got)
		}
		if _, got := compileText(t, "", text+strings.Replace(route, "l0, ", "", 1)); len(got) != 0 {
			t.Errorf("%s", got)
		}
	})
}

// TestOrderAndDefaults: defaults come first, a limit that is named twice applies once, and each point has its own.
func TestOrderAndDefaults(t *testing.T) {
	p, problems := compileText(t, "limit_definitions: {shared: {rate: 9/s, by: []}}\n", `defaults: {limits: [own, shared]}
limit_definitions:
  own: {rate: 1/s, by: [subject.key]}
  gate: {rate: 1/s, by: [], at: gate}
routes:
  - {name: one, path: /1, limits: [gate, shared]}
  - {name: two, path: /2}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	names := func(bindings []*binding) (out []string) {
		for _, b := range bindings {
			out = append(out, b.limit.Definition().Name)
		}
		return out
	}
	for i, want := range [][3][]string{
		{{"own", "shared", "gate"}, {"gate"}, {"own", "shared"}},
		{{"own", "shared"}, nil, {"own", "shared"}},
	} {
		r := p.routes[i]
		if diff := cmp.Diff(want, [3][]string{names(r.all), names(r.gate), names(r.take)}); diff != "" {
			t.Errorf("route %d: -want +got\n%s", i, diff)
		}
	}
}

// TestCountByDefault: what stands in the request itself is counted for denied requests too.
func TestCountByDefault(t *testing.T) {
	for by, want := range map[string]ratelimiter.Counting{
		"": ratelimiter.CountAll, "client.address": ratelimiter.CountAll, "client.network, route.name, request.header.x": ratelimiter.CountAll,
		"request.header.x": ratelimiter.CountAllowed, "route.name, request.query.k": ratelimiter.CountAllowed, "client.address, request.query.k": ratelimiter.CountAll,
		"subject.key": ratelimiter.CountAllowed, "client.address, subject.key": ratelimiter.CountAllowed, "claims.org": ratelimiter.CountAllowed,
		"params.id": ratelimiter.CountAllowed, "action": ratelimiter.CountAllowed, "resource.id": ratelimiter.CountAllowed, "client.address, extensions.x": ratelimiter.CountAllowed,
	} {
		for said, counting := range map[string]ratelimiter.Counting{"": want, ", count: all": ratelimiter.CountAll, ", count: allowed": ratelimiter.CountAllowed, ", count: denied": ratelimiter.CountDenied} {
			p, problems := compileText(t, "", "defaults: {limits: [a]}\nlimit_definitions: {a: {rate: 1/s, by: ["+by+"]"+said+"}}\nroutes: [{name: r, path: \"/{id}\"}]\n")
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := p.routes[0].all[0].limit.Definition().Counting; got != counting {
				t.Errorf("by [%s]%s counts %v, want %v", by, said, got, counting)
			}
		}
	}
}

// TestScope: a shared limit has one counter for all services of a bundle, and nobody else's.
func TestScope(t *testing.T) {
	const limit = "limit_definitions: {a: {rate: 1/s, by: []}}\n"
	const use = "defaults: {limits: [a]}\nroutes: [{name: r, path: /r}, {name: q, path: /q}]\n"
	key := func(bundleName, serviceName, bundle, service string, route int) ratelimiter.Key {
		b, s := load(t, bundle, service)
		b.Name, s.Name = bundleName, serviceName
		compiled, problems := (&Stage{}).Compile(b, s)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		charges, wrong := charge(&attribute.Facts{Request: &request.Request{}}, compiled.(*part).routes[route].all)
		if wrong.is() || len(charges) != 1 {
			t.Fatalf("%+v", wrong)
		}
		return charges[0].Key
	}
	shared := key("acme", "orders", limit, use, 0)
	for name, row := range map[string]struct {
		key  ratelimiter.Key
		same bool
	}{
		"another route":             {key("acme", "orders", limit, use, 1), true},
		"another service":           {key("acme", "users", limit, use, 0), true},
		"another bundle":            {key("other", "orders", limit, use, 0), false},
		"a service's own":           {key("acme", "orders", "", limit+use, 0), false},
		"a service without a name":  {key("acme", "-", "", limit+use, 0), false},
		"another service's own one": {key("acme", "users", "", limit+use, 0), false},
	} {
		if (row.key == shared) != row.same {
			t.Errorf("%s: %q and %q", name, row.key, shared)
		}
	}
	if a, b := key("acme", "orders", "", limit+use, 0), key("acme", "users", "", limit+use, 0); a == b {
		t.Errorf("two services share %q", a)
	}
	if a, b := key("acme", "orders", "", limit+use, 0), key("acme", "orders", "", limit+use, 1); a != b {
		t.Errorf("two routes of a service do not share: %q, %q", a, b)
	}
}

// TestListsExist: the names that are refused as lists are attributes, and lists.
func TestListsExist(t *testing.T) {
	f := &attribute.Facts{Request: &request.Request{Certificate: &request.Certificate{DNSNames: []string{"a"}}}}
	f.Subject.Roles, f.Subject.Scopes, f.Subject.AMR = []string{"a"}, []string{"a"}, []string{"a"}
	for _, name := range lists {
		a, err := attribute.Compile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, presence := a.Get(f)
		if _, single := v.Text(); single || presence != attribute.Present {
			t.Errorf("%s is no list: %v, %v", name, v, presence)
		}
	}
}
