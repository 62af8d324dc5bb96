// Package token reads, verifies and signs JSON Web Tokens in the compact form
// of RFC 7515, as strictly as RFC 8725 and RFC 9068 allow.
//
// The way of a token is fixed: [Parse] checks its form and hands out nothing
// but the header and the issuer's name; the caller chooses the [Verifier] of
// that issuer; [Verifier.Verify] checks algorithm, issuer, key and signature
// and returns a [Verified] that may be cached; [Verifier.Check] applies what
// changes from one use to the next (type, audience, times, required claims)
// and only then hands out the [Claims]. Every refusal is an [*Error] with a
// stable reason and a text that never holds any part of the token.
//
// Keys come from a [KeySet] of public keys, read by [ParseKeySet]; HMAC secrets
// are read by a function of their own, which is not exported while nothing
// needs it. A [Signer] makes tokens for the APIs behind, throw-away issuers and tests.
//
// The identity and upstream stages and the decision tests may import it; it
// imports nothing else of this module and is the only importer of golang-jwt,
// of which it uses the signing methods alone. It will not fetch keys, follow
// a key reference of a token, read a clock, decrypt JWE or cache anything.
package token
