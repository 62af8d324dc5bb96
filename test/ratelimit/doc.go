// Package ratelimit holds end-to-end tests of Envoy's rate limit protocol: a whole server asked over gRPC, and a real
// Envoy whose ratelimit filter asks it.
//
// It is nothing but tests, and nothing imports it. They start real programs on loopback and skip nothing.
package ratelimit
