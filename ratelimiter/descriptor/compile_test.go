package descriptor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// perHour is a limit of n requests an hour.
func perHour(n int64) *descriptor.RateLimit {
	return &descriptor.RateLimit{Unit: "hour", RequestsPerUnit: n}
}

// nodes are the descriptors of a domain.
type nodes = []descriptor.Node

func compile(t *testing.T, c descriptor.Config) *descriptor.Domain {
	t.Helper()
	d, problems := descriptor.Compile("acme", c)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return d
}

// TestConfigurations goes through what envoyproxy/ratelimit accepts and rejects, as far as it is not the
// decoder's to say.
func TestConfigurations(t *testing.T) {
	limit := func(l descriptor.RateLimit) nodes { return nodes{{Key: "a", Limit: &l}} }
	for _, c := range []struct {
		name   string
		domain string // "d" where it is empty
		nodes  nodes
		want   []string // path: message, of each problem
	}{
		{name: "a domain without descriptors"},
		{name: "a key without a limit", nodes: nodes{{Key: "a"}}},
		{name: "key, key and value, nested", nodes: nodes{{Key: "a", Descriptors: nodes{{Key: "b", Value: "c", Limit: perHour(1)}}}, {Key: "a", Value: "x"}}},
		{name: "the same key at two levels", nodes: nodes{{Key: "a", Descriptors: nodes{{Key: "a", Limit: perHour(1)}}}}},
		{name: "unit in any case", nodes: limit(descriptor.RateLimit{Unit: "MiNuTe", RequestsPerUnit: 1})},
		{name: "requests_per_unit 0", nodes: limit(descriptor.RateLimit{Unit: "second"})},
		{name: "unlimited", nodes: limit(descriptor.RateLimit{Unlimited: true})},
		{name: "unlimited with requests_per_unit", nodes: limit(descriptor.RateLimit{Unlimited: true, RequestsPerUnit: 5})},
		{name: "unlimited of the unit unknown", nodes: limit(descriptor.RateLimit{Unlimited: true, Unit: "unknown"})},
		{name: "replaces another", nodes: limit(descriptor.RateLimit{Unit: "day", Name: "a", Replaces: []string{"b", "c"}})},
		{name: "share_threshold with a wildcard", nodes: nodes{{Key: "a", Value: "x*y", ShareThreshold: true, Limit: perHour(1)}}},
		{name: "ambiguity: equal when joined, and still two", nodes: nodes{{Key: "a", Value: "b_c"}, {Key: "a_b", Value: "c"}, {Key: "a_b_c"}}},

		{name: "empty domain", domain: "-", want: []string{`$.domain: a file of limits needs a domain`}},
		{name: "empty key", nodes: nodes{{Value: "x"}, {Key: "a", Descriptors: nodes{{}}}}, want: []string{
			`$.descriptors[0]: a descriptor needs a key`, `$.descriptors[1].descriptors[0]: a descriptor needs a key`,
		}},
		{name: "duplicate key", nodes: nodes{{Key: "a"}, {Key: "b"}, {Key: "a"}}, want: []string{
			`$.descriptors[2]: a second descriptor with the key "a" and no value at this level; what it says would never hold`,
		}},
		{name: "duplicate key and value", nodes: nodes{{Key: "k", Descriptors: nodes{{Key: "a", Value: "b*"}, {Key: "a", Value: "b*"}}}}, want: []string{
			`$.descriptors[0].descriptors[1]: a second descriptor with the key "a" and the value "b*" at this level; what it says would never hold`,
		}},
		{name: "no unit", nodes: limit(descriptor.RateLimit{RequestsPerUnit: 1}), want: []string{
			`$.descriptors[0].rate_limit: a rate_limit needs a unit: second, minute, hour, day, week, month or year`,
		}},
		{name: "unknown unit", nodes: limit(descriptor.RateLimit{Unit: "foo"}), want: []string{
			`$.descriptors[0].rate_limit.unit: unit is second, minute, hour, day, week, month or year, not "foo"`,
		}},
		{name: "the unit unknown", nodes: limit(descriptor.RateLimit{Unit: "UNKNOWN"}), want: []string{
			`$.descriptors[0].rate_limit.unit: unit is second, minute, hour, day, week, month or year, not "UNKNOWN"`,
		}},
		{name: "unlimited with a unit", nodes: limit(descriptor.RateLimit{Unit: "hour", Unlimited: true}), want: []string{
			`$.descriptors[0].rate_limit.unit: an unlimited limit has no unit`,
		}},
		{name: "unlimited with an unknown unit, stricter", nodes: limit(descriptor.RateLimit{Unit: "huor", Unlimited: true}), want: []string{
			`$.descriptors[0].rate_limit.unit: an unlimited limit has no unit, and "huor" is none`,
		}},
		{name: "requests_per_unit below 0", nodes: limit(descriptor.RateLimit{Unit: "hour", RequestsPerUnit: -1}), want: []string{
			`$.descriptors[0].rate_limit.requests_per_unit: requests_per_unit is from 0 to 1000000000; where there is to be no limit write unlimited: true`,
		}},
		{name: "requests_per_unit above what is counted, stricter", nodes: limit(descriptor.RateLimit{Unit: "hour", RequestsPerUnit: 1<<32 - 1}), want: []string{
			`$.descriptors[0].rate_limit.requests_per_unit: requests_per_unit is from 0 to 1000000000; where there is to be no limit write unlimited: true`,
		}},
		{name: "replaces itself", nodes: limit(descriptor.RateLimit{Unit: "hour", Name: "n", Replaces: []string{"m", "n"}}), want: []string{
			`$.descriptors[0].rate_limit.replaces[1]: the limit "n" cannot replace itself`,
		}},
		{name: "replaces nothing", nodes: limit(descriptor.RateLimit{Unit: "hour", Replaces: []string{""}}), want: []string{
			`$.descriptors[0].rate_limit.replaces[0]: an entry of replaces needs the name of a limit`,
		}},
		{name: "share_threshold without a wildcard", nodes: nodes{{Key: "a", Value: "b", ShareThreshold: true}, {Key: "a", ShareThreshold: true}}, want: []string{
			`$.descriptors[0].share_threshold: share_threshold needs a value with a wildcard (*), and the descriptor has none`,
			`$.descriptors[1].share_threshold: share_threshold needs a value with a wildcard (*), and the descriptor has none`,
		}},
		{name: "a wildcard in a key, stricter", nodes: nodes{{Key: "a*"}}, want: []string{`$.descriptors[0].key: a key cannot hold *: wildcards stand in values`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			domain := strings.TrimSuffix(c.domain+"d", "-d")
			d, problems := descriptor.Compile("acme", descriptor.Config{Domain: domain, Descriptors: c.nodes})
			var got []string
			for _, p := range problems {
				got = append(got, p.Path+": "+p.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if (d == nil) != (len(problems) > 0) {
				t.Errorf("a domain %v with the problems %v", d, problems)
			}
			if d != nil && d.Name() != domain {
				t.Errorf("the domain is named %q", d.Name())
			}
		})
	}
}

// TestUnits holds the units' lengths.
func TestUnits(t *testing.T) {
	const day = 24 * time.Hour
	want := map[string]time.Duration{
		"second": time.Second, "MINUTE": time.Minute, "Hour": time.Hour, "day": day,
		"week": 7 * day, "month": 30 * day, "year": 365 * day,
	}
	for name, length := range want {
		u, ok := descriptor.ParseUnit(name)
		if !ok || u.Duration() != length || u.String() != strings.ToLower(name) {
			t.Errorf("%s is %v, %v, %v", name, u, u.Duration(), ok)
		}
	}
	for _, name := range []string{"", "unknown", "seconds", " hour", "decade"} {
		if u, ok := descriptor.ParseUnit(name); ok || u.Duration() != 0 || u.String() != "" {
			t.Errorf("%q is %v", name, u)
		}
	}
	if u := descriptor.Unit(200); u.String() != "" || u.Duration() != 0 {
		t.Errorf("unit 200 is %v", u)
	}
}

// TestParts: a domain in several parts is as if their descriptors stood in one list, and what is wrong has its part.
func TestParts(t *testing.T) {
	one := descriptor.Config{Domain: "edge", Descriptors: nodes{{Key: "a", Limit: perHour(1)}, {Key: "b", Value: "x*", Limit: perHour(2)}}}
	two := descriptor.Config{Domain: "edge", Descriptors: nodes{{Key: "b", Value: "*y", Limit: perHour(3)}, {Key: "a", Value: "v", Limit: perHour(4)}}}
	d, problems := descriptor.Compile("acme", one, two)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for text, want := range map[string]int64{"a=u": 1, "b=xy": 2, "b=zy": 3, "a=v": 4} {
		if got := meets(t, d, text); got.Limit == nil || got.Limit.RequestsPerUnit != want {
			t.Errorf("%s meets %+v, want %d", text, got, want)
		}
	}
	_, problems = descriptor.Compile("acme", one, descriptor.Config{Domain: "edge", Descriptors: nodes{{Key: "c"}, {Key: "a"}}})
	want := []descriptor.Problem{{Part: 1, Path: "$.descriptors[1]", Message: `a second descriptor with the key "a" and no value at this level; what it says would never hold`}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
}

// TestLimits: what Match finds was listed before, under a name without values of requests.
func TestLimits(t *testing.T) {
	d := compile(t, descriptor.Config{Domain: "edge", Descriptors: nodes{
		{Key: "a", Limit: perHour(1), Descriptors: nodes{{Key: "b", Value: "x*", DetailedMetric: true, Limit: perHour(2)}}},
		{Key: "free", Limit: &descriptor.RateLimit{Unlimited: true}},
	}})
	for text, want := range map[string]string{"a=u": "edge.a", "a=u, b=xy": "edge.a.b_x*"} {
		if got := d.Limits()[meets(t, d, text).Limit]; got != want {
			t.Errorf("%s meets the rule %q, want %q", text, got, want)
		}
	}
	if n := len(d.Limits()); n != 2 {
		t.Errorf("%d limits, want 2", n)
	}
}

// TestQuotaMode makes a quota of every rule, also where nothing is limited.
func TestQuotaMode(t *testing.T) {
	d := compile(t, descriptor.Config{Domain: "edge", QuotaMode: true, Descriptors: nodes{
		{Key: "a", Limit: perHour(1)}, {Key: "free", Limit: &descriptor.RateLimit{Unlimited: true}},
	}})
	rules := match(t, d, descriptor.Request{Descriptors: []descriptor.Descriptor{{Entries: entries("a=u")}, {Entries: entries("other=u")}, {Entries: entries("free=u")}}})
	if !rules[0].Quota || !rules[1].Quota || rules[1].Limit != nil {
		t.Errorf("%+v", rules)
	}
	if rules[2].Quota || !descriptor.Over([]descriptor.Rule{rules[0], rules[2]}, []bool{true, false}) {
		t.Error("what is unlimited is a quota with room")
	}
	if descriptor.Over(rules[:2], []bool{true, false}) || !descriptor.Over(rules[:1], []bool{true}) {
		t.Error("a quota beside one that has room refuses, or one alone does not")
	}
}
