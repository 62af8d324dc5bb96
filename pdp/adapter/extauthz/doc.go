// Package extauthz answers Envoy's external authorization calls, envoy.service.auth.v3.Authorization/Check.
//
// It reads a CheckRequest into a request.Request, asks a Decider, and renders the verdict as a CheckResponse. The
// assembly alone may import it. It decides nothing: what it cannot read is refused through the Decider, so that
// refusals are recorded too, and what it cannot render becomes a denial. It never answers with an RPC error or
// with error_response, because gateways that fail open let such requests pass; for the same reason it recovers
// panics and denies. It keeps no state and sets no deadline of its own: the Decider does.
package extauthz
