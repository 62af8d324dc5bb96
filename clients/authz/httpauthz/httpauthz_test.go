package httpauthz_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
)

// checker answers with a decision and keeps the question.
type checker struct {
	decision authz.Decision
	err      error
	asked    *authz.HTTP
}

func (c *checker) Check(_ context.Context, r authz.Request) (authz.Decision, error) {
	c.asked = r.HTTP
	return c.decision, c.err
}

func allow() *checker {
	return &checker{decision: authz.Decision{Allowed: true, Status: 200, ID: "d1"}}
}

// answer is a response without its body.
type answer struct {
	StatusCode int
	Header     http.Header
}

// raw sends bytes to a handler behind a real server and returns the response and its body.
func raw(t *testing.T, h http.Handler, text string) (answer, string) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{StatusCode: response.StatusCode, Header: response.Header}, string(body)
}

// api is a handler that must not be reached unless the test says so.
type api struct {
	reached bool
	request *http.Request
	body    string
}

func (a *api) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.reached, a.request, a.body = true, r, string(body)
}

func TestQuestion(t *testing.T) {
	c, a := allow(), &api{}
	raw(t, httpauthz.New(c, httpauthz.WithService("s"))(a),
		"GET //a/../%2e/b?x=1&x=%zz HTTP/1.1\nHost: A.example:80\nX-Dup: 2\nx_under: u\nAuthorization: Bearer a\nx-dup: 1\nauthorization: Bearer b\nConnection: close\n\n")
	if c.asked == nil {
		t.Fatal("nobody was asked")
	}
	if c.asked.PeerAddress == "" {
		t.Error("no peer address")
	}
	c.asked.PeerAddress = ""
	want := &authz.HTTP{
		Method: "GET", Host: "A.example:80", Target: "//a/../%2e/b?x=1&x=%zz", Scheme: "http", Protocol: "HTTP/1.1", Service: "s",
		Header: []authz.Field{{Name: "authorization", Value: "Bearer a"}, {Name: "authorization", Value: "Bearer b"}, {Name: "connection", Value: "close"}, {Name: "x-dup", Value: "2"}, {Name: "x-dup", Value: "1"}, {Name: "x_under", Value: "u"}},
	}
	if diff := cmp.Diff(want, c.asked); diff != "" {
		t.Errorf("question (-want +got):\n%s", diff)
	}
	if !a.reached || a.request.RequestURI != want.Target {
		t.Error("the allowed request did not arrive as it was")
	}
}

// clientCertificate returns a certificate for clients and a pool that trusts it.
func clientCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	c := allow()
	s := httptest.NewUnstartedServer(httpauthz.New(c)(&api{}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	defer s.Close()
	client := s.Client()
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	own, trusted := clientCertificate(t)
	transport.TLSClientConfig.Certificates = []tls.Certificate{own}
	ask := func() {
		t.Helper()
		response, err := client.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	ask()
	if c.asked.Scheme != "https" || c.asked.Protocol != "HTTP/2" || c.asked.Certificate != nil {
		t.Errorf("question %+v; an unverified certificate must not be told", c.asked)
	}
	verified := httptest.NewUnstartedServer(httpauthz.New(c)(&api{}))
	verified.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted}
	verified.StartTLS()
	defer verified.Close()
	s = verified
	ask()
	if len(c.asked.Certificate) == 0 || c.asked.Protocol != "HTTP/1.1" {
		t.Errorf("question %+v; the verified certificate must be told", c.asked)
	}
}

func TestScheme(t *testing.T) {
	c := allow()
	raw(t, httpauthz.New(c, httpauthz.WithScheme(func(*http.Request) string { return "https" }))(&api{}), "GET / HTTP/1.0\nHost: a\n\n")
	if c.asked.Scheme != "https" || c.asked.Protocol != "HTTP/1.0" {
		t.Errorf("question %+v", c.asked)
	}
}

func TestBody(t *testing.T) {
	const fixed = "POST / HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 5\n\nhello"
	const chunked = "POST / HTTP/1.1\nHost: a\nConnection: close\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n"
	for _, c := range []struct {
		name, text, body string
		limit            int
		size             int64
		partial          bool
	}{
		{"not forwarded", fixed, "", 0, 5, false},
		{"chunked and not forwarded", chunked, "", 0, -1, false},
		{"whole", fixed, "hello", 5, 5, false},
		{"whole and chunked", chunked, "hello", 9, 5, false},
		{"cut", fixed, "hell", 4, 5, true},
		{"cut and chunked", chunked, "hell", 4, -1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, a := allow(), &api{}
			raw(t, httpauthz.New(k, httpauthz.WithBody(c.limit))(a), c.text)
			if q := k.asked; string(q.Body) != c.body || q.BodySize != c.size || q.BodyPartial != c.partial {
				t.Errorf("body %q of %d, partial %v", q.Body, q.BodySize, q.BodyPartial)
			}
			if a.body != "hello" {
				t.Errorf("the handler read %q, want all of the body", a.body)
			}
		})
	}
	t.Run("broken", func(t *testing.T) {
		k, a := allow(), &api{}
		response, _ := raw(t, httpauthz.New(k, httpauthz.WithBody(9))(a), "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nzz\n")
		if response.StatusCode != 400 || a.reached || k.asked != nil {
			t.Errorf("status %d, reached %v", response.StatusCode, a.reached)
		}
	})
}

func TestAllowed(t *testing.T) {
	c, a := allow(), &api{}
	c.decision.SetUpstream = []authz.Field{{Name: "x-durward-subject", Value: "alice"}}
	c.decision.RemoveUpstream = []string{"authorization", "x-durward-roles"}
	c.decision.SetResponse = []authz.Field{{Name: "ratelimit", Value: "a"}, {Name: "set-cookie", Value: "1"}, {Name: "vary", Value: "1"}, {Name: "vary", Value: "2"}}
	observed := 0
	outer := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("RateLimit", "forged")
			w.Header().Set("Set-Cookie", "0")
			next.ServeHTTP(w, r)
		})
	}
	protected := httpauthz.New(c, httpauthz.WithObserver(func(_ *http.Request, d authz.Decision, err error) {
		if observed++; !d.Allowed || err != nil {
			t.Errorf("observed %+v, %v", d, err)
		}
	}))(a)
	response, _ := raw(t, outer(protected),
		"GET / HTTP/1.1\nHost: a\nConnection: close\nX-Durward-Subject: mallory\nX_Durward_Subject: mallory\nx-durward_roles: admin\nAuthorization: Bearer a\nAccept: b\n\n")
	want := http.Header{"X-Durward-Subject": {"alice"}, "Accept": {"b"}, "Connection": {"close"}}
	if diff := cmp.Diff(want, a.request.Header); diff != "" {
		t.Errorf("upstream headers (-want +got):\n%s", diff)
	}
	got := http.Header{"Ratelimit": response.Header.Values("RateLimit"), "Set-Cookie": response.Header.Values("Set-Cookie"), "Vary": response.Header.Values("Vary")}
	if diff := cmp.Diff(http.Header{"Ratelimit": {"a"}, "Set-Cookie": {"0", "1"}, "Vary": {"1", "2"}}, got); diff != "" {
		t.Errorf("response headers (-want +got):\n%s", diff)
	}
	if d, ok := authz.DecisionFrom(a.request.Context()); !ok || d.ID != "d1" || observed != 1 {
		t.Errorf("decision %+v, %v, observed %d times", d, ok, observed)
	}
}

func TestDenied(t *testing.T) {
	limited := authz.Decision{
		Status: 429, Reason: "limit_exceeded", PublicReason: "quota_exceeded", ID: "d2", SetResponse: []authz.Field{{Name: "retry-after", Value: "7"}},
		Explanation: authz.Explanation{Limits: []authz.LimitState{{Name: "a", Refused: true}, {Name: "b"}, {Name: "c", Refused: true, Shadow: true}}},
	}
	token := authz.Decision{Status: 401, Reason: "token_expired", PublicReason: "invalid_token", ID: "d3", SetResponse: []authz.Field{{Name: "www-authenticate", Value: "Bearer"}, {Name: "www-authenticate", Value: "DPoP"}}}
	for _, c := range []struct {
		name, method string
		decision     authz.Decision
		err          error
		status       int
		body         string
		header       http.Header
	}{
		{"token", "GET", token, authz.ErrDenied, 401,
			`{"type":"about:blank","title":"Unauthorized","status":401,"code":"invalid_token","decision_id":"d3"}`, http.Header{"Www-Authenticate": {"Bearer", "DPoP"}}},
		{"limit", "GET", limited, authz.ErrDenied, 429,
			`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"code":"quota_exceeded","decision_id":"d2","violated-policies":["a"]}`, http.Header{"Retry-After": {"7"}}},
		{"HEAD", "HEAD", token, authz.ErrDenied, 401, "", nil},
		{"redirect", "GET", authz.Decision{Status: 302, SetResponse: []authz.Field{{Name: "location", Value: "/login"}}}, authz.ErrDenied, 302, "", http.Header{"Location": {"/login"}}},
		{"zero", "GET", authz.Decision{}, nil, 403, `{"type":"about:blank","title":"Forbidden","status":403,"code":"access_denied"}`, nil},
		{"an error beside an allow", "GET", authz.Decision{Allowed: true, Status: 200}, errors.New("secret words"), 403, `{"type":"about:blank","title":"Forbidden","status":403,"code":"access_denied"}`, nil},
		{"an id with markup", "GET", authz.Decision{Status: 499, ID: "<b>"}, nil, 499, `{"type":"about:blank","title":"Denied","status":499,"code":"access_denied"}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, a := &checker{decision: c.decision, err: c.err}, &api{}
			response, body := raw(t, httpauthz.New(k)(a), c.method+" / HTTP/1.1\nHost: a\nConnection: close\n\n")
			if a.reached {
				t.Fatal("the handler was reached")
			}
			if response.StatusCode != c.status || body != c.body || response.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, header %v, body %s", response.StatusCode, response.Header, body)
			}
			if wantType := map[bool]string{true: "application/problem+json"}[body != ""]; response.Header.Get("Content-Type") != wantType {
				t.Errorf("content type %q, want %q", response.Header.Get("Content-Type"), wantType)
			}
			if id := response.Header.Get("X-Durward-Decision-Id"); strings.HasPrefix(c.decision.ID, "d") && id != c.decision.ID || strings.Contains(id, "<") {
				t.Errorf("decision id %q", id)
			}
			for name, values := range c.header {
				if diff := cmp.Diff(values, response.Header.Values(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if c.decision.Reason != "" && strings.Contains(fmt.Sprint(response.Header)+body, c.decision.Reason) {
				t.Error("the client sees the exact reason")
			}
		})
	}
}

// TestNoServer shows that a request which no server received, so that its raw target is unknown, is denied.
func TestNoServer(t *testing.T) {
	a := &api{}
	r := httptest.NewRequest("GET", "/", nil)
	r.RequestURI = ""
	w := httptest.NewRecorder()
	httpauthz.New(allow())(a).ServeHTTP(w, r)
	if a.reached || w.Code != 400 {
		t.Errorf("status %d, reached %v", w.Code, a.reached)
	}
}

func ExampleNew() {
	// A real program passes an *authz.Client.
	var client httpauthz.Checker = readers{}
	protected := httpauthz.New(client)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, _ := authz.DecisionFrom(r.Context())
		fmt.Println("the handler runs for", r.Header.Get("X-Durward-Subject"), "by decision", d.ID)
	}))
	for _, method := range []string{"GET", "DELETE"} {
		w := httptest.NewRecorder()
		protected.ServeHTTP(w, httptest.NewRequest(method, "/orders/7", nil))
		fmt.Println(strings.TrimSpace(fmt.Sprint(method, " ", w.Code, " ", w.Body)))
	}
	// Output:
	// the handler runs for alice by decision 51c0
	// GET 200
	// DELETE 403 {"type":"about:blank","title":"Forbidden","status":403,"code":"access_denied","decision_id":"51c1"}
}

type readers struct{}

func (readers) Check(_ context.Context, r authz.Request) (authz.Decision, error) {
	if r.HTTP.Method == "GET" {
		return authz.Decision{Allowed: true, Status: 200, ID: "51c0", SetUpstream: []authz.Field{{Name: "x-durward-subject", Value: "alice"}}}, nil
	}
	return authz.Decision{Status: 403, PublicReason: "access_denied", ID: "51c1"}, authz.ErrDenied
}
