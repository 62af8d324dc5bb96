// Package stack runs the quickstart's real programs on this machine, in a directory of their own: Envoy, replicas of
// Durward, Redis, and the sample API.
//
// The demo and the end-to-end tests import it. It makes throw-away certificates, writes the quickstart's files, waits
// until everything answers, and stops what it started, by process id. Everything listens on loopback. It is no way to
// deploy Durward.
package stack
