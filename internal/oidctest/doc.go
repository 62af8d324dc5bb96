// Package oidctest runs a real OpenID provider (the op package of zitadel/oidc) on this machine, over TLS, for tests: discovery,
// keys and their rotation, tokens of the client credentials grant and of a login, introspection, revocation, and logout tokens.
//
// Only tests import it. What it does not have of a provider is people: a login asks nobody for a password.
package oidctest
