// Package assembly turns settings into a running server. It is the one place that names every stage, adapter and
// sink, in order.
//
// The command imports it. It decides nothing: what it holds is the stage table, wiring, and the life of a server
// from start to drain.
package assembly

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/pipeline"
)

// closeGrace bounds each part of the end of a server after it drained: what is in flight, then what waits to be written.
const closeGrace = 10 * time.Second

// Options are what a server needs besides its settings.
type Options struct {
	// Settings are checked settings.
	Settings settings.Settings
	// Logger is the server's own log; Records is where records go when the sink is stdout.
	Logger  *slog.Logger
	Records io.Writer
	// Clock is the time of decisions; Random the source of decision ids.
	Clock  func() time.Time
	Random io.Reader
	// Reopen, if not nil, asks for the record file to be opened anew, after it was moved away.
	Reopen <-chan struct{}
	// Hurry, if not nil, ends a drain early when it is closed.
	Hurry <-chan struct{}
}

// Server answers decision requests until its context ends.
type Server struct {
	options   Options
	engine    *pdp.Engine
	parts     *parts
	metrics   *metrics
	listeners []*listener
	admin     *admin
	public    *public // nil without one
	ready     atomic.Bool

	mu       sync.Mutex // orders readiness: once stopping, a late snapshot must not bring it back
	stopping bool
}

// New opens the listeners and starts nothing: a server with settings that cannot work fails here.
func New(options Options) (*Server, error) {
	s := &Server{options: options, metrics: newMetrics(options.Settings.Metrics, ReadVersion())}
	var err error
	if s.parts, err = newParts(options, s.metrics); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

// open makes the engine and opens the listeners.
func (s *Server) open() (err error) {
	options := &s.options
	if s.engine, err = pdp.New(pdp.Options{
		Pipeline: s.parts.pipeline, Descriptors: s.parts.descriptors, Reports: s.parts.reports,
		Recorder: s.parts.audit,
		Clock:    options.Clock,
		Random:   options.Random,
		Budget:   time.Duration(options.Settings.Budget),
		Release:  s.parts.stages.limits.ReleaseLater,
		Observe:  s.metrics.decision,
	}); err != nil {
		return err
	}
	for i := range options.Settings.Listeners {
		l, err := newListener(&options.Settings.Listeners[i], listenerOptions{engine: s.engine, permits: s.parts.stages.limits, rateLimit: options.Settings.RateLimit, panics: s.metrics.panics.Inc, budget: time.Duration(options.Settings.Budget), handshakes: s.metrics.handshakes.Inc, clock: options.Clock, logger: options.Logger})
		if err != nil {
			return fmt.Errorf("opening listener %s: %w", options.Settings.Listeners[i].Address, err)
		}
		s.listeners = append(s.listeners, l)
	}
	handlers, err := s.publicHandlers()
	if err != nil {
		return err
	}
	if s.public, err = newPublic(publicOptions{settings: &options.Settings.HTTP, handlers: handlers, clock: options.Clock, logger: options.Logger}); err != nil {
		return fmt.Errorf("opening public listener: %w", err)
	}
	if options.Settings.Admin.Address != "off" {
		if s.admin, err = newAdmin(adminOptions{
			settings: &options.Settings, registry: s.metrics.registry, snapshot: s.engine.Snapshot,
			state: s.parts.state.view, issuer: s.parts.issuer.view, issuers: s.parts.keys.States, ready: &s.ready, version: ReadVersion(), clock: options.Clock, logger: options.Logger,
			introspector: s.parts.introspector,
			limits:       &limitsAdmin{snapshot: s.engine.Snapshot, limiter: s.parts.limiter, usage: s.parts.usage, journal: s.journal()},
			blocks:       &blocksAdmin{list: s.parts.blocks, snapshot: s.engine.Snapshot, journal: s.journal()},
			keys:         &keysAdmin{snapshot: s.engine.Snapshot, keys: s.parts.apiKeys, journal: s.journal()},
		}); err != nil {
			return fmt.Errorf("opening admin listener: %w", err)
		}
	}
	return nil
}

// journal records what operators and issuers do.
func (s *Server) journal() journal {
	return journal{audit: s.parts.audit, clock: s.options.Clock, random: s.options.Random}
}

// abandon closes what New opened before it failed.
func (s *Server) abandon() {
	for _, l := range s.listeners {
		l.stop()
	}
	if s.public != nil {
		_ = s.public.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.parts.close(ctx)
}

// Addresses returns where the server listens: the decision listeners in the order of the settings, then admin, then the public one.
func (s *Server) Addresses() []string {
	var out []string
	for _, l := range s.listeners {
		out = append(out, l.address.Addr().String())
	}
	if s.admin != nil {
		out = append(out, s.admin.listener.Addr().String())
	}
	if s.public != nil {
		out = append(out, s.public.listener.Addr().String())
	}
	return out
}

// Run serves until ctx ends: it loads the bundles, begins to answer, says that it is ready, and on the end of ctx says that it is not,
// goes on answering for the drain time, finishes what is in flight and closes. It returns nil after such an end.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, len(s.listeners)+2)
	var serving sync.WaitGroup
	start := func(serve func() error) {
		serving.Add(1)
		go func() {
			defer serving.Done()
			if err := serve(); err != nil {
				failed <- err
			}
		}()
	}
	if s.admin != nil {
		start(s.admin.serve)
	}
	if s.public != nil {
		start(s.public.serve)
	}
	s.parts.prepare(ctx)
	stopLoading, err := s.load(ctx)
	if err != nil {
		failed <- err
		stopLoading = func() {}
	}
	// Only now: a gateway that has not noticed that a replica was restarted would get denials for want of a policy. Whoever
	// connects meanwhile waits, and a policy that cannot be loaded holds nobody up.
	for _, l := range s.listeners {
		start(l.serve)
	}
	select {
	case <-ctx.Done():
		s.drain()
	case err = <-failed:
	}
	s.setReady(false)
	stopLoading()
	err = errors.Join(err, s.closeListeners(ctx))
	serving.Wait()
	// A time of its own: a connection that would not end must not cost records and charges.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	return errors.Join(err, s.parts.close(closing))
}

// closeListeners finishes what is in flight.
func (s *Server) closeListeners(ctx context.Context) (err error) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	var stopping sync.WaitGroup
	for _, l := range s.listeners {
		stopping.Go(func() { l.close(closing) })
	}
	if s.admin != nil {
		err = s.admin.close(closing)
	}
	if s.public != nil {
		err = errors.Join(err, s.public.close(closing))
	}
	stopping.Wait()
	return err
}

// drain says that the server is going, and answers on for a while: gateways need time to see it.
func (s *Server) drain() {
	s.mu.Lock()
	s.stopping = true
	wasReady := s.ready.Load()
	s.setReady(false)
	s.mu.Unlock()
	if !wasReady {
		return // there is no gateway that still has to notice
	}
	s.options.Logger.Info("draining", "for", time.Duration(s.options.Settings.Drain).String())
	timer := time.NewTimer(time.Duration(s.options.Settings.Drain))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.options.Hurry:
	}
}

// publish puts a snapshot in force. The first good one makes the server ready.
func (s *Server) publish(snapshot *pipeline.Snapshot) {
	s.engine.Publish(snapshot)
	s.metrics.published(snapshot)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	if !s.ready.Load() {
		s.options.Logger.Info("ready: every bundle is loaded")
	}
	s.setReady(true)
}

func (s *Server) setReady(ready bool) {
	s.ready.Store(ready)
	for _, l := range s.listeners {
		l.setReady(ready)
	}
}
