package decisiontest

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
)

func ref[T any](v T) *T { return &v }

// plainRequest is what GET / of a host becomes, changed by edit.
func plainRequest(edit func(*request.Request)) *request.Request {
	r := &request.Request{
		Adapter: "ext_authz", Caller: "test", Method: "GET", Scheme: "https", Host: "a.example.com", Target: "/", Protocol: "HTTP/1.1",
		Client: netip.MustParseAddr("192.0.2.1"), Peer: request.Peer{Address: netip.MustParseAddrPort("192.0.2.1:0")},
	}
	if edit != nil {
		edit(r)
	}
	return r
}

func TestNewRequest(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    suite.Request
		parts Parts
		want  func(*request.Request)
	}{
		{name: "defaults"},
		{name: "everything", in: suite.Request{Method: "PUT", Scheme: "http", Path: "/a?b=c", Protocol: "HTTP/2", SNI: "a", Adapter: "native", Extensions: map[string]string{"x": "y"}}, want: func(r *request.Request) {
			r.Method, r.Scheme, r.Target, r.Protocol, r.SNI, r.Adapter, r.Releases, r.Extensions = "PUT", "http", "/a?b=c", "HTTP/2", "a", "native", true, map[string]string{"x": "y"}
		}},
		{name: "lines in order, after the headers by name", in: suite.Request{Headers: map[string]string{"X-B": "2", "x-a": "1"}, Lines: []suite.Line{{Name: "X-A", Value: "3"}}}, want: func(r *request.Request) {
			r.Header = request.Header{{Name: "x-b", Value: "2"}, {Name: "x-a", Value: "1"}, {Name: "x-a", Value: "3"}}
		}},
		{name: "a token", parts: Parts{Token: "t"}, want: func(r *request.Request) {
			r.Header = request.Header{{Name: "authorization", Value: "Bearer t"}}
		}},
		{name: "a token where a header says so", in: suite.Request{Headers: map[string]string{"cookie": "a=1; s={token}"}}, parts: Parts{Token: "t"}, want: func(r *request.Request) {
			r.Header = request.Header{{Name: "cookie", Value: "a=1; s=t"}}
		}},
		{name: "no token for a header", in: suite.Request{Headers: map[string]string{"x-a": "{token}"}}, want: func(r *request.Request) {
			r.Header = request.Header{{Name: "x-a", Value: "{token}"}}
		}},
		{name: "two credentials", in: suite.Request{Headers: map[string]string{"authorization": "Basic eA=="}}, parts: Parts{Token: "t"}, want: func(r *request.Request) {
			r.Header = request.Header{{Name: "authorization", Value: "Basic eA=="}, {Name: "authorization", Value: "Bearer t"}}
			r.Invalid = "duplicate_header"
		}},
		{name: "the host's own line", in: suite.Request{Headers: map[string]string{"host": "a.example.com"}}},
		{name: "another host", in: suite.Request{Headers: map[string]string{"host": "b.example.com"}}, want: func(r *request.Request) { r.Invalid = "duplicate_header" }},
		{name: "no header name", in: suite.Request{Headers: map[string]string{"a b": "c"}}, want: func(r *request.Request) { r.Invalid = "header_invalid" }},
		{name: "plain text at the client", in: suite.Request{Headers: map[string]string{"x-forwarded-proto": "http"}}, want: func(r *request.Request) {
			r.Scheme, r.Header = "http", request.Header{{Name: "x-forwarded-proto", Value: "http"}}
		}},
		{name: "a request's own name", in: suite.Request{Headers: map[string]string{"x-request-id": "7"}}, want: func(r *request.Request) {
			r.CorrelationID, r.Header = "7", request.Header{{Name: "x-request-id", Value: "7"}}
		}},
		{name: "a body", in: suite.Request{Body: ref("{}")}, want: func(r *request.Request) { r.Body = request.Body{Bytes: []byte("{}"), Size: 2} }},
		{name: "an empty body", in: suite.Request{Body: ref("")}},
		{name: "a body from a file", in: suite.Request{BodyFile: "a.json"}, parts: Parts{BodyFile: []byte("abc")}, want: func(r *request.Request) { r.Body = request.Body{Bytes: []byte("abc"), Size: 3} }},
		{name: "the first part of a body", in: suite.Request{Body: ref("{"), Size: ref(int64(9))}, want: func(r *request.Request) { r.Body = request.Body{Bytes: []byte("{"), Size: 9, Partial: true} }},
		{name: "a part of a body of unknown size", in: suite.Request{Body: ref("{"), Size: ref(int64(-1))}, want: func(r *request.Request) { r.Body = request.Body{Bytes: []byte("{"), Size: -1, Partial: true} }},
		{name: "the whole body, counted", in: suite.Request{Body: ref("{}"), Size: ref(int64(2))}, want: func(r *request.Request) { r.Body = request.Body{Bytes: []byte("{}"), Size: 2} }},
		{name: "a size alone", in: suite.Request{Size: ref(int64(9))}, want: func(r *request.Request) { r.Body = request.Body{Size: 9} }},
		{name: "an announced body", in: suite.Request{Headers: map[string]string{"content-length": "9"}}, want: func(r *request.Request) {
			r.Body, r.Header = request.Body{Size: -1}, request.Header{{Name: "content-length", Value: "9"}}
		}},
		{name: "an address", in: suite.Request{Address: "::ffff:198.51.100.7"}, want: func(r *request.Request) {
			r.Client, r.Peer.Address = netip.MustParseAddr("198.51.100.7"), netip.MustParseAddrPort("198.51.100.7:0")
		}},
		{name: "no address", in: suite.Request{Address: "unknown"}, want: func(r *request.Request) { r.Client, r.Peer = netip.Addr{}, request.Peer{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in.Host, c.in.Path = "a.example.com", orDefault(c.in.Path, "/")
			got, err := NewRequest(&c.in, c.parts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plainRequest(c.want), got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// writtenRequest reads a request as suites write it.
func writtenRequest(t *testing.T, text string) *suite.Request {
	t.Helper()
	var r suite.Request
	if problems := format.Decode(&format.File{Path: "a.yaml", Data: []byte(text)}, &r); len(problems) > 0 {
		t.Fatal(problems)
	}
	return &r
}

func TestNewRequestOfAnOperation(t *testing.T) {
	in := writtenRequest(t, "operation: {service: orders, action: \"orders:read\", resource_type: order, resource_id: \"7\", properties: {a: b}}\n")
	got, err := NewRequest(in, Parts{Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	want := &request.Request{Adapter: "native", Caller: "test", Operation: &request.Operation{
		Service: "orders", Action: "orders:read", ResourceType: "order", ResourceID: "7", Properties: map[string]string{"a": "b"}, Credential: "t",
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
}

func TestNewRequestRefuses(t *testing.T) {
	for _, c := range []struct {
		in   suite.Request
		want string
	}{
		{suite.Request{}, "needs a path"},
		{suite.Request{Path: "/", Scheme: "ftp"}, "https or http"},
		{suite.Request{Path: "/", Address: "localhost"}, "no IP address"},
		{suite.Request{Path: "/", Body: ref("a"), BodyFile: "b"}, "not both"},
		{suite.Request{Path: "/", Body: ref("abc"), Size: ref(int64(2))}, "a body of 3 bytes"},
		{suite.Request{Path: "/", Size: ref(int64(-2))}, "a size of -2"},
		{*writtenRequest(t, "path: /\noperation: {service: a, action: b}\n"), "no HTTP request"},
		{*writtenRequest(t, "scheme: http\noperation: {service: a, action: b}\n"), "no HTTP request"},
		{*writtenRequest(t, "size: 9\noperation: {service: a, action: b}\n"), "no HTTP request"},
		{*writtenRequest(t, "sni: a\noperation: {service: a, action: b}\n"), "no HTTP request"},
		{*writtenRequest(t, "operation: {service: a}\n"), "a service and an action"},
	} {
		if _, err := NewRequest(&c.in, Parts{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.in, err, c.want)
		}
	}
}
