package ratelimiter_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/ratelimiter"
)

func TestKeyParts(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		scope, service, limit string
		algorithm             ratelimiter.Algorithm
		values                []ratelimiter.Value
		name                  string // the key's Limit; a hash stands at its "="
		whole                 bool
	}{
		{"acme", "orders", "per-subject", ratelimiter.GCRA, values("user:corp:alice"), "rl:{acme}:6:orders11:per-subject", true},
		{"acme", "", "shared", ratelimiter.GCRA, nil, "rl:{acme}:0:6:shared", true},
		{"acme", "a", "b", ratelimiter.Quota, values("4:x", "", "-", "}:"), "rl:{acme}:1:a1:b", true},
		{"acme", "a", "b", ratelimiter.FixedWindow, []ratelimiter.Value{{Missing: true}, {Text: "+y"}, {}}, "rl:{acme}:1:a1:b", true},
		{"acme", "a", "b", ratelimiter.SlidingLog, values(long), "rl:{acme}:1:a1:b", false},
		{"acme", "a", long, ratelimiter.Quota, values("v"), "rl:{acme}:=", true},
		{"a}:{b", "a", "b", ratelimiter.GCRA, values("v"), "rl:{=", true},
	} {
		space := ratelimiter.NewKeySpace(c.scope, c.service, c.limit)
		key := space.For(c.algorithm).Key(c.values...)
		if key.Limit() != space.Limit() || space.For(c.algorithm).Limit() != space.Limit() {
			t.Errorf("%s: its limit is %q, that of its space %q", key, key.Limit(), space.Limit())
		}
		hash := strings.HasSuffix(c.name, "=")
		if hash && !strings.HasPrefix(key.Limit(), c.name) || !hash && key.Limit() != c.name {
			t.Errorf("%s: its limit is %q, want %q", key, key.Limit(), c.name)
		}
		service, limit, behind, ok := key.Parts()
		if grouped := c.algorithm == ratelimiter.GCRA && len(c.values) > 0; ok != grouped {
			t.Errorf("%s: has parts: %t", key, ok)
		} else if ok && (service+limit+behind != string(key) || service+limit != key.Limit() || behind == "") {
			t.Errorf("%s: its parts are %q, %q and %q", key, service, limit, behind)
		}
		if key.Under(key.Limit()) != ok {
			t.Errorf("%s: under its limit: %t", key, !ok)
		}
		got, whole := key.Values()
		if whole != c.whole || whole && cmp.Diff(c.values, got) != "" {
			t.Errorf("%s: its values are %v (%t), want %v (%t)", key, got, whole, c.values, c.whole)
		}
	}
}

func TestNoKeyHasNoParts(t *testing.T) {
	for _, text := range []string{
		"", "x", "rl:{acme}", "rl:{acme}:", "rl:{acme}:1:a", "rl:{acme}:1:a2:b", "rl:{acme}:=00", "xx:{acme}:1:a1:b", "rl:{acme}:9999999999:a1:b",
	} {
		key := ratelimiter.Key(text)
		if name := key.Limit(); name != "" {
			t.Errorf("%q has the limit %q", text, name)
		}
		if service, limit, behind, ok := key.Parts(); ok {
			t.Errorf("%q has the parts %q, %q and %q", text, service, limit, behind)
		}
		if got, ok := key.Values(); ok {
			t.Errorf("%q has the values %v", text, got)
		}
	}
	for _, text := range []string{"rl:{acme}:1:a1:bx", "rl:{acme}:1:a1:b5:x", "rl:{acme}:1:a1:b+quota5:x", "rl:{acme}:1:a1:b-1x"} {
		if got, ok := ratelimiter.Key(text).Values(); ok {
			t.Errorf("%q has the values %v", text, got)
		}
	}
}

// FuzzKeyParts holds that any list of values comes back from its key, and that no text is a panic.
func FuzzKeyParts(f *testing.F) {
	f.Add("acme", "orders", "per-subject", "user:corp:alice", "x", uint8(0))
	f.Add("", "=", "+quota", "-", "1:x", uint8(4))
	f.Fuzz(func(t *testing.T, scope, service, limit, a, b string, algorithm uint8) {
		space := ratelimiter.NewKeySpace(scope, service, limit)
		in := []ratelimiter.Value{{Text: a}, {Missing: true}, {Text: b}}
		key := space.For(ratelimiter.Algorithm(algorithm % 5)).Key(in...)
		if key.Limit() != space.Limit() || space.Limit() == "" {
			t.Fatalf("%q: the limit is %q, want %q", key, key.Limit(), space.Limit())
		}
		if got, whole := key.Values(); whole && cmp.Diff(in, got) != "" {
			t.Fatalf("%q: the values are %v, want %v", key, got, in)
		} else if !whole && len(a)+len(b) < 100 {
			t.Fatalf("%q: no values", key)
		}
		ratelimiter.Key(a).Limit()
		ratelimiter.Key(scope + "}:" + a).Values()
	})
}

func TestKeyLimitAllocations(t *testing.T) {
	key := ratelimiter.NewKeySpace("acme", "orders", "per-subject").Key(values("user:corp:alice")...)
	if n := testing.AllocsPerRun(100, func() { _ = key.Limit() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
