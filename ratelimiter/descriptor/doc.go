// Package descriptor is the configuration language of envoyproxy/ratelimit: domains of nested descriptors with limits,
// and which limit a descriptor of a request meets.
//
// The limits of a descriptor are its own business alone: it does no I/O, reads no clock and counts nothing. A caller
// fills a Config from whatever file it reads, compiles it once, asks Match for each request, and charges what the rules
// say with package ratelimiter; Over says what the answers add up to. In this module the stage that serves Envoy's
// rate limit service does so. Any Go program may use it.
//
// Where the meaning differs from envoyproxy/ratelimit, on purpose, the comment at the place says so; the list stands in
// docs/design/limits.md.
package descriptor
