package request

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"time"
)

// maxCertificate bounds a client certificate in DER form, maxCertificatePEM its PEM text, in bytes. Reading a certificate
// takes time by the square of the number of its names.
const (
	maxCertificate    = 16 << 10
	maxCertificatePEM = 24 << 10

	pemBegin = "-----BEGIN "
)

// ErrCertificate is returned for a client certificate that cannot be read.
var ErrCertificate = errors.New("client certificate cannot be read")

// Certificate is a client's TLS certificate, verified by the gateway.
type Certificate struct {
	// Subject is the distinguished name in RFC 2253 form.
	Subject string
	// URIs, DNSNames and Emails are all subject alternative names, by kind.
	URIs, DNSNames, Emails []string
	// NotBefore and NotAfter bound the validity.
	NotBefore, NotAfter time.Time
	// Thumbprint is the SHA-256 of the DER form (RFC 8705, section 3.1).
	Thumbprint [sha256.Size]byte
	// Authority is set for one that may sign others: it names no client.
	Authority bool
	// Unseen is set where the gateway told the names and the thumbprint alone. Then Subject, validity and Authority are not known.
	Unseen bool
}

// SANs returns all subject alternative names, URIs first.
func (c *Certificate) SANs() []string {
	out := make([]string, 0, len(c.URIs)+len(c.DNSNames)+len(c.Emails))
	out = append(out, c.URIs...)
	out = append(out, c.DNSNames...)
	return append(out, c.Emails...)
}

// ParseEscapedPEM reads the URL-encoded PEM block that Envoy sends as source.certificate. Exactly one
// CERTIFICATE block is taken; anything before or after it is an error.
func ParseEscapedPEM(escaped string) (*Certificate, error) {
	if len(escaped) > 3*maxCertificatePEM {
		return nil, ErrCertificate
	}
	text, err := url.PathUnescape(escaped)
	// The decoder passes over text, and over blocks that it cannot read, until it finds one.
	if err != nil || len(text) > maxCertificatePEM || !strings.HasPrefix(text, pemBegin+"CERTIFICATE-----") || strings.Count(text, pemBegin) > 1 {
		return nil, ErrCertificate
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
		return nil, ErrCertificate
	}
	for _, c := range rest {
		if c != '\n' && c != '\r' && c != ' ' {
			return nil, ErrCertificate
		}
	}
	return ParseCertificate(block.Bytes)
}

// ParseCertificate reads a certificate in DER form. Names with control characters are refused: they would
// reach rules and records.
func ParseCertificate(der []byte) (*Certificate, error) {
	if len(der) > maxCertificate {
		return nil, ErrCertificate
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, ErrCertificate
	}
	c := &Certificate{
		Subject:   leaf.Subject.String(),
		DNSNames:  leaf.DNSNames,
		Emails:    leaf.EmailAddresses,
		NotBefore: leaf.NotBefore,
		NotAfter:  leaf.NotAfter,
		// The thumbprint covers the certificate alone, as RFC 8705 says, not the chain.
		Thumbprint: sha256.Sum256(leaf.Raw),
		Authority:  leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0,
	}
	if c.URIs, err = rawURIs(leaf); err != nil {
		return nil, ErrCertificate
	}
	for _, name := range append(c.SANs(), c.Subject) {
		if hasControl(name) {
			return nil, ErrCertificate
		}
	}
	return c, nil
}

// The subject alternative names as ASN.1 has them (RFC 5280, section 4.2.1.6).
var namesExtension = asn1.ObjectIdentifier{2, 5, 29, 17}

const uriTag = 6

// rawURIs returns the URI names as they stand in the certificate. A parsed URL is written anew, without an empty fragment and
// with another case: two names would read as one.
func rawURIs(leaf *x509.Certificate) ([]string, error) {
	var out []string
	for i := range leaf.Extensions {
		if !leaf.Extensions[i].Id.Equal(namesExtension) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(leaf.Extensions[i].Value, &names); err != nil || len(rest) > 0 {
			return nil, ErrCertificate
		}
		for j := range names {
			if names[j].Class == asn1.ClassContextSpecific && names[j].Tag == uriTag {
				out = append(out, string(names[j].Bytes))
			}
		}
	}
	if len(out) != len(leaf.URIs) {
		return nil, ErrCertificate
	}
	return out, nil
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}
