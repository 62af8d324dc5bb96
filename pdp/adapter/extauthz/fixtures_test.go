package extauthz

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// decider is a Decider that keeps to the contract: an invalid request is denied with its reason.
type decider struct {
	mu      sync.Mutex
	seen    []*request.Request
	verdict verdict.Verdict
	decide  func(context.Context, *request.Request) verdict.Verdict
}

func (d *decider) Decide(ctx context.Context, r *request.Request) verdict.Verdict {
	d.mu.Lock()
	d.seen = append(d.seen, r)
	d.mu.Unlock()
	if r.Invalid != "" {
		return verdict.Verdict{Reason: verdict.Reason(r.Invalid), DecisionID: "refusal"}
	}
	if d.decide != nil {
		return d.decide(ctx, r)
	}
	return d.verdict
}

func (d *decider) last() *request.Request { return d.seen[len(d.seen)-1] }

func allowed() verdict.Verdict {
	return verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed, DecisionID: "d1"}
}

// everything is the trust that most tests do not look at.
func everything(context.Context) (string, Asserts, bool) {
	return "edge", Asserts{ClientAddress: true, Certificate: true, Service: true}, true
}

func newServer(t testing.TB, d Decider, change ...func(*Options)) *Server {
	t.Helper()
	rule, err := request.ParseAddressRule("peer")
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Decider: d, Address: rule, Caller: everything}
	for _, c := range change {
		c(&options)
	}
	return New(options)
}

// check asks with one message and fails on what no answer may be: none, or an RPC error.
func check(t testing.TB, s *Server, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	out, err := s.Check(t.Context(), in)
	if err != nil || out == nil {
		t.Fatalf("Check = %v, %v; want a response and no error", out, err)
	}
	for _, fault := range validateMutations(out) {
		t.Errorf("response breaks a rule: %s", fault)
	}
	return out
}

// read returns what the decider is asked for a message.
func read(t testing.TB, in *authv3.CheckRequest, change ...func(*Options)) *request.Request {
	t.Helper()
	d := &decider{verdict: allowed()}
	out := check(t, newServer(t, d, change...), in)
	if len(d.seen) != 1 {
		t.Fatalf("the decider was asked %d times", len(d.seen))
	}
	if got := out.GetStatus().GetCode() == 0; got != (d.seen[0].Invalid == "") {
		t.Errorf("allowed = %v for Invalid = %q", got, d.seen[0].Invalid)
	}
	return d.seen[0]
}

// message returns a CheckRequest as Envoy 1.40 sends it in `headers` mode.
func message(change ...func(*authv3.AttributeContext_HttpRequest)) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{
		Id: "1234567890", Method: "GET", Path: "/orders/7?x=1", Host: "orders.example.com", Scheme: "https", Protocol: "HTTP/1.1",
		Headers: map[string]string{
			":authority": "orders.example.com", ":method": "GET", ":path": "/orders/7?x=1", ":scheme": "https",
			"accept": "*/*", "authorization": "Bearer t", "user-agent": "curl/8", "x-forwarded-for": "6.6.6.6, 203.0.113.9",
			"x-forwarded-proto": "https", "x-request-id": "c6e4f1c0-0000-4000-8000-000000000000",
		},
	}
	for _, c := range change {
		c(http)
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Address: socket("203.0.113.9", 4711), Service: "spoofed"},
		Request:           &authv3.AttributeContext_Request{Http: http},
		ContextExtensions: map[string]string{"durward.service": "orders"},
		TlsSession:        &authv3.AttributeContext_TLSSession{Sni: "orders.example.com"},
	}}
}

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// inRaw moves the message's headers to header_map, as encode_raw_headers does.
func inRaw(in *authv3.CheckRequest) *authv3.CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	http.HeaderMap = &corev3.HeaderMap{}
	// Against the order of names, so that no test passes by accident.
	names := slices.Sorted(maps.Keys(http.GetHeaders()))
	slices.Reverse(names)
	for _, name := range names {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, line(name, http.GetHeaders()[name]))
	}
	http.Headers = nil
	return in
}

func line(name, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
}

func header(name, value string) func(*authv3.AttributeContext_HttpRequest) {
	return func(h *authv3.AttributeContext_HttpRequest) { h.Headers[name] = value }
}

// certificate returns an escaped PEM, as Envoy sends it, with several names.
func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var uris []*url.URL
	for _, s := range []string{"spiffe://lab.local/ns/prod/sa/orders", "spiffe://lab.local/ns/prod/sa/other"} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		uris = append(uris, u)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "plain,comma", Organization: []string{"Lab"}},
		NotBefore:    time.Unix(1700000000, 0), NotAfter: time.Unix(2000000000, 0),
		URIs: uris, DNSNames: []string{"orders.local", "orders.alt"}, EmailAddresses: []string{"a@lab.local"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}
