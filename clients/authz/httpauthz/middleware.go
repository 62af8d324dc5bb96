package httpauthz

import (
	"context"
	"net/http"

	"github.com/durward-pdp/durward/clients/authz"
)

// Checker asks the question. *authz.Client is one. A nil error together with an allow lets a request pass, and nothing
// else does.
type Checker interface {
	// Check decides. It must be safe for concurrent use and must heed ctx.
	Check(ctx context.Context, r authz.Request) (authz.Decision, error)
}

// Option configures the middleware.
type Option func(*options)

type options struct {
	body    int64
	service string
	scheme  func(*http.Request) string
	observe func(*http.Request, authz.Decision, error)

	failed   func(*http.Request, int) bool // nil: nothing is reported
	reported func(*http.Request, error)
}

// WithBody forwards up to limit bytes of every body, for policies that look into bodies. They are read before the handler
// runs, so the server's read timeout must bound them. Without it only a body's size is told.
func WithBody(limit int) Option { return func(o *options) { o.body = int64(max(limit, 0)) } }

// WithService names the service instead of the request's host. The server must permit this program to do so.
func WithService(name string) Option { return func(o *options) { o.service = name } }

// WithScheme says how the client's connection was, for a program that stands behind a proxy which ends TLS: "https" or
// "http". Without it the program's own connection counts.
func WithScheme(scheme func(*http.Request) string) Option {
	return func(o *options) { o.scheme = scheme }
}

// WithObserver is told of every decision, for logs and metrics. The request is the client's.
func WithObserver(observe func(r *http.Request, d authz.Decision, err error)) Option {
	return func(o *options) { o.observe = observe }
}

// New returns the middleware.
func New(checker Checker, opts ...Option) func(http.Handler) http.Handler {
	o := options{
		observe: func(*http.Request, authz.Decision, error) {},
		scheme: func(r *http.Request) string {
			if r.TLS != nil {
				return "https"
			}
			return "http"
		},
	}
	for _, opt := range opts {
		opt(&o)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d, err := o.decide(checker, r)
			o.observe(r, d, err)
			if err != nil || !d.Allowed {
				deny(w, r, &d)
				return
			}
			defer func() { _ = d.Release(r.Context()) }() // else it expires
			next.ServeHTTP(o.reporting(w, r, d), admit(w, r, d))
		})
	}
}

func (o *options) decide(checker Checker, r *http.Request) (authz.Decision, error) {
	question, err := o.question(r)
	if err != nil {
		return authz.Decision{Status: http.StatusBadRequest, Reason: "malformed_request", PublicReason: "invalid_request"}, err
	}
	d, err := checker.Check(r.Context(), authz.Request{HTTP: question, Releases: true})
	if err != nil {
		d.Allowed = false
	}
	return d, err
}

// admit carries the obligations of an allow out and returns the request for the handler.
func admit(w http.ResponseWriter, r *http.Request, d authz.Decision) *http.Request {
	admitted := r.WithContext(authz.NewContext(r.Context(), d))
	admitted.Header = make(http.Header, len(r.Header))
	for name, values := range r.Header {
		if !d.Replaces(name) {
			admitted.Header[name] = append([]string(nil), values...)
		}
	}
	for _, f := range d.SetUpstream {
		admitted.Header.Set(f.Name, f.Value)
	}
	setResponse(w.Header(), d.SetResponse)
	return admitted
}

// setResponse replaces what stands there, but keeps several values of one name, and cookies, as lines of their own.
func setResponse(h http.Header, fields []authz.Field) {
	for i, f := range fields {
		first := true
		for j := range fields[:i] {
			first = first && fields[j].Name != f.Name
		}
		if first && f.Name != "set-cookie" {
			h.Set(f.Name, f.Value)
		} else {
			h.Add(f.Name, f.Value)
		}
	}
}
