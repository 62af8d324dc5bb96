// Package dpop verifies proofs that a client holds the key to which its token is bound (RFC 9449, DPoP), and makes the nonces by
// which a server can ask for fresh ones.
//
// A proof is good for one token, one method, one URL and a short time. [Verifier.Verify] checks all of it without I/O, and says what
// the caller must mark as used, last: whoever has no sound proof costs no look-up, and cannot fill the store of marks.
//
// The identity stage imports it. It reads no clock, keeps nothing between two requests, and looks up nothing.
package dpop
