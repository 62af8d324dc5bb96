package ratelimiter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/ratelimiter"
)

func values(texts ...string) []ratelimiter.Value {
	var out []ratelimiter.Value
	for _, t := range texts {
		out = append(out, ratelimiter.Value{Text: t})
	}
	return out
}

func TestKeyText(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		scope, service, limit string
		values                []ratelimiter.Value
		want                  string
	}{
		{"acme", "orders", "per-subject", values("user:corp:alice"), "rl:{acme}:6:orders11:per-subject15:user:corp:alice"},
		{"acme", "", "shared", nil, "rl:{acme}:0:6:shared"},
		{"acme", "a", "b", []ratelimiter.Value{{Missing: true}, {}}, "rl:{acme}:1:a1:b-0:"},
		{"acme", "a", "b", values(long), "rl:{acme}:1:a1:b=e1c7e40f3bd4b0e1"},
		{"a}{b", "a", "b", nil, "rl:{="},
		{"", "a", "b", nil, "rl:{="},
	} {
		got := string(ratelimiter.NewKeySpace(c.scope, c.service, c.limit).Key(c.values...))
		if strings.Contains(c.want, "=") {
			if !strings.HasPrefix(got, c.want[:strings.Index(c.want, "=")+1]) {
				t.Errorf("%q does not begin with %q", got, c.want)
			}
		} else if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	long := strings.Repeat("x", 200)
	seen := map[ratelimiter.Key]int{}
	for i, c := range []struct {
		scope, service, limit string
		values                []ratelimiter.Value
	}{
		{"s", "a", "b_c", values("d")},
		{"s", "a_b", "c", values("d")},
		{"s", "a", "b", values("1:x")},
		{"s", "a", "b", values("", "x")},
		{"s", "a", "b", values("x", "")},
		{"s", "a", "b", values("x")},
		{"s", "a", "b", nil},
		{"s", "a", "b", values("-")},
		{"s", "a", "b", []ratelimiter.Value{{Missing: true}}},
		{"s", "a", "b", []ratelimiter.Value{{Missing: true}, {Missing: true}}},
		{"s", "a", "b", values("")},
		{"s}", "a", "b", nil},
		{"", "a", "b", nil},
		{"S", "a", "b", nil},
		{"s", "a", "b", values(long)},
		{"s", "a", "b", values(long, "")},
		{"s", "a", "b", append(values(long), ratelimiter.Value{Missing: true})},
		{"s", "a", "b", values(long[1:], "x")},
		{"s", "a", long, nil},
		{"s", long, "a", nil},
		{long, "s", "a", nil},
	} {
		k := ratelimiter.NewKeySpace(c.scope, c.service, c.limit).Key(c.values...)
		if j, ok := seen[k]; ok {
			t.Errorf("cases %d and %d share %q", j, i, k)
		}
		if len(k) > 350 {
			t.Errorf("case %d: a key of %d bytes", i, len(k))
		}
		seen[k] = i
	}
}

// FuzzKey: keys of two lists are equal exactly if the lists are; every key has one non-empty hash tag at its start,
// the same for all keys of a scope.
func FuzzKey(f *testing.F) {
	f.Add("acme", "orders", "per-subject", "a", "b", "acme", "orders", "per-subject", "a", "b", uint8(0))
	f.Add("s", "a", "b", "x", "", "s", "a", "b", "", "x", uint8(0b0110))
	f.Add("s}", "a", "b", "1:x", "-", "{s", "a", "b", "=", "", uint8(0b1001))
	f.Add("", "", "", strings.Repeat("y", 130), "", "", "", "", strings.Repeat("y", 129), "y", uint8(0))
	f.Fuzz(func(t *testing.T, s1, v1, l1, a1, b1, s2, v2, l2, a2, b2 string, missing uint8) {
		value := func(text string, bit int) ratelimiter.Value {
			if missing>>bit&1 == 1 {
				return ratelimiter.Value{Missing: true}
			}
			return ratelimiter.Value{Text: text}
		}
		x := []ratelimiter.Value{value(a1, 0), value(b1, 1)}
		y := []ratelimiter.Value{value(a2, 2), value(b2, 3)}
		if missing&0x80 != 0 {
			y = y[:1]
		}
		first, second := ratelimiter.Algorithm(missing>>4&3), ratelimiter.Algorithm(missing>>5&3)
		one, two := ratelimiter.NewKeySpace(s1, v1, l1).For(first).Key(x...), ratelimiter.NewKeySpace(s2, v2, l2).For(second).Key(y...)
		same := s1 == s2 && v1 == v2 && l1 == l2 && slices.Equal(x, y) && first == second
		if (one == two) != same {
			t.Fatalf("%q %q: equal keys %v, equal lists %v", one, two, one == two, same)
		}
		if (hashTag(t, one) == hashTag(t, two)) != (s1 == s2) {
			t.Fatalf("slots of %q and %q", one, two)
		}
		if len(one) > 350 || len(two) > 350 {
			t.Fatal("a key is too long")
		}
	})
}

// hashTag is the rule of Redis Cluster: what stands between the first { and the first } after it, if anything does.
func hashTag(t *testing.T, k ratelimiter.Key) string {
	_, rest, ok := strings.Cut(string(k), "{")
	tag, _, closed := strings.Cut(rest, "}")
	if !ok || !closed || tag == "" || !strings.HasPrefix(string(k), "rl:{") {
		t.Fatalf("no hash tag in %q", k)
	}
	return tag
}

func TestKeysOfAlgorithms(t *testing.T) {
	space := ratelimiter.NewKeySpace("acme", "orders", "per-subject")
	if a, b := space.For(ratelimiter.GCRA).Key(values("x")...), space.Key(values("x")...); a != b {
		t.Errorf("gcra: %q, not %q", a, b)
	}
	if got := space.For(ratelimiter.SlidingLog).Key(values("x")...); got != "rl:{acme}:6:orders11:per-subject+sliding_log1:x" {
		t.Errorf("got %q", got)
	}
}

func TestKeyAllocations(t *testing.T) {
	space, v := ratelimiter.NewKeySpace("acme", "orders", "per-subject"), values("user:corp:alice", "203.0.113.7")
	if got := testing.AllocsPerRun(1000, func() { space.Key(v...) }); got > 1 { // the key
		t.Fatalf("%v allocations for a key", got)
	}
}
