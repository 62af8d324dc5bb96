// Package identity is the stage that establishes on whose behalf a request is made: from a bearer token, an API key or a
// TLS client certificate, as the service's identity settings and its bundle's authenticators say.
//
// A credential that came must verify, also where none is needed; on public routes and with mode none credentials are
// not looked at. A client learns only that its token is no good, never why: the exact reason, the authenticator and
// the key go to the record, and no part of a token goes anywhere.
//
// Only the assembly imports the package. It reads keys that keys.Store fetches, and waits for one alone: a fetch that could know the key of
// the token in hand. It will not decide what a subject may do, read a clock, or keep anything between two requests.
package identity
