// Package ratelimit answers Envoy's rate limit service, envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit, as
// envoyproxy/ratelimit does.
//
// It reads a RateLimitRequest into a request.Request that carries descriptors, asks a Decider, and renders the verdict as
// a RateLimitResponse. The assembly alone may import it. It decides nothing. The protocol has no word for "I cannot say":
// unlike the other adapters this one answers outages and mistakes of the gateway's configuration with RPC errors, and the
// gateway does what its failure mode says.
package ratelimit
