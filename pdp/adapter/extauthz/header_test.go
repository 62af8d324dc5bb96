package extauthz

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/request"
)

// lines returns a message with exactly these lines, name and value in turn, in header_map.
func lines(pairs ...string) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/", Host: "a.test", Scheme: "https", HeaderMap: &corev3.HeaderMap{}}
	for i := 0; i < len(pairs); i += 2 {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, line(pairs[i], pairs[i+1]))
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}}
}

// joined is lines as Envoy's `headers` mode shows them.
func joined(pairs ...string) *authv3.CheckRequest {
	in := lines(pairs...)
	http := in.GetAttributes().GetRequest().GetHttp()
	http.HeaderMap, http.Headers = nil, map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		if before, ok := http.Headers[pairs[i]]; ok {
			http.Headers[pairs[i]] = before + "," + replaceInvalid(pairs[i+1])
			continue
		}
		http.Headers[pairs[i]] = replaceInvalid(pairs[i+1])
	}
	return in
}

// TestSameVerdictForBothEncodings: one client request, one reason, whichever way the gateway encodes headers.
func TestSameVerdictForBothEncodings(t *testing.T) {
	for _, tc := range []struct {
		name    string
		pairs   []string
		invalid string
	}{
		{"one credential", []string{"authorization", "Bearer a"}, ""},
		{"two credentials", []string{"authorization", "Bearer a", "authorization", "Bearer b"}, "duplicate_header"},
		{"two credentials, schemes without one", []string{"authorization", "Bearer", "authorization", "Bearer"}, "duplicate_header"},
		{"two credentials, second empty", []string{"authorization", "Bearer a", "authorization", ""}, "duplicate_header"},
		{"two credentials, padded", []string{"authorization", "Basic YQ==", "authorization", "Basic YQ=="}, "duplicate_header"},
		{"two credentials hidden in quotes", []string{"authorization", `Digest a="x`, "authorization", `Bearer b"`}, "duplicate_header"},
		{"two credentials in one line", []string{"authorization", "Bearer a,Bearer b"}, "duplicate_header"},
		{"a token with a comma", []string{"authorization", "Bearer a,b=c"}, "duplicate_header"},
		{"no scheme", []string{"authorization", "a=b,c=d"}, "duplicate_header"},
		{"comma at the end", []string{"authorization", "Digest a=b,"}, "duplicate_header"},
		{"parameters", []string{"authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x, Signature=ab"}, ""},
		{"case of the name", []string{"authorization", "Bearer a", "Authorization", "Bearer b"}, "duplicate_header"},
		{"two authorities", []string{":authority", "a.test", ":authority", "b.test"}, "duplicate_header"},
		{"another authority", []string{":authority", "b.test"}, "malformed_request"},
		{"two hosts", []string{"host", "a.test", "host", "a.test"}, "duplicate_header"},
		{"another host", []string{"host", "b.test"}, "duplicate_header"},
		{"the same host", []string{"host", "a.test"}, ""},
		{"another method", []string{":method", "POST"}, "malformed_request"},
		{"another path", []string{":path", "/admin"}, "malformed_request"},
		{"another scheme", []string{":scheme", "http"}, "malformed_request"},
		{"two paths", []string{":path", "/", ":path", "/"}, "malformed_request"},
		{"unknown pseudo header", []string{":status", "200"}, "malformed_request"},
		{"extended CONNECT", []string{":protocol", "websocket"}, ""},
		{"empty value", []string{"x-a", ""}, ""},
		{"line break", []string{"x-a", "b\r\nx-durward-subject: root"}, "header_invalid"},
		{"NUL", []string{"x-a", "b\x00"}, "header_invalid"},
		{"DEL", []string{"x-a", "b\x7f"}, "header_invalid"},
		{"tab", []string{"x-a", "b\tc"}, ""},
		{"UTF-8", []string{"x-a", "caf\u00e9"}, ""},
		{"no UTF-8", []string{"x-a", "caf\xe9"}, ""},
		{"empty name", []string{"", "b"}, "header_invalid"},
		{"space in the name", []string{"x a", "b"}, "header_invalid"},
		{"colon alone", []string{":", "b"}, "header_invalid"},
		{"a letter that folds into ASCII", []string{"\u212aeep", "b"}, "header_invalid"},
		{"line break in the name", []string{"x\n", "b"}, "header_invalid"},
		{"repeated other header", []string{"x-a", "1", "x-a", "2"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw, text := read(t, lines(tc.pairs...)), read(t, joined(tc.pairs...))
			if raw.Invalid != tc.invalid {
				t.Errorf("header_map: Invalid = %q, want %q", raw.Invalid, tc.invalid)
			}
			if text.Invalid != tc.invalid {
				t.Errorf("headers: Invalid = %q, want %q", text.Invalid, tc.invalid)
			}
		})
	}
}

func TestTwoHostsInOneAuthority(t *testing.T) {
	in := lines()
	in.Attributes.Request.Http.Host = "a.test,b.test"
	if r := read(t, in); r.Invalid != "duplicate_header" {
		t.Errorf("Invalid = %q", r.Invalid)
	}
}

func TestFirstFaultIsTheReason(t *testing.T) {
	in := lines("host", "b.test", "authorization", "Bearer a,Bearer b", ":method", "POST")
	in.Attributes.Source = &authv3.AttributeContext_Peer{Certificate: "none"}
	if r := read(t, in); r.Invalid != "malformed_request" || r.Method != "GET" {
		t.Errorf("Invalid = %q, method %q", r.Invalid, r.Method)
	}
}

func TestLinesStayApartAndInOrder(t *testing.T) {
	r := read(t, lines("x-b", "1", "X-A", "second name", "x-b", "0", "cookie", "a=1", "cookie", "b=2"))
	want := request.Header{{Name: "cookie", Value: "a=1"}, {Name: "cookie", Value: "b=2"}, {Name: "x-a", Value: "second name"}, {Name: "x-b", Value: "1"}, {Name: "x-b", Value: "0"}}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestBothEncodingsAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name    string
		map_    map[string]string
		invalid string
	}{
		{"equal", map[string]string{"x-a": "1,2", "x-n": "caf!", "cookie": "a=1; b=2"}, ""},
		{"cookies of HTTP/1", map[string]string{"x-a": "1,2", "x-n": "caf!", "cookie": "a=1,b=2"}, ""},
		{"another value", map[string]string{"x-a": "1,3", "x-n": "caf!", "cookie": "a=1,b=2"}, "malformed_request"},
		{"one more", map[string]string{"x-a": "1,2", "x-n": "caf!", "cookie": "a=1,b=2", "authorization": "Bearer x"}, "malformed_request"},
		{"one less", map[string]string{"x-a": "1,2", "x-n": "caf!"}, "malformed_request"},
		{"another name", map[string]string{"x-b": "1,2", "x-n": "caf!", "cookie": "a=1,b=2"}, "malformed_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := lines("x-a", "1", "x-a", "2", "x-n", "caf\xe9", "cookie", "a=1", "cookie", "b=2")
			in.GetAttributes().GetRequest().GetHttp().Headers = tc.map_
			if r := read(t, in); r.Invalid != tc.invalid {
				t.Errorf("Invalid = %q, want %q", r.Invalid, tc.invalid)
			}
		})
	}
	t.Run("value beside raw_value", func(t *testing.T) {
		in := lines()
		in.Attributes.Request.Http.HeaderMap.Headers = []*corev3.HeaderValue{{Key: "x-a", Value: "1", RawValue: []byte("2")}}
		if r := read(t, in); r.Invalid != "malformed_request" {
			t.Errorf("Invalid = %q", r.Invalid)
		}
		in.Attributes.Request.Http.HeaderMap.Headers = []*corev3.HeaderValue{{Key: "x-a", Value: "1"}}
		if r := read(t, in); r.Invalid != "" || r.Header[0].Value != "1" {
			t.Errorf("value alone: %+v", r)
		}
	})
}

// TestNothingAliasesTheMessage: a transport may reuse the message once it is answered.
func TestNothingAliasesTheMessage(t *testing.T) {
	in := lines("x-a", "first")
	r := read(t, in)
	copy(in.Attributes.Request.Http.HeaderMap.Headers[0].RawValue, "XXXXX")
	if got, _ := r.Header.Get("x-a"); got != "first" {
		t.Errorf("header changed to %q", got)
	}
}

func TestTooManyLines(t *testing.T) {
	var pairs []string
	for range maxLines + 1 {
		pairs = append(pairs, "x-a", "1")
	}
	if r := read(t, lines(pairs...)); r.Invalid != "header_too_large" || r.Header != nil {
		t.Errorf("Invalid = %q with %d lines", r.Invalid, len(r.Header))
	}
	if r := read(t, lines(pairs[:2*maxLines]...)); r.Invalid != "" || len(r.Header) != maxLines {
		t.Errorf("Invalid = %q with %d lines", r.Invalid, len(r.Header))
	}
}
