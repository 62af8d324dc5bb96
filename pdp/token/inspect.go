package token

import (
	"slices"
	"time"
)

// Finding is what one check says of a token.
type Finding struct {
	// Check names the check: algorithm, key, signature, type, claims, audience or times.
	Check string
	// Err is why the check refuses, an [*Error]; nil where it does not.
	Err error
	// Skipped says that the check could not be made, because the one before it refused.
	Skipped bool
}

// UnverifiedClaims returns the claims of a token that nobody vouches for: for people who look into one, never for decisions.
func (t *Token) UnverifiedClaims() map[string]any { return t.claims }

// Inspect says what each check would say of a token, where [Verifier.Verify] and [Verifier.Check] say the first alone. Nothing is
// verified by it: it is for people who ask why a token is refused. No keys is nil.
func (v *Verifier) Inspect(t *Token, keys *KeySet, audiences Audiences, now time.Time) []Finding {
	out := make([]Finding, 0, 7)
	said := func(check string, err error) bool {
		out = append(out, Finding{Check: check, Err: err})
		return err == nil
	}
	skip := func(check string) { out = append(out, Finding{Check: check, Skipped: true}) }

	var algorithm error
	if !slices.Contains(v.algorithms, t.header.Algorithm) {
		algorithm = refuse(reasonAlgorithm, "not an algorithm of this issuer")
	}
	if said("algorithm", algorithm) {
		key, err := v.SelectKey(t, keys)
		if said("key", err) {
			var signature error
			if !key.verify(t.header.Algorithm, t.signed, t.signature) {
				signature = refuse(reasonSignature, "the signature does not match")
			}
			said("signature", signature)
		} else {
			skip("signature")
		}
	} else {
		skip("key")
		skip("signature")
	}
	claimed := &Verified{header: t.header, claims: Claims{members: t.claims}}
	said("type", v.checkType(claimed))
	said("claims", checkIdentifiers(claimed))
	said("audience", checkAudience(t.claims, audiences))
	said("times", v.checkTimes(claimed, now))
	return out
}
