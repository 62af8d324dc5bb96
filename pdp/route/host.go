package route

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxHost bounds a host name as RFC 1035, section 2.3.4 does, maxLabel one label of it.
const (
	maxHost  = 253
	maxLabel = 63
)

// canonicalHost returns the one spelling of a host that rules, records and claims use: lower case, without port
// and without the dot of the root. ok is false for what is no host: empty, several hosts in one (a comma), user
// information, white space, anything but ASCII, a bad port. International names come as A-labels.
func canonicalHost(authority string) (host string, ok bool) {
	if strings.HasPrefix(authority, "[") {
		return canonicalIPv6(authority)
	}
	host, port, hasPort := strings.Cut(authority, ":")
	if hasPort && !validPort(port) {
		return "", false
	}
	host = strings.TrimSuffix(host, ".")
	if !validName(host) {
		return "", false
	}
	return strings.ToLower(host), true
}

// canonicalIPv6 reads an IP literal in brackets (RFC 3986, section 3.2.2). Zones name an interface of the sender
// and have no meaning here.
func canonicalIPv6(authority string) (string, bool) {
	literal, rest, ok := strings.Cut(authority[1:], "]")
	if !ok || rest != "" && (rest[0] != ':' || !validPort(rest[1:])) {
		return "", false
	}
	a, err := netip.ParseAddr(literal)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", false
	}
	if a.Is4In6() {
		return a.Unmap().String(), true
	}
	return "[" + a.String() + "]", true
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || '9' < s[i] {
			return false
		}
	}
	n, err := strconv.Atoi(s)
	return err == nil && n <= 65535
}

// validName checks the labels of a host name. Underscores pass: they are no host names by RFC 1123, but names
// with them are in use and nobody reads them in two ways.
func validName(s string) bool {
	if s == "" || len(s) > maxHost {
		return false
	}
	last := s
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
		last = label
	}
	// Resolvers read a name that ends in a number as an IPv4 address, in more spellings than one ("127.1").
	if last[0] >= '0' && last[0] <= '9' && strings.Trim(last, "0123456789") == "" {
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is4()
	}
	return true
}

func validLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// parent returns the host without its first label, which "*." stands for; "" when there is no parent.
func parent(host string) string {
	if strings.HasPrefix(host, "[") {
		return ""
	}
	_, rest, _ := strings.Cut(host, ".")
	return rest
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
