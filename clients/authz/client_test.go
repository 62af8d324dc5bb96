package authz_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/adapter/native"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// decide is a decider that denies what is invalid and asks a function about the rest.
type decide func(r *request.Request) verdict.Verdict

func (d decide) Decide(_ context.Context, r *request.Request) verdict.Verdict {
	if r.Invalid != "" {
		return verdict.Verdict{Reason: verdict.Reason(r.Invalid), DecisionID: "refused"}
	}
	return d(r)
}

func answers(v verdict.Verdict) decide {
	return func(*request.Request) verdict.Verdict { return v }
}

// adapter is the real native adapter in front of a decider.
func adapter(t testing.TB, d decide) durwardv1.DecisionServiceServer {
	t.Helper()
	return native.New(native.Options{Decider: d, Caller: func(context.Context) (string, native.Asserts, bool) {
		return "test", native.Asserts{ClientAddress: true, ClientCertificate: true, Service: true, DryRun: true, Report: true}, true
	}})
}

// wire answers with a function instead of the adapter, for answers that the adapter would never send.
type wire struct {
	durwardv1.UnimplementedDecisionServiceServer
	check func(ctx context.Context) (*durwardv1.CheckResponse, error)
}

func (w wire) Check(ctx context.Context, _ *durwardv1.CheckRequest) (*durwardv1.CheckResponse, error) {
	return w.check(ctx)
}

func serve(t testing.TB, l net.Listener, s durwardv1.DecisionServiceServer, opts ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	g := grpc.NewServer(opts...)
	durwardv1.RegisterDecisionServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return g
}

func newClient(t testing.TB, target string, opts ...authz.Option) *authz.Client {
	t.Helper()
	c, err := authz.New(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// inProcess returns a client of a server in this process.
func inProcess(t testing.TB, s durwardv1.DecisionServiceServer, opts ...authz.Option) *authz.Client {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	serve(t, l, s)
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
	return newClient(t, "passthrough:///test", append([]authz.Option{authz.WithInsecure(), authz.WithDialOptions(dial), authz.WithTimeout(10 * time.Second)}, opts...)...)
}

func get(header ...authz.Field) authz.Request {
	return authz.Request{HTTP: &authz.HTTP{Method: "GET", Scheme: "https", Host: "a.example", Target: "/x", Protocol: "HTTP/1.1", Header: header}}
}

func TestAllow(t *testing.T) {
	var seen *request.Request
	c := inProcess(t, adapter(t, func(r *request.Request) verdict.Verdict {
		seen = r
		return verdict.Verdict{
			Effect: verdict.Allow, Reason: verdict.Allowed, DecisionID: "d1",
			Obligations: verdict.Obligations{
				SetUpstream: []verdict.Field{{Name: "x-durward-subject", Value: "alice"}}, RemoveUpstream: []string{"Authorization"},
				SetResponse: []verdict.Field{{Name: "ratelimit", Value: "a"}}, Metadata: []verdict.Field{{Name: "k", Value: "v"}},
			},
			Explanation: verdict.Explanation{Bundle: "b", Revision: "r", Policy: "p", Rule: "f:1", RuleID: "id", Limits: []verdict.LimitState{{Name: "l", Quota: 5, Remaining: 4, Window: time.Minute, Reset: time.Second}}},
		}
	}))
	got, err := c.Check(t.Context(), authz.Request{CorrelationID: "c1", DryRun: true, HTTP: &authz.HTTP{
		Method: "PUT", Scheme: "https", Host: "a.example", Target: "/x?y", Protocol: "HTTP/2", Header: []authz.Field{{Name: "A", Value: "\xff"}, {Name: "a", Value: "2"}},
		Body: []byte("b"), BodySize: 9, BodyPartial: true, PeerAddress: "198.51.100.7:1", ServerName: "a.example", Service: "s",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := authz.Decision{
		Allowed: true, Status: 200, Reason: "allowed", ID: "d1",
		SetUpstream: []authz.Field{{Name: "x-durward-subject", Value: "alice"}}, RemoveUpstream: []string{"authorization"},
		SetResponse: []authz.Field{{Name: "ratelimit", Value: "a"}}, Metadata: map[string]string{"k": "v"},
		Explanation: authz.Explanation{Bundle: "b", Revision: "r", Policy: "p", Rule: "f:1", RuleID: "id", Limits: []authz.LimitState{{Name: "l", Quota: 5, Remaining: 4, Window: time.Minute, Reset: time.Second}}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(authz.Decision{})); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
	if seen.Method != "PUT" || seen.Target != "/x?y" || seen.CorrelationID != "c1" || seen.Mode != request.Dry || seen.Header.Count("a") != 2 || seen.Header[0].Value != "\xff" ||
		string(seen.Body.Bytes) != "b" || seen.Body.Size != 9 || !seen.Body.Partial || !seen.Peer.Address.IsValid() || seen.SNI != "a.example" || seen.Extensions["durward.service"] != "s" {
		t.Errorf("request %+v", seen)
	}
}

func TestOperation(t *testing.T) {
	var seen *request.Operation
	c := inProcess(t, adapter(t, func(r *request.Request) verdict.Verdict {
		seen = r.Operation
		return verdict.Verdict{}
	}))
	_, err := c.Check(t.Context(), authz.Request{Operation: &authz.Operation{Service: "s", Action: "a", ResourceType: "t", ResourceID: "i", Properties: map[string]string{"k": "v"}, Credential: "c"}})
	want := &request.Operation{Service: "s", Action: "a", ResourceType: "t", ResourceID: "i", Properties: map[string]string{"k": "v"}, Credential: "c"}
	if diff := cmp.Diff(want, seen); diff != "" || !errors.Is(err, authz.ErrDenied) {
		t.Errorf("error %v, operation (-want +got):\n%s", err, diff)
	}
}

func TestErrors(t *testing.T) {
	c := func(reason verdict.Reason) *authz.Client {
		return inProcess(t, adapter(t, answers(verdict.Verdict{Reason: reason, DecisionID: "d9", RetryAfter: time.Second})))
	}
	all := []error{authz.ErrUnauthenticated, authz.ErrLimited, authz.ErrUnavailable}
	for _, one := range []struct {
		reason verdict.Reason
		status int
		is     error
	}{
		{verdict.TokenExpired, 401, authz.ErrUnauthenticated},
		{verdict.NoMatchingRule, 403, nil},
		{verdict.LimitExceeded, 429, authz.ErrLimited},
		{verdict.LimitsUnavailable, 503, authz.ErrUnavailable},
		{verdict.PathAmbiguous, 400, nil},
	} {
		t.Run(string(one.reason), func(t *testing.T) {
			d, err := c(one.reason).Check(t.Context(), get())
			if d.Allowed || d.Status != one.status || d.Reason != string(one.reason) || d.ID != "d9" || d.RetryAfter != time.Second {
				t.Errorf("decision %+v", d)
			}
			if !errors.Is(err, authz.ErrDenied) {
				t.Errorf("%v is not ErrDenied", err)
			}
			for _, e := range all {
				if want := one.is != nil && errors.Is(one.is, e); errors.Is(err, e) != want {
					t.Errorf("errors.Is(%v, %v) = %v", err, e, !want)
				}
			}
			if text := err.Error(); strings.Contains(text, string(one.reason)) || !strings.Contains(text, "d9") {
				t.Errorf("the text must hold the id and not the exact reason: %q", text)
			}
		})
	}
}

// TestAnswersThatAreNoAllow holds what no adapter sends.
func TestAnswersThatAreNoAllow(t *testing.T) {
	allow := durwardv1.Effect_EFFECT_ALLOW
	line := func(name, value string) []*durwardv1.HeaderLine {
		return []*durwardv1.HeaderLine{{Name: name, Value: []byte(value)}}
	}
	for name, answer := range map[string]*durwardv1.CheckResponse{
		"empty":             {},
		"unspecified, 200":  {HttpStatus: 200},
		"unknown effect":    {Effect: 77, HttpStatus: 200},
		"denied with 200":   {Effect: durwardv1.Effect_EFFECT_DENY, HttpStatus: 200},
		"line end":          {Effect: allow, Obligations: &durwardv1.Obligations{SetUpstream: line("a", "b\r\nc: d")}},
		"no header name":    {Effect: allow, Obligations: &durwardv1.Obligations{SetResponse: line("a b", "c")}},
		"no removable name": {Effect: allow, Obligations: &durwardv1.Obligations{RemoveUpstream: []string{""}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := inProcess(t, wire{check: func(context.Context) (*durwardv1.CheckResponse, error) { return answer, nil }}, authz.WithFailMode(authz.FailOpen))
			d, err := c.Check(t.Context(), get())
			if d.Allowed || d.Status != 403 || !errors.Is(err, authz.ErrDenied) || d.SetUpstream != nil {
				t.Errorf("decision %+v, %v", d, err)
			}
		})
	}
}

func TestUnanswered(t *testing.T) {
	opens := []codes.Code{codes.Unavailable, codes.DeadlineExceeded}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		calls := 0
		s := wire{check: func(context.Context) (*durwardv1.CheckResponse, error) {
			calls++
			return nil, status.Error(code, "words of the server")
		}}
		d, err := inProcess(t, s).Check(t.Context(), get())
		if d.Allowed || d.Status != 503 || !errors.Is(err, authz.ErrUnavailable) || !errors.Is(err, authz.ErrDenied) || strings.Contains(err.Error(), "words") {
			t.Errorf("%v closed: %+v, %v", code, d, err)
		}
		if calls != 1 {
			t.Errorf("%v: asked %d times, want once", code, calls)
		}
		d, err = inProcess(t, s, authz.WithFailMode(authz.FailOpen)).Check(t.Context(), get())
		if want := slices.Contains(opens, code); d.Allowed != want || d.FailedOpen != want || (err == nil) != want {
			t.Errorf("%v open: %+v, %v", code, d, err)
		}
	}
}

func TestFailOpenStripsForgedHeaders(t *testing.T) {
	s := wire{check: func(context.Context) (*durwardv1.CheckResponse, error) {
		return nil, status.Error(codes.Unavailable, "")
	}}
	c := inProcess(t, s, authz.WithFailMode(authz.FailOpen), authz.FailOpenHeaders("x-user"))
	d, err := c.Check(t.Context(), get(authz.Field{Name: "X_Durward_Subject"}, authz.Field{Name: "x-user"}, authz.Field{Name: "X_User"},
		authz.Field{Name: "x.durward~roles"}, authz.Field{Name: "x!user"}, authz.Field{Name: "accept"}, authz.Field{Name: "x-durwardian"}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x_durward_subject", "x-user", "x_user", "x.durward~roles", "x!user"}, d.RemoveUpstream); diff != "" {
		t.Errorf("removals (-want +got):\n%s", diff)
	}
}

// TestGivenUp shows that nobody opens a door by hanging up.
func TestGivenUp(t *testing.T) {
	s := wire{check: func(ctx context.Context) (*durwardv1.CheckResponse, error) { <-ctx.Done(); return nil, ctx.Err() }}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if d, err := inProcess(t, s, authz.WithFailMode(authz.FailOpen)).Check(ctx, get()); d.Allowed || !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("the caller's deadline: %+v, %v", d, err)
	}
	if d, err := inProcess(t, s, authz.WithFailMode(authz.FailOpen), authz.WithTimeout(20*time.Millisecond)).Check(t.Context(), get()); !d.FailedOpen || err != nil {
		t.Errorf("the client's own timeout: %+v, %v", d, err)
	}
	// The server may find the caller's deadline over before the caller does.
	early := wire{check: func(context.Context) (*durwardv1.CheckResponse, error) {
		return nil, status.Error(codes.DeadlineExceeded, "")
	}}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if d, err := inProcess(t, early, authz.WithFailMode(authz.FailOpen)).Check(ctx, get()); d.Allowed || !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("the caller's deadline, seen early: %+v, %v", d, err)
	}
	// Where the client's own timeout comes first, it is the server that took too long.
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if d, err := inProcess(t, s, authz.WithFailMode(authz.FailOpen), authz.WithTimeout(20*time.Millisecond)).Check(ctx, get()); !d.FailedOpen || err != nil {
		t.Errorf("the client's own timeout before the caller's: %+v, %v", d, err)
	}
}

// TestUnsendable shows that clients cannot choose bytes which end in a failure mode.
func TestUnsendable(t *testing.T) {
	c := inProcess(t, adapter(t, answers(verdict.Verdict{Effect: verdict.Allow})), authz.WithFailMode(authz.FailOpen))
	long := strings.Repeat("x", 4<<20)
	for name, one := range map[string]struct {
		r      authz.Request
		status int
	}{
		"target":       {authz.Request{HTTP: &authz.HTTP{Method: "GET", Target: "/\xff"}}, 400},
		"header name":  {get(authz.Field{Name: "a\xff"}), 400},
		"credential":   {authz.Request{Operation: &authz.Operation{Service: "s", Action: "a", Credential: "\xff"}}, 400},
		"property":     {authz.Request{Operation: &authz.Operation{Service: "s", Action: "a", Properties: map[string]string{"a": "\xff"}}}, 400},
		"header value": {get(authz.Field{Name: "a", Value: long}), 413},
		"body":         {authz.Request{HTTP: &authz.HTTP{Method: "GET", Target: "/", Body: []byte(long)}}, 413},
		"id":           {authz.Request{Operation: &authz.Operation{Service: "s", Action: "a", ResourceID: long}}, 413},
		"nothing":      {authz.Request{}, 400},
		"both":         {authz.Request{HTTP: get().HTTP, Operation: &authz.Operation{Service: "s", Action: "a"}}, 400},
	} {
		if d, err := c.Check(t.Context(), one.r); d.Allowed || d.Status != one.status || !errors.Is(err, authz.ErrDenied) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, opts := range map[string][]authz.Option{
		"contradiction": {authz.WithInsecure(), authz.WithTLS(&tls.Config{})},
		"timeout":       {authz.WithTimeout(0)},
		"mode":          {authz.WithFailMode(7)},
		"header":        {authz.FailOpenHeaders("a b")},
	} {
		if _, err := authz.New("localhost:1", opts...); !errors.Is(err, authz.ErrOptions) {
			t.Errorf("%s: New = %v, want ErrOptions", name, err)
		}
	}
	if _, err := authz.New("unix:relative:\x00"); err == nil {
		t.Error("a target that cannot be was taken")
	}
}

// pair returns the TLS configurations of a server for "localhost" and of a client that trusts it.
func pair(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTLS(t *testing.T) {
	server, client := pair(t)
	token := make(chan []string, 10)
	s := wire{check: func(ctx context.Context) (*durwardv1.CheckResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		token <- md.Get("authorization")
		return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW}, nil
	}}
	l := listen(t)
	serve(t, l, s, grpc.Creds(credentials.NewTLS(server)))
	plain := listen(t)
	serve(t, plain, s)
	slow := authz.WithTimeout(10 * time.Second)

	if d, err := newClient(t, l.Addr().String(), authz.WithTLS(client), authz.WithToken("program"), slow).Check(t.Context(), get()); err != nil || !d.Allowed {
		t.Errorf("TLS: %+v, %v", d, err)
	}
	if got := <-token; !slices.Equal(got, []string{"Bearer program"}) {
		t.Errorf("token %q", got)
	}
	for name, c := range map[string]*authz.Client{
		"a server that the system does not trust": newClient(t, l.Addr().String(), slow),
		"a server in plain text":                  newClient(t, plain.Addr().String(), authz.WithToken("program"), slow),
	} {
		if d, err := c.Check(t.Context(), get()); d.Allowed || !errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if len(token) != 0 {
		t.Error("the token reached a server that was not verified")
	}
	if client.MinVersion != 0 {
		t.Error("the program's configuration was changed")
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, adapter(t, answers(verdict.Verdict{Effect: verdict.Allow})))
	if d, err := newClient(t, "unix:"+path, authz.WithInsecure(), authz.WithTimeout(10*time.Second)).Check(t.Context(), get()); err != nil || !d.Allowed {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestReplicas spreads checks over the replicas that serve.
func TestReplicas(t *testing.T) {
	const replicas = 3
	var calls [replicas]atomic.Int64
	var state [replicas]*health.Server
	addresses := make([]resolver.Address, replicas)
	for i := range replicas {
		l := listen(t)
		g := grpc.NewServer()
		durwardv1.RegisterDecisionServiceServer(g, wire{check: func(context.Context) (*durwardv1.CheckResponse, error) {
			calls[i].Add(1)
			return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW}, nil
		}})
		state[i] = health.NewServer()
		state[i].SetServingStatus(native.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
		grpc_health_v1.RegisterHealthServer(g, state[i])
		go func() { _ = g.Serve(l) }()
		t.Cleanup(g.Stop)
		addresses[i] = resolver.Address{Addr: l.Addr().String()}
	}
	state[0].SetServingStatus(native.ServiceName, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	r := manual.NewBuilderWithScheme("replicas")
	r.InitialState(resolver.State{Addresses: addresses})
	c := newClient(t, "replicas:///x", authz.WithInsecure(), authz.WithTimeout(10*time.Second), authz.WithDialOptions(grpc.WithResolvers(r)))
	for i := 0; calls[1].Load() == 0 || calls[2].Load() == 0; i++ {
		if _, err := c.Check(t.Context(), get()); err != nil {
			t.Fatal(err)
		}
		if i == 10000 {
			t.Fatalf("replicas were asked %d and %d times", calls[1].Load(), calls[2].Load())
		}
	}
	if got := calls[0].Load(); got != 0 {
		t.Errorf("the replica that does not serve was asked %d times", got)
	}
}

func TestDecisionFrom(t *testing.T) {
	if _, ok := authz.DecisionFrom(t.Context()); ok {
		t.Error("a decision from nowhere")
	}
	if d, ok := authz.DecisionFrom(authz.NewContext(t.Context(), authz.Decision{ID: "d"})); !ok || d.ID != "d" {
		t.Errorf("%+v, %v", d, ok)
	}
}
