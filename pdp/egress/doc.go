// Package egress is the one way out: it fetches what authenticators need (keys, metadata, introspection) over https, from hosts that the
// operator named and nobody else.
//
// It follows no redirect, uses no proxy, resolves a name and connects to what it resolved to in one step, refuses addresses of private
// networks unless the host may have them, and reads a bounded answer within a bounded time. It keeps no cookies and no answers.
//
// The identity stage's fetchers and the assembly import it. It imports nothing of this module and knows no protocol above HTTP.
package egress
