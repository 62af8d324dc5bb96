// Package edge holds end-to-end tests of what a client at the gateway's edge can try: spellings of paths, forged
// headers and tokens, certificates, protocols and bodies, through a real Envoy and straight over gRPC.
//
// It is nothing but tests, and nothing imports it. They start real programs on loopback and skip nothing.
package edge
