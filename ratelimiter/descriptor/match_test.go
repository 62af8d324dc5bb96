package descriptor_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// entries reads "key=value, key" as the entries of a descriptor.
func entries(text string) []descriptor.Entry {
	var out []descriptor.Entry
	for pair := range strings.SplitSeq(text, ", ") {
		key, value, _ := strings.Cut(pair, "=")
		out = append(out, descriptor.Entry{Key: key, Value: value})
	}
	return out
}

func match(t *testing.T, d *descriptor.Domain, r descriptor.Request) []descriptor.Rule {
	t.Helper()
	rules, err := d.Match(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != len(r.Descriptors) {
		t.Fatalf("%d rules for %d descriptors", len(rules), len(r.Descriptors))
	}
	return rules
}

// meets returns the rule that a single descriptor meets.
func meets(t *testing.T, d *descriptor.Domain, text string) descriptor.Rule {
	t.Helper()
	return match(t, d, descriptor.Request{Descriptors: []descriptor.Descriptor{{Entries: entries(text)}}})[0]
}

// sample has one limit of its own number at each place.
func sample(t *testing.T) *descriptor.Domain {
	t.Helper()
	return compile(t, descriptor.Config{Domain: "edge", Descriptors: nodes{
		{Key: "user", Limit: perHour(1)},
		{Key: "user", Value: "alice", Limit: perHour(2)},
		{Key: "user", Value: "guest"}, // matched, without a limit
		{Key: "path", Value: "/a*", Limit: perHour(3)},
		{Key: "path", Value: "/*z", Limit: perHour(4)},
		{Key: "path", Value: "/abc", Limit: perHour(5)},
		{Key: "path", Value: "p*q*r", Limit: perHour(6)},
		{Key: "path", Value: "*end", Limit: perHour(13)},
		{Key: "tenant", Limit: perHour(7), Descriptors: nodes{
			{Key: "user", Limit: perHour(8)},
			{Key: "user", Value: "bob", Limit: perHour(9), Descriptors: nodes{{Key: "path", Limit: perHour(10)}}},
		}},
		{Key: "tenant", Value: "big", Descriptors: nodes{{Key: "user", Value: "alice", Limit: perHour(11)}}},
		{Key: "tenant", Value: "w*", Descriptors: nodes{{Key: "user", Limit: perHour(12)}}},
		{Key: "zero", Limit: perHour(0)},
		{Key: "a", Value: "b_c", Limit: perHour(20)},
		{Key: "a_b", Limit: perHour(21)},
		{Key: "any", Value: "*", Limit: perHour(22)},
	}})
}

// TestMatching goes through the rules of matching. A limit is known by its number.
func TestMatching(t *testing.T) {
	d := sample(t)
	for _, c := range []struct {
		name, entries string
		want          int64 // -1 is none
	}{
		{"(1) the exact value first", "user=alice", 2},
		{"(3) the bare key", "user=bob", 1},
		{"(3) the bare key for an empty value", "user", 1},
		{"an unknown key", "color=red", -1},
		{"a match without rate_limit is allowed", "user=guest", -1},
		{"(1) exact before a wildcard in front of it", "path=/abc", 5},
		{"(2) wildcards in file order", "path=/az", 3},
		{"(2) the second wildcard", "path=/bz", 4},
		{"(2) a wildcard stands for nothing too", "path=/a", 3},
		{"(2) wildcards in the middle", "path=p--q--r", 6},
		{"(2) wildcards in the middle, for nothing", "path=pqr", 6},
		{"(2) pieces in another order", "path=prq", -1},
		{"(2) a piece is missing", "path=p-r", -1},
		{"(2) a wildcard in front", "path=the end", 13},
		{"(2) a wildcard in front stands for nothing", "path=end", 13},
		{"(2) the pieces do not overlap", "path=pq", -1},
		{"(2) a wildcard matches the empty value", "any", 22},
		{"no wildcard and no default", "path=other", -1},
		{"nested", "tenant=small, user=carol", 8},
		{"nested, exact", "tenant=small, user=bob", 9},
		{"three levels", "tenant=small, user=bob, path=/x", 10},
		{"the order of entries counts", "user=bob, tenant=small", -1},
		{"a limit above the last entry does not hold", "tenant=small, color=red", -1},
		{"a limit at the last entry of a shorter descriptor", "tenant=small", 7},
		{"deeper than the configuration", "user=alice, path=/x", -1},
		{"greedy: exact leads on", "tenant=big, user=alice", 11},
		{"greedy: no way back from exact to the default", "tenant=big, user=carol", -1},
		{"greedy: no way back from a wildcard to the default", "tenant=west, user=bob, path=/x", -1},
		{"greedy: an exact match without a limit", "tenant=big", -1},
		{"requests_per_unit 0 is a limit", "zero=x", 0},
		{"ambiguity: apart", "a=b_c", 20},
		{"ambiguity: not by another cut (envoyproxy/ratelimit: 20)", "a_b=c", 21},
		{"ambiguity: a bare key is no key and value (envoyproxy/ratelimit: 21)", "a=b", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := int64(-1)
			if l := meets(t, d, c.entries).Limit; l != nil {
				got = l.RequestsPerUnit
			}
			if got != c.want {
				t.Errorf("%s meets %d, want %d", c.entries, got, c.want)
			}
		})
	}
	t.Run("no entries", func(t *testing.T) {
		if got := match(t, d, descriptor.Request{Descriptors: []descriptor.Descriptor{{}}})[0]; got.Limit != nil || got.Hits != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestHits: section 1.3, hits_addend.
func TestHits(t *testing.T) {
	d := sample(t)
	zero, seven := uint64(0), uint64(7)
	for _, c := range []struct {
		name      string
		ofRequest uint32
		own       *uint64
		want      uint64
	}{
		{"none is 1", 0, nil, 1},
		{"the request's", 5, nil, 5},
		{"the descriptor's wins", 5, &seven, 7},
		{"the descriptor's 0 looks only", 5, &zero, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := descriptor.Request{Hits: c.ofRequest, Descriptors: []descriptor.Descriptor{{Entries: entries("user=x"), Hits: c.own}}}
			if got := match(t, d, r)[0].Hits; got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// TestOverrides: section 1.2, "Override".
func TestOverrides(t *testing.T) {
	d := compile(t, descriptor.Config{Domain: "edge", Descriptors: nodes{
		{Key: "user", Limit: &descriptor.RateLimit{Unit: "hour", RequestsPerUnit: 1, Name: "n"}, Shadow: true, Quota: true, Metadata: map[string]any{"a": 1}},
	}})
	ask := func(o descriptor.Override) ([]descriptor.Rule, error) {
		return d.Match(descriptor.Request{Descriptors: []descriptor.Descriptor{{Entries: entries("user=x, free")}, {Entries: entries("user=x, free"), Override: &o}}})
	}
	rules, err := ask(descriptor.Override{RequestsPerUnit: 42, Unit: descriptor.Month})
	if err != nil {
		t.Fatal(err)
	}
	rules[1].Key = ""
	want := []descriptor.Rule{{Hits: 1}, {Limit: &descriptor.Limit{RequestsPerUnit: 42, Unit: descriptor.Month}, Hits: 1, Path: "edge.user.free", PathByRequest: true}}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("the configuration is ignored: %s", diff)
	}
	for name, o := range map[string]descriptor.Override{
		"unit UNKNOWN (envoyproxy/ratelimit ends)": {RequestsPerUnit: 1},
		"unit of the future":                       {RequestsPerUnit: 1, Unit: 99},
		"above what is counted":                    {RequestsPerUnit: 1<<32 - 1, Unit: descriptor.Second},
	} {
		if rules, err := ask(o); !errors.Is(err, descriptor.ErrOverride) || rules != nil || !strings.HasPrefix(err.Error(), "descriptor 1: ") {
			t.Errorf("%s: %v, %v", name, rules, err)
		}
	}
	// The same entries and unit are the same counter as without the override.
	pair := match(t, d, descriptor.Request{Descriptors: []descriptor.Descriptor{
		{Entries: entries("user=x")}, {Entries: entries("user=x"), Override: &descriptor.Override{RequestsPerUnit: 9, Unit: descriptor.Hour}},
		{Entries: entries("user=x"), Override: &descriptor.Override{RequestsPerUnit: 9, Unit: descriptor.Day}},
	}})
	if pair[0].Key != pair[1].Key || pair[1].Key == pair[2].Key {
		t.Errorf("keys %q", []any{pair[0].Key, pair[1].Key, pair[2].Key})
	}
}

// TestReplaces: section 1.3, "replaces", and unlimited.
func TestReplaces(t *testing.T) {
	named := func(name string, replaces ...string) *descriptor.RateLimit {
		return &descriptor.RateLimit{Unit: "hour", RequestsPerUnit: 5, Name: name, Replaces: replaces}
	}
	d := compile(t, descriptor.Config{Domain: "edge", Descriptors: nodes{
		{Key: "base", Limit: named("base")},
		{Key: "gold", Limit: named("gold", "base")},
		{Key: "more", Limit: named("more", "base", "gold")},
		{Key: "free", Limit: &descriptor.RateLimit{Unlimited: true, Name: "free", Replaces: []string{"base"}}},
		{Key: "ends", Limit: named("ends", "free")},
		{Key: "plain", Limit: perHour(5)},
		{Key: "deep", Descriptors: nodes{{Key: "x", Limit: named("", "base")}}},
	}})
	for _, c := range []struct {
		name, descriptors, want string // L a limit, U unlimited, - nothing
	}{
		{"nothing replaced", "base; plain", "LL"},
		{"behind", "base; gold", "-L"},
		{"in front", "gold; base", "L-"},
		{"what is replaced still replaces", "more; gold; base", "L--"},
		{"an unlimited limit replaces", "base; free", "-U"},
		{"an unlimited limit stays", "ends; free", "LU"},
		{"one without a name is not replaced", "gold; plain", "LL"},
		{"only a limit that holds replaces", "deep; base", "-L"},
		{"at the full depth", "deep, x; base", "L-"},
		{"twice", "base; base; gold", "--L"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r descriptor.Request
			for text := range strings.SplitSeq(c.descriptors, "; ") {
				r.Descriptors = append(r.Descriptors, descriptor.Descriptor{Entries: entries(text)})
			}
			got := ""
			for _, rule := range match(t, d, r) {
				switch {
				case rule.Unlimited:
					got += "U"
				case rule.Limit != nil:
					got += "L"
				default:
					got += "-"
				}
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestPaths: sections 1.1 and 1.4, detailed_metric, value_to_metric and share_threshold.
func TestPaths(t *testing.T) {
	d := compile(t, descriptor.Config{Domain: "d", Descriptors: nodes{
		{Key: "plain", Limit: perHour(1), Descriptors: nodes{{Key: "sub", Value: "v", Limit: perHour(1)}}},
		{Key: "wild", Value: "x*", Limit: perHour(1), Descriptors: nodes{{Key: "sub", Limit: perHour(1), DetailedMetric: true}}},
		{Key: "value", ValueToMetric: true, Descriptors: nodes{{Key: "sub", Limit: perHour(1)}}},
		{Key: "value", Value: "w*", ValueToMetric: true, Limit: perHour(1)},
		{Key: "share", Value: "s*", ShareThreshold: true, ValueToMetric: true, Limit: perHour(1), DetailedMetric: true, Descriptors: nodes{{Key: "sub", Limit: perHour(1), DetailedMetric: true}}},
	}})
	for text, want := range map[string]string{
		"plain=1":         "d.plain",
		"plain=1, sub=v":  "d.plain.sub_v",
		"wild=x1":         "d.wild_x*",
		"wild=x1, sub=y":  "d.wild_x1.sub_y",
		"value=1, sub=2":  "d.value_1.sub",
		"value, sub=2":    "d.value.sub",
		"value=w1":        "d.value_w1",
		"share=s1":        "d.share_s*",
		"share=s1, sub=y": "d.share_s*.sub_y",
	} {
		if got := meets(t, d, text).Path; got != want {
			t.Errorf("%s is named %q, want %q", text, got, want)
		}
	}
}

// TestPathsOfRequests: a name that a request has a part in is short, whatever clients send, and known as such.
func TestPathsOfRequests(t *testing.T) {
	long := strings.Repeat("ä", 200)
	d := compile(t, descriptor.Config{Domain: "d", Descriptors: nodes{
		{Key: "plain", Value: long, Limit: perHour(1)},
		{Key: "detailed", DetailedMetric: true, Limit: perHour(1)},
		{Key: "value", ValueToMetric: true, Limit: perHour(1), Descriptors: nodes{{Key: "sub", Limit: perHour(1)}}},
	}})
	shortened := func(name string) string { return (name + long)[:256-len(name)%2] + "…" }
	for text, want := range map[string]descriptor.Rule{
		"plain=" + long:              {Path: "d.plain_" + long},
		"detailed=" + long:           {Path: shortened("d.detailed_"), PathByRequest: true},
		"value=" + long:              {Path: shortened("d.value_"), PathByRequest: true},
		"value=" + long + ", sub=x":  {Path: shortened("d.value_"), PathByRequest: true},
		"value=1, sub=" + long:       {Path: "d.value_1.sub", PathByRequest: true},
		"detailed=" + long[:2*122]:   {Path: "d.detailed_" + long[:2*122], PathByRequest: true},
		"detailed=" + long[:2*122+2]: {Path: shortened("d.detailed_"), PathByRequest: true},
	} {
		got := meets(t, d, text)
		if got.Path != want.Path || got.PathByRequest != want.PathByRequest {
			t.Errorf("%s is named %q, %v", text, got.Path, got.PathByRequest)
		}
	}
	override := descriptor.Descriptor{Entries: entries(long + "=x, " + long + "=y"), Override: &descriptor.Override{RequestsPerUnit: 1, Unit: descriptor.Day}}
	if got := match(t, d, descriptor.Request{Descriptors: []descriptor.Descriptor{override}})[0]; got.Path != shortened("d.") {
		t.Errorf("an override is named %q", got.Path)
	}
}

// TestCounters: section 1.2, "Ambiguity", and section 1.3, "Counter": which descriptors share a counter.
func TestCounters(t *testing.T) {
	d := compile(t, descriptor.Config{Domain: "d", Descriptors: nodes{
		{Key: "a", Limit: perHour(1), Descriptors: nodes{{Key: "b", Limit: perHour(1)}}},
		{Key: "a_b", Limit: perHour(1)},
		{Key: "share", Value: "s*", ShareThreshold: true, Limit: perHour(1), Descriptors: nodes{{Key: "a", Limit: perHour(1)}}},
		{Key: "share", Limit: perHour(1)},
		{Key: "wild", Value: "w*", Limit: perHour(1)},
	}})
	same := map[string]string{"share=s1": "share=s2", "share=s1, a=x": "share=s2, a=x", "a=1": "a=1"}
	for one, other := range same {
		if a, b := meets(t, d, one).Key, meets(t, d, other).Key; a != b || a == "" {
			t.Errorf("%s and %s count apart: %q, %q", one, other, a, b)
		}
	}
	seen := map[string]string{}
	for _, text := range []string{"a=b_c", "a_b=c", "a", "a_b", "a=x, b=y", "a=x_b_y", "share=s1", "share=other", "share=s1, a=x", "share=s1, a=y", "wild=w1", "wild=w2", "wild=w*"} {
		key := string(meets(t, d, text).Key)
		if other, twice := seen[key]; twice || key == "" {
			t.Errorf("%s and %s share the counter %q", text, other, key)
		}
		seen[key] = text
	}
	// An override of the very text of a shared wildcard is one value, and not all of them.
	literal := match(t, d, descriptor.Request{Descriptors: []descriptor.Descriptor{{Entries: entries("share=s*"), Override: &descriptor.Override{RequestsPerUnit: 1, Unit: descriptor.Hour}}}})[0].Key
	if literal == meets(t, d, "share=s1").Key {
		t.Errorf("an override shares the wildcard's counter %q", literal)
	}
	// Another domain and another scope count apart.
	config := descriptor.Config{Domain: "d", Descriptors: nodes{{Key: "a", Limit: perHour(1)}}}
	other, _ := descriptor.Compile("other", config)
	config.Domain = "e"
	if a, b, c := meets(t, d, "a=1").Key, meets(t, other, "a=1").Key, meets(t, compile(t, config), "a=1").Key; a == b || a == c || b == c {
		t.Errorf("keys %q, %q, %q", a, b, c)
	}
}

// TestRuleFlags: section 1.1, what stands on a descriptor reaches the rule.
func TestRuleFlags(t *testing.T) {
	metadata := map[string]any{"tier": "gold"}
	d := compile(t, descriptor.Config{Domain: "d", Descriptors: nodes{
		{Key: "a", Shadow: true, Quota: true, ValueToMetric: true, Metadata: metadata, Limit: &descriptor.RateLimit{Name: "n", Unit: "week", RequestsPerUnit: 3}},
	}})
	got := meets(t, d, "a=1")
	got.Key = ""
	want := descriptor.Rule{
		Limit: &descriptor.Limit{Name: "n", RequestsPerUnit: 3, Unit: descriptor.Week}, Hits: 1, Shadow: true, Quota: true, Path: "d.a_1", PathByRequest: true,
		Metadata: metadata, // envoyproxy/ratelimit loses it beside value_to_metric
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestOver: section 1.3, "Overall code" and "shadow_mode".
func TestOver(t *testing.T) {
	// r is a limit, q a quota, s a limit in shadow, t a quota in shadow, - no limit; upper case is over.
	for text, want := range map[string]bool{
		"": false, "-": false, "r": false, "R": true, "rR": true, "q": false, "Q": true, "Qq": false, "QQ": true, "Rq": true, "rQ": true, "rQq": false,
		"-Q": true, "S": false, "SR": true, "Sr": false, "T": false, "TQ": false, "TQQ": false, "QQR": true,
	} {
		rules, over := make([]descriptor.Rule, len(text)), make([]bool, len(text))
		for i, c := range text {
			lower := strings.ToLower(string(c))
			rules[i] = descriptor.Rule{Quota: strings.Contains("qt", lower), Shadow: strings.Contains("st", lower)}
			if c != '-' {
				rules[i].Limit = &descriptor.Limit{}
			}
			over[i] = lower != string(c)
		}
		if got := descriptor.Over(rules, over); got != want {
			t.Errorf("%q: over %v, want %v", text, got, want)
		}
	}
}
