package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/durward-pdp/durward/pdp/adapter/ratelimit"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// jsonProtocol names the HTTP form of the adapter ratelimit in settings. In records and metrics both are one adapter.
const jsonProtocol = ratelimit.Name + "_json"

// callerKey is where a request's context holds who made it.
type callerKey struct{}

// newHTTPListener opens a listener for the protocol that is HTTP.
func newHTTPListener(configured *settings.Listener, o listenerOptions) (*listener, error) {
	known, err := newCallers(configured.Callers)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
	}
	l := &listener{closing: make(chan struct{})}
	limits := ratelimit.New(ratelimit.Options{
		Decider: o.engine, OnPanic: o.panics, Headers: headersOf(o.rateLimit), Metadata: o.rateLimit.DynamicMetadata,
		Caller: func(ctx context.Context) (string, bool) {
			name, ok := ctx.Value(callerKey{}).(string)
			return name, ok
		},
	})
	mux := http.NewServeMux()
	mux.Handle("POST /json", known.name(limits.JSON()))
	mux.HandleFunc("GET /healthcheck", l.healthcheck)
	l.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      closeGrace + o.budget,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(o.logger.Handler(), slog.LevelWarn),
	}
	var certificates *certificates
	if configured.TLS != nil {
		if certificates, err = newCertificates(*configured.TLS, o.clock, o.logger); err != nil {
			return nil, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
		}
	}
	if l.address, err = listen(configured.Address); err != nil {
		return nil, err
	}
	if certificates != nil {
		l.address = tls.NewListener(l.address, certificates.server("h2", "http/1.1"))
	}
	return l, nil
}

// healthcheck answers as envoyproxy/ratelimit does.
func (l *listener) healthcheck(w http.ResponseWriter, _ *http.Request) {
	if l.ready.Load() {
		answer(w, http.StatusOK, "OK")
		return
	}
	answer(w, http.StatusInternalServerError, "not ready")
}

// name puts the caller's name into the request's context, where the listener knows one.
func (c *callers) name(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if found, ok := c.ofHTTP(r); ok {
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, found.name))
		}
		next.ServeHTTP(w, r)
	})
}

// ofHTTP returns who made the request; false for nobody that the listener knows.
func (c *callers) ofHTTP(r *http.Request) (caller, bool) {
	authorization := ""
	if values := r.Header.Values("Authorization"); len(values) == 1 {
		authorization = values[0]
	}
	return c.find(verified(r), authorization)
}

// serveHTTP answers until the listener is closed.
func (l *listener) serveHTTP() error {
	if err := l.http.Serve(l.address); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listener %s: %w", l.address.Addr(), err)
	}
	return nil
}

// closeHTTP finishes the decisions in flight, until ctx is done.
func (l *listener) closeHTTP(ctx context.Context) {
	if l.http.Shutdown(ctx) != nil {
		_ = l.http.Close()
	}
}
