package native

import (
	"context"

	"google.golang.org/grpc"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"github.com/durward-pdp/durward/pdp/unary"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// Name is the adapter's name in requests, records and metrics.
const Name = "native"

// ServiceName is the gRPC service that this package serves, as clients name it in health checks.
const ServiceName = "durward.v1.DecisionService"

// Decider answers requests. It must be safe for concurrent use.
type Decider interface {
	// Decide answers one request. It must return before ctx's deadline. A request whose Invalid is set must be denied with that reason and recorded.
	Decide(ctx context.Context, r *request.Request) verdict.Verdict
}

// Releaser takes the permits of answers back. It must be safe for concurrent use.
type Releaser interface {
	// Release gives the permits of one decision back. It must return before ctx's deadline. An error that does not wrap
	// verdict.ErrPermit says that they will expire.
	Release(ctx context.Context, permits []string) error
}

// Asserts says what a caller may tell about the clients behind it. A message that holds what its caller may not assert is
// refused, so that a missing permission shows at once. The zero value: nothing but the requests.
type Asserts struct {
	// ClientAddress lets the caller name the client's address, in its own field or in headers.
	ClientAddress bool
	// ClientCertificate lets the caller present the client's TLS certificate.
	ClientCertificate bool
	// Service lets the caller name the service instead of the host.
	Service bool
	// DryRun lets the caller ask without charging.
	DryRun bool
	// Explain lets the caller ask for the reasons, which hold values of the request.
	Explain bool
	// Report lets the caller report that a call which was allowed failed.
	Report bool
}

// Options configure a Server.
type Options struct {
	// Decider answers the requests.
	Decider Decider
	// Permits takes permits back. Without it no answer holds any, whatever the caller says.
	Permits Releaser
	// Address says how a client's address is found; the zero rule finds none.
	Address request.AddressRule
	// Certificate says in which header a client's certificate may come besides in the message; the zero rule reads none.
	Certificate clientcert.Rule
	// Caller names who called and says what it may assert; false when the listener does not know it. It must be safe for
	// concurrent use.
	Caller func(ctx context.Context) (name string, asserts Asserts, ok bool)
	// SelectExtension takes the service that the request names, whatever the host is.
	SelectExtension bool
	// OnPanic is told of every recovered panic, for a counter. It must not block.
	OnPanic func()
}

// Server is the DecisionService. It is safe for concurrent use.
type Server struct {
	durwardv1.UnimplementedDecisionServiceServer
	options  Options
	reported reports
}

// New returns a server. Without a Caller it knows no caller, without a Decider it denies: an incomplete server
// refuses everything.
func New(options Options) *Server {
	if options.OnPanic == nil {
		options.OnPanic = func() {}
	}
	if options.Caller == nil {
		options.Caller = func(context.Context) (string, Asserts, bool) { return "", Asserts{}, false }
	}
	if options.Decider == nil {
		options.Decider = unary.Refuser{}
	}
	return &Server{options: options}
}

// Register makes registrar serve s. A message with text that is not UTF-8 is answered by s as well, and so refused and
// recorded: gRPC would answer with an RPC error, an outage that clients of the caller can bring about.
func Register(registrar grpc.ServiceRegistrar, s *Server) {
	registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*durwardv1.DecisionServiceServer)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Check", Handler: unary.Handler(durwardv1.DecisionService_Check_FullMethodName, s.Check)},
			{MethodName: "Report", Handler: unary.Handler(durwardv1.DecisionService_Report_FullMethodName, s.Report)},
			releaseMethod(),
		},
		Metadata: durwardv1.DecisionService_ServiceDesc.Metadata,
	}, s)
}

// Check answers one call. The error is always nil and the response never is.
func (s *Server) Check(ctx context.Context, in *durwardv1.CheckRequest) (out *durwardv1.CheckResponse, _ error) {
	defer func() {
		if recover() != nil {
			// The value may hold request text: it is counted, and never logged or shown.
			s.options.OnPanic()
			out = denial(&verdict.Verdict{Reason: verdict.Internal, Degraded: true})
		}
	}()
	return s.answer(ctx, s.decode(ctx, in, func(*decoder) {})), nil
}

// decode reads the message, after first, which may refuse it. A panic is a request that is refused, and thereby recorded.
func (s *Server) decode(ctx context.Context, in *durwardv1.CheckRequest, first func(*decoder)) (r *request.Request) {
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
	d := decoder{permits: s.options.Permits != nil, request: &request.Request{Adapter: Name, Caller: name, SelectExtension: s.options.SelectExtension}, asserts: asserts, address: s.options.Address, certificate: s.options.Certificate}
	first(&d)
	d.read(in)
	return d.request
}

// answer decides and renders. A verdict that cannot be carried out to the letter is refused, which records a second
// decision: the first was an allow that never took effect.
func (s *Server) answer(ctx context.Context, r *request.Request) *durwardv1.CheckResponse {
	v := s.options.Decider.Decide(ctx, r)
	held := v.Permits
	if !r.Releases {
		v.Permits = nil // they expire
	}
	if out, err := respond(&v); err == nil {
		return out
	}
	if len(held) > 0 && s.options.Permits != nil {
		_ = s.options.Permits.Release(ctx, held) // else they expire
	}
	refused := *r
	refused.Invalid = string(verdict.HeaderUnsafe)
	v = s.options.Decider.Decide(ctx, &refused)
	if v.Allowed() {
		v = verdict.Verdict{Reason: verdict.HeaderUnsafe, DecisionID: v.DecisionID}
	}
	v.Obligations = verdict.Obligations{}
	return denial(&v)
}
