// Package apikey makes, reads and checks API keys: long random texts that name one record each, and of which only a keyed hash
// is kept.
//
// A key is dwk_, a label and "_" where its authenticator has one, an id of 16 characters, "_", a secret of 43, and a checksum of
// 6, all of them of the base 62: [Pattern] finds keys in what should not hold any. The secret has 256 bits. The checksum tells a
// typing error without a look-up, and is no protection.
//
// The stage of identity and the assembly import the package. It does no I/O and reads no clock; what it is told of requests goes
// into no error.
package apikey
