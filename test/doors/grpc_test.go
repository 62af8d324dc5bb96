package doors

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/grpcauthz"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const rpcHost = "rpc.example.com"

// outcome is what an RPC's client sees, and the decision behind it.
type outcome struct {
	Code                          codes.Code
	Message                       string // without the decision's id
	Reason, Rule, Limit, Upstream string
}

// rpcServer is a gRPC server that grpcauthz protects, as a unary server or as one of streams.
type rpcServer struct {
	conn     *grpc.ClientConn
	decision answer
	failed   error
	subject  string // what the handler was told of the subject
}

func (s *rpcServer) observe(_ string, d authz.Decision, err error) {
	s.decision, s.failed = readDecision(d, err)
}

func (s *rpcServer) note(ctx context.Context) {
	sent, _ := metadata.FromIncomingContext(ctx)
	s.subject = strings.Join(sent["x-durward-subject"], ",")
}

func newRPCServer(t *testing.T, streams bool) *rpcServer {
	t.Helper()
	s := &rpcServer{}
	client := newClient(t, shared.socket("main"), "")
	// TLS ends in front of this server.
	options := []grpcauthz.Option{grpcauthz.WithScheme("https"), grpcauthz.WithObserver(s.observe)}
	var server *grpc.Server
	if streams {
		server = grpc.NewServer(grpc.StreamInterceptor(grpcauthz.StreamServer(client, options...)), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			s.note(stream.Context())
			return stream.SendMsg(&emptypb.Empty{})
		}))
	} else {
		server = grpc.NewServer(grpc.UnaryInterceptor(grpcauthz.UnaryServer(client, options...)))
		description := &grpc.ServiceDesc{ServiceName: "shop.Orders", HandlerType: (*any)(nil)}
		for _, name := range []string{"Read", "Write", "Once", "Burn"} {
			description.Methods = append(description.Methods, grpc.MethodDesc{MethodName: name, Handler: s.unary("/shop.Orders/" + name)})
		}
		server.RegisterService(description, nil)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	s.conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(rpcHost))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

func (s *rpcServer) unary(method string) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := &emptypb.Empty{}
		if err := decode(in); err != nil {
			return nil, err
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
			s.note(ctx)
			return &emptypb.Empty{}, nil
		})
	}
}

// ask makes one RPC.
func (s *rpcServer) ask(ctx context.Context, method string, header []field) (outcome, error) {
	s.decision, s.subject = answer{}, ""
	for _, f := range header {
		ctx = metadata.AppendToOutgoingContext(ctx, f.name, f.value)
	}
	err := s.conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	if s.failed != nil || s.decision.decision == "" {
		return outcome{}, fmt.Errorf("no sound decision: %w", s.failed)
	}
	d := s.decision
	return outcome{
		Code: status.Code(err), Message: strings.Replace(status.Convert(err).Message(), d.decision, "*", 1),
		Reason: d.Reason, Rule: d.Rule, Limit: d.Limit, Upstream: s.subject,
	}, nil
}

// askGateway asks ext_authz the same, and reads what Envoy would make of the answer for a gRPC client.
func askGateway(ctx context.Context, client authv3.AuthorizationClient, method string, header []field) (outcome, error) {
	q := question{method: http.MethodPost, host: rpcHost, target: method, header: append(slices.Clone(header), field{"content-type", "application/grpc"}, field{"te", "trailers"})}
	in := gatewayMessage(&q, "gateway", false)
	in.Attributes.Request.Http.Protocol, in.Attributes.Request.Http.Size = "HTTP/2", -1
	out, err := client.Check(ctx, in)
	if err != nil {
		return outcome{}, err
	}
	a, err := readGateway(withoutBody(out))
	if err != nil {
		return outcome{}, err
	}
	o := outcome{Reason: a.Reason, Rule: a.Rule, Limit: a.Limit}
	for _, line := range a.Set {
		if value, ok := strings.CutPrefix(line, "x-durward-subject: "); ok {
			o.Upstream = value
		}
	}
	for _, line := range a.Response {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "grpc-status":
			code, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return o, err
			}
			o.Code = codes.Code(code)
		case "grpc-message":
			text, err := url.PathUnescape(value)
			if err != nil {
				return o, err
			}
			o.Message = strings.Replace(text, a.decision, "*", 1)
		}
	}
	if a.Status != http.StatusOK && uint32(out.GetStatus().GetCode()) != uint32(o.Code) {
		return o, fmt.Errorf("the RPC's status says %d, grpc-status %d", out.GetStatus().GetCode(), o.Code)
	}
	return o, nil
}

// withoutBody takes the body away: for gRPC clients it is the text of grpc-message, not JSON.
func withoutBody(out *authv3.CheckResponse) *authv3.CheckResponse {
	if denied := out.GetDeniedResponse(); denied != nil {
		denied.Body = ""
	}
	return out
}

func TestSameAnswerForRPCs(t *testing.T) {
	gateway := authv3.NewAuthorizationClient(dial(t, shared.socket("main")))
	doors := map[string]*rpcServer{"unary": newRPCServer(t, false), "stream": newRPCServer(t, true)}
	alice, bob := claimsOf("alice").bearer(), claimsOf("bob").bearer()
	expired := claimsOf("alice").with("iat", time.Now().Add(-2*time.Hour).Unix()).with("exp", time.Now().Add(-time.Hour).Unix()).bearer()
	const rule = "services/rpc/policy.csv:1"
	for _, tt := range []struct {
		name, method string
		header       []field
		want         outcome
		times        int
	}{
		{"allowed", "/shop.Orders/Read", []field{alice}, outcome{codes.OK, "", "allowed", rule, "", "alice"}, 1},
		{"a forged subject", "/shop.Orders/Read", []field{alice, {"x-durward-subject", "root"}}, outcome{codes.OK, "", "allowed", rule, "", "alice"}, 1},
		{"no rule", "/shop.Orders/Read", []field{bob}, outcome{codes.PermissionDenied, "access_denied; decision *", "no_matching_rule", "", "", ""}, 1},
		{"another method", "/shop.Orders/Write", []field{alice}, outcome{codes.PermissionDenied, "access_denied; decision *", "no_matching_rule", "", "", ""}, 1},
		{"no credentials", "/shop.Orders/Read", nil, outcome{codes.Unauthenticated, "credentials_required; decision *", "token_missing", "", "", ""}, 1},
		{"expired", "/shop.Orders/Read", []field{expired}, outcome{codes.Unauthenticated, "invalid_token; decision *", "token_expired", "", "", ""}, 1},
		{"two credentials", "/shop.Orders/Read", []field{alice, bob}, outcome{codes.InvalidArgument, "invalid_request; decision *", "duplicate_header", "", "", ""}, 1},
		{"an unknown method", "/shop.Orders/Burn", []field{alice}, outcome{codes.PermissionDenied, "access_denied; decision *", "no_route", "", "", ""}, 1},
		{"a limit", "/shop.Orders/Once", []field{{"x-door", "DOOR"}}, outcome{codes.ResourceExhausted, "quota_exceeded; decision *", "limit_exceeded", "", "once", ""}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !verdict.Reason(tt.want.Reason).Known() {
				t.Fatalf("%s is no reason", tt.want.Reason)
			}
			for name, ask := range map[string]func([]field) (outcome, error){
				"gateway": func(h []field) (outcome, error) { return askGateway(t.Context(), gateway, tt.method, h) },
				"unary":   func(h []field) (outcome, error) { return doors["unary"].ask(t.Context(), tt.method, h) },
				"stream":  func(h []field) (outcome, error) { return doors["stream"].ask(t.Context(), tt.method, h) },
			} {
				header := slices.Clone(tt.header)
				for i := range header {
					header[i].value = strings.ReplaceAll(header[i].value, "DOOR", name)
				}
				var got outcome
				var err error
				for range tt.times {
					if got, err = ask(header); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				if difference := cmp.Diff(tt.want, got); difference != "" {
					t.Errorf("%s:\n%s", name, difference)
				}
			}
		})
	}
}
