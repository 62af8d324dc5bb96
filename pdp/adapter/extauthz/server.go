package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"github.com/durward-pdp/durward/pdp/unary"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Name is the adapter's name in requests, records and metrics.
const Name = "ext_authz"

// ServiceName is the gRPC service that this package serves, as gateways name it in health checks.
const ServiceName = "envoy.service.auth.v3.Authorization"

// Decider answers requests.
type Decider interface {
	// Decide must be safe for concurrent use and must return before ctx's deadline. It must deny and record a request
	// whose Invalid is set, with that reason.
	Decide(ctx context.Context, r *request.Request) verdict.Verdict
}

// Asserts says what a caller may tell about the clients behind it. The zero value: nothing but their requests.
type Asserts struct {
	// ClientAddress lets the caller name the client's address. Without it the address is unknown, because every
	// gateway sends one.
	ClientAddress bool
	// Certificate lets the caller present the client's TLS certificate; without it such a message is refused.
	Certificate bool
	// Service lets the caller set context extensions: durward.service, which chooses the service, and those that
	// policies read. Without it such a message is refused.
	Service bool
}

// Options configure a Server.
type Options struct {
	// Decider answers the requests.
	Decider Decider
	// Address says how a client's address is found; the zero rule finds none.
	Address request.AddressRule
	// Certificate says in which header a client's certificate may come besides in the message; the zero rule reads none.
	Certificate clientcert.Rule
	// Caller names who called and says what it may assert; false when the listener does not know it. It must be
	// safe for concurrent use and must look at the connection only, never at metadata that anybody can send.
	Caller func(ctx context.Context) (name string, asserts Asserts, ok bool)
	// SelectExtension takes the service that the context extension names, whatever the host is.
	SelectExtension bool
	// OnPanic is told of every recovered panic, for a counter. It must not block.
	OnPanic func()
}

// Server is the Authorization service. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer
	options Options
}

// New returns a server. Without a Caller it knows no caller, without a Decider it denies: an incomplete server
// refuses everything.
func New(options Options) *Server {
	if options.Decider == nil {
		options.Decider = unary.Refuser{}
	}
	if options.Caller == nil {
		options.Caller = func(context.Context) (string, Asserts, bool) { return "", Asserts{}, false }
	}
	if options.OnPanic == nil {
		options.OnPanic = func() {}
	}
	return &Server{options: options}
}

// Register makes registrar serve s. A message with text that is not UTF-8 is answered by s as well, and so refused and
// recorded: gRPC would answer with an RPC error, an outage that clients can bring about. Envoy hands on the server name
// of a TLS handshake as it came.
func Register(registrar grpc.ServiceRegistrar, s *Server) {
	registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*authv3.AuthorizationServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: unary.Handler(authv3.Authorization_Check_FullMethodName, s.Check)}},
		Metadata:    authv3.Authorization_ServiceDesc.Metadata,
	}, s)
}

// Check answers one call. The error is always nil and the response never is: an RPC error would be an outage to
// the gateway, not a denial.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (out *authv3.CheckResponse, _ error) {
	r := s.decode(ctx, in)
	defer func() {
		if recover() != nil {
			// The value may hold request text: it is counted, and never logged or shown.
			s.options.OnPanic()
			out, _ = respond(&verdict.Verdict{Reason: verdict.Internal, Degraded: true}, r)
		}
	}()
	return s.answer(ctx, r), nil
}

// decode reads the message. A panic is a request that is refused, and thereby recorded.
func (s *Server) decode(ctx context.Context, in *authv3.CheckRequest) (r *request.Request) {
	defer func() {
		if recover() != nil {
			s.options.OnPanic()
			r = &request.Request{Adapter: Name, Invalid: string(verdict.Internal)}
		}
	}()
	name, asserts, ok := s.options.Caller(ctx)
	if !ok {
		// Nothing that an unknown caller says is believed, not even for the record.
		return &request.Request{Adapter: Name, Invalid: string(verdict.CallerNotTrusted)}
	}
	d := decoder{request: &request.Request{Adapter: Name, Caller: name, SelectExtension: s.options.SelectExtension}, asserts: asserts, address: s.options.Address, certificate: s.options.Certificate}
	d.read(in.GetAttributes())
	return d.request
}

// answer decides and renders. A verdict that cannot be carried out to the letter is refused, which records a
// second decision: the first was an allow that never took effect.
func (s *Server) answer(ctx context.Context, r *request.Request) *authv3.CheckResponse {
	v := s.options.Decider.Decide(ctx, r)
	out, err := respond(&v, r)
	if err == nil {
		return out
	}
	refused := *r
	refused.Invalid = string(verdict.HeaderUnsafe)
	v = s.options.Decider.Decide(ctx, &refused)
	if v.Allowed() {
		v = verdict.Verdict{Reason: verdict.HeaderUnsafe, DecisionID: v.DecisionID}
	}
	v.Obligations.SetResponse = nil
	out, _ = respond(&v, r)
	return out
}
