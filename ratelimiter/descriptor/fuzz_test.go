package descriptor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// FuzzMatch makes a domain of any texts and asks it for descriptors of any texts. Nothing panics, and two descriptors
// share a counter only if their entries and units are the same, or a shared wildcard matched both.
func FuzzMatch(f *testing.F) {
	f.Add("a\nb_c\na_b\nc\n", "a\nb_c", "a_b\nc")
	f.Add("k\nx*y*\nk\n\n", "k\nxy", "k\nx*y*")
	f.Add("k\n*", "k\n", "k")
	f.Fuzz(func(t *testing.T, config, one, other string) {
		node := pairs(config)
		c := descriptor.Config{Domain: "fuzz"}
		for i, e := range slices.Backward(node) {
			// Each pair stands at the outermost level, and the ones behind it below it.
			c.Descriptors = append(c.Descriptors, descriptor.Node{
				Key: e.Key, Value: e.Value, ShareThreshold: i%2 == 1, Limit: &descriptor.RateLimit{Unit: "hour", RequestsPerUnit: 1}, Descriptors: slices.Clone(c.Descriptors),
			})
			if i > 6 {
				c.Descriptors = nil
			}
		}
		d, problems := descriptor.Compile("fuzz", c)
		if d == nil {
			if len(problems) == 0 {
				t.Error("refused without a word")
			}
			// What is refused may still be asked as overrides of an empty domain.
			d, _ = descriptor.Compile("fuzz", descriptor.Config{Domain: "fuzz"})
		}
		a, b := pairs(one), pairs(other)
		override := &descriptor.Override{Unit: descriptor.Day, RequestsPerUnit: 1}
		rules, err := d.Match(descriptor.Request{Descriptors: []descriptor.Descriptor{{Entries: a}, {Entries: b}, {Entries: a, Override: override}, {Entries: b, Override: override}}})
		if err != nil {
			t.Fatal(err)
		}
		if (rules[2].Key == rules[3].Key) != slices.Equal(a, b) {
			t.Errorf("%q and %q: counters %q and %q", a, b, rules[2].Key, rules[3].Key)
		}
		if rules[0].Key != "" && rules[0].Key == rules[2].Key {
			t.Errorf("%q: an hour and a day share the counter %q", a, rules[0].Key)
		}
		if rules[0].Key == "" || rules[0].Key != rules[1].Key || slices.Equal(a, b) {
			return
		}
		// They differ, and only where the rule's name shows the wildcard instead of the value.
		if rules[0].Path != rules[1].Path || !strings.Contains(rules[0].Path, "*") {
			t.Errorf("%q and %q share the counter %q", a, b, rules[0].Key)
		}
	})
}

// pairs reads lines as keys and values in turn.
func pairs(text string) []descriptor.Entry {
	lines := strings.Split(text, "\n")
	var out []descriptor.Entry
	for i := 0; i+1 < len(lines) && i < 20; i += 2 {
		out = append(out, descriptor.Entry{Key: lines[i], Value: lines[i+1]})
	}
	return out
}
