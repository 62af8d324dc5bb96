package request

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddressRule(t *testing.T) {
	for _, good := range []string{"peer", "xff:1", "xff:32", "header:X-Real-IP"} {
		if r, err := ParseAddressRule(good); err != nil || !r.Chosen() {
			t.Errorf("ParseAddressRule(%q) = %+v, %v", good, r, err)
		}
	}
	for _, bad := range []string{"Peer", "xff", "xff:", "xff:0", "xff:-1", "xff:33", "xff:1x", "xff:99999999999999999999", "header:", "header:a b", "header::path", "header:é", "peer ", "none"} {
		if r, err := ParseAddressRule(bad); !errors.Is(err, ErrAddressRule) || r.Chosen() {
			t.Errorf("ParseAddressRule(%q) = %+v, %v; want an error", bad, r, err)
		}
	}
	if r, err := ParseAddressRule(""); err != nil || r.Chosen() {
		t.Errorf("the empty rule: %+v, %v", r, err)
	}
}

func TestClient(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:443")
	xff := func(lines ...string) Header {
		h := Header{{"host", "a"}}
		for _, l := range lines {
			h = append(h, Field{"x-forwarded-for", l})
		}
		return append(h, Field{"x-real-ip", "198.51.100.9"})
	}
	for _, tc := range []struct {
		name, rule string
		peer       netip.AddrPort
		header     Header
		want       string // "" for none
	}{
		{"no rule", "", peer, xff("203.0.113.9"), ""},
		{"peer", "peer", peer, xff("203.0.113.9"), "192.0.2.1"},
		{"peer unknown", "peer", netip.AddrPort{}, nil, ""},
		{"peer IPv4-mapped", "peer", netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"), nil, "192.0.2.1"},
		{"peer with zone", "peer", netip.MustParseAddrPort("[fe80::1%eth0]:1"), nil, "fe80::1"},
		{"one hop", "xff:1", peer, xff("6.6.6.6, 203.0.113.9"), "203.0.113.9"},
		{"two hops", "xff:2", peer, xff("6.6.6.6, 203.0.113.9, 10.0.0.1"), "203.0.113.9"},
		{"two hops over two lines", "xff:2", peer, xff("6.6.6.6,203.0.113.9", "10.0.0.1"), "203.0.113.9"},
		{"lines in order", "xff:1", peer, xff("6.6.6.6", "203.0.113.9"), "203.0.113.9"},
		{"too few hops", "xff:2", peer, xff("203.0.113.9"), ""},
		{"no header", "xff:1", peer, xff(), ""},
		{"empty header", "xff:1", peer, xff(""), ""},
		{"empty member is a hop", "xff:2", peer, xff("203.0.113.9,"), "203.0.113.9"},
		{"no address", "xff:1", peer, xff("203.0.113.9, unknown"), ""},
		{"port", "xff:1", peer, xff("203.0.113.9:80"), ""},
		{"leading zero", "xff:1", peer, xff("203.0.113.09"), ""},
		{"IPv6", "xff:1", peer, xff("2001:DB8::1"), "2001:db8::1"},
		{"IPv4-mapped", "xff:1", peer, xff("::ffff:203.0.113.9"), "203.0.113.9"},
		{"zone", "xff:1", peer, xff("fe80::1%x"), "fe80::1"},
		{"spaces and tabs", "xff:1", peer, xff("6.6.6.6 ,\t203.0.113.9 "), "203.0.113.9"},
		{"32 hops", "xff:32", peer, xff(strings.Repeat("203.0.113.9,", 31) + "203.0.113.9"), "203.0.113.9"},
		{"a megabyte of commas", "xff:1", peer, xff(strings.Repeat(",", 1<<20) + "203.0.113.9"), "203.0.113.9"},
		{"named header", "header:X-Real-IP", peer, xff("203.0.113.9"), "198.51.100.9"},
		{"named header missing", "header:x-client", peer, xff("203.0.113.9"), ""},
		{"named header twice", "header:x-forwarded-for", peer, xff("203.0.113.9", "203.0.113.9"), ""},
		{"named header with a list", "header:x-forwarded-for", peer, xff("203.0.113.9, 203.0.113.9"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rule, err := ParseAddressRule(tc.rule)
			if err != nil {
				t.Fatal(err)
			}
			got := rule.Client(tc.peer, tc.header)
			if got.IsValid() != (tc.want != "") || got.IsValid() && got.String() != tc.want {
				t.Errorf("Client = %v, want %q", got, tc.want)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.9":          "203.0.113.9",
		"2001:db8::1":          "2001:db8::/64",
		"2001:db8::ffff:0:0:1": "2001:db8::/64",
		"2001:db8:0:1::1":      "2001:db8:0:1::/64",
	} {
		if got := Network(netip.MustParseAddr(in)); got != want {
			t.Errorf("Network(%s) = %q, want %q", in, got, want)
		}
	}
	if got := Network(netip.Addr{}); got != "" {
		t.Errorf("Network of nothing = %q", got)
	}
}

// FuzzAddress: what a client writes to the left of the trusted hops never changes who it is taken for.
func FuzzAddress(f *testing.F) {
	f.Add("peer", "192.0.2.1:1", "", "")
	f.Add("xff:1", "[::ffff:192.0.2.1]:1", "6.6.6.6, 203.0.113.9", "1.1.1.1")
	f.Add("xff:2", "", "203.0.113.9,fe80::1%eth0", ",")
	f.Add("header:x-forwarded-for", "x", "203.0.113.9", "")
	f.Fuzz(func(t *testing.T, text, peerText, forwarded, spoofed string) {
		rule, err := ParseAddressRule(text)
		if err != nil {
			if rule.Chosen() {
				t.Error("a rule that cannot be read is chosen")
			}
			return
		}
		peer, err := netip.ParseAddrPort(peerText)
		if err != nil {
			peer = netip.AddrPort{}
		}
		got := rule.Client(peer, Header{{"x-forwarded-for", forwarded}})
		if !got.IsValid() {
			return
		}
		if got.Is4In6() || got.Zone() != "" || Network(got) == "" {
			t.Errorf("client %v, network %q", got, Network(got))
		}
		for _, h := range []Header{
			{{"x-forwarded-for", spoofed + "," + forwarded}},
			{{"x-forwarded-for", spoofed}, {"x-forwarded-for", forwarded}},
		} {
			if again := rule.Client(peer, h); again != got && rule.kind != addressHeader {
				t.Errorf("client %v became %v with %q before", got, again, spoofed)
			}
		}
	})
}
