package request

import "testing"

func TestHeader(t *testing.T) {
	h := Header{{"a", "1"}, {"b", ""}, {"a", "22"}}
	for name, want := range map[string]struct {
		value string
		count int
	}{"a": {"1", 2}, "b": {"", 1}, "c": {"", 0}, "A": {"", 0}} {
		value, count := h.Get(name)
		if value != want.value || count != want.count || h.Count(name) != want.count {
			t.Errorf("Get(%q) = %q, %d; Count = %d; want %q, %d", name, value, count, h.Count(name), want.value, want.count)
		}
	}
	if got := h.Size(); got != 6 {
		t.Errorf("Size = %d, want 6", got)
	}
	if got := (Header)(nil).Size(); got != 0 {
		t.Errorf("Size of nothing = %d", got)
	}
}

func TestCanonicalAlias(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"x-durward-subject", "X_Durward_Subject", true},
		{"x-durward-subject", "x_durward-subject", true},
		{"x-durward-subject", "x.durward.subject", false},
		{"x-durward-subject", "x-durward-subjec", false},
		{"x-durward-subject", "x-durward-subjecu", false},
		{"", "", true},
	} {
		if got := CanonicalAlias(tc.a) == CanonicalAlias(tc.b); got != tc.want {
			t.Errorf("%q and %q: %q, %q", tc.a, tc.b, CanonicalAlias(tc.a), CanonicalAlias(tc.b))
		}
	}
}
