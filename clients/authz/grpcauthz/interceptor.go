package grpcauthz

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/durward-pdp/durward/clients/authz"
)

// Checker asks the question. *authz.Client is one. A nil error together with an allow lets an RPC pass, and nothing else
// does.
type Checker interface {
	// Check decides. It must be safe for concurrent use and must heed ctx.
	Check(ctx context.Context, r authz.Request) (authz.Decision, error)
}

// Option configures an interceptor.
type Option func(*options)

type options struct {
	skip    []string
	service string
	scheme  string
	observe func(method string, d authz.Decision, err error)

	failed   func(method string, code codes.Code) bool // nil: nothing is reported
	reported func(method string, err error)
}

// WithSkip lets methods pass without a question: "/package.Service/Method", or all of a service as "/package.Service/".
// "/grpc.health.v1.Health/" is a good choice where nothing but health is told there.
func WithSkip(methods ...string) Option {
	return func(o *options) { o.skip = append(o.skip, methods...) }
}

// WithService names the service instead of the RPC's authority. The Durward server must permit this program to do so.
func WithService(name string) Option { return func(o *options) { o.service = name } }

// WithScheme says how clients' connections are, for a program that stands behind a proxy which ends TLS: "https" or
// "http". Without it the program's own connection counts.
func WithScheme(scheme string) Option { return func(o *options) { o.scheme = scheme } }

// WithObserver is told of every decision, for logs and metrics.
func WithObserver(observe func(method string, d authz.Decision, err error)) Option {
	return func(o *options) { o.observe = observe }
}

func newOptions(opts []Option) *options {
	o := &options{observe: func(string, authz.Decision, error) {}}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// UnaryServer returns the interceptor of unary RPCs.
func UnaryServer(checker Checker, opts ...Option) grpc.UnaryServerInterceptor {
	o := newOptions(opts)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if o.skips(info.FullMethod) {
			return handler(ctx, req)
		}
		d, err := o.decide(ctx, checker, info.FullMethod)
		defer func() { _ = d.Release(ctx) }() // else it expires
		fields := responseMetadata(d.SetResponse)
		if headerErr := grpc.SetHeader(ctx, fields); err == nil && headerErr != nil {
			return nil, failure(&authz.Decision{Status: 503})
		}
		if err != nil || !d.Allowed {
			return nil, failure(&d)
		}
		answer, err := handler(admit(ctx, d), req)
		o.report(ctx, info.FullMethod, d, err)
		return answer, err
	}
}

// StreamServer returns the interceptor of streams.
func StreamServer(checker Checker, opts ...Option) grpc.StreamServerInterceptor {
	o := newOptions(opts)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if o.skips(info.FullMethod) {
			return handler(srv, stream)
		}
		d, err := o.decide(stream.Context(), checker, info.FullMethod)
		defer func() { _ = d.Release(stream.Context()) }() // else it expires
		fields := responseMetadata(d.SetResponse)
		if headerErr := stream.SetHeader(fields); err == nil && headerErr != nil {
			return failure(&authz.Decision{Status: 503})
		}
		if err != nil || !d.Allowed {
			return failure(&d)
		}
		err = handler(srv, &admittedStream{ServerStream: stream, ctx: admit(stream.Context(), d)})
		o.report(stream.Context(), info.FullMethod, d, err)
		return err
	}
}

func (o *options) skips(method string) bool {
	for _, s := range o.skip {
		if s == method || strings.HasSuffix(s, "/") && len(s) > 1 && strings.HasPrefix(method, s) {
			return true
		}
	}
	return false
}

func (o *options) decide(ctx context.Context, checker Checker, method string) (authz.Decision, error) {
	d, err := checker.Check(ctx, authz.Request{HTTP: o.question(ctx, method), Releases: true})
	if err != nil {
		d.Allowed = false
	}
	o.observe(method, d, err)
	return d, err
}

// admittedStream is a stream whose context holds the decision and the metadata that it left.
type admittedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context of an allowed RPC.
func (s *admittedStream) Context() context.Context { return s.ctx }

// admit carries the obligations of an allow out.
func admit(ctx context.Context, d authz.Decision) context.Context {
	sent, _ := metadata.FromIncomingContext(ctx)
	kept := make(metadata.MD, len(sent))
	for name, values := range sent {
		if !d.Replaces(name) {
			kept[name] = values
		}
	}
	for _, f := range d.SetUpstream {
		kept[f.Name] = []string{f.Value}
	}
	return metadata.NewIncomingContext(authz.NewContext(ctx, d), kept)
}

// responseMetadata leaves out what belongs to the transport.
func responseMetadata(fields []authz.Field) metadata.MD {
	out := metadata.MD{}
	for _, f := range fields {
		if !strings.HasPrefix(f.Name, "grpc-") && f.Name != "content-type" {
			out.Append(f.Name, f.Value)
		}
	}
	return out
}
