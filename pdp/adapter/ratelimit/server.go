package ratelimit

import (
	"context"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/unary"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Name is the adapter's name in requests, records and metrics, and that by which health checks ask for
// envoyproxy/ratelimit.
const Name = "ratelimit"

// ServiceName is the gRPC service that this package serves.
const ServiceName = "envoy.service.ratelimit.v3.RateLimitService"

// Decider answers requests.
type Decider interface {
	// Decide must be safe for concurrent use and must return before ctx's deadline. It must deny and record a request
	// whose Invalid is set, with that reason. Verdict.Descriptors stand for the request's, in their order.
	Decide(ctx context.Context, r *request.Request) verdict.Verdict
}

// Headers are the names of response headers; "" leaves one out.
type Headers struct {
	Limit, Remaining, Reset string
}

// Options configure a Server.
type Options struct {
	// Decider answers the requests.
	Decider Decider
	// Caller names who called; false when the listener does not know it. It must be safe for concurrent use and must
	// look at the connection only.
	Caller func(ctx context.Context) (name string, ok bool)
	// Headers are sent to clients; the zero value sends none.
	Headers Headers
	// Metadata sends dynamic metadata to the gateway.
	Metadata bool
	// OnPanic is told of every recovered panic, for a counter. It must not block.
	OnPanic func()
}

// Server is the rate limit service. It is safe for concurrent use.
type Server struct {
	rlsv3.UnimplementedRateLimitServiceServer
	options Options
}

// New returns a server. Without a Caller it knows no caller, without a Decider it refuses.
func New(options Options) *Server {
	if options.Decider == nil {
		options.Decider = unary.Refuser{}
	}
	if options.Caller == nil {
		options.Caller = func(context.Context) (string, bool) { return "", false }
	}
	if options.OnPanic == nil {
		options.OnPanic = func() {}
	}
	return &Server{options: options}
}

// Register makes registrar serve s. A message with text that is not UTF-8 is answered by s as well: gRPC would answer
// with an RPC error, an outage that clients can bring about where a gateway puts what they send into a descriptor.
func Register(registrar grpc.ServiceRegistrar, s *Server) {
	registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*rlsv3.RateLimitServiceServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "ShouldRateLimit", Handler: unary.Handler(rlsv3.RateLimitService_ShouldRateLimit_FullMethodName, s.ShouldRateLimit)}},
		Metadata:    rlsv3.RateLimitService_ServiceDesc.Metadata,
	}, s)
}

// ShouldRateLimit answers one call; nil is a message that could not be read, and is refused. Its errors are
// InvalidArgument for what the gateway's configuration cannot have meant, PermissionDenied for a caller that the listener
// does not know, and Unavailable for an outage; envoyproxy/ratelimit has Unknown for all of them.
func (s *Server) ShouldRateLimit(ctx context.Context, in *rlsv3.RateLimitRequest) (out *rlsv3.RateLimitResponse, err error) {
	defer func() {
		if recover() != nil {
			// The value may hold request text: it is counted, and never logged or shown.
			s.options.OnPanic()
			out, err = nil, status.Error(codes.Internal, string(verdict.Internal))
		}
	}()
	name, ok := s.options.Caller(ctx)
	if !ok {
		s.options.Decider.Decide(ctx, &request.Request{Adapter: Name, Invalid: string(verdict.CallerNotTrusted)})
		return nil, status.Error(codes.PermissionDenied, string(verdict.CallerNotTrusted))
	}
	r := &request.Request{Adapter: Name, Caller: name}
	if in == nil {
		r.Invalid = string(verdict.MalformedRequest)
		s.options.Decider.Decide(ctx, r)
		return &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT}, nil
	}
	if mistake := read(r, in); mistake != "" {
		r.Invalid = string(verdict.MalformedRequest)
		s.options.Decider.Decide(ctx, r)
		return nil, status.Error(codes.InvalidArgument, mistake)
	}
	v := s.options.Decider.Decide(ctx, r)
	return s.respond(in, &v)
}
