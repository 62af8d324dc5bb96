package native

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"github.com/durward-pdp/durward/pdp/unary"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// decider denies what is invalid, as the engine does, and answers the rest with its verdict.
type decider struct {
	mu      sync.Mutex
	verdict verdict.Verdict
	seen    []*request.Request
	panics  bool
}

func (d *decider) Decide(_ context.Context, r *request.Request) verdict.Verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, r)
	if d.panics {
		panic("request text")
	}
	if r.Invalid != "" {
		return verdict.Verdict{Reason: verdict.Reason(r.Invalid), DecisionID: "refused"}
	}
	return d.verdict
}

func (d *decider) last(t *testing.T) *request.Request {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) == 0 {
		t.Fatal("nobody was asked")
	}
	return d.seen[len(d.seen)-1]
}

var everything = Asserts{ClientAddress: true, ClientCertificate: true, Service: true, DryRun: true, Explain: true, Report: true}

func allowed() verdict.Verdict {
	return verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed, DecisionID: "d1"}
}

func server(t testing.TB, d *decider, asserts Asserts) *Server {
	t.Helper()
	rule, err := request.ParseAddressRule("peer")
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Decider: d, Address: rule, Caller: func(context.Context) (string, Asserts, bool) { return "shop", asserts, true }})
}

func httpRequest(change ...func(*durwardv1.HTTPRequest)) *durwardv1.CheckRequest {
	in := &durwardv1.HTTPRequest{Method: "GET", Scheme: "https", Host: "a.example", Target: "/x?y=1", Protocol: "HTTP/2"}
	for _, c := range change {
		c(in)
	}
	return &durwardv1.CheckRequest{Question: &durwardv1.CheckRequest_Http{Http: in}}
}

func lines(pairs ...string) (out []*durwardv1.HeaderLine) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, &durwardv1.HeaderLine{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return out
}

func certificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, DNSNames: []string{"a.lab", "b.lab"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestOverTheWire(t *testing.T) {
	d := &decider{verdict: allowed()}
	d.verdict.Obligations.SetUpstream = []verdict.Field{{Name: "x-durward-subject", Value: "alice"}}
	listener := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	Register(g, server(t, d, everything))
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	out, err := durwardv1.NewDecisionServiceClient(conn).Check(t.Context(), httpRequest())
	if err != nil {
		t.Fatal(err)
	}
	want := &durwardv1.CheckResponse{
		Effect: durwardv1.Effect_EFFECT_ALLOW, HttpStatus: 200, Reason: "allowed", DecisionId: "d1",
		Obligations: &durwardv1.Obligations{SetUpstream: lines("x-durward-subject", "alice")}, Explanation: &durwardv1.Explanation{},
	}
	if diff := cmp.Diff(want, out, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	if _, ok := g.GetServiceInfo()[ServiceName]; !ok {
		t.Errorf("%s is not what is served", ServiceName)
	}
}

// TestUnreadableMessages: text that is not UTF-8 is refused and recorded, and no RPC error.
func TestUnreadableMessages(t *testing.T) {
	d := &decider{verdict: allowed()}
	whole, err := proto.Marshal(httpRequest(func(in *durwardv1.HTTPRequest) { in.ServerName = "PLACE.example" }))
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Replace(whole, []byte("PLACE"), []byte("\xff\xfe\xc3\xed\xa0"), 1)
	for _, intercept := range []grpc.UnaryServerInterceptor{nil, func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return next(ctx, in)
	}} {
		for _, sent := range [][]byte{torn, whole} {
			answer, err := unary.Handler("/check", server(t, d, everything).Check)(nil, t.Context(), func(in any) error { return proto.Unmarshal(sent, in.(proto.Message)) }, intercept)
			if err != nil {
				t.Fatal(err)
			}
			got, effect := d.last(t), answer.(*durwardv1.CheckResponse).GetEffect()
			if len(sent) == len(torn) && &sent[0] == &torn[0] {
				if effect != durwardv1.Effect_EFFECT_DENY || got.Invalid != string(verdict.MalformedRequest) || got.Method != "" {
					t.Errorf("answered %v, recorded as %+v", effect, got)
				}
			} else if effect != durwardv1.Effect_EFFECT_ALLOW || got.SNI != "PLACE.example" {
				t.Errorf("answered %v for %+v", effect, got)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	der := certificate(t)
	d := &decider{verdict: allowed()}
	_, _ = server(t, d, everything).Check(t.Context(), httpRequest(func(in *durwardv1.HTTPRequest) {
		in.Headers = lines("Host", "a.example", "Accept", "b", "x-request-id", "r-1\x01\x7f", "accept", "a", "cookie", "\xff")
		in.Headers[2].Value = []byte("r-1 é")
		in.Body = &durwardv1.Body{Content: []byte("abc"), Size: 2, Partial: true}
		in.PeerAddress, in.ServerName, in.Certificate, in.Service = "[::ffff:198.51.100.7]:99", "a.example", der, "orders"
	}))
	got := d.last(t)
	if got.Certificate == nil || cmp.Diff([]string{"a.lab", "b.lab"}, got.Certificate.DNSNames) != "" {
		t.Errorf("certificate %+v", got.Certificate)
	}
	got.Certificate = nil
	want := &request.Request{
		Adapter: Name, Caller: "shop", CorrelationID: "r-1 ", Method: "GET", Scheme: "https", Host: "a.example", Target: "/x?y=1", Protocol: "HTTP/2",
		Header: request.Header{{Name: "accept", Value: "b"}, {Name: "x-request-id", Value: "r-1 é"}, {Name: "accept", Value: "a"}, {Name: "cookie", Value: "\xff"}},
		Body:   request.Body{Bytes: []byte("abc"), Size: 3, Partial: true},
		Peer:   request.Peer{Address: netip.MustParseAddrPort("198.51.100.7:99")}, Client: netip.MustParseAddr("198.51.100.7"),
		SNI: "a.example", Extensions: map[string]string{"durward.service": "orders"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestOperation(t *testing.T) {
	d := &decider{verdict: allowed()}
	s := server(t, d, everything)
	ask := func(op *durwardv1.Operation) *request.Request {
		_, _ = s.Check(t.Context(), &durwardv1.CheckRequest{DryRun: true, CorrelationId: "c", Question: &durwardv1.CheckRequest_Operation{Operation: op}})
		return d.last(t)
	}
	got := ask(&durwardv1.Operation{Service: "orders", Action: "orders:read", Credential: "t", Resource: &durwardv1.Resource{Type: "order", Id: "7", Properties: map[string]string{"tenant": "t1"}}})
	want := &request.Request{
		Adapter: Name, Caller: "shop", CorrelationID: "c", Mode: request.Dry,
		Operation: &request.Operation{Service: "orders", Action: "orders:read", ResourceType: "order", ResourceID: "7", Properties: map[string]string{"tenant": "t1"}, Credential: "t"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	many := map[string]string{}
	for i := range maxProperties + 1 {
		many[strings.Repeat("p", i+1)] = ""
	}
	for name, op := range map[string]*durwardv1.Operation{
		"nothing":         {},
		"no action":       {Service: "s"},
		"no service":      {Action: "a"},
		"line end":        {Service: "s", Action: "a\n"},
		"tab in id":       {Service: "s", Action: "a", Resource: &durwardv1.Resource{Id: "\t"}},
		"long id":         {Service: "s", Action: "a", Resource: &durwardv1.Resource{Id: strings.Repeat("i", maxID+1)}},
		"long type":       {Service: "s", Action: "a", Resource: &durwardv1.Resource{Type: strings.Repeat("i", maxName+1)}},
		"many properties": {Service: "s", Action: "a", Resource: &durwardv1.Resource{Properties: many}},
		"bad property":    {Service: "s", Action: "a", Resource: &durwardv1.Resource{Properties: map[string]string{"a": "\x00"}}},
	} {
		if got := ask(op); got.Invalid != string(verdict.MalformedRequest) {
			t.Errorf("%s: invalid %q, want malformed_request", name, got.Invalid)
		}
	}
}

func TestRefused(t *testing.T) {
	der := certificate(t)
	edit := func(f func(*durwardv1.HTTPRequest)) *durwardv1.CheckRequest { return httpRequest(f) }
	headers := func(pairs ...string) *durwardv1.CheckRequest {
		return edit(func(in *durwardv1.HTTPRequest) { in.Headers = lines(pairs...) })
	}
	for _, c := range []struct {
		name    string
		in      *durwardv1.CheckRequest
		asserts Asserts
		want    verdict.Reason // "" decides
	}{
		{"no question", &durwardv1.CheckRequest{}, everything, verdict.MalformedRequest},
		{"nil", nil, everything, verdict.MalformedRequest},
		{"empty http", &durwardv1.CheckRequest{Question: &durwardv1.CheckRequest_Http{}}, everything, verdict.MalformedRequest},
		{"no method", edit(func(in *durwardv1.HTTPRequest) { in.Method = "" }), everything, verdict.MalformedRequest},
		{"no target", edit(func(in *durwardv1.HTTPRequest) { in.Target = "" }), everything, verdict.MalformedRequest},
		{"pseudo header", headers(":path", "/y"), everything, verdict.MalformedRequest},
		{"header name", headers("a b", ""), everything, verdict.HeaderInvalid},
		{"letter that folds into ASCII", headers("coo\u212aie", "x"), everything, verdict.HeaderInvalid},
		{"empty header name", headers("", "x"), everything, verdict.HeaderInvalid},
		{"nul in value", headers("a", "\x00"), everything, verdict.HeaderInvalid},
		{"line end in value", headers("a", "b\r\nc: d"), everything, verdict.HeaderInvalid},
		{"tab in value", headers("a", "b\tc"), everything, ""},
		{"two authorizations", headers("authorization", "Bearer a", "Authorization", "Bearer a"), everything, verdict.DuplicateHeader},
		{"joined authorizations", headers("authorization", "Bearer a,Bearer b"), everything, verdict.DuplicateHeader},
		{"parameters", headers("authorization", `Digest a="b", c="d"`), everything, ""},
		{"a credential and a parameter", headers("authorization", "Foo abc, x=1"), everything, verdict.DuplicateHeader},
		{"other host", headers("host", "b.example"), everything, verdict.DuplicateHeader},
		{"two hosts", headers("host", "a.example", "Host", "a.example"), everything, verdict.DuplicateHeader},
		{"joined hosts", edit(func(in *durwardv1.HTTPRequest) { in.Host = "a.example,b.example" }), everything, verdict.DuplicateHeader},
		{"many lines", edit(func(in *durwardv1.HTTPRequest) { in.Headers = make([]*durwardv1.HeaderLine, maxLines+1) }), everything, verdict.HeaderTooLarge},
		{"peer", edit(func(in *durwardv1.HTTPRequest) { in.PeerAddress = "@" }), everything, verdict.MalformedRequest},
		{"peer without port", edit(func(in *durwardv1.HTTPRequest) { in.PeerAddress = "::1" }), everything, ""},
		{"certificate", edit(func(in *durwardv1.HTTPRequest) { in.Certificate = []byte("x") }), everything, verdict.CertificateBad},
		{"long certificate", edit(func(in *durwardv1.HTTPRequest) { in.Certificate = make([]byte, 16<<10+1) }), everything, verdict.CertificateBad},
		{"untrusted peer", edit(func(in *durwardv1.HTTPRequest) { in.PeerAddress = "::1" }), Asserts{}, verdict.CallerNotTrusted},
		{"untrusted certificate", edit(func(in *durwardv1.HTTPRequest) { in.Certificate = der }), Asserts{ClientAddress: true, Service: true, DryRun: true}, verdict.CallerNotTrusted},
		{"untrusted service", edit(func(in *durwardv1.HTTPRequest) { in.Service = "s" }), Asserts{ClientAddress: true, ClientCertificate: true, DryRun: true}, verdict.CallerNotTrusted},
		{"untrusted dry run", &durwardv1.CheckRequest{DryRun: true, Question: httpRequest().GetQuestion()}, Asserts{ClientAddress: true, ClientCertificate: true, Service: true}, verdict.CallerNotTrusted},
		{"untrusted explanation", explaining(durwardv1.Explain_EXPLAIN_DECISION), Asserts{ClientAddress: true, ClientCertificate: true, Service: true, DryRun: true}, verdict.CallerNotTrusted},
		{"untrusted full explanation", explaining(durwardv1.Explain_EXPLAIN_ALL), Asserts{DryRun: true}, verdict.CallerNotTrusted},
		{"unknown explanation of the untrusted", explaining(7), Asserts{}, verdict.CallerNotTrusted},
		{"unknown explanation", explaining(7), everything, verdict.MalformedRequest},
		{"plain request of the untrusted", httpRequest(), Asserts{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &decider{verdict: allowed()}
			out, err := server(t, d, c.asserts).Check(t.Context(), c.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.last(t).Invalid; got != string(c.want) {
				t.Errorf("invalid %q, want %q", got, c.want)
			}
			if allow := out.GetEffect() == durwardv1.Effect_EFFECT_ALLOW; allow != (c.want == "") {
				t.Errorf("response %v", out)
			}
		})
	}
}

// TestAddressOfTheUntrusted shows that a caller without the permission cannot name a client through headers either.
func TestAddressOfTheUntrusted(t *testing.T) {
	rule, err := request.ParseAddressRule("header:x-real-ip")
	if err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{true, false} {
		d := &decider{}
		s := New(Options{Decider: d, Address: rule, Caller: func(context.Context) (string, Asserts, bool) { return "", Asserts{ClientAddress: trusted}, true }})
		_, _ = s.Check(t.Context(), httpRequest(func(in *durwardv1.HTTPRequest) { in.Headers = lines("x-real-ip", "203.0.113.9") }))
		if got := d.last(t).Client.IsValid(); got != trusted {
			t.Errorf("trusted %v: a client address is known: %v", trusted, got)
		}
	}
}

func TestScheme(t *testing.T) {
	for _, c := range []struct{ scheme, forwarded, want string }{{"https", "http", "http"}, {"https", "HTTPS ", "https"}, {"http", "https", "http"}, {"", "https", ""}} {
		d := &decider{}
		_, _ = server(t, d, everything).Check(t.Context(), httpRequest(func(in *durwardv1.HTTPRequest) {
			in.Scheme, in.Headers = c.scheme, lines("x-forwarded-proto", c.forwarded)
		}))
		if got := d.last(t).Scheme; got != c.want {
			t.Errorf("scheme %q with %q is %q, want %q", c.scheme, c.forwarded, got, c.want)
		}
	}
}

func TestBodySize(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   *durwardv1.Body
		header []*durwardv1.HeaderLine
		want   int64
	}{
		{"none", nil, nil, 0},
		{"announced and not forwarded", nil, lines("content-length", "12"), -1},
		{"chunked and not forwarded", nil, lines("transfer-encoding", "chunked"), -1},
		{"announced as none", nil, lines("content-length", "0"), 0},
		{"size alone", &durwardv1.Body{Size: 12}, nil, 12},
		{"unknown", &durwardv1.Body{Size: -7, Content: []byte("a")}, nil, -1},
	} {
		d := &decider{}
		_, _ = server(t, d, everything).Check(t.Context(), httpRequest(func(in *durwardv1.HTTPRequest) { in.Body, in.Headers = c.body, c.header }))
		if got := d.last(t).Body.Size; got != c.want {
			t.Errorf("%s: size %d, want %d", c.name, got, c.want)
		}
	}
}

func TestDenial(t *testing.T) {
	d := &decider{verdict: verdict.Verdict{
		Reason: verdict.LimitExceeded, DecisionID: "d2", Stage: "limits.take", RetryAfter: time.Second, Degraded: true,
		Obligations: verdict.Obligations{
			SetUpstream: []verdict.Field{{Name: "x-never", Value: "sent"}}, SetResponse: []verdict.Field{{Name: "retry-after", Value: "1"}, {Name: "set-cookie", Value: "a"}, {Name: "set-cookie", Value: "b"}},
			Metadata: []verdict.Field{{Name: "m", Value: "\xff"}},
		},
		Explanation: verdict.Explanation{
			Bundle: "b", Revision: "r", Policy: "p", Rule: "f:1", RuleID: "id", Limit: "l", Detail: "for operators",
			Limits: []verdict.LimitState{{Name: "l", Quota: 9, Remaining: 1, Window: time.Minute, Reset: 2 * time.Second, RetryAfter: time.Second, Refused: true, Shadow: true, Degraded: true, Leased: true}},
		},
	}}
	out, err := server(t, d, everything).Check(t.Context(), httpRequest())
	if err != nil {
		t.Fatal(err)
	}
	want := &durwardv1.CheckResponse{
		Effect: durwardv1.Effect_EFFECT_DENY, HttpStatus: 429, PublicReason: "quota_exceeded", Reason: "limit_exceeded", DecisionId: "d2", Stage: "limits.take", Degraded: true,
		RetryAfter:  durationpb.New(time.Second),
		Obligations: &durwardv1.Obligations{SetResponse: lines("retry-after", "1", "set-cookie", "a", "set-cookie", "b"), Metadata: map[string]string{"m": "\uFFFD"}},
		Explanation: &durwardv1.Explanation{
			Bundle: "b", Revision: "r", Policy: "p", Rule: "f:1", RuleId: "id", Limit: "l",
			Limits: []*durwardv1.LimitState{{Name: "l", Quota: 9, Remaining: 1, Window: durationpb.New(time.Minute), Reset_: durationpb.New(2 * time.Second), RetryAfter: durationpb.New(time.Second), Refused: true, Shadow: true, Degraded: true, Leased: true}},
		},
	}
	if diff := cmp.Diff(want, out, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
}

func TestZeroVerdictDenies(t *testing.T) {
	out, _ := server(t, &decider{}, everything).Check(t.Context(), httpRequest())
	if out.GetEffect() != durwardv1.Effect_EFFECT_DENY || out.GetHttpStatus() != 403 || out.GetPublicReason() != "access_denied" {
		t.Errorf("response %v", out)
	}
}

func TestUnsafeObligations(t *testing.T) {
	field := func(name, value string) verdict.Obligations {
		return verdict.Obligations{SetUpstream: []verdict.Field{{Name: name, Value: value}}}
	}
	many := verdict.Obligations{SetUpstream: make([]verdict.Field, maxFields+1)}
	for name, o := range map[string]verdict.Obligations{
		"line end":        field("a", "b\r\nc: d"),
		"upper case":      field("A", "b"),
		"framing":         field("content-length", "3"),
		"framing alias":   field("transfer_encoding", "chunked"),
		"pseudo":          field(":path", "/"),
		"host":            field("host", "x"),
		"outer space":     field("a", "b "),
		"no ASCII":        field("a", "é"),
		"long":            field("a", strings.Repeat("v", maxValue+1)),
		"many":            many,
		"twice":           {SetUpstream: []verdict.Field{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}},
		"response":        {SetResponse: []verdict.Field{{Name: "a", Value: "\n"}}},
		"remove framing":  {RemoveUpstream: []string{"Content_Length"}},
		"remove no token": {RemoveUpstream: []string{"a b"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &decider{verdict: allowed()}
			d.verdict.Obligations = o
			out, err := server(t, d, everything).Check(t.Context(), httpRequest())
			if err != nil || out.GetEffect() != durwardv1.Effect_EFFECT_DENY || out.GetReason() != "header_value_unsafe" || out.GetObligations() != nil {
				t.Errorf("response %v, %v", out, err)
			}
			if got := d.last(t).Invalid; got != "header_value_unsafe" {
				t.Errorf("the denial is not recorded: %q", got)
			}
		})
	}
}

func TestSetWinsOverRemove(t *testing.T) {
	d := &decider{verdict: allowed()}
	d.verdict.Obligations = verdict.Obligations{SetUpstream: []verdict.Field{{Name: "a", Value: "1"}}, RemoveUpstream: []string{"A", "b", "proxy-authorization"}}
	out, _ := server(t, d, everything).Check(t.Context(), httpRequest())
	if diff := cmp.Diff([]string{"b", "proxy-authorization"}, out.GetObligations().GetRemoveUpstream()); diff != "" {
		t.Errorf("removals (-want +got):\n%s", diff)
	}
}

func TestPanics(t *testing.T) {
	panics := 0
	s := server(t, &decider{panics: true}, everything)
	s.options.OnPanic = func() { panics++ }
	out, err := s.Check(t.Context(), httpRequest())
	if err != nil || out.GetEffect() != durwardv1.Effect_EFFECT_DENY || out.GetHttpStatus() != 503 || panics != 1 {
		t.Errorf("response %v, %v, %d panics", out, err, panics)
	}
	if strings.Contains(out.String(), "request text") {
		t.Errorf("the response shows the panic: %v", out)
	}
}

func TestUnknownCaller(t *testing.T) {
	d := &decider{verdict: allowed()}
	s := server(t, d, everything)
	s.options.Caller = func(context.Context) (string, Asserts, bool) { return "x", everything, false }
	out, err := s.Check(t.Context(), httpRequest())
	if err != nil || out.GetReason() != "caller_not_trusted" || out.GetHttpStatus() != 403 {
		t.Errorf("response %v, %v", out, err)
	}
	if r := d.last(t); r.Target != "" || r.Caller != "" {
		t.Errorf("an unknown caller's words reached the engine: %+v", r)
	}
}

// TestForwardedHops: a service does not append its peer to X-Forwarded-For before it asks, so the peer is the last hop.
func TestForwardedHops(t *testing.T) {
	for _, c := range []struct{ rule, peer, want string }{
		{"peer", "198.51.100.7:1", "198.51.100.7"},
		{"xff:1", "198.51.100.7:1", "198.51.100.7"},
		{"xff:2", "198.51.100.7:1", "203.0.113.9"},
		{"xff:3", "198.51.100.7:1", "192.0.2.1"},
		{"xff:4", "198.51.100.7:1", "invalid IP"},
		{"xff:1", "", "invalid IP"},
		{"xff:2", "", "invalid IP"},
	} {
		rule, err := request.ParseAddressRule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		d := &decider{}
		s := New(Options{Decider: d, Address: rule, Caller: func(context.Context) (string, Asserts, bool) { return "", Asserts{ClientAddress: true}, true }})
		_, _ = s.Check(t.Context(), httpRequest(func(in *durwardv1.HTTPRequest) {
			in.PeerAddress, in.Headers = c.peer, lines("x-forwarded-for", "192.0.2.1, 203.0.113.9")
		}))
		r := d.last(t)
		if got := r.Client.String(); got != c.want {
			t.Errorf("%s with peer %q: client %s, want %s", c.rule, c.peer, got, c.want)
		}
		if value, n := r.Header.Get("x-forwarded-for"); n != 1 || value != "192.0.2.1, 203.0.113.9" {
			t.Errorf("%s: the header became %q, %d lines", c.rule, value, n)
		}
	}
}

func TestIncompleteServersRefuse(t *testing.T) {
	known := func(context.Context) (string, Asserts, bool) { return "shop", Asserts{}, true }
	for name, o := range map[string]Options{"nothing": {}, "no decider": {Caller: known}, "no caller": {Decider: &decider{}}} {
		out, err := New(o).Check(t.Context(), httpRequest())
		if err != nil || out.GetEffect() != durwardv1.Effect_EFFECT_DENY {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	der := certificate(f)
	for _, in := range []*durwardv1.CheckRequest{
		httpRequest(func(in *durwardv1.HTTPRequest) {
			in.Headers, in.PeerAddress, in.Certificate = lines("authorization", "Bearer a,b=c", "host", "a.example"), "1.2.3.4:5", der
		}),
		{DryRun: true, Question: &durwardv1.CheckRequest_Operation{Operation: &durwardv1.Operation{Service: "s", Action: "a"}}},
		{},
	} {
		wire, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, "x-set", "value", true)
	}
	f.Fuzz(func(t *testing.T, wire []byte, name, value string, allow bool) {
		in := &durwardv1.CheckRequest{}
		if proto.Unmarshal(wire, in) != nil {
			return
		}
		d := &decider{verdict: verdict.Verdict{Reason: verdict.Reason(name), DecisionID: value, Explanation: verdict.Explanation{Rule: value}}}
		if allow {
			d.verdict.Effect = verdict.Allow
		}
		d.verdict.Obligations = verdict.Obligations{
			SetUpstream: []verdict.Field{{Name: name, Value: value}}, SetResponse: []verdict.Field{{Name: name, Value: value}}, Metadata: []verdict.Field{{Name: value, Value: name}},
		}
		s := server(t, d, everything)
		panics := 0
		s.options.OnPanic = func() { panics++ }
		out, err := s.Check(t.Context(), in)
		if err != nil || panics > 0 {
			t.Fatalf("%v, %d panics", err, panics)
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Fatalf("a response that cannot be sent: %v", err)
		}
		switch out.GetEffect() {
		case durwardv1.Effect_EFFECT_ALLOW:
			if !allow || d.seen[0].Invalid != "" || out.GetHttpStatus() != 200 {
				t.Errorf("allowed: %v", out)
			}
		case durwardv1.Effect_EFFECT_DENY:
			if status := out.GetHttpStatus(); status < 300 || status > 599 || out.GetPublicReason() == "" {
				t.Errorf("denied with %v", out)
			}
		default:
			t.Errorf("effect %v", out.GetEffect())
		}
		for _, line := range append(out.GetObligations().GetSetUpstream(), out.GetObligations().GetSetResponse()...) {
			if strings.ContainsAny(string(line.GetValue()), "\r\n\x00") {
				t.Errorf("unsafe header %q", line.GetValue())
			}
		}
	})
}

// TestForwardedCertificate: a header counts where the listener's rule names it and the caller may assert certificates.
func TestForwardedCertificate(t *testing.T) {
	der := certificate(t)
	rule, err := clientcert.ParseRule("header:client-cert")
	if err != nil {
		t.Fatal(err)
	}
	told := ":" + base64.StdEncoding.EncodeToString(der) + ":"
	for name, tc := range map[string]struct {
		rule    clientcert.Rule
		headers []string
		shown   []byte
		asserts Asserts
		invalid verdict.Reason
		came    bool
	}{
		"told":                  {rule, []string{"Client-Cert", told}, nil, everything, "", true},
		"told and shown":        {rule, []string{"client-cert", told}, der, everything, "", true},
		"another is shown":      {rule, []string{"client-cert", told}, certificate(t), everything, verdict.CertificateBad, false},
		"broken":                {rule, []string{"client-cert", "x"}, nil, everything, verdict.CertificateBad, false},
		"broken, and one shown": {rule, []string{"client-cert", told}, []byte("x"), everything, verdict.CertificateBad, false},
		"twice":                 {rule, []string{"client-cert", told, "client-cert", told}, nil, everything, verdict.DuplicateHeader, false},
		"not asserted":          {rule, []string{"client-cert", told}, nil, Asserts{ClientAddress: true}, verdict.CallerNotTrusted, false},
		"a chain not asserted":  {rule, []string{"client-cert-chain", told}, nil, Asserts{ClientAddress: true}, verdict.CallerNotTrusted, false},
		"no rule":               {clientcert.Rule{}, []string{"client-cert", told}, nil, Asserts{}, "", false},
	} {
		d := &decider{verdict: allowed()}
		s := server(t, d, tc.asserts)
		s.options.Certificate = tc.rule
		_, err := s.Check(t.Context(), httpRequest(func(in *durwardv1.HTTPRequest) { in.Headers, in.Certificate = lines(tc.headers...), tc.shown }))
		if got := d.last(t); err != nil || got.Invalid != string(tc.invalid) || (got.Certificate != nil) != tc.came {
			t.Errorf("%s: invalid %q, certificate %v, error %v; want %q", name, got.Invalid, got.Certificate, err, tc.invalid)
		}
	}
}
