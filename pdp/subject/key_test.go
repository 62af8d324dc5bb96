package subject

import "testing"

func TestIsKeyShaped(t *testing.T) {
	for name, want := range map[string]bool{
		Key(KindUser, "corp", "alice"):  true,
		Key(KindService, "mesh", "a:b"): true,
		"anonymous":                     true,
		"anonymous:x":                   true,
		"user:":                         true,
		"user":                          false,
		"admin":                         false,
		"role:admin":                    false,
		"orders:user:admin":             false,
		"":                              false,
	} {
		if got := IsKeyShaped(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}
