// Package ratelimiter decides whether a set of limits has room for a request, exactly and together: all of them are
// charged or none is. A Limiter asks a shared Store (Redis) and, when that fails, does per limit what the limit says;
// without a shared store the local one (memory) is the whole truth.
//
// Any Go program may use it, alone with one of its stores; in this module the limits stage and the rate limit adapter
// do. It does not know requests, subjects or routes: callers build keys and costs. It renders no headers, keeps no
// metrics, and imports neither a Redis client nor anything outside its own tree.
package ratelimiter
