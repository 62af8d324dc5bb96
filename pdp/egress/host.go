package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Host is what may be fetched from, as the operator says.
type Host struct {
	// Name is a host name or address, with :PORT where that is not 443, or "*." and a domain for one label before it.
	Name string
	// Bundles are the names of the bundles that may fetch there; empty for all.
	Bundles []string
	// Private allows addresses of private networks, of this machine and of the link.
	Private bool
	// Roots, if not nil, are the authorities that sign the host's certificate, in the place of the system's.
	Roots *x509.CertPool
	// Certificate, if not nil, is shown to the host.
	Certificate *tls.Certificate
}

// ErrRefused is wrapped by errors about what may not be fetched.
var ErrRefused = errors.New("may not be fetched")

// check says what is wrong with a host's name.
func (h *Host) check() error {
	name, port := split(h.Name)
	rest, _ := strings.CutPrefix(name, "*.")
	if rest == "" || !isASCII(rest) || strings.ContainsAny(rest, "*/@? #%") || rest != strings.ToLower(rest) || strings.HasSuffix(rest, ".") || !isPort(port) {
		return fmt.Errorf("%q is no host: a name in ASCII (xn--) and lower case or an address, with :PORT where it is not 443, or *. before a domain", h.Name)
	}
	return nil
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// split returns the host without brackets, and the port, 443 by default.
func split(text string) (name, port string) {
	if host, port, err := net.SplitHostPort(text); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), "443"
}

// covers says whether a URL leads to the host.
func (h *Host) covers(u *url.URL) bool {
	name, port := split(h.Name)
	host, at := strings.ToLower(u.Hostname()), u.Port()
	if at == "" {
		at = "443"
	}
	if port != at {
		return false
	}
	domain, wide := strings.CutPrefix(name, "*.")
	if !wide {
		return host == name
	}
	label, rest, _ := strings.Cut(host, ".")
	return label != "" && rest == domain
}

func (h *Host) serves(bundle string) bool {
	return len(h.Bundles) == 0 || slices.Contains(h.Bundles, bundle)
}

// isPublic says whether an address is one of the internet at large: of IPv6 those alone that are given out as global unicast (RFC 4291,
// section 2.4, and the IANA registry of its space), so that what is not known, once was something else (fec0::/10, RFC 3879) or leads to
// IPv4 addresses in another form (::ffff:0:0:0/96, 64:ff9b::/96) is none.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the networks of the IANA special-purpose address registries (RFC 6890) that neither net/netip nor [globalUnicast] tells.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // between carriers and their clients
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}
