// Package native answers Durward's own API, durward.v1.DecisionService/Check, which services and the Go SDK speak.
//
// It reads a CheckRequest into a request.Request, asks a Decider, and renders the verdict as a CheckResponse. The
// assembly alone may import it. It decides nothing: what it cannot read, and what its caller may not assert, is refused
// through the Decider, so that refusals are recorded too; what it cannot render becomes a denial. It answers every call
// that reaches it with an OK RPC, because a caller takes an RPC error for an outage and follows a failure mode of its
// own. It keeps no state and sets no deadline: the Decider does.
package native
