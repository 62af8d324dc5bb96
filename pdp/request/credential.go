package request

import "strings"

// credentialParts are the parts of names that carry credentials.
var credentialParts = [...]string{
	"authoriz", "authent", "x-auth", "cookie", "token", "secret", "passw", "passphrase", "credential", "api-key", "apikey",
	"access-key", "private-key", "subscription-key", "session", "signature", "assertion", "jwt", "dpop", "csrf", "xsrf", "client-cert",
	"bearer", "nonce",
}

// credentialQueries are whole names that carry credentials in queries.
var credentialQueries = [...]string{"key", "code", "sig", "sid", "pwd", "otp", "pin", "auth", "jws", "ticket"}

// MayHoldCredential reports whether a header field or a path parameter of this name, in any spelling, may hold a credential.
// Values of such names are never recorded nor explained, whatever a bundle says. It errs towards yes.
func MayHoldCredential(name string) bool {
	name = CanonicalAlias(name)
	for _, part := range credentialParts {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// MayHoldCredentialInQuery reports the same of a query parameter.
func MayHoldCredentialInQuery(name string) bool {
	for _, whole := range credentialQueries {
		if strings.EqualFold(name, whole) {
			return true
		}
	}
	return MayHoldCredential(name)
}
