// Package keys holds the key sets of issuers that are fetched: by URL, or by what the issuer's metadata says (OpenID Connect Discovery 1.0,
// RFC 8414).
//
// A [Store] holds one [Source] for each place that keys come from, as long as somebody holds on to the source. Sources fetch when they are
// made and again before what they have is due; a decision reads what is known and waits for nothing, but for a fetch that could know a key
// that it lacks. However many ask, a source begins at most one fetch in [Window]. What an issuer said last serves on while it does not
// answer, for as long as whoever reads it says.
//
// The identity stage reads the sources, the assembly makes the store and shows its states. The package verifies no token, follows nothing that a
// token says, and decides nothing.
package keys
