package token

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha512" // links SHA-384 and SHA-512 for crypto.Hash; key.go links SHA-256

	"github.com/golang-jwt/jwt/v5"
)

// The key types and curves of RFC 7518 and RFC 8037 that are supported.
const (
	keyTypeRSA    = "RSA"
	keyTypeEC     = "EC"
	keyTypeOKP    = "OKP"
	keyTypeSecret = "oct"

	curveP256    = "P-256"
	curveP384    = "P-384"
	curveP521    = "P-521"
	curveEd25519 = "Ed25519"
)

// algorithm ties a JWS algorithm to the one kind of key that fits it.
type algorithm struct {
	method  jwt.SigningMethod
	hash    crypto.Hash
	keyType string
	curve   string
}

// algorithms holds every algorithm that can ever be verified; "none" has no
// entry. Ed25519 is RFC 9864's name for what EdDSA means with such a key.
var algorithms = map[string]algorithm{
	"RS256":   {jwt.SigningMethodRS256, crypto.SHA256, keyTypeRSA, ""},
	"RS384":   {jwt.SigningMethodRS384, crypto.SHA384, keyTypeRSA, ""},
	"RS512":   {jwt.SigningMethodRS512, crypto.SHA512, keyTypeRSA, ""},
	"PS256":   {strictPSS("PS256", crypto.SHA256), crypto.SHA256, keyTypeRSA, ""},
	"PS384":   {strictPSS("PS384", crypto.SHA384), crypto.SHA384, keyTypeRSA, ""},
	"PS512":   {strictPSS("PS512", crypto.SHA512), crypto.SHA512, keyTypeRSA, ""},
	"ES256":   {jwt.SigningMethodES256, crypto.SHA256, keyTypeEC, curveP256},
	"ES384":   {jwt.SigningMethodES384, crypto.SHA384, keyTypeEC, curveP384},
	"ES512":   {jwt.SigningMethodES512, crypto.SHA512, keyTypeEC, curveP521},
	"EdDSA":   {jwt.SigningMethodEdDSA, 0, keyTypeOKP, curveEd25519},
	"Ed25519": {jwt.SigningMethodEdDSA, 0, keyTypeOKP, curveEd25519},
	"HS256":   {jwt.SigningMethodHS256, crypto.SHA256, keyTypeSecret, ""},
	"HS384":   {jwt.SigningMethodHS384, crypto.SHA384, keyTypeSecret, ""},
	"HS512":   {jwt.SigningMethodHS512, crypto.SHA512, keyTypeSecret, ""},
}

// strictPSS is RSASSA-PSS that verifies only the salt length of RFC 7518
// section 3.5; golang-jwt's own methods verify any.
func strictPSS(name string, hash crypto.Hash) *jwt.SigningMethodRSAPSS {
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: &jwt.SigningMethodRSA{Name: name, Hash: hash},
		Options:          options,
		VerifyOptions:    options,
	}
}

// sameAlgorithm says whether two names mean one algorithm.
func sameAlgorithm(a, b string) bool {
	if a == "Ed25519" {
		a = "EdDSA"
	}
	if b == "Ed25519" {
		b = "EdDSA"
	}
	return a == b
}
