package assembly

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"crypto/tls"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin answers health, metrics and configuration over HTTP.
type admin struct {
	server   *http.Server
	listener net.Listener
}

// adminOptions are what admin shows.
type adminOptions struct {
	settings *settings.Settings
	registry *prometheus.Registry
	snapshot func() *pipeline.Snapshot
	state    func() stateView
	issuer   func() *issuerView // nil, or returns nil: no upstream tokens
	ready    *atomic.Bool
	version  Version
	clock    func() time.Time
	logger   *slog.Logger
	limits   *limitsAdmin
	issuers  func() []keys.State // nil where no keys are fetched

	introspector *introspection.Client
	blocks       *blocksAdmin // nil for none
	keys         *keysAdmin
}

func newAdmin(o adminOptions) (*admin, error) {
	known, err := newCallers(o.settings.Admin.Callers)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if o.ready.Load() {
			answer(w, http.StatusOK, "ready")
			return
		}
		answer(w, http.StatusServiceUnavailable, "not ready")
	})
	mux.Handle("GET /metrics", known.only(promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{})))
	mux.Handle("GET /configz", known.only(configz(o)))
	o.limits.register(mux, known, o.settings.Admin.Address)
	if o.blocks != nil {
		o.blocks.register(mux, known, o.settings.Admin.Address)
	}
	o.keys.register(mux, known, o.settings.Admin.Address)
	if settings.Local(o.settings.Admin.Address) {
		// Profiles show what is in memory: they are for whoever is on the machine.
		for path, handler := range map[string]http.HandlerFunc{
			"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
			"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
		} {
			mux.Handle("GET "+path, known.only(handler))
		}
	}
	listener, err := listen(o.settings.Admin.Address)
	if err != nil {
		return nil, err
	}
	if t := o.settings.Admin.TLS; t != nil {
		certificates, err := newCertificates(*t, o.clock, o.logger)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", settings.ErrInvalid, err), listener.Close())
		}
		listener = tls.NewListener(listener, certificates.server("h2", "http/1.1"))
	}
	return &admin{listener: listener, server: &http.Server{
		Handler:           mux,
		ConnContext:       withOrigin,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(o.logger.Handler(), slog.LevelWarn),
	}}, nil
}

func (a *admin) serve() error {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

func (a *admin) close(ctx context.Context) error {
	return a.server.Shutdown(ctx)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// bundleView is what configz shows of a bundle.
type bundleView struct {
	Name     string    `json:"name"`
	Revision string    `json:"revision"`
	Sequence uint64    `json:"sequence"`
	Loaded   time.Time `json:"loaded"`
	// Compiled and Reused count services; Took is in seconds.
	Compiled int     `json:"compiled"`
	Reused   int     `json:"reused"`
	Took     float64 `json:"took_seconds"`
	// Report is what is worth knowing of how the policies run.
	Report []string `json:"report"`
}

// reportShown bounds the report of one bundle: a thousand services can say a lot.
const reportShown = 200

func viewOf(s *pipeline.Snapshot, b *pipeline.BundleInfo) bundleView {
	return bundleView{
		Name: b.Name, Revision: b.Revision, Sequence: b.Sequence, Loaded: b.Loaded,
		Compiled: b.Load.Compiled, Reused: b.Load.Reused, Took: b.Load.Took.Seconds(),
		Report: firstLines(bundle.Report(s, b.Name), reportShown),
	}
}

// firstLines returns at most so many lines; one more says how many are left out.
func firstLines(lines []string, most int) []string {
	if len(lines) <= most {
		return append([]string{}, lines...)
	}
	return append(lines[:most:most], fmt.Sprintf("and %d more", len(lines)-most))
}

// configz shows the settings in force, secrets masked, and the revisions of the bundles.
func configz(o adminOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		view := struct {
			Version  Version            `json:"version"`
			Ready    bool               `json:"ready"`
			Settings *settings.Settings `json:"settings"`
			Bundles  []bundleView       `json:"bundles"`
			State    stateView          `json:"state"`
			Tokens   *issuerView        `json:"tokens,omitempty"`
			Issuers  []keySourceView    `json:"issuers"`

			Introspection introspectionView `json:"introspection"`
		}{o.version, o.ready.Load(), o.settings, []bundleView{}, o.state(), nil, []keySourceView{}, viewIntrospection(o.introspector, o.snapshot())}
		if o.issuer != nil {
			view.Tokens = o.issuer()
		}
		if o.issuers != nil {
			view.Issuers = viewsOfIssuers(o.issuers(), o.clock())
		}
		if s := o.snapshot(); s != nil {
			for i := range s.Bundles {
				view.Bundles = append(view.Bundles, viewOf(s, &s.Bundles[i]))
			}
		}
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(view)
	})
}

// only lets known callers pass.
func (c *callers) only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := c.ofHTTP(r); !ok {
			answer(w, http.StatusForbidden, "unknown caller")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// listen opens host:port or unix:PATH. A socket file that nobody listens on any more is replaced; a live one is not.
func listen(address string) (net.Listener, error) {
	ctx, config := context.Background(), net.ListenConfig{}
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listening: %w", err)
		}
		return l, nil
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("listening: %s is there already and is no socket", path)
		}
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
			return nil, errors.Join(fmt.Errorf("listening: %s is in use", path), conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listening: replacing a stale socket: %w", err)
		}
	}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	// Whoever may write to the socket may ask: its owner and group.
	if err := os.Chmod(path, 0o660); err != nil { //nolint:gosec // the group is how a gateway under another account gets in
		return nil, errors.Join(fmt.Errorf("listening: %w", err), l.Close())
	}
	return l, nil
}
