package assembly

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
)

// TestNonceKeys: the keys that an operator writes, a line each; the first makes the nonces.
func TestNonceKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	read := func(text string) (*dpop.Nonces, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return newNonces(&settings.Identity{NonceKeyFile: file})
	}
	nonce := func(n *dpop.Nonces) string {
		v, err := dpop.New(dpop.Options{Nonces: n.For("acme/orders")})
		if err != nil {
			t.Fatal(err)
		}
		return v.Nonce(time.Unix(0, 0))
	}
	first, second := strings.Repeat("a", 32), strings.Repeat("b", 32)
	one, err := read(first + "\n")
	if err != nil {
		t.Fatal(err)
	}
	both, err := read("\n " + first + " \r\n" + second)
	if err != nil || nonce(one) != nonce(both) {
		t.Errorf("%v, %s and %s", err, nonce(one), nonce(both))
	}
	if other, err := read(second); err != nil || nonce(other) == nonce(one) {
		t.Errorf("another key makes the same nonces, %v", err)
	}
	for _, text := range []string{"", "\n\n", strings.Repeat("c", 31), first + "\nhunter2"} {
		if _, err := read(text); !errors.Is(err, settings.ErrInvalid) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ccc") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := newNonces(&settings.Identity{NonceKeyFile: file + "x"}); !errors.Is(err, settings.ErrInvalid) {
		t.Errorf("no file: %v", err)
	}
	if n, err := newNonces(&settings.Identity{}); n != nil || err != nil {
		t.Errorf("%v, %v", n, err)
	}
}
