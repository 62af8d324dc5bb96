package grpcauthz_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/grpcauthz"
)

const (
	checkMethod = "/grpc.health.v1.Health/Check"
	watchMethod = "/grpc.health.v1.Health/Watch"
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

// api is a service with a unary method and a stream.
type api struct {
	grpc_health_v1.UnimplementedHealthServer
	ctx context.Context
	err error // instead of an answer
}

func (a *api) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	a.ctx = ctx
	if a.err != nil {
		return nil, a.err
	}
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func (a *api) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	a.ctx = stream.Context()
	if a.err != nil {
		return a.err
	}
	return stream.Send(&grpc_health_v1.HealthCheckResponse{})
}

func start(t testing.TB, c grpcauthz.Checker, opts ...grpcauthz.Option) (*api, grpc_health_v1.HealthClient) {
	t.Helper()
	a := &api{}
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(grpcauthz.UnaryServer(c, opts...)), grpc.ChainStreamInterceptor(grpcauthz.StreamServer(c, opts...)))
	grpc_health_v1.RegisterHealthServer(server, a)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///api.example", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return a, grpc_health_v1.NewHealthClient(conn)
}

// each calls the unary method and the stream, and shows the response's header.
func each(t *testing.T, client grpc_health_v1.HealthClient, ctx context.Context, look func(t *testing.T, method string, header metadata.MD, err error)) {
	t.Run("unary", func(t *testing.T) {
		var header metadata.MD
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
		look(t, checkMethod, header, err)
	})
	t.Run("stream", func(t *testing.T) {
		stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		header, _ := stream.Header()
		look(t, watchMethod, header, err)
	})
}

func TestAllowed(t *testing.T) {
	c := &checker{decision: authz.Decision{
		Allowed: true, ID: "d1", SetUpstream: []authz.Field{{Name: "x-durward-subject", Value: "alice"}}, RemoveUpstream: []string{"authorization"},
		SetResponse: []authz.Field{{Name: "ratelimit", Value: "a"}, {Name: "content-type", Value: "text/html"}, {Name: "grpc-status", Value: "0"}},
	}}
	observed := 0
	a, client := start(t, c, grpcauthz.WithService("s"), grpcauthz.WithObserver(func(_ string, d authz.Decision, err error) {
		if observed++; !d.Allowed || err != nil {
			t.Errorf("observed %+v, %v", d, err)
		}
	}))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer a", "authorization", "Bearer b", "x-durward-subject", "mallory", "x_durward_subject", "mallory", "data-bin", "\x00\xff", "accept", "b")
	each(t, client, ctx, func(t *testing.T, method string, header metadata.MD, err error) {
		if err != nil {
			t.Fatal(err)
		}
		want := &authz.HTTP{
			Method: "POST", Host: "api.example", Target: method, Scheme: "http", Protocol: "HTTP/2", BodySize: -1, Service: "s",
			Header: []authz.Field{{Name: "accept", Value: "b"}, {Name: "authorization", Value: "Bearer a"}, {Name: "authorization", Value: "Bearer b"}, {Name: "content-type", Value: "application/grpc"}, {Name: "data-bin", Value: "AP8"}, {Name: "user-agent", Value: "grpc-go/" + grpc.Version}, {Name: "x-durward-subject", Value: "mallory"}, {Name: "x_durward_subject", Value: "mallory"}},
		}
		if diff := cmp.Diff(want, c.asked); diff != "" {
			t.Errorf("question (-want +got):\n%s", diff)
		}
		md, _ := metadata.FromIncomingContext(a.ctx)
		for name, values := range map[string][]string{"x-durward-subject": {"alice"}, "x_durward_subject": nil, "authorization": nil, "accept": {"b"}, "data-bin": {"\x00\xff"}} {
			if diff := cmp.Diff(values, md[name]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if d, ok := authz.DecisionFrom(a.ctx); !ok || d.ID != "d1" {
			t.Errorf("decision %+v, %v", d, ok)
		}
		if diff := cmp.Diff(metadata.MD{"ratelimit": {"a"}, "content-type": {"application/grpc"}}, header); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
	})
	if observed != 2 {
		t.Errorf("observed %d times, want 2", observed)
	}
}

func TestDenied(t *testing.T) {
	for _, one := range []struct {
		name     string
		decision authz.Decision
		err      error
		code     codes.Code
		text     string
	}{
		{"token", authz.Decision{Status: 401, Reason: "token_expired", PublicReason: "invalid_token", ID: "d"}, authz.ErrDenied, codes.Unauthenticated, "invalid_token; decision d"},
		{"rule", authz.Decision{Status: 403, Reason: "rule_denied", PublicReason: "access_denied", ID: "d"}, authz.ErrDenied, codes.PermissionDenied, "access_denied; decision d"},
		{"limit", authz.Decision{Status: 429, Reason: "limit_exceeded", PublicReason: "quota_exceeded", RetryAfter: time.Second}, authz.ErrDenied, codes.ResourceExhausted, "quota_exceeded"},
		{"outage", authz.Decision{Status: 503, PublicReason: "temporarily_unavailable"}, authz.ErrUnavailable, codes.Unavailable, "temporarily_unavailable"},
		{"malformed", authz.Decision{Status: 400, PublicReason: "invalid_request"}, authz.ErrDenied, codes.InvalidArgument, "invalid_request"},
		{"method", authz.Decision{Status: 405, PublicReason: "method_not_allowed"}, authz.ErrDenied, codes.Unimplemented, "method_not_allowed"},
		{"unlisted", authz.Decision{Status: 404, PublicReason: "not_found"}, authz.ErrDenied, codes.NotFound, "not_found"},
		{"zero", authz.Decision{}, nil, codes.PermissionDenied, "access_denied"},
		{"an error beside an allow", authz.Decision{Allowed: true, Status: 200}, errors.New("secret words"), codes.PermissionDenied, "access_denied"},
	} {
		t.Run(one.name, func(t *testing.T) {
			one.decision.SetResponse = []authz.Field{{Name: "www-authenticate", Value: "Bearer"}}
			a, client := start(t, &checker{decision: one.decision, err: one.err})
			each(t, client, t.Context(), func(t *testing.T, _ string, header metadata.MD, err error) {
				s := status.Convert(err)
				if s.Code() != one.code || s.Message() != one.text || a.ctx != nil {
					t.Errorf("status %v, reached %v", s, a.ctx != nil)
				}
				public, _, _ := strings.Cut(one.text, ";")
				info, retry := false, false
				for _, detail := range s.Details() {
					switch detail := detail.(type) {
					case *errdetails.ErrorInfo:
						info = detail.GetReason() == public && detail.GetDomain() == "durward" && detail.GetMetadata()["decision_id"] == one.decision.ID
					case *errdetails.RetryInfo:
						retry = detail.GetRetryDelay().AsDuration() == one.decision.RetryAfter
					}
				}
				if !info || retry != (one.decision.RetryAfter > 0) {
					t.Errorf("details %v", s.Details())
				}
				if one.decision.Reason != "" && strings.Contains(s.Proto().String(), one.decision.Reason) {
					t.Errorf("the client sees the exact reason: %v", s)
				}
				if got := header["www-authenticate"]; len(got) != 1 || got[0] != "Bearer" {
					t.Errorf("header %v", header)
				}
			})
		})
	}
}

func TestSkip(t *testing.T) {
	for _, c := range []struct {
		skip          string
		unary, stream bool
	}{
		{checkMethod, true, false},
		{"/grpc.health.v1.Health/", true, true},
		{"/grpc.health.v1.Health", false, false},
		{"/", false, false},
		{"", false, false},
	} {
		_, client := start(t, &checker{}, grpcauthz.WithSkip(c.skip))
		each(t, client, t.Context(), func(t *testing.T, method string, _ metadata.MD, err error) {
			if want := map[string]bool{checkMethod: c.unary, watchMethod: c.stream}[method]; (err == nil) != want {
				t.Errorf("skip %q: %s is %v", c.skip, method, err)
			}
		})
	}
}

func TestScheme(t *testing.T) {
	c := &checker{}
	_, client := start(t, c, grpcauthz.WithScheme("https"))
	_, _ = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if c.asked.Scheme != "https" {
		t.Errorf("scheme %q", c.asked.Scheme)
	}
}

func ExampleUnaryServer() {
	// A real program passes an *authz.Client and grpc.ChainUnaryInterceptor(interceptor) to grpc.NewServer.
	interceptor := grpcauthz.UnaryServer(readers{}, grpcauthz.WithSkip("/grpc.health.v1.Health/"))
	for _, method := range []string{"/shop.v1.Orders/Get", "/shop.v1.Orders/Delete", "/grpc.health.v1.Health/Check"} {
		_, err := interceptor(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			return nil, nil
		})
		fmt.Println(method, status.Code(err))
	}
	// Output:
	// /shop.v1.Orders/Get OK
	// /shop.v1.Orders/Delete PermissionDenied
	// /grpc.health.v1.Health/Check OK
}

type readers struct{}

func (readers) Check(_ context.Context, r authz.Request) (authz.Decision, error) {
	if strings.HasSuffix(r.HTTP.Target, "/Get") {
		return authz.Decision{Allowed: true, Status: 200}, nil
	}
	return authz.Decision{Status: 403, PublicReason: "access_denied"}, authz.ErrDenied
}
