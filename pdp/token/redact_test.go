package token

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Whatever is formatted or logged, by any verb, shows no token and no secret.
func TestNothingIsFormatted(t *testing.T) {
	i := newIssuer(t)
	raw := i.mint(t, goodHeader, goodClaims(map[string]any{"sub": "hush"}))
	parsed, err := Parse(raw, 0)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := i.verifier.Verify(parsed, i.keys)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := i.verifier.Check(verified, i.audiences, testNow)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := parseSecretSet([]byte(`{"keys":[{"kty":"oct","kid":"k","k":"` + encode(strings.Repeat("hush", 10)) + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	signer := newSigner(t, "EdDSA", "k")
	private := strings.Trim(fmt.Sprint(signer.config.Key.(ed25519.PrivateKey)[:8]), "[]")
	hidden := []string{private, "hush", "68757368", "104 117 115 104", "0x68, 0x75", parsed.signed}
	for _, value := range []any{parsed, verified, claims, secrets, secrets.keys[0], secrets.keys, signer} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", value)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb, value)
		}
		for _, h := range hidden {
			if strings.Contains(log.String(), h) {
				t.Errorf("%T shows %q: %s", value, h, log.String())
			}
		}
	}
}
