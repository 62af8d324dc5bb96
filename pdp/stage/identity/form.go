package identity

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
)

// form is what a bearer credential is by its looks. It picks the method of checking, so that none is tried in vain.
type form uint8

const (
	formOpaque form = iota // nothing that can be read here
	formJWS                // the compact form of RFC 7515: three parts
	formAPIKey
)

// formOf tells forms apart by their beginning and their dots alone.
func formOf(raw string) form {
	switch {
	case apikey.Resembles(raw):
		return formAPIKey
	case strings.Count(raw, ".") == 2:
		return formJWS
	}
	return formOpaque
}
