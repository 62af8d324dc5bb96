package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
)

// members returns the public JWK of a signer as a map, with changes; a nil removes.
func members(s *Signer, changes map[string]any) map[string]any {
	jwk := map[string]any{"kty": s.jwk.Kty, "use": "sig", "alg": s.jwk.Alg, "kid": s.jwk.Kid}
	for name, value := range map[string]string{"crv": s.jwk.Crv, "x": s.jwk.X, "y": s.jwk.Y, "n": s.jwk.N, "e": s.jwk.E} {
		if value != "" {
			jwk[name] = value
		}
	}
	maps.Copy(jwk, changes)
	maps.DeleteFunc(jwk, func(_ string, v any) bool { return v == nil })
	return jwk
}

func set(t testing.TB, keys ...any) []byte {
	t.Helper()
	return []byte(text(t, map[string]any{"keys": keys}))
}

func number(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }

func TestKeys(t *testing.T) {
	ec, rs, ed := newSigner(t, "ES256", "ec"), newSigner(t, "RS256", "rs"), newSigner(t, "EdDSA", "ed")
	other := newSigner(t, "ES256", "other")
	modulus := rs.public.material.(*rsa.PublicKey).N
	small := new(big.Int).Rsh(modulus, 1)
	small.SetBit(small, 0, 1)
	type change = map[string]any

	t.Run("T10", func(t *testing.T) {
		for name, test := range map[string]struct {
			signer  *Signer
			changes change
			want    string // "" means usable
			foreign bool
		}{
			"EC as it is":               {ec, nil, "", false},
			"RSA as it is":              {rs, nil, "", false},
			"Ed25519 as it is":          {ed, nil, "", false},
			"named Ed25519":             {ed, change{"alg": "Ed25519"}, "", false},
			"no alg":                    {rs, change{"alg": nil}, "", false},
			"no use":                    {rs, change{"use": nil}, "", false},
			"no kid":                    {rs, change{"kid": nil}, "", false},
			"key_ops verify":            {rs, change{"key_ops": []string{"verify"}}, "", false},
			"unknown members":           {rs, change{"x5t": "a", "extra": change{"a": 1}}, "", false},
			"a leading zero":            {rs, change{"n": encode("\x00" + string(modulus.Bytes()))}, "", false},
			"use enc":                   {rs, change{"use": "enc"}, "use is not sig", true},
			"use a number":              {rs, change{"use": 1}, "use is not a string", false},
			"key_ops encrypt":           {rs, change{"key_ops": []string{"encrypt"}}, "key_ops lacks verify", true},
			"key_ops empty":             {rs, change{"key_ops": []string{}}, "key_ops lacks verify", true},
			"key_ops duplicate":         {rs, change{"key_ops": []string{"verify", "verify"}}, "duplicate", false},
			"key_ops a string":          {rs, change{"key_ops": "verify"}, "not an array", false},
			"use and key_ops disagree":  {rs, change{"key_ops": []string{"verify", "encrypt"}}, "disagree", false},
			"kty missing":               {rs, change{"kty": nil}, "kty is missing", false},
			"kty of another":            {ec, change{"kty": "RSA"}, "n is missing", false},
			"kty case":                  {rs, change{"kty": "rsa"}, "kty is not supported", true},
			"kty unknown":               {rs, change{"kty": "AKP"}, "kty is not supported", true},
			"alg for encryption":        {rs, change{"alg": "RSA-OAEP"}, "not a supported signature", true},
			"alg none":                  {rs, change{"alg": "none"}, "not a supported signature", true},
			"alg of another type":       {rs, change{"alg": "ES256"}, "alg does not fit", false},
			"alg HS256 on RSA":          {rs, change{"alg": "HS256"}, "alg does not fit", false},
			"alg of another curve":      {ec, change{"alg": "ES384"}, "alg does not fit", false},
			"alg ES256 on Ed25519":      {ed, change{"alg": "ES256"}, "alg does not fit", false},
			"alg a number":              {rs, change{"alg": 256}, "alg is not a string", false},
			"kid a number":              {rs, change{"kid": 1}, "kid is not a string", false},
			"kid too long":              {rs, change{"kid": strings.Repeat("k", 129)}, "kid is not a short", false},
			"kid with a line feed":      {rs, change{"kid": "a\nb"}, "kid is not a short", false},
			"RSA 2047 bits":             {rs, change{"n": number(small)}, "shorter than 2048", false},
			"RSA 8193 bits":             {rs, change{"n": number(new(big.Int).SetBit(big.NewInt(1), 8192, 1))}, "longer than 8192", false},
			"RSA a megabit":             {rs, change{"n": strings.Repeat("A", 20000)}, "n is too long", false},
			"RSA even":                  {rs, change{"n": number(new(big.Int).SetBit(modulus, 0, 0))}, "even", false},
			"RSA ROCA":                  {rs, change{"n": number(rocaModulus())}, "CVE-2017-15361", false},
			"RSA e 0":                   {rs, change{"e": "AA"}, "exponent", false},
			"RSA e 1":                   {rs, change{"e": "AQ"}, "exponent", false},
			"RSA e 2":                   {rs, change{"e": "Ag"}, "exponent", false},
			"RSA e 3":                   {rs, change{"e": "Aw"}, "", false},
			"RSA e even":                {rs, change{"e": "AQAC"}, "exponent", false},
			"RSA e 2^31-1":              {rs, change{"e": number(big.NewInt(1<<31 - 1))}, "", false},
			"RSA e 2^31+1":              {rs, change{"e": number(big.NewInt(1<<31 + 1))}, "exponent", false},
			"RSA e 2^33+1":              {rs, change{"e": number(big.NewInt(1<<33 + 1))}, "exponent", false},
			"RSA e long":                {rs, change{"e": "AQAAAAAAAAAB"}, "e is too long", false},
			"RSA n padded":              {rs, change{"n": rs.jwk.N + "=="}, "n is not strict base64url", false},
			"RSA n with CRLF":           {rs, change{"n": rs.jwk.N[:8] + "\r\n" + rs.jwk.N[8:]}, "n is not strict base64url", false},
			"RSA n missing":             {rs, change{"n": nil}, "n is missing", false},
			"EC off the curve":          {ec, change{"y": other.jwk.Y}, "not on the curve", false},
			"EC zero":                   {ec, change{"x": encode(strings.Repeat("\x00", 32)), "y": encode(strings.Repeat("\x00", 32))}, "not on the curve", false},
			"EC coordinate over p":      {ec, change{"x": encode(strings.Repeat("\xff", 32))}, "not on the curve", false},
			"EC short coordinate":       {ec, change{"x": encode(strings.Repeat("\x01", 31))}, "length of the curve", false},
			"EC long coordinate":        {ec, change{"x": encode(strings.Repeat("\x01", 33))}, "x is too long", false},
			"EC wrong curve":            {ec, change{"crv": "P-384"}, "length of the curve", false},
			"EC unknown curve":          {ec, change{"crv": "secp256k1"}, "crv is not supported", true},
			"EC P-224":                  {ec, change{"crv": "P-224"}, "crv is not supported", true},
			"Ed25519 short":             {ed, change{"x": encode(strings.Repeat("\x05", 31))}, "length of the curve", false},
			"X25519":                    {ed, change{"crv": "X25519"}, "crv is not supported", true},
			"Ed448":                     {ed, change{"crv": "Ed448"}, "crv is not supported", true},
			"Ed25519 of a small order":  {ed, change{"x": encode(smallOrderPoints[2])}, "small order", false},
			"Ed25519 zero":              {ed, change{"x": encode(smallOrderPoints[0])}, "small order", false},
			"Ed25519 crv on EC's point": {ec, change{"crv": "Ed25519"}, "crv is not supported", true},
		} {
			t.Run(name, func(t *testing.T) {
				keys, err := ParseKeySet(set(t, members(other, nil), members(test.signer, test.changes)))
				if err != nil {
					t.Fatalf("the whole set is refused: %v", err)
				}
				if test.want == "" {
					if keys.Len() != 2 {
						t.Errorf("unusable: %v", keys.Unusable())
					}
					return
				}
				unusable := keys.Unusable()
				if keys.Len() != 1 || len(unusable) != 1 {
					t.Fatalf("%d usable keys and %v", keys.Len(), unusable)
				}
				if u := unusable[0]; !strings.Contains(u.Err.Error(), test.want) || u.Foreign != test.foreign {
					t.Errorf("%v (foreign %v), want %q (foreign %v)", u.Err, u.Foreign, test.want, test.foreign)
				}
			})
		}

		secret := strings.Repeat("s", 32)
		oct := change{"kty": "oct", "kid": "h", "k": encode(secret)}
		for name, test := range map[string]struct {
			data []byte
			want string
		}{
			"duplicate kid":            {set(t, members(ec, nil), members(other, change{"kid": "ec"})), "line 1, column 174: two keys have the same kid"},
			"duplicate kid, enc":       {set(t, members(ec, nil), members(other, change{"kid": "ec", "use": "enc"})), "two keys have the same kid"},
			"mixed":                    {set(t, members(ec, nil), oct), "a secret (kty oct)"},
			"a secret":                 {set(t, oct), "a secret (kty oct)"},
			"private d":                {set(t, members(ec, change{"d": "AA"})), "a private key"},
			"private d, null":          {[]byte(`{"keys":[{"kty":"EC","d":null}]}`), "a private key"},
			"private p":                {set(t, members(rs, change{"p": "AA"})), "a private key"},
			"k on RSA":                 {set(t, members(rs, change{"k": "AA"})), "a private key"},
			"private, foreign":         {set(t, members(ec, nil), change{"kty": "AKP", "priv": "AA"}), "a private key"},
			"65 keys":                  {set(t, manyKeys(ec, 65)...), "more than 64 keys"},
			"too large":                {append(set(t, members(ec, nil)), strings.Repeat(" ", 256<<10)...), "larger than 256 KiB"},
			"no keys":                  {[]byte(`{"keys":[]}`), "the set is empty"},
			"none usable":              {[]byte("{\"keys\": [\n  {\"kty\": \"AKP\"}]}"), "line 2, column 3: no usable key: kty is not supported"},
			"no member keys":           {[]byte(`{}`), `"keys" is missing`},
			"a bare key":               {[]byte(text(t, members(ec, nil))), `"keys" is missing`},
			"keys an object":           {[]byte(`{"keys":{}}`), `"keys" is missing or not an array`},
			"key a string":             {[]byte(`{"keys":["x"]}`), "line 1, column 10: a key is not an object"},
			"not JSON":                 {[]byte(`<html>`), "line 1, column 1: not valid JSON"},
			"empty":                    {nil, "ends too early"},
			"truncated":                {[]byte(`{"keys":[`), "ends too early"},
			"trailing":                 {append(set(t, members(ec, nil)), "{}"...), "data after the JSON value"},
			"duplicate member":         {[]byte("{\"keys\":[\n{\"kty\":\"EC\",\"kty\":\"RSA\"}]}"), "line 2, column 13: duplicate member name"},
			"invalid UTF-8":            {[]byte("{\"keys\":[{\"kty\":\"\xff\"}]}"), "not valid JSON"},
			"deep":                     {[]byte(`{"keys":` + strings.Repeat("[", 50000)), "nested too deep"},
			"keys twice, escaped name": {[]byte(`{"keys":[],"\u006beys":[]}`), "duplicate member name"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := ParseKeySet(test.data)
				var refused *KeySetError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
			})
		}
		if keys, err := ParseKeySet(set(t, manyKeys(ec, 64)...)); err != nil || keys.Len() != 64 {
			t.Errorf("64 keys: %v", err)
		}
	})
}

func TestSecrets(t *testing.T) {
	ec := newSigner(t, "ES256", "ec")
	type change = map[string]any
	for name, test := range map[string]struct {
		key  any
		want string
	}{
		"32 bytes":          {change{"kty": "oct", "alg": "HS256", "k": encode(strings.Repeat("s", 32))}, ""},
		"31 bytes":          {change{"kty": "oct", "alg": "HS256", "k": encode(strings.Repeat("s", 31))}, "shorter than 32"},
		"empty":             {change{"kty": "oct", "alg": "HS256", "k": ""}, "k is missing"},
		"short for HS512":   {change{"kty": "oct", "alg": "HS512", "k": encode(strings.Repeat("s", 63))}, "does not fit"},
		"64 bytes HS512":    {change{"kty": "oct", "alg": "HS512", "k": encode(strings.Repeat("s", 64))}, ""},
		"AES key":           {change{"kty": "oct", "alg": "A256KW", "k": encode(strings.Repeat("s", 32))}, "not a supported signature"},
		"alg of public key": {change{"kty": "oct", "alg": "RS256", "k": encode(strings.Repeat("s", 32))}, "does not fit"},
		"a public key":      {members(ec, nil), "not a secret"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseSecretSet(set(t, test.key))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "sss") {
				t.Errorf("the text %q holds the secret", err)
			}
		})
	}
}

// The examples of RFC 7638 section 3.1 and RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	for want, jwk := range map[string]string{
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
	} {
		keys, err := ParseKeySet([]byte(`{"keys":[` + jwk + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		sum := keys.keys[0].Thumbprint()
		if got := base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
			t.Errorf("thumbprint %s, want %s", got, want)
		}
		if !keys.Contains(sum) || keys.Contains([32]byte{}) {
			t.Error("Contains is wrong")
		}
	}
}

// For every point of the table a signature can be made without a secret: R is
// the identity, S is 0, and one message in eight verifies.
func TestSmallOrderPointsAreForgeable(t *testing.T) {
	forged := append([]byte(smallOrderPoints[1]), make([]byte, 32)...)
	for _, point := range smallOrderPoints {
		verified := false
		for i := range 200 {
			verified = verified || ed25519.Verify(ed25519.PublicKey(point), fmt.Append(nil, i), forged)
		}
		if !verified {
			t.Errorf("%s is not of small order", hex.EncodeToString([]byte(point)))
		}
		if sign := []byte(point); !hasSmallOrder(sign) {
			t.Error("not found")
		} else if sign[31] |= 0x80; !hasSmallOrder(sign) {
			t.Error("not found with the sign bit")
		}
	}
}

func TestROCAFindsNoSoundKey(t *testing.T) {
	if !hasROCAFingerprint(rocaModulus()) {
		t.Error("the fingerprint is not found")
	}
	for range 2000 {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 2048))
		if err != nil {
			t.Fatal(err)
		}
		if hasROCAFingerprint(n) {
			t.Errorf("found in %x", n)
		}
	}
}

// rocaModulus is a product of two numbers of the shape that the broken
// generator makes: k*M + 65537^a mod M, M being the product of the small primes.
func rocaModulus() *big.Int {
	m := big.NewInt(2)
	for _, p := range rocaPrimes {
		m.Mul(m, big.NewInt(int64(p)))
	}
	factor := func(a int64, shift uint) *big.Int {
		f := new(big.Int).Exp(big.NewInt(65537), big.NewInt(a), m)
		return f.Add(f, new(big.Int).Lsh(m, shift))
	}
	return factor(12345, 1024).Mul(factor(12345, 1024), factor(6789, 824))
}

func manyKeys(s *Signer, n int) []any {
	keys := make([]any, n)
	for i := range keys {
		keys[i] = members(s, map[string]any{"kid": fmt.Sprint("k", i)})
	}
	return keys
}
