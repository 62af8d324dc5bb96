// Package descriptors is the stage that takes the limits of a rate limit request: one that brings descriptors, in the
// sense of Envoy's rate limit service, and asks for nothing else.
//
// It compiles the files ratelimits/*.yaml of a bundle. Only the assembly imports it.
package descriptors

// Name is the stage's name: the key of its part in a compiled domain.
const Name = "descriptors"

// Stage is the descriptors stage. It is safe for concurrent use.
type Stage struct{}

// Name returns the stage's name.
func (*Stage) Name() string { return Name }
