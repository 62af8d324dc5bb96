//go:build !race

// The race detector empties pools.

package apikey

import "testing"

// TestVerifyAllocatesNothing, whether or not there is such a key.
func TestVerifyAllocatesNothing(t *testing.T) {
	h := testHasher(t, "k")
	good, record := issue(t, h, "dwk_", nil)
	unknown, _ := issue(t, h, "dwk_", nil)
	v := &Verifier{Prefix: "dwk_", Bundle: "acme", Authenticator: "machines", Hasher: h, Book: NewBook(BookOptions{}, record)}
	for name, raw := range map[string]string{"good": good, "unknown": unknown} {
		if n := testing.AllocsPerRun(200, func() { v.Verify(raw, anywhere, testNow) }); n > 0.1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
