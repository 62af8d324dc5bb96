package assembly

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// connFrom is a connection from an address.
type connFrom struct {
	net.Conn
	at net.Addr
}

func (c connFrom) RemoteAddr() net.Addr { return c.at }

// otherAddr is of a network that nobody has thought of.
type otherAddr struct{}

func (otherAddr) Network() string { return "unix" }
func (otherAddr) String() string  { return "127.0.0.1:1" }

func TestOrigin(t *testing.T) {
	tcp := func(address string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)) }
	for _, c := range []struct {
		at    net.Addr
		local bool
		peer  string
	}{
		{tcp("127.0.0.1:7"), true, "127.0.0.1:7"},
		{tcp("127.8.9.1:7"), true, "127.8.9.1:7"},
		{tcp("[::1]:7"), true, "[::1]:7"},
		{tcp("[::ffff:127.0.0.1]:7"), true, "127.0.0.1:7"}, // of a listener for both families
		{tcp("[::ffff:192.0.2.1]:7"), false, "192.0.2.1:7"},
		{tcp("[fe80::1%eth0]:7"), false, "[fe80::1]:7"},
		{tcp("192.0.2.1:7"), false, "192.0.2.1:7"},
		{tcp("0.0.0.0:7"), false, "0.0.0.0:7"},
		{&net.UnixAddr{Net: "unix"}, true, "invalid AddrPort"},
		{otherAddr{}, false, "invalid AddrPort"},
	} {
		r, err := http.NewRequestWithContext(withOrigin(context.Background(), connFrom{at: c.at}), http.MethodGet, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if o := originOf(r); o.local != c.local || o.peer.String() != c.peer {
			t.Errorf("%v: local %t, %s", c.at, o.local, o.peer)
		}
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if originOf(r).local {
		t.Error("a request of no connection is local")
	}
}
