package token

import (
	"crypto"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"

	"github.com/go-json-experiment/json"
)

// SignerConfig is what a [Signer] signs with. All fields are mandatory.
type SignerConfig struct {
	// Key is the private key: RSA of 2048 bits or more, ECDSA on a NIST curve of
	// 256 bits or more, or Ed25519.
	Key crypto.Signer
	// Algorithm is the alg, one with public keys that fits Key.
	Algorithm string
	// KeyID is the kid.
	KeyID string
	// Random is the source of randomness, such as crypto/rand.Reader.
	Random io.Reader
}

// Signer signs tokens. It is safe for concurrent use if its key and its source
// of randomness are.
type Signer struct {
	config SignerConfig
	jwk    publicJWK
	public *Key
}

// publicJWK is the public half of a signing key as written in a JWK set.
type publicJWK struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Crv string `json:"crv,omitzero"`
	X   string `json:"x,omitzero"`
	Y   string `json:"y,omitzero"`
	N   string `json:"n,omitzero"`
	E   string `json:"e,omitzero"`
}

// NewSigner checks that the key is one that a [Verifier] would accept for the
// algorithm.
func NewSigner(c SignerConfig) (*Signer, error) {
	if c.Key == nil || c.Random == nil || c.KeyID == "" {
		return nil, errors.New("a signer needs a key, a kid and a source of randomness")
	}
	keyType, m := publicMembers(c.Key.Public())
	s := &Signer{config: c, jwk: publicJWK{
		Kty: keyType, Use: "sig", Alg: c.Algorithm, Kid: c.KeyID, Crv: m.Crv, X: m.X, Y: m.Y, N: m.N, E: m.E,
	}}
	set, err := MarshalKeySet(s)
	if err != nil {
		return nil, err
	}
	keys, err := ParseKeySet(set)
	if err != nil {
		return nil, fmt.Errorf("check the signing key: %w", errors.Unwrap(err))
	}
	s.public = keys.keys[0]
	return s, nil
}

// MarshalKeySet writes the public keys of signers as a JWK set.
func MarshalKeySet(signers ...*Signer) ([]byte, error) {
	set := struct {
		Keys []publicJWK `json:"keys"`
	}{Keys: make([]publicJWK, 0, len(signers))}
	for _, s := range signers {
		set.Keys = append(set.Keys, s.jwk)
	}
	data, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("write a JWK set: %w", err)
	}
	return data, nil
}

// PublicKey returns the public half of the signer's key.
func (s *Signer) PublicKey() *Key { return s.public }

// Sign makes a compact token of the given typ (empty: none) from the claims,
// which it writes as they are.
func (s *Signer) Sign(typ string, claims map[string]any) (string, error) {
	header := map[string]any{}
	if typ != "" {
		header["typ"] = typ
	}
	return s.SignWith(header, claims)
}

// SignWith is Sign with a header that may hold any members beside alg and kid. A
// kid of its own replaces the signer's; the alg is always the signer's.
func (s *Signer) SignWith(header, claims map[string]any) (string, error) {
	members := map[string]any{"kid": s.config.KeyID}
	maps.Copy(members, header)
	return s.sign(members, claims)
}

// SignProof makes a proof of possession that brings the signer's public key (RFC 9449, section 4.2). The header may hold any
// members, which replace those of a sound proof; one of nil takes its member away. The alg is always the signer's.
func (s *Signer) SignProof(header, claims map[string]any) (string, error) {
	jwk := map[string]any{"kty": s.jwk.Kty}
	for name, value := range map[string]string{"crv": s.jwk.Crv, "x": s.jwk.X, "y": s.jwk.Y, "n": s.jwk.N, "e": s.jwk.E} {
		if value != "" {
			jwk[name] = value
		}
	}
	members := map[string]any{"typ": typeProof, "jwk": jwk}
	maps.Copy(members, header)
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	return s.sign(members, claims)
}

// sign signs with the signer's alg, whatever the header says.
func (s *Signer) sign(members, claims map[string]any) (string, error) {
	members["alg"] = s.config.Algorithm
	head, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("write a token's header: %w", err)
	}
	if claims == nil {
		claims = map[string]any{}
	}
	payload, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("write a token's claims: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := s.signature(signed)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (s *Signer) signature(signed string) ([]byte, error) {
	a := algorithms[s.config.Algorithm]
	digest := []byte(signed)
	var options crypto.SignerOpts = a.hash
	if a.hash != 0 {
		h := a.hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	if s.config.Algorithm[0] == 'P' {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	signature, err := s.config.Key.Sign(s.config.Random, digest, options)
	if err != nil || a.keyType != keyTypeEC {
		return signature, err
	}
	// JWS has r and s of fixed length (RFC 7518 section 3.4) where Go has ASN.1.
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &pair); err != nil {
		return nil, fmt.Errorf("read an ECDSA signature: %w", err)
	}
	size := (s.curveBits() + 7) / 8
	if pair.R.Sign() <= 0 || pair.S.Sign() <= 0 || pair.R.BitLen() > 8*size || pair.S.BitLen() > 8*size {
		return nil, errors.New("an ECDSA signature out of the curve's range")
	}
	fixed := make([]byte, 2*size)
	pair.R.FillBytes(fixed[:size])
	pair.S.FillBytes(fixed[size:])
	return fixed, nil
}

func (s *Signer) curveBits() int {
	switch s.public.curve {
	case curveP256:
		return 256
	case curveP384:
		return 384
	default:
		return 521
	}
}
