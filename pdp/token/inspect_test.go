package token

import (
	"errors"
	"testing"
	"time"
)

// TestInspectAgrees: the first finding is what Verify and Check say, and the others are there too.
func TestInspectAgrees(t *testing.T) {
	i := newIssuer(t)
	other := newSigner(t, "ES256", "k1")
	for name, row := range map[string]struct {
		signer *Signer
		keys   *KeySet
		typ    string
		claims map[string]any
		now    time.Time
		failed int
	}{
		"good":              {i.signer, i.keys, "at+jwt", nil, testNow, 0},
		"no keys":           {i.signer, nil, "at+jwt", nil, testNow, 1},
		"another key":       {i.signer, keySet(t, newSigner(t, "ES256", "k2")), "at+jwt", nil, testNow, 1},
		"forged":            {other, i.keys, "at+jwt", nil, testNow, 1},
		"of another kind":   {i.signer, i.keys, "logout+jwt", nil, testNow, 1},
		"expired":           {i.signer, i.keys, "at+jwt", nil, testNow.Add(48 * time.Hour), 1},
		"for others":        {i.signer, i.keys, "at+jwt", map[string]any{"aud": "others"}, testNow, 1},
		"without jti":       {i.signer, i.keys, "at+jwt", map[string]any{"jti": nil}, testNow, 1},
		"wrong in all ways": {other, i.keys, "dpop+jwt", map[string]any{"aud": 7, "exp": "x", "sub": ""}, testNow, 5},
		"another algorithm": {newSigner(t, "EdDSA", "k1"), i.keys, "at+jwt", nil, testNow, 1},
	} {
		raw, err := row.signer.Sign(row.typ, goodClaims(row.claims))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(raw, 0)
		if err != nil {
			t.Fatal(err)
		}
		verified, want := i.verifier.Verify(parsed, row.keys)
		if want == nil {
			_, want = i.verifier.Check(verified, i.audiences, row.now)
		}
		var first error
		failed := 0
		findings := i.verifier.Inspect(parsed, row.keys, i.audiences, row.now)
		for _, f := range findings {
			if f.Err == nil {
				continue
			}
			if failed++; first == nil {
				first = f.Err
			}
		}
		if failed != row.failed || len(findings) != 7 || !sameReason(first, want) {
			t.Errorf("%s: %d refusals, the first %v; want %d, the first %v", name, failed, first, row.failed, want)
		}
		if parsed.UnverifiedClaims()["iss"] != testIssuer {
			t.Errorf("%s: claims %v", name, parsed.UnverifiedClaims())
		}
	}
}

func sameReason(a, b error) bool {
	x, isX := errors.AsType[*Error](a)
	y, isY := errors.AsType[*Error](b)
	return isX == isY && (!isX || x.Error() == y.Error())
}

func TestKeysAreDescribed(t *testing.T) {
	set := keySet(t, newSigner(t, "ES384", "a"), newSigner(t, "EdDSA", "b"), newSigner(t, "RS256", "c"))
	for i, want := range []string{"a ES384 EC P-384", "b EdDSA OKP Ed25519", "c RS256 RSA"} {
		if k := set.Keys()[i]; k.ID()+" "+k.Algorithm()+" "+k.Type() != want {
			t.Errorf("%s %s %s, want %s", k.ID(), k.Algorithm(), k.Type(), want)
		}
	}
	set.Keys()[0] = nil
	if set.Keys()[0] == nil {
		t.Error("the set can be changed")
	}
}
