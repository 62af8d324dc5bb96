package assembly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/adapter/extauthz"
	"github.com/durward-pdp/durward/pdp/adapter/native"
	"github.com/durward-pdp/durward/pdp/adapter/ratelimit"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxMessage bounds a decision request: a body of 4 MiB that a gateway was told to forward, and its headers.
	maxMessage = 8 << 20
	// maxStreams bounds the decisions in flight on one connection.
	maxStreams = 4096
	// Connections are renewed so that replicas that came later get their share: a gateway keeps one per worker.
	connectionAge, connectionGrace = time.Minute, 10 * time.Second
	// Gateways may ping idle connections this often.
	minPing = 5 * time.Second
)

// listener answers decision requests on one address, over gRPC or over HTTP.
type listener struct {
	address net.Listener
	server  *grpc.Server
	health  *health.Server
	names   []string
	closing chan struct{} // closed when streams are to end

	http  *http.Server // in the place of server
	ready atomic.Bool  // for it; gRPC has health
}

// listenerOptions are what every listener of a server shares.
type listenerOptions struct {
	engine  *pdp.Engine
	permits native.Releaser
	panics  func()
	// budget is how long a decision may take.
	budget time.Duration
	// rateLimit says what the rate limit protocol adds to its answers.
	rateLimit settings.RateLimit
	// handshakes, if not nil, counts failed TLS handshakes.
	handshakes func()
	clock      func() time.Time
	logger     *slog.Logger
}

func newListener(configured *settings.Listener, o listenerOptions) (*listener, error) {
	if configured.Speaks(jsonProtocol) {
		return newHTTPListener(configured, o)
	}
	rule, err := request.ParseAddressRule(configured.ClientAddress)
	if err != nil {
		return nil, err
	}
	certificate, err := clientcert.ParseRule(configured.ClientCertificate)
	if err != nil {
		return nil, err
	}
	known, err := newCallers(configured.Callers)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
	}
	shared := adapterOptions{address: rule, certificate: certificate, callers: known, selectExtension: configured.Select == "extension"}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace,
			Time: 30 * time.Second, Timeout: 5 * time.Second,
		}),
		grpc.ConnectionTimeout(10 * time.Second),
	}
	if configured.TLS != nil {
		certificates, err := newCertificates(*configured.TLS, o.clock, o.logger)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
		}
		report := &handshakeLog{logger: o.logger, clock: o.clock, count: o.handshakes, address: configured.Address}
		options = append(options, grpc.Creds(&handshakes{TransportCredentials: credentials.NewTLS(certificates.server("h2")), report: report}))
	}
	l := &listener{health: health.NewServer(), names: []string{"", serviceName}, closing: make(chan struct{})}
	l.server = grpc.NewServer(append(options, grpc.StreamInterceptor(l.endStreams))...)
	for _, protocol := range configured.Protocols {
		l.register(protocol, shared, o)
	}
	healthpb.RegisterHealthServer(l.server, l.health)
	l.setReady(false)
	if l.address, err = listen(configured.Address); err != nil {
		return nil, err
	}
	return l, nil
}

// serviceName is the server's own name in health checks.
const serviceName = "durward"

// register adds the adapter of one protocol: the one place that names the adapters.
func (l *listener) register(protocol string, shared adapterOptions, o listenerOptions) {
	switch protocol {
	case extauthz.Name:
		extauthz.Register(l.server, extauthz.New(extauthz.Options{
			Decider: o.engine, Address: shared.address, Certificate: shared.certificate, SelectExtension: shared.selectExtension, OnPanic: o.panics,
			Caller: func(ctx context.Context) (string, extauthz.Asserts, bool) {
				c, ok := shared.callers.ofRPC(ctx)
				return c.name, extauthz.Asserts{ClientAddress: c.clientAddress, Certificate: c.certificate, Service: c.service}, ok
			},
		}))
		l.names = append(l.names, protocol, extauthz.ServiceName)
	case native.Name:
		native.Register(l.server, native.New(native.Options{
			Decider: o.engine, Permits: o.permits, Address: shared.address, Certificate: shared.certificate, SelectExtension: shared.selectExtension, OnPanic: o.panics,
			Caller: func(ctx context.Context) (string, native.Asserts, bool) {
				c, ok := shared.callers.ofRPC(ctx)
				return c.name, native.Asserts{ClientAddress: c.clientAddress, ClientCertificate: c.certificate, Service: c.service, DryRun: c.dryRun, Explain: c.explain, Report: c.report}, ok
			},
		}))
		l.names = append(l.names, protocol, native.ServiceName)
	case ratelimit.Name:
		ratelimit.Register(l.server, ratelimit.New(ratelimit.Options{
			Decider: o.engine, OnPanic: o.panics, Headers: headersOf(o.rateLimit), Metadata: o.rateLimit.DynamicMetadata,
			Caller: func(ctx context.Context) (string, bool) {
				c, ok := shared.callers.ofRPC(ctx)
				return c.name, ok
			},
		}))
		l.names = append(l.names, protocol, ratelimit.ServiceName)
	}
}

func headersOf(configured settings.RateLimit) ratelimit.Headers {
	if !configured.ResponseHeaders {
		return ratelimit.Headers{}
	}
	return ratelimit.Headers{Limit: configured.LimitHeader, Remaining: configured.RemainingHeader, Reset: configured.ResetHeader}
}

// adapterOptions are what the adapters of one listener share.
type adapterOptions struct {
	address         request.AddressRule
	certificate     clientcert.Rule
	callers         *callers
	selectExtension bool
}

// setReady tells health checks whether to send decisions here.
func (l *listener) setReady(ready bool) {
	l.ready.Store(ready)
	if l.http != nil {
		return
	}
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range l.names {
		l.health.SetServingStatus(name, status)
	}
}

func (l *listener) serve() error {
	if l.http != nil {
		return l.serveHTTP()
	}
	if err := l.server.Serve(l.address); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("listener %s: %w", l.address.Addr(), err)
	}
	return nil
}

// endStreams ends streams when the listener closes. Only health is watched in streams, and those who watch would hold
// the server up for as long as they like.
func (l *listener) endStreams(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		select {
		case <-l.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return handler(srv, &endable{ServerStream: stream, ctx: ctx})
}

// endable is a stream with a context of its own.
type endable struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns a context that ends when the listener closes.
func (e *endable) Context() context.Context { return e.ctx }

// close finishes the decisions in flight, until ctx is done.
func (l *listener) close(ctx context.Context) {
	close(l.closing)
	if l.http != nil {
		l.closeHTTP(ctx)
		return
	}
	done := make(chan struct{})
	go func() {
		l.server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		l.server.Stop()
		<-done
	}
}

// stop ends the listener at once.
func (l *listener) stop() {
	if l.http != nil {
		_ = l.http.Close()
	} else {
		l.server.Stop()
	}
	_ = l.address.Close()
}
