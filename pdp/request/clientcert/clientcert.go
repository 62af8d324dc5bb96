// Package clientcert reads a client's certificate out of a header that a gateway wrote: X-Forwarded-Client-Cert (Envoy) or
// Client-Cert (RFC 9440).
//
// Adapters import it. It reads and compares: whether the header is believed is the operator's rule, and whether the certificate
// names anybody is for the identity stage.
package clientcert

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
)

// ErrRule is wrapped by errors about a certificate rule that cannot be read.
var ErrRule = errors.New("certificate rule must be message, header:x-forwarded-client-cert or header:client-cert")

// ErrRepeated is returned where one client certificate is wanted and more came.
var ErrRepeated = errors.New("more than one client certificate came")

const (
	// maxForwardedCertificate bounds a header value with a certificate, in bytes, maxChain the certificates of a chain.
	maxForwardedCertificate = 96 << 10
	maxChain                = 16
	// maxForwardedName bounds a name that comes without its certificate, by the longest SPIFFE id.
	maxForwardedName = 2048

	envoyHeader = "x-forwarded-client-cert"
	certHeader  = "client-cert" // RFC 9440
	chainHeader = "client-cert-chain"
)

// Rule says in which header a client's certificate comes besides in the protocol's own message. The zero rule looks
// at no header: anybody can send one, so that an operator must say that the gateway overwrites it.
type Rule struct {
	header string
}

// ParseRule reads "message" or "" (no header), "header:x-forwarded-client-cert" (Envoy's) or "header:client-cert"
// (RFC 9440).
func ParseRule(s string) (Rule, error) {
	switch name := strings.ToLower(s); name {
	case "", "message":
		return Rule{}, nil
	case "header:" + envoyHeader, "header:" + certHeader:
		return Rule{header: strings.TrimPrefix(name, "header:")}, nil
	}
	return Rule{}, fmt.Errorf("%w: got %q", ErrRule, s)
}

// Chosen reports whether the operator chose a header.
func (r Rule) Chosen() bool { return r.header != "" }

// Asserts reports whether the header asserts a certificate.
func (r Rule) Asserts(h request.Header) bool {
	return r.header != "" && (h.Count(r.header) > 0 || r.header == certHeader && h.Count(chainHeader) > 0)
}

// Certificate returns the client's certificate: the one that the message shows, nil for none, or the one of the header. Where both
// came they must be the same. The error is request.ErrCertificate or ErrRepeated.
func (r Rule) Certificate(shown *request.Certificate, h request.Header) (*request.Certificate, error) {
	if !r.Asserts(h) {
		return shown, nil
	}
	value, n := h.Get(r.header)
	if n > 1 {
		return nil, ErrRepeated
	}
	if len(value) > maxForwardedCertificate || !request.CleanValue(value) {
		return nil, request.ErrCertificate
	}
	read := readClientCert
	if r.header == envoyHeader {
		read = readForwardedClientCert
	}
	told, err := read(value)
	if err == nil && r.header == certHeader {
		err = checkChain(h)
	}
	switch {
	case err != nil:
		return nil, err
	case shown == nil:
		return told, nil
	case shown.Thumbprint != told.Thumbprint:
		return nil, request.ErrCertificate
	}
	return shown, nil
}

// forwardedCertificate is one element of X-Forwarded-Client-Cert.
type forwardedCertificate struct {
	hash, cert string
	uris, dns  []string
	once       map[string]bool // keys that may come once and came
	last       string          // key
}

// readForwardedClientCert reads Envoy's header: one element of pairs KEY=VALUE with ';' between, as the gateway next to us wrote it. Elements of
// gateways before it, or of the client, are refused: a header that was set anew has one.
func readForwardedClientCert(value string) (*request.Certificate, error) {
	f := forwardedCertificate{once: map[string]bool{}}
	for {
		key, rest, ok := strings.Cut(value, "=")
		if !ok {
			return nil, request.ErrCertificate
		}
		text, rest, err := cutForwardedValue(rest)
		if err != nil {
			return nil, err
		}
		if err := f.take(key, text); err != nil {
			return nil, err
		}
		switch {
		case rest == "":
			return f.certificate()
		case rest[0] == ',':
			return nil, ErrRepeated
		}
		value = rest[1:]
	}
}

// cutForwardedValue cuts a value, quoted or not, off its pair; rest is empty or begins with the separator behind it. A quote behind two
// backslashes or more can be read in two ways, since Envoy escapes quotes alone.
func cutForwardedValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, `;,="`)
		switch {
		case end < 0:
			return s, "", nil
		case s[end] == ';' || s[end] == ',':
			return s[:end], s[end:], nil
		}
		return "", "", request.ErrCertificate
	}
	backslashes := 0
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			backslashes++
			continue
		case s[i] == '"' && backslashes > 1:
			return "", "", request.ErrCertificate
		case s[i] == '"' && backslashes == 0:
			if rest = s[i+1:]; rest != "" && rest[0] != ';' && rest[0] != ',' {
				return "", "", request.ErrCertificate
			}
			return strings.ReplaceAll(s[1:i], `\"`, `"`), rest, nil
		}
		backslashes = 0
	}
	return "", "", request.ErrCertificate
}

// take keeps a pair. Keys that nobody knows are refused: what they say could contradict the others.
func (f *forwardedCertificate) take(key, value string) error {
	f.last = key
	switch key {
	case "By": // names of the gateway
		return nil
	case "URI", "DNS":
		if len(value) > maxForwardedName {
			return request.ErrCertificate
		}
		if key == "URI" {
			f.uris = append(f.uris, value)
		} else {
			f.dns = append(f.dns, value)
		}
		return nil
	case "Hash":
		f.hash = value
	case "Cert":
		f.cert = value
	case "Chain", "Subject":
	default:
		return request.ErrCertificate
	}
	if f.once[key] {
		return request.ErrCertificate
	}
	f.once[key] = true
	return nil
}

// certificate makes a certificate of the element. Envoy quotes no name of the client's certificate, so that a name can pretend to be
// further pairs. The hash stands before all of them and is mandatory: no other certificate fits it. Without the certificate itself,
// its one URI is taken, as the last pair: nothing behind it can have been cut off it. A URI holds no blanks, which are cut
// off headers.
func (f *forwardedCertificate) certificate() (*request.Certificate, error) {
	var hash [sha256.Size]byte
	if n, err := hex.Decode(hash[:], []byte(f.hash[:min(len(f.hash), 2*len(hash))])); err != nil || n != len(hash) || f.hash != hex.EncodeToString(hash[:]) {
		return nil, request.ErrCertificate
	}
	if !f.once["Cert"] {
		if len(f.uris) != 1 || f.uris[0] == "" || f.last != "URI" || strings.ContainsAny(f.uris[0], " \t") {
			return nil, request.ErrCertificate
		}
		return &request.Certificate{URIs: f.uris, Thumbprint: hash, Unseen: true}, nil
	}
	c, err := request.ParseEscapedPEM(f.cert)
	if err != nil || c.Thumbprint != hash || !within(f.uris, c.URIs) || !within(f.dns, c.DNSNames) {
		return nil, request.ErrCertificate
	}
	return c, nil
}

// within says whether all has each of some. Envoy writes keys without a value for certificates without such a name.
func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(name string) bool { return name != "" && !slices.Contains(all, name) })
}

// readClientCert reads Client-Cert: one byte sequence without parameters (RFC 9440, section 2.2).
func readClientCert(value string) (*request.Certificate, error) {
	if strings.Contains(value, ",") {
		return nil, ErrRepeated
	}
	der, err := readByteSequence(strings.Trim(value, " \t"))
	if err != nil {
		return nil, err
	}
	return request.ParseCertificate(der)
}

// checkChain reads Client-Cert-Chain: a list of byte sequences (RFC 9440, section 2.3). The gateway verified it; what cannot be
// read shows that somebody else wrote it.
func checkChain(h request.Header) error {
	members := 0
	for i := range h {
		if h[i].Name != chainHeader {
			continue
		}
		if len(h[i].Value) > maxForwardedCertificate {
			return request.ErrCertificate
		}
		for member := range strings.SplitSeq(h[i].Value, ",") {
			if members++; members > maxChain {
				return request.ErrCertificate
			}
			if _, err := readByteSequence(strings.Trim(member, " \t")); err != nil {
				return err
			}
		}
	}
	return nil
}

// readByteSequence reads a byte sequence of structured fields (RFC 9651, section 3.3.5) in its one canonical form.
func readByteSequence(s string) ([]byte, error) {
	inner, opened := strings.CutPrefix(s, ":")
	inner, closed := strings.CutSuffix(inner, ":")
	if !opened || !closed || inner == "" || len(inner) > maxForwardedCertificate {
		return nil, request.ErrCertificate
	}
	out, err := base64.StdEncoding.DecodeString(inner)
	if err != nil || !bytes.Equal(base64.StdEncoding.AppendEncode(nil, out), []byte(inner)) {
		return nil, request.ErrCertificate
	}
	return out, nil
}
