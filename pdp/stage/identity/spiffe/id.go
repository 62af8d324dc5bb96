// Package spiffe reads SPIFFE ids as strictly as their standard allows (SPIFFE-ID, sections 2 to 2.3), and patterns of them.
//
// The identity stage imports it. It knows text alone: whether a certificate that holds an id may be believed is decided
// elsewhere, and so is what an id may do.
package spiffe

import (
	"errors"
	"fmt"
	"strings"
)

const (
	scheme = "spiffe://"
	// maxID and maxTrustDomain are the standard's, in bytes.
	maxID          = 2048
	maxTrustDomain = 255
)

// ErrID is wrapped by errors about text that is no SPIFFE id. They hold nothing of the text.
var ErrID = errors.New("no SPIFFE id")

// ID is a SPIFFE id. The zero ID is none, and no pattern matches it.
type ID struct {
	text string
	path int // where the path begins in the text
}

// ParseID reads an id. Scheme and trust domain must be lower case: one id has one spelling, which rules and records compare.
func ParseID(text string) (ID, error) {
	if len(text) > maxID {
		return ID{}, fmt.Errorf("%w: longer than %d bytes", ErrID, maxID)
	}
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return ID{}, fmt.Errorf("%w: it does not begin with %s in lower case", ErrID, scheme)
	}
	domain, _, _ := strings.Cut(rest, "/")
	if err := checkTrustDomain(domain); err != nil {
		return ID{}, err
	}
	path := rest[len(domain):]
	if path == "" {
		return ID{text: text, path: len(text)}, nil
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if err := checkSegment(segment); err != nil {
			return ID{}, err
		}
	}
	return ID{text: text, path: len(text) - len(path)}, nil
}

// String returns the id as it was read.
func (id ID) String() string { return id.text }

// TrustDomain returns the name of the trust domain, "" of the zero ID.
func (id ID) TrustDomain() string { return strings.TrimPrefix(id.text[:id.path], scheme) }

// Path returns the path with its leading slash; "" for the id of a trust domain itself, which no workload may have.
func (id ID) Path() string { return id.text[id.path:] }

// checkTrustDomain looks at the name of a trust domain. User, port and escapes have no place in it.
func checkTrustDomain(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the trust domain is empty", ErrID)
	case len(name) > maxTrustDomain:
		return fmt.Errorf("%w: the trust domain is longer than %d bytes", ErrID, maxTrustDomain)
	}
	for i := range len(name) {
		if c := name[i]; !isPathByte(c) || 'A' <= c && c <= 'Z' {
			return fmt.Errorf("%w: a trust domain holds lower-case letters, digits, dots, hyphens and underscores", ErrID)
		}
	}
	return nil
}

// checkSegment looks at one segment of a path. Query, fragment and escapes have no place in it.
func checkSegment(text string) error {
	switch text {
	case "":
		return fmt.Errorf("%w: the path has an empty segment or ends in a slash", ErrID)
	case ".", "..":
		return fmt.Errorf("%w: the path has a dot segment", ErrID)
	}
	for i := range len(text) {
		if !isPathByte(text[i]) {
			return fmt.Errorf("%w: a path holds letters, digits, dots, hyphens and underscores", ErrID)
		}
	}
	return nil
}

func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_'
}
