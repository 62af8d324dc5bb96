package token

import (
	"errors"
	"slices"
)

// Proof is a well-formed JWS whose header brings the public key that verifies it (RFC 7515, section 4.1.3), as a DPoP proof does
// (RFC 9449). Nothing in it is verified yet, and whose key it is the caller must know from elsewhere.
type Proof struct {
	compact
	key    *Key
	claims map[string]any
}

// ParseProof reads a compact JWS of at most maxLength bytes, as strictly as [Parse]. Its header must bring a public key in jwk,
// as sound as a [KeySet] demands, and must name no other: kid, jku, x5u and x5c are refused. Errors are an [*Error].
func ParseProof(raw string, maxLength int) (*Proof, error) {
	jws, err := parseCompact(raw, maxLength)
	if err != nil {
		return nil, err
	}
	if jws.header.KeyID != "" || len(jws.header.IgnoredKeys) != 1 || jws.header.IgnoredKeys[0] != "jwk" {
		return nil, refuse(reasonMalformed, "the header must bring one key, in jwk, and name no other")
	}
	key, err := parseOwnKey(jws.jwk)
	if err != nil {
		return nil, err
	}
	claims, syntax := parseObject(jws.payload)
	if syntax != nil {
		return nil, refuse(reasonMalformed, "the payload is not one strict JSON object")
	}
	jws.payload, jws.jwk = nil, nil
	return &Proof{compact: jws, key: key, claims: claims}, nil
}

// parseOwnKey reads the key that a proof brings. A secret or a private key there is a leak, and no proof.
func parseOwnKey(value any) (*Key, error) {
	jwk, ok := value.(map[string]any)
	if !ok {
		return nil, refuse(reasonMalformed, "jwk is not an object")
	}
	if jwk["kty"] == keyTypeSecret || holdsPrivate(jwk) {
		return nil, refuse(reasonMalformed, "jwk holds a secret or a private key")
	}
	key, err := parseKey(jwk)
	switch {
	case errors.Is(err, errForeign):
		return nil, refuse(reasonAlgorithm, "jwk is not a key for signatures that are supported")
	case err != nil:
		return nil, refuse(reasonMalformed, "jwk is no sound public key")
	}
	return key, nil
}

// Header returns the proof's header.
func (p *Proof) Header() Header { return p.header }

// Key returns the key that the proof brings.
func (p *Proof) Key() *Key { return p.key }

// Verify checks that the alg is one of those given, fits the key and made the signature, and only then hands out the claims.
func (p *Proof) Verify(algorithms []string) (Claims, error) {
	if !slices.Contains(algorithms, p.header.Algorithm) {
		return Claims{}, refuse(reasonAlgorithm, "not an algorithm that is accepted for proofs")
	}
	if !p.key.fits(p.header.Algorithm) {
		return Claims{}, refuse(reasonAlgorithm, "jwk is not for this algorithm")
	}
	if !p.key.verify(p.header.Algorithm, p.signed, p.signature) {
		return Claims{}, refuse(reasonSignature, "the signature does not match")
	}
	return Claims{members: p.claims}, nil
}

// CheckProofAlgorithms says whether a list can be given to [Proof.Verify]: it must name algorithms with public keys alone.
func CheckProofAlgorithms(list []string) error {
	if err := checkAlgorithms(list); err != nil {
		return err
	}
	if algorithms[list[0]].keyType == keyTypeSecret {
		return errors.New("a proof is signed with a private key; HMAC has none")
	}
	return nil
}
