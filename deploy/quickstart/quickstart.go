// Package quickstart holds what a newcomer starts with: Envoy's configuration, a replica's settings, a sample bundle
// and a sample API that stands behind the gateway.
//
// The demo and end-to-end tests import it, by way of the stack package beside it. It uses the standard library only,
// starts nothing, and decides nothing: whatever reaches the sample API is answered and noted, so that a bypass shows.
package quickstart

import "embed"

// Files are envoy.yaml, durward.yaml and the directory bundle.
//
//go:embed envoy.yaml durward.yaml bundle
var Files embed.FS
