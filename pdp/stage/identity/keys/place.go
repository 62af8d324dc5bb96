package keys

import (
	"errors"
	"net/url"
	"strings"
)

// Place says where an issuer's keys are, for one bundle. Sources of equal places are one.
type Place struct {
	// Bundle is who has the keys fetched; Issuer the exact iss.
	Bundle, Issuer string
	// URL is that of the key set; where it is "" the issuer's metadata says it.
	URL string
}

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// errURL is what is wrong with a URL that nobody should fetch.
var errURL = errors.New("must be an https URL with a host, in ASCII, without user and fragment")

// ParseURL reads the URL of a key set or a document. Whether anybody may fetch from there is the operator's business.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" || u.User != nil ||
		strings.ContainsFunc(text+u.Host, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' || r == '\\' }) { // u.Host: unescaped
		return nil, errURL
	}
	return u, nil
}

// ParseIssuer reads the name of an issuer whose metadata is to be found: RFC 8414, section 2, allows it no query.
func ParseIssuer(text string) (*url.URL, error) {
	u, err := ParseURL(text)
	if err != nil {
		return nil, err
	}
	if strings.Contains(text, "?") {
		return nil, errors.New("must have no query: its metadata could not be found")
	}
	return u, nil
}
