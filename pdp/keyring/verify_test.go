package keyring_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
)

// verifyES256 does what RFC 7515 says with RFC 7517's set, by the standard library alone.
func verifyES256(t testing.TB, set []byte, raw string) error {
	t.Helper()
	var keys struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(set, &keys); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return errors.New("not three parts")
	}
	decode := func(text string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var header map[string]string
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil || header["alg"] != "ES256" || header["typ"] != "at+jwt" {
		return errors.New("a header that is none of ours")
	}
	for _, k := range keys.Keys {
		if k["d"] != "" || k["use"] != "sig" || k["alg"] != "ES256" || k["crv"] != "P-256" {
			t.Fatalf("published: %v", k)
		}
		if k["kid"] != header["kid"] {
			continue
		}
		point := append([]byte{4}, append(decode(k["x"]), decode(k["y"])...)...)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			t.Fatal(err)
		}
		digest, signature := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decode(parts[2])
		if len(signature) != 64 || !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			return errors.New("the signature does not verify")
		}
		return nil
	}
	return errors.New("no such key")
}
