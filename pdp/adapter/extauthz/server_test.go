package extauthz

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestIncompleteServerDenies: what the assembly forgot refuses.
func TestIncompleteServerDenies(t *testing.T) {
	d := &decider{verdict: allowed()}
	for name, s := range map[string]*Server{
		"nothing":    New(Options{}),
		"no decider": New(Options{Caller: everything}),
		"no caller":  New(Options{Decider: d}),
	} {
		if out := check(t, s, message()); out.GetStatus().GetCode() == 0 {
			t.Errorf("%s: allowed", name)
		}
	}
	if d.last().Invalid != string(verdict.CallerNotTrusted) {
		t.Errorf("without a caller: Invalid = %q", d.last().Invalid)
	}
}

func TestServiceName(t *testing.T) {
	if got := authv3.Authorization_ServiceDesc.ServiceName; got != ServiceName {
		t.Errorf("ServiceName = %q, want %q", ServiceName, got)
	}
}

// dial serves s over gRPC and returns a client.
func dial(t *testing.T, s *Server) authv3.AuthorizationClient {
	t.Helper()
	return authv3.NewAuthorizationClient(connect(t, s))
}

// connect serves s over gRPC and returns a connection to it.
func connect(t *testing.T, s *Server, options ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(options...)
	Register(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	connection, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	})
	return connection
}

// asIs sends bytes as they are and keeps the answer's.
type asIs struct{}

func (asIs) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (asIs) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}
func (asIs) Name() string { return "proto" }

// TestUnreadableMessages: an RPC error would be an outage that clients can bring about, since Envoy hands on a server name
// of TLS whatever bytes it holds.
func TestUnreadableMessages(t *testing.T) {
	d := &decider{verdict: allowed()}
	in := message()
	in.Attributes.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "PLACE.example.com"}
	whole, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	intercepted := 0
	counts := grpc.UnaryInterceptor(func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if info.FullMethod != authv3.Authorization_Check_FullMethodName {
			t.Errorf("intercepted %s", info.FullMethod)
		}
		intercepted++
		return next(ctx, in)
	})
	plain, chained := connect(t, newServer(t, d)), connect(t, newServer(t, d), counts)
	for name, sent := range map[string][]byte{
		"server name": bytes.Replace(whole, []byte("PLACE"), []byte("\xff\xfe\xc3\xed\xa0"), 1),
		"host":        bytes.ReplaceAll(whole, []byte("orders.example.com"), []byte("orders.example.co\xed")),
		"torn inside": append([]byte{0x0a, 2}, 0x12, 0x7f),
		"sound":       whole,
	} {
		for _, connection := range []*grpc.ClientConn{plain, chained} {
			var answer []byte
			if err := connection.Invoke(t.Context(), authv3.Authorization_Check_FullMethodName, &sent, &answer, grpc.ForceCodec(asIs{})); err != nil {
				t.Errorf("%s: RPC error %v", name, err)
				continue
			}
			var out authv3.CheckResponse
			if err := proto.Unmarshal(answer, &out); err != nil {
				t.Fatal(err)
			}
			if sound := name == "sound"; sound != (out.GetStatus().GetCode() == 0) || sound != (d.last().Invalid == "") {
				t.Errorf("%s: %v, recorded as %q", name, &out, d.last().Invalid)
			} else if !sound && (out.GetDeniedResponse().GetStatus().GetCode() != 400 || d.last().Invalid != string(verdict.MalformedRequest) || d.last().Caller != "edge") {
				t.Errorf("%s: %v, recorded as %+v", name, &out, d.last())
			}
		}
	}
	if intercepted != 4 {
		t.Errorf("%d calls intercepted, want 4", intercepted)
	}
}

// TestOverGRPC: what would be an RPC error, and so an outage to the gateway, arrives as a denial.
func TestOverGRPC(t *testing.T) {
	var panics atomic.Int64
	var connected atomic.Bool
	d := &decider{decide: func(ctx context.Context, r *request.Request) verdict.Verdict {
		switch r.Target {
		case "/panic":
			panic("secret of " + r.Target)
		case "/bad-utf8":
			v := allowed()
			v.Obligations.SetUpstream = []verdict.Field{{Name: "x-a", Value: "\xff"}}
			v.Explanation.Rule = "\xff"
			return v
		case "/deny":
			return verdict.Verdict{Reason: verdict.NoMatchingRule, DecisionID: "d2"}
		}
		return allowed()
	}}
	client := dial(t, newServer(t, d, func(o *Options) {
		o.OnPanic = func() { panics.Add(1) }
		o.Caller = func(ctx context.Context) (string, Asserts, bool) {
			p, ok := peer.FromContext(ctx)
			connected.Store(ok && p.Addr.Network() == "bufconn")
			return everything(ctx)
		}
	}))
	for target, want := range map[string]int32{"/": 0, "/deny": 7, "/panic": 14, "/bad-utf8": 7} {
		out, err := client.Check(t.Context(), message(func(h *authv3.AttributeContext_HttpRequest) {
			h.Path, h.Headers[":path"] = target, target
		}))
		if err != nil {
			t.Errorf("%s: RPC error %v", target, err)
			continue
		}
		if out.GetStatus().GetCode() != want || (want == 0) != (out.GetOkResponse() != nil) {
			t.Errorf("%s: answered %v", target, out)
		}
		if strings.Contains(out.String(), "secret") {
			t.Errorf("%s: the panic's text is shown: %v", target, out)
		}
	}
	if panics.Load() != 1 {
		t.Errorf("%d panics counted", panics.Load())
	}
	if !connected.Load() {
		t.Error("Caller does not see the connection")
	}
	t.Run("message without attributes", func(t *testing.T) {
		out, err := client.Check(t.Context(), &authv3.CheckRequest{})
		if err != nil || out.GetStatus().GetCode() != 3 || out.GetDeniedResponse().GetStatus().GetCode() != 400 {
			t.Errorf("Check = %v, %v", out, err)
		}
	})
}

func TestContextReachesTheDecider(t *testing.T) {
	d := &decider{decide: func(ctx context.Context, _ *request.Request) verdict.Verdict {
		if errors.Is(ctx.Err(), context.Canceled) {
			return verdict.Verdict{Reason: verdict.Cancelled, Degraded: true}
		}
		if _, ok := ctx.Deadline(); ok {
			return verdict.Verdict{Reason: verdict.Deadline, Degraded: true}
		}
		return allowed()
	}}
	s := newServer(t, d)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), time.Hour)
	defer cancelLate()
	for want, ctx := range map[string]context.Context{"cancelled": cancelled, "deadline": late, "allowed": t.Context()} {
		out, err := s.Check(ctx, message())
		if err != nil || out.GetDynamicMetadata().GetFields()["reason"].GetStringValue() != want {
			t.Errorf("%s: Check = %v, %v", want, out, err)
		}
		if denied := out.GetDeniedResponse(); want != "allowed" && denied.GetStatus().GetCode() != 503 {
			t.Errorf("%s: denied %v", want, denied)
		}
	}
}

// TestPanics: wherever one happens, the answer is a denial, it is counted, and where possible it is recorded.
func TestPanics(t *testing.T) {
	counter := func(n *int) func(*Options) { return func(o *Options) { o.OnPanic = func() { *n++ } } }
	t.Run("in the caller's check", func(t *testing.T) {
		n, d := 0, &decider{verdict: allowed()}
		s := newServer(t, d, counter(&n), func(o *Options) {
			o.Caller = func(context.Context) (string, Asserts, bool) { panic("x") }
		})
		out := check(t, s, message())
		if n != 1 || out.GetStatus().GetCode() != 14 || len(d.seen) != 1 || d.seen[0].Invalid != "internal" {
			t.Errorf("%d counted, asked %d times, answered %v", n, len(d.seen), out)
		}
	})
	t.Run("in the decider", func(t *testing.T) {
		n := 0
		s := newServer(t, &decider{decide: func(context.Context, *request.Request) verdict.Verdict { panic("x") }}, counter(&n))
		out := check(t, s, message(header("content-type", "application/grpc")))
		if n != 1 || out.GetStatus().GetCode() != 14 || field(out.GetDeniedResponse().GetHeaders(), "grpc-status") != "14" {
			t.Errorf("%d counted, answered %v", n, out)
		}
	})
	t.Run("without a counter", func(t *testing.T) {
		s := newServer(t, &decider{decide: func(context.Context, *request.Request) verdict.Verdict { panic("x") }})
		if out := check(t, s, message()); out.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Errorf("answered %v", out)
		}
	})
}

// TestDeciderThatInsists: a decider that allows even the refusal is not believed.
func TestDeciderThatInsists(t *testing.T) {
	v := allowed()
	v.Obligations.SetUpstream = []verdict.Field{{Name: "x-a", Value: "a\nb"}}
	out := check(t, newServer(t, stubborn(v)), message())
	if out.GetStatus().GetCode() != 7 || out.GetDynamicMetadata().GetFields()["reason"].GetStringValue() != "header_value_unsafe" {
		t.Errorf("answered %v", out)
	}
}

// TestRefusalWithUnsafeHeader: the refusal keeps its reason and body even where it repeats the header that led to it.
func TestRefusalWithUnsafeHeader(t *testing.T) {
	v := verdict.Verdict{Reason: verdict.NoRoute, DecisionID: "d1"}
	v.Obligations.SetResponse = []verdict.Field{{Name: "x-a", Value: "a\nb"}}
	denied := check(t, newServer(t, stubborn(v)), message()).GetDeniedResponse()
	if !strings.Contains(denied.GetBody(), `"d1"`) || field(denied.GetHeaders(), "x-a") != "" {
		t.Errorf("denied %v", denied)
	}
}

type stubborn verdict.Verdict

func (s stubborn) Decide(context.Context, *request.Request) verdict.Verdict {
	return verdict.Verdict(s)
}
