// Package introspection asks authorization servers about opaque tokens (RFC 7662), and remembers what they said for a short while.
//
// A [Client] is shared by all bundles of a server: it holds the answers, bounded in number and size, and for each [Endpoint] the
// calls in flight, one for each token, and a circuit that spares a server that fails. An answer is that the token is not active, or
// the claims that the server vouches for. Whether these fit the request at hand is the caller's to check on every use, of a
// remembered answer too: what is remembered is only what does not depend on the request.
//
// Whatever is not a sound answer is an [Error]: nobody knows whether the token is good, which is an outage and never the client's
// fault. No error, log line or metric holds a token, a secret or a text that the server sent.
//
// The identity stage and the assembly import it. It will not decide about a request, follow a redirect, or use an answer beyond
// the token's exp.
package introspection
