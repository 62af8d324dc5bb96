package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/pdp/stage/upstream"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
	"github.com/durward-pdp/durward/ratelimiter/usage"
)

// parts are what an engine is made of.
type parts struct {
	stages      stages
	pipeline    *pipeline.Pipeline
	descriptors *pipeline.Pipeline
	reports     *pipeline.Pipeline
	audit       *audit.Log

	limiter *ratelimiter.Limiter
	usage   *usage.Tracker
	shared  *redis.Store
	state   *shared
	issuer  *issuer // nil without upstream tokens
	leave   func()  // ends the beats of this replica
	blocks  *blocks.List
	file    *audit.File
	egress  *egress.Client
	keys    *keys.Store
	apiKeys *apiKeys
	closed  chan struct{}

	introspector *introspection.Client
}

func newParts(o Options, m *metrics) (*parts, error) {
	p := &parts{closed: make(chan struct{}), leave: func() {}}
	if err := p.openLimiter(o, m); err != nil {
		return nil, err
	}
	if err := p.openShared(o, m); err != nil {
		return nil, err
	}
	limitsStage, err := limits.New(limits.Options{Limiter: p.limiter, Dropped: m.unsettled.Inc})
	if err != nil {
		return nil, err
	}
	if p.egress, err = newEgress(o.Settings.Egress); err != nil {
		return nil, err
	}
	if p.apiKeys, err = newAPIKeys(&o, p.state, m); err != nil {
		return nil, err
	}
	nonces, err := newNonces(&o.Settings.Identity)
	if err != nil {
		return nil, err
	}
	p.introspector = newIntrospector(p.egress, newSecrets(o.Settings.Secrets, o.Clock, o.Logger), o.Random, m)
	p.openKeys(o, m)
	p.stages = stagesWith(limitsStage, identity.Options{
		Fetcher: p.egress, TokenCache: int64(o.Settings.Identity.TokenCacheMiB) << 20, Introspector: p.introspector, Blocks: p.blocks, Nonces: nonces, Marks: p.state,
		MarkTimeout: time.Duration(o.Settings.Budget) / 2, // what is left may still be for a service that lets proofs pass then
		Keys:        p.keys, KeyOffered: m.keysOffered.Inc, APIKeys: p.apiKeys.forStage(),
	})
	m.watchTokens(p.stages.identity.CacheStats)
	if p.issuer != nil {
		p.stages.upstream = upstream.New(upstream.Options{Minter: p.issuer})
	}
	if p.stages.descriptors, err = descriptors.New(descriptors.Options{Limiter: p.limiter}); err != nil {
		return nil, err
	}
	if p.pipeline, err = newPipeline(&p.stages, o.Clock, m.step); err != nil {
		return nil, err
	}
	if p.descriptors, err = newDescriptorPipeline(&p.stages, o.Clock, m.step); err != nil {
		return nil, err
	}
	if p.reports, err = newReportPipeline(&p.stages, o.Clock, m.step); err != nil {
		return nil, err
	}
	if err := p.openAudit(o, m); err != nil {
		return nil, err
	}
	return p, nil
}

// openShared connects what replicas share beside counters, and what is kept there.
func (p *parts) openShared(o Options, m *metrics) (err error) {
	if p.state, err = openState(o, m); err != nil {
		return err
	}
	if p.blocks, err = blocks.New(blocks.Options{Clock: o.Clock, Open: func(changed func([]state.Record, bool)) (*state.Table, error) {
		return p.state.table(blocks.Table, changed)
	}}); err != nil {
		return err
	}
	m.watchBlocks(p.blocks)
	p.issuer, err = openIssuer(o, p.state, m)
	return err
}

// openLimiter connects the counters: Redis where there is one, else memory.
func (p *parts) openLimiter(o Options, m *metrics) error {
	local, err := memory.New(memory.Options{Now: o.Clock})
	if err != nil {
		return err
	}
	if p.usage, err = usage.New(usage.Options{Now: o.Clock}); err != nil {
		return err
	}
	options := ratelimiter.Options{Local: local, Now: o.Clock, Replicas: o.Settings.Redis.Replicas, Observe: p.usage.Observe}
	if !o.Settings.Redis.Shared() {
		o.Logger.Warn("no Redis: limits are kept in memory, each replica counts for itself (redis.url, redis.addresses or --redis share them)")
	} else {
		if p.shared, err = openRedis(o, m); err != nil {
			return err
		}
		options.Shared = p.shared
		options.OnUnsettled = func(units int64) { m.settleLost.Add(float64(units)) }
		m.watchRedis(p.shared.Queued)
	}
	if p.limiter, err = ratelimiter.New(options); err != nil {
		return err
	}
	m.replicas.Set(float64(p.limiter.Replicas()))
	if p.shared != nil {
		p.leave, err = join(p.shared, p.limiter, o.Logger, m)
	}
	return err
}

// join lets other replicas know of this one until leave is called, and the limiter know of them.
func join(shared *redis.Store, limiter *ratelimiter.Limiter, logger *slog.Logger, m *metrics) (leave func(), err error) {
	trouble := &replicaLog{logger: logger}
	replica, err := shared.Replica(redis.ReplicaOptions{OnBeat: func(live int, err error) {
		trouble.beat(live, err)
		if err == nil {
			limiter.SetReplicas(live)
			m.replicas.Set(float64(limiter.Replicas()))
		}
	}})
	if err != nil {
		return func() {}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() { replica.Run(ctx) })
	return func() {
		cancel()
		beating.Wait()
	}, nil
}

func openRedis(o Options, m *metrics) (*redis.Store, error) {
	configured := &o.Settings.Redis
	target, err := redisTarget(configured)
	if err != nil {
		return nil, err
	}
	outages := newRedisLog(o.Logger, m.redisOpen.Set)
	options := redis.Options{
		Mode: target.Mode, URL: target.URL, Addresses: target.Addresses, Master: target.Master, TLS: target.TLS,
		Username: target.Username, Password: target.Password, SentinelUsername: target.SentinelUsername, SentinelPassword: target.SentinelPassword,
		Timeout:  time.Duration(configured.Timeout),
		Now:      o.Clock,
		OnHealth: outages.health,
		OnCall:   m.redis,
		OnBusy:   m.redisBusy.Inc,
	}
	store, err := redis.New(options)
	if err != nil {
		return nil, fmt.Errorf("%w: redis: %w", settings.ErrInvalid, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := store.Prepare(ctx); err != nil {
		// Limits say themselves what they do without Redis; a replica that starts in that state must still serve.
		o.Logger.Error("Redis does not answer at the start", "address", store.Address(), "error", err.Error())
	} else {
		o.Logger.Info("Redis answers", "address", store.Address())
	}
	return store, nil
}

// redisTLS returns nil where the settings add nothing to the scheme of a URL.
func redisTLS(configured *settings.Redis) (*tls.Config, error) {
	if !configured.TLS && configured.CA == "" && configured.Certificate == "" && configured.ServerName == "" {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: configured.ServerName}
	if configured.CA != "" {
		pool, err := readPool(configured.CA)
		if err != nil {
			return nil, fmt.Errorf("%w: redis.ca: %w", settings.ErrInvalid, err)
		}
		conf.RootCAs = pool
	}
	if configured.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(configured.Certificate, configured.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: redis.certificate: %w", settings.ErrInvalid, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// openAudit starts the records' queue and its sink.
func (p *parts) openAudit(o Options, m *metrics) error {
	onFull, err := audit.ParseOnFull(o.Settings.Audit.OnFull)
	if err != nil {
		return err
	}
	sink := o.Records
	if o.Settings.Audit.Sink == "file" {
		if p.file, err = audit.OpenFile(o.Settings.Audit.Path); err != nil {
			return err
		}
		sink = p.file
		go p.reopen(o.Reopen, o.Logger)
	}
	outages := &recordLog{logger: o.Logger, clock: o.Clock}
	p.audit, err = audit.NewLog(audit.Options{Sink: sink, Queue: o.Settings.Audit.Queue, OnFull: onFull, Observe: audit.Observer{
		Written: func(n int) {
			m.written.Add(float64(n))
			outages.written()
		},
		Dropped: func(n int, why audit.Drop) { m.dropped.WithLabelValues(string(why)).Add(float64(n)) },
		Failed:  outages.failed,
	}})
	if err == nil {
		m.watchRecords(p.audit.Queued)
	}
	return err
}

// reopen opens the record file anew whenever it is asked to.
func (p *parts) reopen(wishes <-chan struct{}, logger *slog.Logger) {
	for {
		select {
		case <-p.closed:
			return
		case <-wishes:
			if err := p.file.Reopen(); err != nil {
				logger.Error("record file not reopened", "error", err.Error())
			}
		}
	}
}

// prepare has what replicas share read once, and signing keys made, before the first decision. What fails is tried again.
func (p *parts) prepare(ctx context.Context) {
	p.state.await(ctx)
	if p.issuer != nil {
		_ = p.issuer.Refresh(ctx) // told by the rounds that follow
	}
}

// handlers are what the public listener answers, by pattern.
func (p *parts) handlers() map[string]http.Handler {
	out := map[string]http.Handler{}
	if p.issuer != nil {
		maps.Copy(out, p.issuer.handlers())
	}
	return out
}

// close charges and writes what waits, within ctx.
func (p *parts) close(ctx context.Context) error {
	close(p.closed)
	p.leave()
	if p.keys != nil {
		p.keys.Close()
	}
	if p.apiKeys != nil {
		p.apiKeys.leave()
	}
	if p.egress != nil {
		p.egress.Close()
	}
	if p.issuer != nil {
		p.issuer.close()
	}
	err := p.limiter.Close(ctx)
	if p.state != nil {
		err = errors.Join(err, p.state.close())
	}
	if p.shared != nil {
		err = errors.Join(err, p.shared.Close())
	}
	var unwritten error
	if p.audit != nil {
		unwritten = p.audit.Close(ctx)
	}
	if p.file != nil && unwritten == nil {
		// A write that hangs has the file in hand, and closing would wait for it: then the process' end closes it.
		err = errors.Join(err, p.file.Close())
	}
	return errors.Join(err, unwritten)
}

// load starts to load and watch the bundles, and returns a function that ends it.
func (s *Server) load(ctx context.Context) (stop func(), err error) {
	configured := &s.options.Settings
	directories := make([]bundle.Directory, len(configured.Bundles))
	for i, b := range configured.Bundles {
		directories[i] = bundle.Directory{Path: b.Dir, Observe: b.Observe}
	}
	manager, err := bundle.NewManager(bundle.ManagerOptions{
		Options:     bundleOptions(&s.parts.stages, configured, s.options.Clock),
		Directories: directories,
		Publish:     s.publish,
		Report:      s.report,
		Poll:        time.Duration(configured.Poll),
		Jitter:      rand.Float64,
	})
	if err != nil {
		return nil, err
	}
	// What does not load is reported; the server stays up, not ready, and looks again.
	_ = manager.Load(ctx)
	watching, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		manager.Watch(watching)
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

func bundleOptions(s *stages, configured *settings.Settings, clock func() time.Time) bundle.Options {
	o := bundle.Options{Compilers: s.compilers(), Domains: s.descriptors, Clock: clock, ClientAddress: true}
	for i := range configured.Listeners {
		if !configured.Listeners[i].BringsClients() {
			continue
		}
		rule, err := request.ParseAddressRule(configured.Listeners[i].ClientAddress)
		// One listener without a rule is enough: a bundle serves all of them.
		o.ClientAddress = o.ClientAddress && err == nil && rule.Chosen()
	}
	return o
}

// report tells the log and the metrics how a bundle stands.
func (s *Server) report(status bundle.Status) {
	name := status.Active.Name
	if name == "" {
		name = "unknown"
	}
	s.metrics.refused.WithLabelValues(status.Path).Set(map[bool]float64{true: 1}[status.Err != nil])
	if status.Err != nil {
		s.metrics.bundleLoads.WithLabelValues(name, "refused").Inc()
		fields := []any{"directory", status.Path, "bundle", name, "revision", status.Active.Revision, "error", status.Err.Error()}
		if status.Active.Name == "" {
			s.options.Logger.Error("bundle refused, every request is denied until all bundles are loaded", fields...)
		} else {
			s.options.Logger.Error("bundle refused, the last good one stays in force", fields...)
		}
		return
	}
	if status.Active.Name == "" {
		s.options.Logger.Info("bundle accepted, not in force before the others are", "directory", status.Path)
		return
	}
	s.metrics.bundleLoads.WithLabelValues(name, "loaded").Inc()
	load := status.Active.Load
	s.options.Logger.Info("bundle loaded", "directory", status.Path, "bundle", name, "revision", status.Active.Revision,
		"compiled", load.Compiled, "reused", load.Reused, "took", load.Took.String())
	for _, line := range firstLines(status.Report, reportLogged) {
		s.options.Logger.Warn("bundle report", "bundle", name, "revision", status.Active.Revision, "remark", line)
	}
}

// reportLogged bounds the remarks on one revision in the log; configz shows more.
const reportLogged = 20
