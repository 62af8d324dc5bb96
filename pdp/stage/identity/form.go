package identity

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// form is what a credential looks like. It alone chooses which authenticator is asked: none is tried after another.
type form uint8

const (
	// formJWS is a token of three parts in base64url, as every signed JWT is.
	formJWS form = iota
	// formOpaque is any other token: it means something to its issuer alone.
	formOpaque
	// formAPIKey begins as API keys do.
	formAPIKey
)

// formOf returns the form of a raw credential.
func formOf(raw string) form {
	if apikey.Resembles(raw) {
		return formAPIKey
	}
	dots, length := 0, 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '.' && length > 0 && dots < 2:
			dots, length = dots+1, 0
		case 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			length++
		default:
			return formOpaque
		}
	}
	if dots == 2 && length > 0 {
		return formJWS
	}
	return formOpaque
}

// checkOpaque refuses text that is no bearer token (the b64token of RFC 6750, section 2.1), so that no issuer is asked about it.
func checkOpaque(raw string) refusal {
	if len(raw) > token.DefaultMaxLength {
		return refusal{verdict.TokenTooLong, "longer than the limit"}
	}
	text := strings.TrimRight(raw, "=")
	for i := range len(text) {
		switch c := text[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return refusal{verdict.TokenMalformed, "characters that no bearer token has, or none"}
		}
	}
	if text == "" {
		return refusal{verdict.TokenMalformed, "characters that no bearer token has, or none"}
	}
	return refusal{}
}
