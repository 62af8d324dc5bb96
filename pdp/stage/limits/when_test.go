package limits

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// bound compiles one limit, named a, and returns it as it stands on the route /r/{id}.
func bound(t testing.TB, limit string) *binding {
	t.Helper()
	b, s := load(t, "", "limit_definitions:\n  a: "+limit+"\nroutes: [{name: r, path: \"/r/{id}\", limits: [a]}]\n")
	compiled, problems := (&Stage{}).Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return compiled.(*part).routes[0].all[0]
}

// factsOf is a POST of a user with the headers "name=value".
func factsOf(roles []string, claims map[string]any, headers ...string) *attribute.Facts {
	f := &attribute.Facts{Request: &request.Request{Method: "POST", Body: request.Body{Size: 7}}}
	f.Subject = subject.Subject{Key: "user:corp:alice", Kind: subject.KindUser, Roles: roles, Claims: claims}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		f.Request.Header = append(f.Request.Header, request.Field{Name: name, Value: value})
	}
	return f
}

// TestWhen: for each condition, the requests to which the limit applies. What is missing and what is of another type
// leave a doubt, and then it applies.
func TestWhen(t *testing.T) {
	claim := func(v any) *attribute.Facts { return factsOf(nil, map[string]any{"c": v}) }
	nobody := factsOf(nil, nil)
	nobody.Subject = subject.Anonymous()
	certified := factsOf(nil, nil)
	certified.Request.Certificate = &request.Certificate{Subject: "CN=a", DNSNames: []string{"a.example.com"}}
	given := []struct {
		name  string
		facts *attribute.Facts
	}{
		{"plain", factsOf(nil, nil)},
		{"anonymous", nobody},
		{"certified", certified},
		{"roles ab", factsOf([]string{"a", "b"}, nil)},
		{"role c", factsOf([]string{"c"}, nil)},
		{"claim a", claim("a")},
		{"claim c", claim("c")},
		{"claim 7", claim(7.0)},
		{"claim 8", claim(8.0)},
		{"claim huge", claim(json.Number("9007199254740993"))},
		{"claim true", claim(true)},
		{"claim false", claim(false)},
		{"claim [a c]", claim([]any{"a", "c"})},
		{"claim [c 7]", claim([]any{"c", 7.0})},
		{"claim [c]", claim([]any{"c"})},
		{"claim []", claim([]any{})},
		{"claim {}", claim(map[string]any{"a": "a"})},
		{"header a", factsOf(nil, nil, "x=a")},
		{"header c", factsOf(nil, nil, "x=c")},
		{"header empty", factsOf(nil, nil, "x=")},
	}
	const claims = "claim a|claim c|claim 7|claim 8|claim huge|claim true|claim false|claim [a c]|claim [c 7]|claim [c]|claim []|claim {}"
	for _, row := range []struct {
		when    string
		not     string // the requests to which the limit does not apply
		only    bool   // not says the others instead
		comment string
	}{
		{when: "request.method: POST"},
		{when: "request.method: [GET, POST]"},
		{when: "request.method: {is: [GET, POST], not: PUT}"},
		{when: "request.method: GET", only: true},
		{when: "request.method: {not: GET}"},
		{when: "request.method: {not: [GET, POST]}", only: true},
		{when: "request.size: 7"},
		{when: "request.size: 8", only: true},
		{when: "subject.kind: anonymous", only: true, not: "anonymous"},
		{when: "subject.kind: user", not: "anonymous"},
		{when: "subject.kind: {not: anonymous}", not: "anonymous"},
		{when: "subject.roles: {contains: a}", not: "role c"},
		{when: "subject.roles: {contains: a, present: true}", only: true, not: "roles ab"},
		{when: "subject.roles: {not: [a, x]}", not: "roles ab"},
		{when: "subject.roles: {not: [a, x], present: true}", only: true, not: "role c"},
		{when: "subject.roles: {contains: a, not: b}", not: "roles ab|role c"},
		{when: "subject.roles: {present: true}", only: true, not: "roles ab|role c"},
		{when: "subject.roles: {present: false}", not: "roles ab|role c"},
		{when: "client.certificate.subject: {present: false}", not: "certified"},
		{when: "client.certificate.subject: CN=a", comment: "others have no certificate"},
		{when: "client.certificate.subject: CN=b", not: "certified"},
		{when: "client.certificate.sans: {contains: b.example.com}", not: "certified"},
		{when: "claims.c: a", not: "claim c"},
		{when: "claims.c: [a, c]"},
		{when: "claims.c: {is: a, present: true}", only: true, not: strings.Replace(claims, "claim c|", "", 1)},
		{when: "claims.c: {not: a}", not: "claim a|claim [a c]"},
		{when: "claims.c: {not: [a, c]}", not: "claim a|claim c|claim [a c]|claim [c 7]|claim [c]"},
		{when: "claims.c: {contains: a}", not: "claim c|claim [c]|claim []"},
		{when: "claims.c: 7", not: "claim 8|claim huge"},
		{when: "claims.c: {not: 7}", not: "claim 7|claim [c 7]"},
		{when: "claims.c: {contains: 7}", not: "claim 8|claim huge|claim []"},
		{when: "claims.c: true", not: "claim false"},
		{when: "claims.c: [true, false]"},
		{when: "claims.c: {not: false}", not: "claim false"},
		{when: "claims.c: {present: true}", only: true, not: claims},
		{when: "claims.c: {present: false}", not: claims},
		{when: "claims.c.a: b", not: "claim {}"},
		{when: "request.header.x: a", not: "header c|header empty"},
		{when: "request.header.x: {present: true}", only: true, not: "header a|header c|header empty"},
		{when: "request.header.x: {not: a}", not: "header a"},
		{when: "request.header.x: a, request.method: GET", only: true},
		{when: "request.header.x: a, subject.kind: user", not: "header c|header empty|anonymous"},
	} {
		b := bound(t, "{rate: 9/s, by: [], when: {"+row.when+"}}")
		named := strings.Split(row.not, "|")
		for _, g := range given {
			applies, wrong := b.applies(g.facts)
			if want := slices.Contains(named, g.name) == row.only; applies != want || wrong.is() {
				t.Errorf("%s, %s: %v %+v, want %v", row.when, g.name, applies, wrong, want)
			}
		}
	}
}

// TestWhenTwoValues: a header that is there twice denies, unless the limit is not meant for another reason, whatever the
// order in which the conditions are looked at.
func TestWhenTwoValues(t *testing.T) {
	for _, row := range []struct {
		when    string
		applies bool
		several bool
	}{
		{"request.header.x: a", true, true},
		{"request.header.x: {not: a}", true, true},
		{"request.header.x: {present: true}", true, true},
		{"request.header.x: {present: false}", true, true},
		{"request.header.x: a, request.method: POST", true, true},
		{"request.header.x: a, request.method: GET", false, false},
		{"request.header.x: a, action: read", false, false},
	} {
		f := factsOf(nil, nil, "x=a", "x=b")
		f.Action = "write"
		b := bound(t, "{rate: 9/s, by: [], when: {"+row.when+"}}")
		applies, wrong := b.applies(f)
		if applies != row.applies || wrong.is() != row.several {
			t.Errorf("%s: %v, %+v", row.when, applies, wrong)
		}
		if want := (fault{verdict.AttributeMany, "a", "request.header.x has no single value"}); row.several && wrong != want {
			t.Errorf("%s: %+v, want %+v", row.when, wrong, want)
		}
	}
}

// TestWhenAtEachPoint: a limit that does not apply is neither charged nor listed, at no point, nor for a denial.
func TestWhenAtEachPoint(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		for _, how := range []string{"count: all", "count: denied", "count: allowed", "at: gate, count: all", "at: gate, count: allowed"} {
			b := open("a: {rate: 2/d, by: [client.address], when: {request.header.plan: {is: trial, present: true}}, "+how+"}", "b: {rate: 90/d, by: [], count: allowed}") // settles nothing, so that the queue is free
			for _, other := range [][]string{{"user=alice"}, {"user=alice", "plan=paid"}, {"plan=paid", "identity=deny"}, {"plan=paid", "policy=deny"}} {
				for range 3 {
					if c := b.decide(other...); c.Verdict.Reason == verdict.LimitExceeded || slices.ContainsFunc(c.Verdict.Explanation.Limits, func(l verdict.LimitState) bool { return l.Name == "a" }) {
						t.Errorf("%s, %v: %q, %+v", how, other, c.Verdict.Reason, c.Verdict.Explanation.Limits)
					}
				}
			}
			b.wantLeft(2, "a", "plan=trial")
			end := "user=alice"
			if how == "count: denied" {
				end = "policy=deny"
			}
			b.decide(end, "plan=trial")
			b.wantLeft(1, "a", "plan=trial")
			b.decide(end, "plan=trial")
			b.wantLeft(0, "a", "plan=trial")
			if c := b.decide("user=alice", "plan=trial"); c.Verdict.Reason != verdict.LimitExceeded {
				t.Errorf("%s: %q", how, c.Verdict.Reason)
			}
		}
	})
}

// TestWhenOfTheSubject: the gate does not judge by a subject that it does not know yet.
func TestWhenOfTheSubject(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {rate: 1/d, by: [client.address], when: {subject.kind: anonymous}, count: allowed}")
		b.want(b.decide(), verdict.Allowed, "")
		b.want(b.decide(), verdict.LimitExceeded, "limits.take")
		b.want(b.decide(), verdict.LimitExceeded, "limits.take")
		b.want(b.decide("user=alice"), verdict.Allowed, "")
	})
}

// TestWhenIsDenied: two values where the condition needs one deny, and a shadow that has such a condition is not counted.
func TestWhenIsDenied(t *testing.T) {
	for how, want := range map[string]verdict.Reason{"count: all": verdict.AttributeMany, "at: gate": verdict.AttributeMany, "shadow: true": verdict.Allowed} {
		b := newBench(t, nil, "a: {rate: 9/d, by: [], when: {request.header.plan: trial}, "+how+"}")
		c := b.decide("user=alice", "plan=trial", "plan=paid")
		if c.Verdict.Reason != want || len(c.Verdict.Explanation.Limits) != 0 {
			t.Errorf("%s: %q, %+v", how, c.Verdict.Reason, c.Verdict.Explanation.Limits)
		}
	}
}

// TestWhenChargesAsWithout: a request for which all conditions hold is charged exactly as by the limit without them, and
// any other is not charged. The conditions are judged here by other means.
func TestWhenChargesAsWithout(t *testing.T) {
	const rest = "rate: 90/h, burst: 20, by: [client.network, request.header.by], missing: share, cost: request.header.cost, count: allowed"
	with := bound(t, "{"+rest+", when: {request.method: [POST, PUT], subject.roles: {contains: trial}, request.header.x: {not: [a, b]}, claims.c: {is: 1, present: true}}}")
	without := bound(t, "{"+rest+"}")
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	applied := 0
	for range 20_000 {
		method, role, x, c := pick("GET", "POST", "PUT"), pick("", "trial", "gold"), pick("", "a", "b", "c"), random.IntN(4)
		f := factsOf(nil, nil, "by="+pick("1", "2"), "cost="+pick("0", "1", "19", "21", "many"))
		f.Request.Method = method
		if role != "" {
			f.Subject.Roles = []string{"x", role}
		}
		if x != "" {
			f.Request.Header = append(f.Request.Header, request.Field{Name: "x", Value: x})
		}
		if c > 0 {
			f.Subject.Claims = map[string]any{"c": float64(c)}
		}
		holds := method != "GET" && role != "gold" && x != "a" && x != "b" && c == 1
		charge, applies, wrong := with.charge(f)
		if applies != holds {
			t.Fatalf("%s %q %q %d: applies %v", method, role, x, c, applies)
		}
		if !applies {
			continue
		}
		applied++
		bare, _, bareWrong := without.charge(f)
		if charge.Key != bare.Key || charge.Cost != bare.Cost || wrong != bareWrong || !wrong.is() && charge.Limit.Definition() != bare.Limit.Definition() {
			t.Fatalf("%+v %+v, without %+v %+v", charge, wrong, bare, bareWrong)
		}
	}
	if applied < 500 {
		t.Errorf("%d requests met the limit", applied)
	}
}

// TestSelectionAllocatesNothing: whether a limit applies, and at which rate, costs a request no memory.
func TestSelectionAllocatesNothing(t *testing.T) {
	b := bound(t, "{by: [], when: {request.method: [GET, POST], subject.kind: user, subject.roles: {contains: b, not: x}, request.header.x: {not: a}, claims.c: [1, 7], claims.l: {contains: z}, claims.none: {present: false}}, "+
		"by_class: {of: subject.roles, first_of: [{gold: 1000/min}, {b: 300/min}], otherwise: 100/min}}")
	byClaim := bound(t, "{by: [], by_class: {of: claims.l, first_of: [{gold: 1000/min}, {z: 300/min}], otherwise: 100/min}}")
	f := factsOf([]string{"a", "b"}, map[string]any{"c": 7.0, "l": []any{"y", "z"}}, "x=b")
	if n := testing.AllocsPerRun(100, func() {
		if applies, wrong := b.applies(f); !applies || wrong.is() {
			t.Fatal("it does not apply")
		}
		for _, b := range []*binding{b, byClaim} {
			if l, wrong := b.choose(f); wrong.is() || l.Definition().Count != 300 {
				t.Fatal("another class")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSoundWhenIsBound: conditions are looked at in the order of their names, on each route.
func TestSoundWhenIsBound(t *testing.T) {
	b := bound(t, "{rate: 1/s, by: [], when: {request.method: GET, action: read, params.id: \"7\"}}")
	var names []string
	for _, c := range b.when {
		names = append(names, c.attribute.Name())
	}
	if diff := cmp.Diff([]string{"action", "params.id", "request.method"}, names); diff != "" || b.late {
		t.Errorf("late %v\n%s", b.late, diff)
	}
	for _, limit := range []string{"{rate: 1/s, by: [], when: {claims.a: b}}", "{by: [], by_class: {of: claims.a, first_of: [{b: 1/s}], otherwise: 1/s}}"} {
		if !bound(t, limit).late {
			t.Errorf("%s is known at the gate", limit)
		}
	}
}
