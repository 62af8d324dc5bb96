package edge

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestGRPCClients calls a gRPC API through Envoy: denials arrive as gRPC's own codes.
func TestGRPCClients(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	for _, door := range []string{edgeDoor, joinedDoor} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			conn, err := grpc.NewClient(e.doors[door], grpc.WithAuthority("grpc.example.com"),
				grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: e.Authority.Pool(), ServerName: "grpc.example.com", MinVersion: tls.VersionTLS12})))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			reader := e.issuer.token(t, fmt.Sprintf("grpc-%d", e.number()), "reader")
			for _, c := range []struct {
				name, method, token string
				code                codes.Code
				reason, public      string
			}{
				{"allowed", "Hello", reader, codes.OK, "", ""},
				{"no token", "Hello", "", codes.Unauthenticated, "token_missing", "credentials_required"},
				{"a bad token", "Hello", "a.b.c", codes.Unauthenticated, "token_malformed", "invalid_token"},
				{"not permitted", "Admin", reader, codes.PermissionDenied, "no_matching_rule", "access_denied"},
				{"not declared", "Nothing", reader, codes.PermissionDenied, "no_route", "access_denied"},
				{"the first", "Once", reader, codes.OK, "", ""},
				{"the second", "Once", reader, codes.ResourceExhausted, "limit_exceeded", "quota_exceeded"},
			} {
				ctx := soon(t)
				if c.token != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
				}
				var header, trailer metadata.MD
				err := conn.Invoke(ctx, "/edge.Greeter/"+c.method, &emptypb.Empty{}, &emptypb.Empty{}, grpc.Header(&header), grpc.Trailer(&trailer))
				if status.Code(err) != c.code {
					t.Errorf("%s: %v, want %v", c.name, err, c.code)
				}
				if c.code == codes.OK {
					continue
				}
				ids := append(header.Get(decisionHeader), trailer.Get(decisionHeader)...)
				if len(ids) != 1 {
					t.Errorf("%s: decisions %q", c.name, ids)
					continue
				}
				if got := e.record(t, ids[0]); got.text("reason") != c.reason {
					t.Errorf("%s: record %v, want %s", c.name, got, c.reason)
				}
				if message := status.Convert(err).Message(); message != c.public+"; decision "+ids[0] {
					t.Errorf("%s: message %q", c.name, message)
				}
			}
		})
	}
}

// TestHead sends HEAD: the same status and header as for GET, without a body.
func TestHead(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader := bearer(e.issuer.token(t, "head", "reader"))
	denied := e.send(t, edgeDoor, request("HEAD", "edge.example.com", "/things/7"))
	if denied.status != 401 || denied.id == "" || len(denied.body) != 0 || denied.header.Get("content-type") != "application/problem+json" ||
		denied.header.Get("www-authenticate") == "" || e.record(t, denied.id).text("reason") != "token_missing" {
		t.Errorf("denied: %d %v %q", denied.status, denied.header, denied.body)
	}
	target := fmt.Sprintf("/things/head-%d", e.number())
	calls := func() (n int) {
		for _, seen := range e.API.Requests() {
			if seen.Method == "HEAD" && seen.Target == target {
				n++
			}
		}
		return n
	}
	if got := e.send(t, edgeDoor, request("HEAD", "edge.example.com", target, reader)); got.status != 404 || calls() != 1 {
		t.Errorf("allowed: status %d, %d calls", got.status, calls())
	}
	e.denied(t, e.send(t, edgeDoor, request("POST", "edge.example.com", "/things/7", reader)), 405, "method_not_allowed", "method_not_allowed")
}

// TestWebSocket upgrades a connection: it is decided once, and a denial is an ordinary answer.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	upgrade := func(fields ...string) string {
		fields = append(fields, "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==")
		return strings.Replace(request("GET", "edge.example.com", "/socket", fields...), "connection: close", "connection: upgrade", 1)
	}
	e.denied(t, e.send(t, edgeDoor, upgrade()), 401, "token_missing", "credentials_required")
	e.denied(t, e.send(t, edgeDoor, upgrade(bearer(e.issuer.token(t, "ws")))), 403, "no_matching_rule", "access_denied")

	conn, err := e.dial(t, edgeDoor)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, upgrade(bearer(e.issuer.token(t, "ws", "reader")), "x-durward-subject: mallory")); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	got, err := readReply(from, "GET")
	if err != nil || got.status != 101 || got.header.Get("x-subject") != "ws" {
		t.Fatalf("upgrade: %+v, %v", got, err)
	}
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 4)
	if _, err := io.ReadFull(from, echo); err != nil || string(echo) != "ping" {
		t.Errorf("echo %q, %v", echo, err)
	}
}

// TestContextExtensions lets routes of the gateway choose the service, for hosts that it answers for.
func TestContextExtensions(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader := bearer(e.issuer.token(t, "extension", "reader"))
	for host, tier := range map[string][]string{"edge.example.com": {"gold"}, "plain.example.com": nil} {
		got := e.send(t, edgeDoor, request("GET", host, "/a/b", reader, "x-edge-tier: platinum"))
		e.allowed(t, got)
		if seen := e.arrival(t, got.id).Header.Values("x-edge-tier"); !slices.Equal(seen, tier) {
			t.Errorf("%s: the API got tier %q, want %q", host, seen, tier)
		}
	}
	e.denied(t, e.send(t, edgeDoor, request("GET", "wrong.example.com", "/health")), 403, "no_service", "access_denied")
	e.denied(t, e.send(t, edgeDoor, request("GET", "unknown.example.com", "/health")), 403, "no_service", "access_denied")
}

// post returns the text of a POST to /upload.
func post(kind, body string, fields ...string) string {
	text := "POST /upload HTTP/1.1\r\nhost: edge.example.com\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	if kind != "" {
		text += "content-type: " + kind + "\r\n"
	}
	return text + "connection: close\r\ncontent-length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// chunked is post with a body whose length is not announced.
func chunked(kind, body string, fields ...string) string {
	head, _, _ := strings.Cut(post(kind, "", fields...), "content-length")
	return head + fmt.Sprintf("transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
}

// TestBodies sends bodies up to and beyond what the gateway forwards (8 KiB) and the route takes (16 KiB).
func TestBodies(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	writer := bearer(e.issuer.token(t, "bodies", "writer"))
	const kind = "application/json"
	pass := outcome{404, "allowed"} // the sample API has no such thing
	for name, c := range map[string]struct {
		text    string
		want    outcome
		public  string
		partial bool
	}{
		"small":                       {post(kind, `{"a":1}`, writer), pass, "", false},
		"with parameters of the type": {post(kind+"; charset=utf-8", `{}`, writer), pass, "", false},
		"all that the gateway takes":  {post(kind, strings.Repeat("x", 8192), writer), pass, "", false},
		"more than the gateway takes": {post(kind, strings.Repeat("x", 8193), writer), pass, "", true},
		"a client's own mark":         {post(kind, strings.Repeat("x", 9000), writer, "x-envoy-auth-partial-body: false"), pass, "", true},
		"not announced, small":        {chunked(kind, strings.Repeat("x", 100), writer), pass, "", false},
		"not announced, cut":          {chunked(kind, strings.Repeat("x", 9000), writer), outcome{413, "body_partial"}, "request_too_large", true},
		"too large":                   {post(kind, strings.Repeat("x", 16<<10+1), writer), outcome{413, "body_too_large"}, "request_too_large", true},
		"too large for anybody":       {post(kind, strings.Repeat("x", 16<<10+1)), outcome{413, "body_too_large"}, "request_too_large", true},
		"another type":                {post("text/plain", "hello", writer), outcome{415, "body_type"}, "unsupported_media_type", false},
		"no type":                     {post("", "hello", writer), outcome{415, "body_type"}, "unsupported_media_type", false},
		"compressed":                  {post(kind, "xxxx", writer, "content-encoding: gzip"), outcome{415, "body_encoding"}, "unsupported_media_type", false},
		"two types":                   {post(kind, "{}", writer, "content-type: text/plain"), outcome{400, "duplicate_header"}, "invalid_request", false},
		"not permitted":               {post("text/plain", "hello"), outcome{401, "token_missing"}, "credentials_required", false},
	} {
		for _, door := range []string{edgeDoor, joinedDoor} {
			got := e.send(t, door, c.text)
			var found record
			if c.want == pass {
				found = e.allowed(t, got)
			} else {
				found = e.denied(t, got, c.want.status, c.want.reason, c.public)
			}
			if partial := found.text("request.body_partial") == "true"; partial != c.partial {
				t.Errorf("%s through %s: partial %v, want %v", name, door, partial, c.partial)
			}
			if t.Failed() {
				t.Fatalf("%s through %s: status %d", name, door, got.status)
			}
		}
	}
}

// TestRateLimitFields reads what is left from allowed and from refused answers.
func TestRateLimitFields(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	for _, door := range []string{edgeDoor, joinedDoor} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			text := request("GET", "orders.example.com", "/orders/7", bearer(e.issuer.token(t, fmt.Sprintf("limits-%d", e.number()), "reader")))
			for left := 4; left >= 0; left-- {
				got := e.send(t, door, text)
				e.allowed(t, got)
				policy, rest := got.header.Get("ratelimit-policy"), got.header.Get("ratelimit")
				if !strings.Contains(policy, `"per-subject";q=60;w=60`) || !strings.Contains(policy, `"per-address";q=600;w=60`) ||
					!strings.Contains(rest, fmt.Sprintf(`"per-subject";r=%d`, left)) || got.header.Get("retry-after") != "" {
					t.Errorf("with %d left: policy %q, rest %q", left, policy, rest)
				}
			}
			// The burst is used up; a unit comes back every second.
			var got *reply
			for range 10 {
				if got = e.send(t, door, text); got.arrived == nil {
					break
				}
			}
			found := e.denied(t, got, 429, "limit_exceeded", "quota_exceeded")
			var told struct {
				Type     string   `json:"type"`
				Violated []string `json:"violated-policies"`
			}
			if err := json.Unmarshal(got.body, &told); err != nil || !slices.Equal(told.Violated, []string{"per-subject"}) || !strings.HasSuffix(told.Type, "#quota-exceeded") {
				t.Errorf("body %s, %v", got.body, err)
			}
			if seconds, err := strconv.Atoi(got.header.Get("retry-after")); err != nil || seconds < 1 || seconds > 60 {
				t.Errorf("retry-after %q", got.header.Get("retry-after"))
			}
			if rest := got.header.Get("ratelimit"); !strings.Contains(rest, `"per-subject";r=0`) || found.text("limit") != "per-subject" {
				t.Errorf("ratelimit %q, record %v", rest, found)
			}
		})
	}
}

// TestTLSRequired comes to a gateway's plain-text listener and claims that it is not.
func TestTLSRequired(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader := bearer(e.issuer.token(t, "plain", "reader"))
	for _, text := range []string{
		request("GET", "edge.example.com", "/public/x"),
		request("GET", "edge.example.com", "/a/b", reader),
		request("GET", "edge.example.com", "/a/b", reader, "x-forwarded-proto: https"),
		request("GET", "edge.example.com", "/a/b", reader, "x-forwarded-proto: https", "x-forwarded-scheme: https", "forwarded: proto=https"),
	} {
		found := e.denied(t, e.send(t, clearDoor, text), 403, "tls_required", "tls_required")
		if found.text("request.scheme") != "http" {
			t.Errorf("scheme %s for %q", found.text("request.scheme"), text)
		}
	}
	// Envoy itself refuses a target that claims TLS where there is none.
	target := request("GET", "edge.example.com", "https://edge.example.com/a/b", reader)
	e.pathOutcome(t, "an absolute target", outcome{403, byEnvoy}, e.send(t, clearDoor, target))
	t.Run("HTTP/2 with scheme https", func(t *testing.T) {
		conn, err := e.dial(t, clearDoor)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		agent := fmt.Sprintf("plain-http2-%d.", e.number())
		if _, err := conn.Write(http2Request([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "edge.example.com"}, {":path", "/public/x"}, {"user-agent", agent}})); err != nil {
			t.Fatal(err)
		}
		found, err := e.Await(soon(t), func(r stackRecord) bool { return strings.Contains(string(r.Line), agent) })
		if err != nil {
			t.Fatal(err)
		}
		if r := record(found.Fields); r.text("reason") != "tls_required" || r.text("request.protocol") != "HTTP/2" {
			t.Errorf("record %s", found.Line)
		}
	})
}

// TestServerName sends a server name that is no text, which Envoy hands on as it came: the answer is a denial, and not an
// error of the gateway's question, which gateways that fail open would let pass. watch looks at ext_authz.error.
func TestServerName(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	for _, door := range []string{edgeDoor, joinedDoor} {
		for name, server := range map[string]string{"no UTF-8": "edge\xff\xfe.example.com", "a cut letter": "edge.example.co\xc3", "half a pair": "\xed\xa0\x80.example.com"} {
			conn, err := dial(soon(t), e.doors[door], true, e.unchecked(server))
			if err != nil {
				t.Fatalf("%s through %s: %v", name, door, err)
			}
			if _, err := io.WriteString(conn, request("GET", "edge.example.com", "/public/x")); err != nil {
				t.Fatal(err)
			}
			got, err := readReply(bufio.NewReader(conn), "GET")
			_ = conn.Close()
			if err != nil {
				t.Fatalf("%s through %s: %v", name, door, err)
			}
			if got.id != "" {
				e.decided.Add(1)
			}
			e.denied(t, got, 400, "malformed_request", "invalid_request")
		}
	}
}

// unchecked says a server name that no certificate can hold, and checks the gateway's certificate by its real one.
func (e *edge) unchecked(server string) *tls.Config {
	return &tls.Config{
		ServerName: server, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: "edge.example.com", Roots: e.Authority.Pool()})
			return err
		},
	}
}

// TestHiddenBytes sends a path over HTTP/2 whose byte beyond UTF-8 Envoy shows as "!", in the lines of header_map alone
// as it is, and would hand to the API as it is.
func TestHiddenBytes(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	for door, reason := range map[string]string{
		rawJoinedDoor: "path_ambiguous",
		rawDoor:       "malformed_request", // the message holds two paths
	} {
		agent := fmt.Sprintf("hidden-bytes-%d.", e.number())
		sound := e.overHTTP2(t, door, "/public/x/y", agent)
		e.allowed(t, sound)
		if seen := e.arrivedAs(agent); len(seen) != 1 {
			t.Errorf("%s: %q reached the API, want one request", door, seen)
		}
		e.denied(t, e.overHTTP2(t, door, "/public/x/..\xff/y", agent), 400, reason, "invalid_request")
		if seen := e.arrivedAs(agent); len(seen) != 1 {
			t.Errorf("%s: %q reached the API", door, seen)
		}
	}
}

// arrivedAs returns the targets of the requests of a user agent that reached the API.
func (e *edge) arrivedAs(agent string) (targets []string) {
	for _, seen := range e.API.Requests() {
		if seen.Header.Get("user-agent") == agent {
			targets = append(targets, seen.Target)
		}
	}
	return targets
}

// overHTTP2 sends a target as it is.
func (e *edge) overHTTP2(t *testing.T, door, target, agent string) *reply {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: e.Authority.Pool(), ServerName: "edge.example.com", MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	r := (&http.Request{
		Method: http.MethodGet, Host: "edge.example.com", Header: http.Header{"User-Agent": {agent}},
		URL: &url.URL{Scheme: "https", Host: e.doors[door], Opaque: target}, // an opaque URL is sent unescaped
	}).WithContext(soon(t))
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %q: %v", door, target, err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("%s answers over %s", door, response.Proto)
	}
	got, err := takeReply(response, http.MethodGet)
	if err != nil {
		t.Fatal(err)
	}
	if got.id != "" {
		e.decided.Add(1)
	}
	return got
}

// http2Request is a connection with prior knowledge and one request (RFC 9113), whose header is not compressed.
func http2Request(lines [][2]string) []byte {
	var block []byte
	for _, l := range lines {
		block = append(block, 0, byte(len(l[0])))
		block = append(block, l[0]...)
		block = append(block, byte(len(l[1])))
		block = append(block, l[1]...)
	}
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = append(out, 0, 0, 0, 4, 0, 0, 0, 0, 0)                                    // SETTINGS
	out = append(out, 0, byte(len(block)>>8), byte(len(block)), 1, 0x5, 0, 0, 0, 1) // HEADERS, the end of both
	return append(out, block...)
}
