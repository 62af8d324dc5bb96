package assembly

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
)

// origin is who is at the other end of a connection to the admin listener. No header says so, for whoever can reach the
// listener can write headers.
type origin struct {
	peer  netip.AddrPort // not valid for a Unix socket
	local bool           // on this machine
}

type originKey struct{}

// withOrigin notes the connection's other end for the handlers.
func withOrigin(ctx context.Context, c net.Conn) context.Context {
	var o origin
	switch at := c.RemoteAddr().(type) {
	case *net.UnixAddr:
		o.local = true
	case *net.TCPAddr:
		address := at.AddrPort()
		o.peer = netip.AddrPortFrom(address.Addr().Unmap().WithZone(""), address.Port())
		o.local = o.peer.Addr().IsLoopback()
	}
	return context.WithValue(ctx, originKey{}, o)
}

// originOf returns the connection's other end; the zero origin is far away.
func originOf(r *http.Request) origin {
	o, _ := r.Context().Value(originKey{}).(origin)
	return o
}

// verified returns the client certificate of the connection, nil for none.
func verified(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

// refusal is why a request may not do what it asks for: a status and a text.
type refusal struct {
	status int
	text   string
}

// mayRead says who may see values of requests: whoever is on this machine, and callers that the settings name.
func mayRead(r *http.Request, who caller, host string) *refusal {
	if !originOf(r).local && verified(r) == nil && who.name == localCaller {
		return &refusal{http.StatusForbidden, "values of requests are shown on this machine, or to a caller that admin.callers names"}
	}
	return fromBrowser(r, host)
}

// mayChange says who may change counters.
func mayChange(r *http.Request, host string) *refusal {
	if !originOf(r).local && verified(r) == nil {
		return &refusal{http.StatusForbidden, "changes are made on this machine (a loopback address or a Unix socket), or with a verified client certificate"}
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		// No form of a web page can send it, and no script of another site without asking first, which nobody answers here.
		return &refusal{http.StatusUnsupportedMediaType, "the body must be application/json"}
	}
	return fromBrowser(r, host)
}

// fromBrowser refuses what a web page on the operator's machine could send, and what a proxy on this machine says it passed
// on: their connections are local, and whoever makes use of them is not. A proxy that adds nothing cannot be told from a client.
// host is the one that the listener was given.
func fromBrowser(r *http.Request, host string) *refusal {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode"} {
		if len(r.Header.Values(name)) > 0 {
			return &refusal{http.StatusForbidden, "browsers are not served here"}
		}
	}
	if proxied(r) {
		return &refusal{http.StatusForbidden, "the request came through a proxy, so nobody knows whose it is"}
	}
	if !ownHost(r, host) {
		return &refusal{http.StatusForbidden, "the host in the request is not this listener's"}
	}
	return nil
}

// proxied reports whether a request shows that a proxy passed it on. Envoy and the like add such headers unless they are told
// not to; HTTP/1.0 is what nginx speaks to the server behind it, unless it is told not to.
func proxied(r *http.Request) bool {
	for name := range r.Header {
		switch name {
		case "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Request-Id", "True-Client-Ip":
			return true
		}
		for _, family := range []string{"X-Forwarded-", "X-Envoy-", "Cf-"} {
			if strings.HasPrefix(name, family) {
				return true
			}
		}
	}
	return !r.ProtoAtLeast(1, 1)
}

// ownHost reports whether a request was meant for this listener: a page whose name was made to lead here says that name.
func ownHost(r *http.Request, host string) bool {
	if !originOf(r).peer.IsValid() && originOf(r).local {
		return true // no browser speaks to Unix sockets
	}
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if len(name) > 2 && name[0] == '[' {
		name = name[1 : len(name)-1]
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true // an address cannot be made to lead elsewhere
	}
	return name != "" && (name == "localhost" || name == host || r.TLS != nil && name == r.TLS.ServerName)
}

// certificateOf returns the verified certificate as records show it, nil for none.
func certificateOf(r *http.Request) *request.Certificate {
	leaf := verified(r)
	if leaf == nil {
		return nil
	}
	c, err := request.ParseCertificate(leaf.Raw)
	if err != nil { // it was verified a moment ago
		return &request.Certificate{NotAfter: leaf.NotAfter, Thumbprint: sha256.Sum256(leaf.Raw)}
	}
	return c
}
