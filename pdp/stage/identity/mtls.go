package identity

import (
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxCertificateName bounds the name that a certificate gives, by the longest SPIFFE id.
const maxCertificateName = 2048

// certificates is an authenticator of kind mtls. It is immutable.
type certificates struct {
	authenticator string
	patterns      []namePattern
}

// namePattern is an accepted subject alternative name, or the beginning of some.
type namePattern struct {
	text   string
	prefix bool
}

// newNamePattern reads a pattern; a problem is why it cannot be one.
func newNamePattern(text string) (pattern namePattern, problem string) {
	name, prefix := strings.CutSuffix(text, "*")
	_, path, isURI := strings.Cut(name, "://")
	switch {
	case name == "":
		return namePattern{}, "the pattern would accept every certificate"
	case strings.Contains(name, "*"):
		return namePattern{}, "a pattern may hold one * alone, at its end"
	case len(name) > maxCertificateName:
		return namePattern{}, "the pattern is longer than 2048 bytes"
	case prefix && isURI && !strings.Contains(path, "/"):
		return namePattern{}, "the * of a URI must stand in its path, or the host could be anybody's"
	}
	return namePattern{text: name, prefix: prefix}, ""
}

// names returns the names of a certificate that a pattern is about. The kinds are kept apart: a certificate authority
// that vouches for host names may sign as a "host" what reads like a URI.
func (p namePattern) names(c *request.Certificate) []string {
	switch {
	case strings.Contains(p.text, "://"):
		return c.URIs
	case strings.Contains(p.text, "@"):
		return c.Emails
	default:
		return c.DNSNames
	}
}

func (p namePattern) matches(name string) bool {
	if !p.prefix {
		return name == p.text
	}
	rest, ok := strings.CutPrefix(name, p.text)
	return ok && rest != "" && len(name) <= maxCertificateName && !strings.ContainsAny(rest, "%?#\\") && !hasDotSegment(name)
}

// hasDotSegment says whether a path leads elsewhere than its beginning says.
func hasDotSegment(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// fromCertificate makes a subject of a client certificate that the gateway verified. Exactly one of its names must be
// accepted, by one authenticator: which of two subjects it means is not for us to guess.
func (p *part) fromCertificate(c *request.Certificate, now time.Time) (proven, refusal) {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return proven{}, refusal{verdict.CertificateBad, "the certificate is not valid at this time"}
	}
	authenticator, id := "", ""
	for _, a := range p.certificates {
		for _, pattern := range a.patterns {
			for _, name := range pattern.names(c) {
				if !pattern.matches(name) || authenticator == a.authenticator && id == name {
					continue
				}
				if id != "" {
					return proven{}, refusal{verdict.CertificateBad, "more than one subject fits the certificate's names"}
				}
				authenticator, id = a.authenticator, name
			}
		}
	}
	if id == "" {
		return proven{}, refusal{verdict.CertificateBad, "no accepted authenticator takes a name of the certificate"}
	}
	return proven{possessed: true, issued: c.NotBefore, Subject: subject.Subject{
		Key:           subject.Key(subject.KindService, authenticator, id),
		Kind:          subject.KindService,
		Authenticator: authenticator,
		ID:            id,
	}}, refusal{}
}
