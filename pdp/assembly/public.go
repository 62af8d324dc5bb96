package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

const (
	// maxPublicBody bounds what may be sent to the public listener.
	maxPublicBody = 64 << 10
	// maxPublicConnections bounds who is connected to it at a time: the world must not take the files from the listeners that decide.
	maxPublicConnections = 1024
)

// public is the listener for documents that the world may read, and for what issuers send. It answers before the server is ready:
// nothing on it decides about a request.
type public struct {
	listener net.Listener
	server   *http.Server
}

type publicOptions struct {
	settings *settings.HTTP
	// handlers are by pattern of [http.ServeMux]; whatever none of them takes is not found.
	handlers map[string]http.Handler
	clock    func() time.Time
	logger   *slog.Logger
}

// newPublic opens the listener; nil where the settings name no address.
func newPublic(o publicOptions) (*public, error) {
	if o.settings.Address == "" {
		return nil, nil
	}
	mux := http.NewServeMux()
	for pattern, handler := range o.handlers {
		mux.Handle(pattern, http.MaxBytesHandler(handler, maxPublicBody))
	}
	listener, err := listen(o.settings.Address)
	if err != nil {
		return nil, err
	}
	listener = netutil.LimitListener(listener, maxPublicConnections)
	if o.settings.TLS != nil {
		certificates, err := newCertificates(*o.settings.TLS, o.clock, o.logger)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", settings.ErrInvalid, err), listener.Close())
		}
		listener = tls.NewListener(listener, certificates.server("h2", "http/1.1"))
	}
	return &public{listener: listener, server: &http.Server{
		Handler:           mux,
		ConnContext:       withOrigin,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(&strangersLog{Handler: o.logger.Handler(), clock: o.clock}, slog.LevelWarn),
	}}, nil
}

// strangersLog takes what the server says of connections: anybody can make it say so, and at most one such line in ten seconds is kept.
type strangersLog struct {
	slog.Handler
	clock func() time.Time

	mu     sync.Mutex
	told   time.Time
	untold int
}

// Handle takes a line.
func (l *strangersLog) Handle(ctx context.Context, r slog.Record) error {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(r.Message, "http: TLS handshake error") {
		if now.Sub(l.told) < handshakeEvery {
			l.untold++
			return nil
		}
		l.told = now
	}
	r.AddAttrs(slog.String("listener", "public"), slog.Int("others_since_the_last_line", l.untold))
	l.untold = 0
	return l.Handler.Handle(ctx, r)
}

func (p *public) serve() error {
	if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("public listener: %w", err)
	}
	return nil
}

func (p *public) close(ctx context.Context) error { return p.server.Shutdown(ctx) }
