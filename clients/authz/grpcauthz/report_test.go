package grpcauthz_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/grpcauthz"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// server allows every call and keeps the methods that were reported.
type server struct {
	durwardv1.UnimplementedDecisionServiceServer
	reported chan string
}

func (*server) Check(context.Context, *durwardv1.CheckRequest) (*durwardv1.CheckResponse, error) {
	return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW, DecisionId: "d1"}, nil
}

func (s *server) Report(_ context.Context, in *durwardv1.ReportRequest) (*durwardv1.ReportResponse, error) {
	s.reported <- in.GetCheck().GetHttp().GetTarget()
	return &durwardv1.ReportResponse{Accepted: true}, nil
}

func (s *server) client(t *testing.T) *authz.Client {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	durwardv1.RegisterDecisionServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
	c, err := authz.New("passthrough:///test", authz.WithInsecure(), authz.WithDialOptions(dial), authz.WithTimeout(20_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A handler's code decides, and the report is there before the answer is.
func TestReports(t *testing.T) {
	for _, code := range []codes.Code{codes.OK, codes.Unauthenticated, codes.Internal} {
		s := &server{reported: make(chan string, 10)}
		heard := make(chan error, 10)
		a, client := start(t, s.client(t), grpcauthz.WithReports(
			func(method string, code codes.Code) bool { return method != "" && code == codes.Unauthenticated },
			func(_ string, err error) { heard <- err },
		))
		if code != codes.OK {
			a.err = status.Error(code, "wrong")
		}
		each(t, client, t.Context(), func(t *testing.T, method string, _ metadata.MD, err error) {
			if status.Code(err) != code {
				t.Fatalf("%v, want %v", err, code)
			}
			if code != codes.Unauthenticated {
				if len(s.reported) != 0 || len(heard) != 0 {
					t.Errorf("%v is reported", code)
				}
				return
			}
			if len(s.reported) != 1 || len(heard) != 1 {
				t.Fatalf("%d reports", len(s.reported))
			}
			if got := <-s.reported; got != method {
				t.Errorf("reported %q, want %q", got, method)
			}
			if err := <-heard; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReportsNobodyHearsOf(t *testing.T) {
	c := &checker{decision: authz.Decision{Allowed: true}} // of no client, so that no report is accepted
	a, client := start(t, c, grpcauthz.WithReports(func(string, codes.Code) bool { return true }, nil))
	a.err = status.Error(codes.Unauthenticated, "wrong")
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Error(err)
	}
	var heard error
	_, client = start(t, c, grpcauthz.WithReports(func(string, codes.Code) bool { return true }, func(_ string, err error) { heard = err }))
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || !errors.Is(heard, authz.ErrReport) {
		t.Errorf("%v, heard of %v", err, heard)
	}
}
