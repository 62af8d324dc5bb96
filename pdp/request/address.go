package request

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrAddressRule is wrapped by errors about an address rule that cannot be read.
var ErrAddressRule = errors.New("address rule must be peer, xff:N with N from 1 to 32, or header:NAME")

// maxForwarded bounds the entries of X-Forwarded-For that are looked at.
const maxForwarded = 64

// AddressRule says how a client's address is found. The zero rule finds none, so that nobody keys limits on
// an address that the operator did not choose.
type AddressRule struct {
	kind   addressKind
	hops   int
	header string
}

type addressKind uint8

const (
	addressNone addressKind = iota
	addressPeer
	addressForwarded
	addressHeader
)

// ParseAddressRule reads "peer", "xff:N" (the Nth address from the right of X-Forwarded-For, N trusted hops)
// or "header:NAME" (a header that the gateway always overwrites); "" is the zero rule.
func ParseAddressRule(s string) (AddressRule, error) {
	switch {
	case s == "":
		return AddressRule{}, nil
	case s == "peer":
		return AddressRule{kind: addressPeer}, nil
	case strings.HasPrefix(s, "xff:"):
		n, err := strconv.Atoi(s[len("xff:"):])
		if err != nil || n < 1 || n > 32 {
			return AddressRule{}, fmt.Errorf("%w: got %q", ErrAddressRule, s)
		}
		return AddressRule{kind: addressForwarded, hops: n}, nil
	case strings.HasPrefix(s, "header:"):
		name := strings.ToLower(s[len("header:"):])
		if !ValidName(name) {
			return AddressRule{}, fmt.Errorf("%w: got %q", ErrAddressRule, s)
		}
		return AddressRule{kind: addressHeader, header: name}, nil
	}
	return AddressRule{}, fmt.Errorf("%w: got %q", ErrAddressRule, s)
}

// Chosen reports whether the operator chose a rule.
func (r AddressRule) Chosen() bool { return r.kind != addressNone }

// Client returns the client's address, or the zero Addr when the rule finds none: no rule, too few hops, a
// value that is no IP address, or a named header that is missing or repeated. IPv4-mapped addresses are
// unmapped and zones dropped, so that one client has one address.
func (r AddressRule) Client(peer netip.AddrPort, h Header) netip.Addr {
	switch r.kind {
	case addressPeer:
		return cleanAddress(peer.Addr())
	case addressForwarded:
		return forwardedFor(h, r.hops)
	case addressHeader:
		value, n := h.Get(r.header)
		if n != 1 {
			return netip.Addr{}
		}
		return parseAddress(value)
	case addressNone:
	}
	return netip.Addr{}
}

// forwardedFor walks X-Forwarded-For from the right over all its lines (RFC 9110, section 5.3: their order is
// kept), skipping the hops-1 addresses that trusted proxies added after the one that names the client.
func forwardedFor(h Header, hops int) netip.Addr {
	for i, seen := len(h)-1, 0; i >= 0; i-- {
		if h[i].Name != "x-forwarded-for" {
			continue
		}
		rest := h[i].Value
		for more := true; more; {
			var last string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				last, more = rest, false
			}
			if seen++; seen == hops {
				return parseAddress(last)
			}
			if seen >= maxForwarded {
				return netip.Addr{}
			}
		}
	}
	return netip.Addr{}
}

func parseAddress(s string) netip.Addr {
	a, err := netip.ParseAddr(strings.Trim(s, " \t"))
	if err != nil {
		return netip.Addr{}
	}
	return cleanAddress(a)
}

func cleanAddress(a netip.Addr) netip.Addr {
	return a.Unmap().WithZone("")
}

// Network returns the network that stands for a client in limits: the address itself for IPv4, its /64 for
// IPv6, where one subscriber holds that many addresses. "" for the zero Addr.
func Network(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}
