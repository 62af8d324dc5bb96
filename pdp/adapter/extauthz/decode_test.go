package extauthz

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

var compareAddresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func TestReadWholeRequest(t *testing.T) {
	in := message()
	in.Attributes.Request.Time = timestamppb.New(time.Unix(1767225600, 0))
	in.Attributes.Source.Principal = "CN=plain\\,comma,O=Lab"
	want := &request.Request{
		Adapter: "ext_authz", Caller: "edge", CorrelationID: "c6e4f1c0-0000-4000-8000-000000000000",
		Time:   time.Unix(1767225600, 0).UTC(),
		Method: "GET", Scheme: "https", Host: "orders.example.com", Target: "/orders/7?x=1", Protocol: "HTTP/1.1",
		Header: request.Header{
			{Name: "accept", Value: "*/*"},
			{Name: "authorization", Value: "Bearer t"},
			{Name: "user-agent", Value: "curl/8"},
			{Name: "x-forwarded-for", Value: "6.6.6.6, 203.0.113.9"},
			{Name: "x-forwarded-proto", Value: "https"},
			{Name: "x-request-id", Value: "c6e4f1c0-0000-4000-8000-000000000000"},
		},
		Peer:       request.Peer{Address: netip.MustParseAddrPort("203.0.113.9:4711"), Principal: "CN=plain\\,comma,O=Lab"},
		Client:     netip.MustParseAddr("203.0.113.9"),
		SNI:        "orders.example.com",
		Extensions: map[string]string{"durward.service": "orders"},
	}
	if diff := cmp.Diff(want, read(t, in), compareAddresses); diff != "" {
		t.Errorf("headers mode (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, read(t, inRaw(in)), compareAddresses); diff != "" {
		t.Errorf("header_map mode (-want +got):\n%s", diff)
	}
}

// TestMissingParts: the network filter and in-process gRPC filters leave out what Envoy's HTTP filter always sends.
func TestMissingParts(t *testing.T) {
	http := func(h *authv3.AttributeContext_HttpRequest) *authv3.CheckRequest {
		return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: h}}}
	}
	for name, in := range map[string]*authv3.CheckRequest{
		"no message":    nil,
		"no attributes": {},
		"no request":    {Attributes: &authv3.AttributeContext{}},
		"network filter without http": {Attributes: &authv3.AttributeContext{
			Source: &authv3.AttributeContext_Peer{Address: socket("192.0.2.1", 1)}, Request: &authv3.AttributeContext_Request{},
		}},
		"empty http":             http(&authv3.AttributeContext_HttpRequest{}),
		"no method":              http(&authv3.AttributeContext_HttpRequest{Path: "/", Host: "a.test"}),
		"no path":                http(&authv3.AttributeContext_HttpRequest{Method: "GET", Host: "a.test"}),
		"query beside the path":  message(func(h *authv3.AttributeContext_HttpRequest) { h.Query = "a=1" }),
		"fragment":               message(func(h *authv3.AttributeContext_HttpRequest) { h.Fragment = "top" }),
		"invalid time and oneof": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Time: &timestamppb.Timestamp{Nanos: -1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(t, in).Invalid; got != string(verdict.MalformedRequest) {
				t.Errorf("Invalid = %q, want malformed_request", got)
			}
		})
	}
	t.Run("nil header line", func(t *testing.T) {
		in := http(&authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{nil}}})
		if got := read(t, in).Invalid; got != string(verdict.HeaderInvalid) {
			t.Errorf("Invalid = %q, want header_invalid", got)
		}
	})
	t.Run("in-process gRPC filter", func(t *testing.T) {
		r := read(t, http(&authv3.AttributeContext_HttpRequest{
			Method: "POST", Path: "/shop.Orders/Get", Host: "orders.local", Protocol: "HTTP/2", Size: -1,
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{line("content-type", "application/grpc")}},
		}))
		if r.Invalid != "" || r.Body.Size != -1 || r.CorrelationID != "" || r.Scheme != "" || r.Client.IsValid() || len(r.Header) != 1 {
			t.Errorf("request = %+v", r)
		}
	})
	t.Run("only pseudo headers", func(t *testing.T) {
		r := read(t, http(&authv3.AttributeContext_HttpRequest{Headers: map[string]string{
			":authority": "a.test", ":method": "GET", ":path": "/x", ":scheme": "https",
		}}))
		if r.Invalid != "" || r.Method != "GET" || r.Host != "a.test" || r.Target != "/x" || r.Scheme != "https" || len(r.Header) != 0 {
			t.Errorf("request = %+v", r)
		}
	})
}

// TestTargetAndHostStayRaw: what is canonical is for the route to say, from the very bytes that the API will get.
func TestTargetAndHostStayRaw(t *testing.T) {
	for _, target := range []string{
		"/a/../admin", "//admin", "/%61dmin", "/a%2fb", `/a\b`, "/a%00b", "/a;/../admin", "/a?x=/../b", "/a?", "/%zz", "*", "http://other.test/abs",
	} {
		set := func(h *authv3.AttributeContext_HttpRequest) { h.Path = target; h.Headers[":path"] = target }
		if r := read(t, message(set)); r.Target != target || r.Invalid != "" {
			t.Errorf("target %q became %q (%s)", target, r.Target, r.Invalid)
		}
	}
	for _, host := range []string{"ORDERS.example.com", "orders.example.com:443", "orders.example.com.", "user@h", "[::1]:8443", ""} {
		set := func(h *authv3.AttributeContext_HttpRequest) { h.Host = host; h.Headers[":authority"] = host }
		if r := read(t, message(set)); r.Host != host || r.Invalid != "" {
			t.Errorf("host %q became %q (%s)", host, r.Host, r.Invalid)
		}
	}
}

func TestSource(t *testing.T) {
	with := func(a *corev3.Address) *authv3.CheckRequest {
		in := message()
		in.Attributes.Source.Address = a
		return in
	}
	rule := func(text string) func(*Options) {
		return func(o *Options) {
			var err error
			if o.Address, err = request.ParseAddressRule(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	pipe := &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/edge.sock"}}}
	internal := &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{}}}
	for _, tc := range []struct {
		name         string
		in           *authv3.CheckRequest
		rule         string
		client, peer string
	}{
		{"the peer", with(socket("203.0.113.9", 80)), "peer", "203.0.113.9", "203.0.113.9:80"},
		{"source.address is the proxy before, not the client", with(socket("127.0.0.1", 80)), "xff:1", "203.0.113.9", "127.0.0.1:80"},
		{"two trusted hops", with(socket("127.0.0.1", 80)), "xff:2", "6.6.6.6", "127.0.0.1:80"},
		{"more hops than there are", with(socket("127.0.0.1", 80)), "xff:3", "invalid IP", "127.0.0.1:80"},
		{"no rule chosen", with(socket("203.0.113.9", 80)), "", "invalid IP", "203.0.113.9:80"},
		{"IPv4-mapped", with(socket("::ffff:203.0.113.9", 80)), "peer", "203.0.113.9", "203.0.113.9:80"},
		{"zone", with(socket("fe80::1%eth0", 80)), "peer", "fe80::1", "[fe80::1]:80"},
		{"Unix socket", with(pipe), "peer", "invalid IP", "invalid AddrPort"},
		{"internal listener", with(internal), "peer", "invalid IP", "invalid AddrPort"},
		{"no address", with(nil), "peer", "invalid IP", "invalid AddrPort"},
		{"a name", with(socket("edge.local", 80)), "peer", "invalid IP", "invalid AddrPort"},
		{"port out of range", with(socket("203.0.113.9", 70000)), "peer", "203.0.113.9", "203.0.113.9:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := read(t, tc.in, rule(tc.rule))
			if r.Client.String() != tc.client || r.Peer.Address.String() != tc.peer || r.Invalid != "" {
				t.Errorf("client %v, peer %v, invalid %q; want %s, %s", r.Client, r.Peer.Address, r.Invalid, tc.client, tc.peer)
			}
		})
	}
	t.Run("source.service is the client's word", func(t *testing.T) {
		if r := read(t, message()); r.Caller != "edge" || r.Peer.Principal != "" {
			t.Errorf("caller %q, principal %q", r.Caller, r.Peer.Principal)
		}
	})
	t.Run("no source", func(t *testing.T) {
		in := message()
		in.Attributes.Source, in.Attributes.TlsSession = nil, nil
		if r := read(t, in); r.Invalid != "" || r.Client.IsValid() || r.SNI != "" {
			t.Errorf("request = %+v", r)
		}
	})
}

func TestCertificate(t *testing.T) {
	with := func(escaped string) *authv3.CheckRequest {
		in := message()
		in.Attributes.Source.Certificate = escaped
		return in
	}
	good := certificate(t)
	r := read(t, with(good))
	if r.Certificate == nil {
		t.Fatalf("no certificate: %q", r.Invalid)
	}
	want := []string{"spiffe://lab.local/ns/prod/sa/orders", "spiffe://lab.local/ns/prod/sa/other", "orders.local", "orders.alt", "a@lab.local"}
	if diff := cmp.Diff(want, r.Certificate.SANs()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for name, escaped := range map[string]string{
		"bad escape":  "-----BEGIN%2",
		"truncated":   good[:len(good)/2],
		"two":         good + good,
		"a megabyte":  strings.Repeat("A", 1<<20),
		"not base64":  "-----BEGIN%20CERTIFICATE-----%0A!!%0A-----END%20CERTIFICATE-----%0A",
		"another key": strings.ReplaceAll(good, "CERTIFICATE", "PUBLIC%20KEY"),
	} {
		t.Run(name, func(t *testing.T) {
			r := read(t, with(escaped))
			if r.Invalid != string(verdict.CertificateBad) || r.Certificate != nil {
				t.Errorf("Invalid = %q, certificate %v", r.Invalid, r.Certificate)
			}
		})
	}
}

// TestAsserts: what a caller may not assert is not believed.
func TestAsserts(t *testing.T) {
	trust := func(a Asserts) func(*Options) {
		return func(o *Options) {
			o.Caller = func(context.Context) (string, Asserts, bool) { return "edge", a, true }
		}
	}
	plain := func() *authv3.CheckRequest {
		in := message()
		in.Attributes.ContextExtensions = nil
		return in
	}
	withCertificate := plain()
	withCertificate.Attributes.Source.Certificate = certificate(t)

	t.Run("client address", func(t *testing.T) {
		if r := read(t, plain(), trust(Asserts{})); r.Invalid != "" || r.Client.IsValid() || r.Peer.Address.IsValid() {
			t.Errorf("client %v, peer %v, invalid %q", r.Client, r.Peer.Address, r.Invalid)
		}
		if r := read(t, plain(), trust(Asserts{ClientAddress: true})); !r.Client.IsValid() {
			t.Error("no client although the caller may assert it")
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		if r := read(t, withCertificate, trust(Asserts{ClientAddress: true})); r.Invalid != string(verdict.CallerNotTrusted) || r.Certificate != nil {
			t.Errorf("invalid %q, certificate %v", r.Invalid, r.Certificate)
		}
		if r := read(t, withCertificate, trust(Asserts{Certificate: true})); r.Invalid != "" || r.Certificate == nil {
			t.Errorf("invalid %q, certificate %v", r.Invalid, r.Certificate)
		}
	})
	t.Run("context extensions", func(t *testing.T) {
		if r := read(t, message(), trust(Asserts{})); r.Invalid != string(verdict.CallerNotTrusted) || r.Extensions != nil {
			t.Errorf("invalid %q, extensions %v", r.Invalid, r.Extensions)
		}
		if r := read(t, message(), trust(Asserts{Service: true})); r.Invalid != "" || r.Extensions["durward.service"] != "orders" {
			t.Errorf("invalid %q, extensions %v", r.Invalid, r.Extensions)
		}
	})
	t.Run("unknown caller", func(t *testing.T) {
		r := read(t, message(), func(o *Options) {
			o.Caller = func(context.Context) (string, Asserts, bool) { return "mallory", Asserts{}, false }
		})
		want := &request.Request{Adapter: "ext_authz", Invalid: "caller_not_trusted"}
		if diff := cmp.Diff(want, r, compareAddresses); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	})
}

func TestBody(t *testing.T) {
	marker := header(partialBody, "true")
	for _, tc := range []struct {
		name    string
		change  []func(*authv3.AttributeContext_HttpRequest)
		want    request.Body
		invalid string
	}{
		{"none", nil, request.Body{}, ""},
		{"raw", []func(*authv3.AttributeContext_HttpRequest){func(h *authv3.AttributeContext_HttpRequest) { h.RawBody, h.Size = []byte("\xff\x00"), 2 }},
			request.Body{Bytes: []byte("\xff\x00"), Size: 2}, ""},
		{"text", []func(*authv3.AttributeContext_HttpRequest){func(h *authv3.AttributeContext_HttpRequest) { h.Body, h.Size = "{}", 2 }},
			request.Body{Bytes: []byte("{}"), Size: 2}, ""},
		{"both", []func(*authv3.AttributeContext_HttpRequest){func(h *authv3.AttributeContext_HttpRequest) { h.Body, h.RawBody = "a", []byte("b") }},
			request.Body{}, "malformed_request"},
		{"cut by the gateway", []func(*authv3.AttributeContext_HttpRequest){marker, func(h *authv3.AttributeContext_HttpRequest) { h.RawBody, h.Size = []byte("abc"), 3 }},
			request.Body{Bytes: []byte("abc"), Size: 3, Partial: true}, ""},
		{"marker false", []func(*authv3.AttributeContext_HttpRequest){header(partialBody, "false"), func(h *authv3.AttributeContext_HttpRequest) { h.RawBody, h.Size = []byte("abc"), 3 }},
			request.Body{Bytes: []byte("abc"), Size: 3}, ""},
		{"marker twice", []func(*authv3.AttributeContext_HttpRequest){header(partialBody, "false,true"), func(h *authv3.AttributeContext_HttpRequest) { h.RawBody, h.Size = []byte("abc"), 3 }},
			request.Body{Bytes: []byte("abc"), Size: 3, Partial: true}, ""},
		{"marker of the client, no body", []func(*authv3.AttributeContext_HttpRequest){marker}, request.Body{}, ""},
		{"size unknown", []func(*authv3.AttributeContext_HttpRequest){func(h *authv3.AttributeContext_HttpRequest) { h.Size = -1 }}, request.Body{Size: -1}, ""},
		{"size nonsense", []func(*authv3.AttributeContext_HttpRequest){func(h *authv3.AttributeContext_HttpRequest) { h.Size = -1 << 63 }}, request.Body{Size: -1}, ""},
		{"size left out", []func(*authv3.AttributeContext_HttpRequest){func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = []byte("abc") }}, request.Body{Bytes: []byte("abc"), Size: 3}, ""},
		{"not forwarded", []func(*authv3.AttributeContext_HttpRequest){header("content-length", "5000")}, request.Body{Size: -1}, ""},
		{"not forwarded, chunked", []func(*authv3.AttributeContext_HttpRequest){header("transfer-encoding", "chunked")}, request.Body{Size: -1}, ""},
		{"announced empty", []func(*authv3.AttributeContext_HttpRequest){header("content-length", "0")}, request.Body{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, in := range []*authv3.CheckRequest{message(tc.change...), inRaw(message(tc.change...))} {
				r := read(t, in)
				if diff := cmp.Diff(tc.want, r.Body); diff != "" || r.Invalid != tc.invalid {
					t.Errorf("invalid %q, body (-want +got):\n%s", r.Invalid, diff)
				}
				if r.Header.Count(partialBody) != 0 {
					t.Error("the marker is handed on as the client's header")
				}
			}
		})
	}
}

// TestHiddenBytes: over HTTP/2 Envoy shows "!" for a byte that is not UTF-8, and the API receives the byte. Only the
// lines of header_map tell the two apart.
func TestHiddenBytes(t *testing.T) {
	for _, tc := range []struct {
		target, protocol string
		raw              bool
		want             verdict.Reason
	}{
		{"/public/..!/admin", "HTTP/2", false, verdict.PathAmbiguous},
		{"/public/..!/admin", "", false, verdict.PathAmbiguous},
		{"/public/..!/admin", "HTTP/2", true, ""},
		{"/public/..!/admin", "HTTP/1.1", false, ""},
		{"/public?q=hello!", "HTTP/2", false, ""},
		{"/public/%21", "HTTP/2", false, ""},
	} {
		in := message(func(h *authv3.AttributeContext_HttpRequest) {
			h.Path, h.Protocol, h.Headers[":path"] = tc.target, tc.protocol, tc.target
			if tc.raw {
				h.HeaderMap = &corev3.HeaderMap{}
				for name, value := range h.Headers {
					h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
				}
				h.Headers = nil
			}
		})
		if r := read(t, in); r.Invalid != string(tc.want) {
			t.Errorf("%s over %q, raw %v: Invalid = %q, want %q", tc.target, tc.protocol, tc.raw, r.Invalid, tc.want)
		}
	}
}

func TestScheme(t *testing.T) {
	for _, tc := range []struct{ scheme, forwarded, want string }{
		{"https", "https", "https"},
		{"https", "HTTPS", "https"},
		{"http", "https", "http"},
		{"https", "http", "http"},
		{"https", "https,http", "http"},
		{"", "https", ""},
	} {
		set := func(h *authv3.AttributeContext_HttpRequest) {
			h.Scheme, h.Headers["x-forwarded-proto"] = tc.scheme, tc.forwarded
			delete(h.Headers, ":scheme")
		}
		if r := read(t, message(set)); r.Scheme != tc.want {
			t.Errorf("scheme %q with X-Forwarded-Proto %q = %q, want %q", tc.scheme, tc.forwarded, r.Scheme, tc.want)
		}
	}
}

func TestTextsForTheRecordAreBounded(t *testing.T) {
	long := strings.Repeat("a", 5000)
	in := message(header("x-request-id", "abc\u00e9"+long))
	in.Attributes.Source.Principal = long
	in.Attributes.TlsSession.Sni = long
	r := read(t, in)
	if r.CorrelationID != "abc"+long[:maxLabel-3] || len(r.Peer.Principal) != maxPrincipal || len(r.SNI) != 255 {
		t.Errorf("lengths: correlation %d, principal %d, sni %d", len(r.CorrelationID), len(r.Peer.Principal), len(r.SNI))
	}
	t.Run("stream id without x-request-id", func(t *testing.T) {
		if r := read(t, message(func(h *authv3.AttributeContext_HttpRequest) { delete(h.Headers, "x-request-id") })); r.CorrelationID != "1234567890" {
			t.Errorf("CorrelationID = %q", r.CorrelationID)
		}
	})
}

// TestUpgrade: a WebSocket is asked about once, with its handshake visible.
func TestUpgrade(t *testing.T) {
	r := read(t, message(header("connection", "upgrade"), header("upgrade", "websocket"), header("sec-websocket-key", "dGhl")))
	for _, name := range []string{"connection", "upgrade", "sec-websocket-key"} {
		if r.Header.Count(name) != 1 {
			t.Errorf("%s is not visible", name)
		}
	}
}
