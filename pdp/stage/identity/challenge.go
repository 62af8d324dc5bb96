package identity

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// The descriptions are fixed: which check refused is for the record alone, since a client that can tell an expired
// token from a forged one learns about keys and clocks.
const (
	describeRequest = "The request must carry one access token, in one Authorization field"
	describeToken   = "The credentials are missing something, no longer valid, or not meant for this service"
	describeProof   = "The proof of possession is missing, not sound, or not for this request"
	describeNonce   = "The proof of possession must hold the nonce in DPoP-Nonce"
	describeScope   = "The access token does not cover this operation"
)

// challenges are the values of WWW-Authenticate (RFC 6750, section 3) of one service, made once at load.
type challenges struct {
	missing, invalidRequest, invalidToken, invalidProof, useNonce string
}

func newChallenges(s *format.Service) challenges {
	return challenges{
		// Who sent no credentials did nothing wrong: no error code (RFC 6750, section 3.1).
		missing:        challenge(s),
		invalidRequest: challenge(s, "error", string(verdict.InvalidRequest), "error_description", describeRequest),
		invalidToken:   challenge(s, "error", string(verdict.InvalidToken), "error_description", describeToken),
		// These two are turned into challenges of the scheme DPoP.
		invalidProof: challenge(s, "error", string(verdict.InvalidProof), "error_description", describeProof),
		useNonce:     challenge(s, "error", string(verdict.UseNonce), "error_description", describeNonce),
	}
}

// of returns the challenge for what the client is told.
func (c *challenges) of(public verdict.Public) string {
	switch public {
	case verdict.CredentialsRequired:
		return c.missing
	case verdict.InvalidRequest:
		return c.invalidRequest
	case verdict.InvalidProof:
		return c.invalidProof
	case verdict.UseNonce:
		return c.useNonce
	default:
		return c.invalidToken
	}
}

func scopeChallenge(s *format.Service, scopes []string) string {
	return challenge(s, "error", string(verdict.InsufficientScope), "error_description", describeScope,
		"scope", strings.Join(scopes, " "))
}

// challenge writes a Bearer challenge with the service as the realm and further parameters, given as names and values
// in turn. Where the service has metadata, every challenge says so (RFC 9728, section 5.1).
func challenge(s *format.Service, parameters ...string) string {
	var b strings.Builder
	b.WriteString("Bearer realm=")
	writeQuoted(&b, s.Name)
	if at := metadataURL(s); at != "" {
		parameters = append(parameters, "resource_metadata", at)
	}
	for i := 0; i+1 < len(parameters); i += 2 {
		b.WriteString(", " + parameters[i] + "=")
		writeQuoted(&b, parameters[i+1])
	}
	return b.String()
}

// writeQuoted writes a quoted-string (RFC 9110, section 5.6.4). What has no place in a header becomes "?".
func writeQuoted(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}
