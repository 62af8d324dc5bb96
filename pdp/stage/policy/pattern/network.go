package pattern

import (
	"fmt"
	"net"
	"net/netip"
)

// compileNetwork compiles the second argument of ipMatch. Casbin panics on a first one that is no address.
func compileNetwork(pattern string) (Apply, error) {
	network, err := parseNetwork(pattern)
	if err != nil {
		return nil, err
	}
	return func(value, _ string) (any, error) {
		address, err := parseAddress(value)
		return err == nil && network.Contains(address), err
	}, nil
}

// parseNetwork reads a network or a single address. The networks of IPv4-mapped addresses are those of IPv4 addresses, as
// net.IPNet has it; a network around all mapped ones is of IPv6 and holds none of them.
func parseNetwork(pattern string) (netip.Prefix, error) {
	if _, network, err := net.ParseCIDR(pattern); err == nil {
		address, _ := netip.AddrFromSlice(network.IP)
		bits, of := network.Mask.Size()
		if of == 128 && address.Is4In6() {
			bits -= 96
		}
		return netip.PrefixFrom(address.Unmap(), bits), nil
	}
	address, err := parseAddress(pattern)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w: neither an IP address nor a network", ErrArgument)
	}
	return netip.PrefixFrom(address, address.BitLen()), nil
}

// parseAddress reads an IP address without a zone; IPv4-mapped addresses are IPv4 addresses.
func parseAddress(s string) (netip.Addr, error) {
	address, err := netip.ParseAddr(s)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, ErrArgument
	}
	return address.Unmap(), nil
}

// networks holds networks by their length and address.
type networks struct {
	all []netip.Prefix
	// v4 and v6 lead to the last pattern of a network, next from each to one of the same network before it; all are one
	// more, 0 is none.
	v4   map[network4]uint32
	v6   map[network6]uint32
	next []uint32
	// bits4 and bits6 say which lengths occur.
	bits4 [33]bool
	bits6 [129]bool
}

type network4 struct {
	address [4]byte
	bits    uint8
}

type network6 struct {
	address [16]byte
	bits    uint8
}

func newNetworks(size int) *networks {
	return &networks{all: make([]netip.Prefix, 0, size), next: make([]uint32, 0, size), v4: map[network4]uint32{}, v6: map[network6]uint32{}}
}

func (n *networks) add(pattern string) error {
	p, err := parseNetwork(pattern)
	if err != nil {
		return err
	}
	n.all = append(n.all, p)
	id := uint32(len(n.all)) //nolint:gosec // NewSet bounds the number of patterns
	if p.Addr().Is4() {
		key := network4{p.Addr().As4(), uint8(p.Bits())} //nolint:gosec // 0 to 32
		n.bits4[p.Bits()] = true
		n.next, n.v4[key] = append(n.next, n.v4[key]), id
		return nil
	}
	key := network6{p.Addr().As16(), uint8(p.Bits())} //nolint:gosec // 0 to 128
	n.bits6[p.Bits()] = true
	n.next, n.v6[key] = append(n.next, n.v6[key]), id
	return nil
}

// match appends the ids of the networks that hold an address.
func (n *networks) match(value string, ids []uint32) ([]uint32, error) {
	address, err := parseAddress(value)
	if err != nil {
		return ids, err
	}
	for bits := range address.BitLen() + 1 {
		var next uint32
		switch {
		case address.Is4() && n.bits4[bits]:
			next = n.v4[network4{masked(address, bits).As4(), uint8(bits)}]
		case address.Is6() && n.bits6[bits]:
			next = n.v6[network6{masked(address, bits).As16(), uint8(bits)}]
		}
		for ; next > 0; next = n.next[next-1] {
			ids = append(ids, next-1)
		}
	}
	return ids, nil
}

// masked returns the address of the network of so many bits around an address, which has at least as many.
func masked(address netip.Addr, bits int) netip.Addr {
	return netip.PrefixFrom(address, bits).Masked().Addr()
}

// test tells whether one network holds an address.
func (n *networks) test(id uint32, value string) (bool, error) {
	address, err := parseAddress(value)
	return err == nil && n.all[id].Contains(address), err
}
