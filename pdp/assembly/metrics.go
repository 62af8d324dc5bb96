package assembly

import (
	"errors"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter/redis"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// maxLimitNames bounds the labels of limits, those of the bundle and, apart, those that requests have a part in: rules of
// ratelimits/ can be named by values of requests (detailed_metric).
const maxLimitNames = 1000

// metrics are the server's Prometheus metrics. Labels are bounded: no subject, path, host or tenant, unless the bundle
// names a rule by one.
type metrics struct {
	registry *prometheus.Registry
	routes   routeLabels

	limitNames limitLabels

	decisions   *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	stages      *prometheus.HistogramVec
	stageErrors *prometheus.CounterVec
	degraded    *prometheus.CounterVec
	failOpen    prometheus.Counter
	panics      prometheus.Counter
	unsettled   prometheus.Counter
	settleLost  prometheus.Counter
	limited     *prometheus.CounterVec
	leased      *prometheus.CounterVec
	ratelimit   ratelimitMetrics
	candidates  *prometheus.CounterVec
	observed    *prometheus.CounterVec
	reports     *prometheus.CounterVec
	bundleInfo  *prometheus.GaugeVec
	bundleLoads *prometheus.CounterVec
	bundleTime  *prometheus.GaugeVec
	bundleTook  *prometheus.GaugeVec
	services    *prometheus.GaugeVec
	refused     *prometheus.GaugeVec
	dropped     *prometheus.CounterVec
	written     prometheus.Counter
	redisTime   *prometheus.HistogramVec
	redisErrors prometheus.Counter
	redisOpen   prometheus.Gauge
	redisBatch  prometheus.Histogram
	redisBusy   prometheus.Counter
	replicas    prometheus.Gauge
	stateSyncs  *prometheus.CounterVec
	handshakes  prometheus.Counter
	keyFetches  *prometheus.CounterVec
	keysOffered prometheus.Counter

	introspection  introspectionMetrics
	logouts        *prometheus.CounterVec
	keyUsesDropped prometheus.Counter
}

// routeLabels gives the first routes their name as a label, and all others "other".
type routeLabels struct {
	enabled bool
	most    int

	mu    sync.Mutex
	known map[string]bool
}

func newMetrics(configured settings.Metrics, version Version) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		routes:   routeLabels{enabled: configured.Routes, most: configured.MaxRoutes, known: map[string]bool{}},

		limitNames: newLimitLabels(),
		ratelimit:  newRatelimitMetrics(),

		introspection: newIntrospectionMetrics(),
		decisions: counters("durward_decisions_total", "Decisions, by effect, reason, stage that stopped them, route (where routes are labelled) and mode: enforce, or dry where nothing was charged.",
			"adapter", "mode", "decision", "reason", "stage", "route"),
		duration: histograms("durward_decision_duration_seconds", "Time from the request to the verdict.", "adapter"),
		stages:   histograms("durward_stage_duration_seconds", "Time of one step of the stage table.", "stage"),
		stageErrors: counters("durward_stage_errors_total", "Steps that could not establish their answer.",
			"stage"),
		degraded: counters("durward_degraded_total", "Decisions made while a dependency had failed.", "decision"),
		failOpen: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_failopen_total",
			Help: "Requests allowed although a dependency had failed, because the configuration says so."}),
		unsettled: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_limit_settles_dropped_total",
			Help: "Denials that no limit was charged for, because too many waited."}),
		settleLost: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_limit_settles_degraded_total",
			Help: "Units of limits that denials cost and Redis was not told of, because it failed: limits with on_error: local_share counted them in this replica, others not at all."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_panics_total",
			Help: "Decisions denied because a stage panicked."}),
		limited: counters("durward_limited_total", "Requests that a limit refused, or would have refused where it is a shadow.", "limit", "shadow"),
		leased:  counters("durward_limit_leased_total", "Requests that a limit let pass with units that this replica had taken in advance, without asking Redis for it.", "limit"),
		candidates: counters("durward_candidate_total", "What candidates of policies answered beside the policy in force: same, allow or deny where it answers otherwise.",
			"bundle", "service", "policy", "outcome"),
		observed: counters("durward_observed_total", "Requests that a policy denied and observe let pass, by the reason of the denial.", "bundle", "service", "reason"),
		reports: counters("durward_reports_total", "Failures of allowed requests that APIs reported, by reason: reported_failure, or why less was known or nothing was accepted.",
			"reason"),
		bundleInfo: gauges("durward_bundle_info", "1 for the revision of each bundle that is in force.",
			"bundle", "revision"),
		bundleLoads: counters("durward_bundle_loads_total", "Attempts to load a bundle.", "bundle", "result"),
		bundleTime:  gauges("durward_bundle_last_success_timestamp_seconds", "When the bundle's revision in force was loaded.", "bundle"),
		bundleTook:  gauges("durward_bundle_load_seconds", "How long the bundle's revision in force took to read and compile.", "bundle"),
		services:    gauges("durward_bundle_services", "Services of the bundle's revision in force that were compiled for it, or taken over unchanged (reused).", "bundle", "how"),
		refused:     gauges("durward_bundle_refused", "1 while the bundle in a directory is refused or cannot be read; the last good revision serves, if there was one.", "directory"),
		dropped:     counters("durward_records_dropped_total", "Records that were lost.", "why"),
		written:     prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_records_written_total", Help: "Records handed to the sink."}),
		redisTime: histograms("durward_redis_duration_seconds", "Time of one call to Redis.",
			"operation"),
		redisErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_redis_errors_total",
			Help: "Calls to Redis that failed."}),
		redisOpen: prometheus.NewGauge(prometheus.GaugeOpts{Name: "durward_redis_circuit_open",
			Help: "Servers of Redis that are taken for unreachable and only probed: without a cluster 0 or 1."}),
		redisBatch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "durward_redis_call_decisions",
			Help: "Decisions that one call to Redis carried.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64}}),
		redisBusy: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_redis_busy_total",
			Help: "Decisions that Redis was not asked about, because too many waited: limits did what their on_error says."}),
		replicas: prometheus.NewGauge(prometheus.GaugeOpts{Name: "durward_replicas",
			Help: "Replicas that divide limits with on_error: local_share while Redis is out of reach: those that live, as last counted in Redis, and at least redis.replicas."}),
		stateSyncs: counters("durward_state_syncs_total", "Attempts to catch up with a shared table, by outcome: ok, error, or full where it is larger than a replica may hold.",
			"table", "outcome"),
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_handshakes_failed_total",
			Help: "Connections to a decision listener whose TLS handshake failed."}),
		logouts: counters("durward_logouts_total", "Logout tokens that issuers sent, by outcome: done, refused, replayed, failed where it could not be written down or the issuer's keys are not there, busy where too many came at once.",
			"outcome"),
		keyFetches: counters("durward_key_fetches_total", "Fetches of an issuer's keys, by what they came to: changed, unchanged or failed.", "bundle", "issuer", "outcome"),
		keysOffered: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_token_keys_offered_total",
			Help: "Tokens that came with a key or the address of one (jku, x5u, jwk, x5c), which is never used."}),
	}
	build := gauges("durward_build_info", "1 for the running build.", "version", "revision", "goversion")
	build.WithLabelValues(version.Version, version.Revision, runtime.Version()).Set(1)
	// What is counted seldom is shown from the start: an alert on its growth would miss the first time.
	for _, why := range []audit.Drop{audit.DroppedAllow, audit.DroppedDenial, audit.DroppedClosed, audit.DroppedUnwritten} {
		m.dropped.WithLabelValues(string(why))
	}
	for _, outcome := range logoutOutcomes() {
		m.logouts.WithLabelValues(outcome)
	}
	m.registry.MustRegister(m.logouts, m.decisions, m.duration, m.stages, m.stageErrors, m.degraded, m.failOpen, m.panics, m.unsettled, m.limited, m.leased, m.candidates, m.observed, m.reports,
		m.bundleInfo, m.bundleLoads, m.bundleTime, m.bundleTook, m.services, m.refused, m.handshakes, m.dropped, m.written, m.redisTime, m.redisErrors, m.redisOpen, m.redisBatch, m.redisBusy, m.settleLost, m.replicas, m.stateSyncs, m.keyFetches, m.keysOffered, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.ratelimit.all()...)
	m.registry.MustRegister(m.introspection.all()...)
	m.countAPIKeys()
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
	}, labels)
}

// decision counts one decision, or one report.
func (m *metrics) decision(o pdp.Observation) {
	if o.Panic {
		m.panics.Inc()
	}
	if o.Report {
		m.reports.WithLabelValues(string(o.Verdict.Reason)).Inc()
		return
	}
	effect := o.Verdict.Effect.String()
	mode := "enforce"
	if o.Dry {
		mode = "dry"
	}
	m.decisions.WithLabelValues(o.Adapter, mode, effect, string(o.Verdict.Reason), o.Verdict.Stage, m.routes.label(o.Service, o.Route)).Inc()
	m.duration.WithLabelValues(o.Adapter).Observe(o.Took.Seconds())
	if o.Verdict.Degraded {
		m.degraded.WithLabelValues(effect).Inc()
		if o.Verdict.Allowed() {
			m.failOpen.Inc()
		}
	}
	m.limits(o.Verdict)
	if !o.Dry {
		m.ratelimit.count(&o, m.limitNames.label)
	}
	m.trials(&o)
}

// trials counts what candidates and observed routes would have changed.
func (m *metrics) trials(o *pdp.Observation) {
	x := &o.Verdict.Explanation
	if next := x.Candidate; next != nil {
		outcome := "same"
		if next.Disagrees {
			outcome = next.Effect.String()
		}
		m.candidates.WithLabelValues(x.Bundle, o.Service, next.Policy, outcome).Inc()
	}
	if x.Observed != "" {
		m.observed.WithLabelValues(x.Bundle, o.Service, string(x.Observed)).Inc()
	}
}

// limits counts which limits had no room, and which were paid in advance. Of descriptors it is known where their rules' names are
// from.
func (m *metrics) limits(v *verdict.Verdict) {
	refused := func(name string, byRequest, shadow bool) {
		m.limited.WithLabelValues(m.limitNames.label(name, byRequest), strconv.FormatBool(shadow)).Inc()
	}
	for i := range v.Descriptors {
		if s := &v.Descriptors[i]; s.Exceeded {
			refused(s.Rule, s.RuleByRequest, s.Shadow)
		}
	}
	if len(v.Descriptors) > 0 {
		return
	}
	for i := range v.Explanation.Limits {
		s := &v.Explanation.Limits[i]
		if s.Refused {
			refused(s.Name, false, s.Shadow)
		}
		if s.Leased {
			m.leased.WithLabelValues(m.limitNames.label(s.Name, false)).Inc()
		}
	}
}

// step times one step of the stage table.
func (m *metrics) step(point string, took time.Duration, _ pipeline.Outcome, err error) {
	m.stages.WithLabelValues(point).Observe(took.Seconds())
	if err != nil {
		m.stageErrors.WithLabelValues(point).Inc()
	}
}

// redis times one call to Redis.
func (m *metrics) redis(c redis.Call) {
	if errors.Is(c.Err, redis.ErrOpen) {
		return // it was not made
	}
	if c.Err != nil {
		m.redisErrors.Inc()
	}
	m.redisTime.WithLabelValues(c.Operation).Observe(c.Duration.Seconds())
	m.redisBatch.Observe(float64(c.Decisions))
}

// watchRecords shows how many records wait.
func (m *metrics) watchRecords(queued func() int) {
	m.watch("durward_records_queue_length", "Records that wait to be written.", queued)
}

// watchRedis shows how many decisions wait for Redis.
func (m *metrics) watchRedis(queued func() int) {
	m.watch("durward_redis_queue_length", "Decisions that wait for a call to Redis.", queued)
}

// watchTokens shows how the cache of verified tokens does.
func (m *metrics) watchTokens(stats func() identity.CacheStats) {
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "durward_token_cache_hits_total", Help: "Tokens that had been verified before."},
			func() float64 { return float64(stats().Hits) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "durward_token_cache_misses_total", Help: "Tokens that had to be verified, good ones and bad ones."},
			func() float64 { return float64(stats().Misses) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "durward_token_cache_bytes", Help: "Estimated memory of verified tokens."},
			func() float64 { return float64(stats().Bytes) }))
}

// watchAnswers shows how many answers about opaque tokens are remembered.
func (m *metrics) watchAnswers(remembered func() int) {
	m.watch("durward_introspection_answers", "Answers of issuers about opaque tokens that are remembered.", remembered)
}

func (m *metrics) watch(name, help string, length func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(length()) }))
}

// published shows the revisions in force and forgets the ones before.
func (m *metrics) published(s *pipeline.Snapshot) {
	for _, before := range []*prometheus.GaugeVec{m.bundleInfo, m.bundleTime, m.bundleTook, m.services} {
		before.Reset()
	}
	m.introspection.published(s)
	for _, b := range s.Bundles {
		m.bundleInfo.WithLabelValues(b.Name, b.Revision).Set(1)
		m.bundleTime.WithLabelValues(b.Name).Set(float64(b.Loaded.Unix()))
		m.bundleTook.WithLabelValues(b.Name).Set(b.Load.Took.Seconds())
		m.services.WithLabelValues(b.Name, "compiled").Set(float64(b.Load.Compiled))
		m.services.WithLabelValues(b.Name, "reused").Set(float64(b.Load.Reused))
	}
}

func (r *routeLabels) label(service, route string) string {
	if !r.enabled || route == "" {
		return ""
	}
	return r.bounded(service + "/" + route)
}

// bounded returns a name, or "other" for one beyond the bound.
func (r *routeLabels) bounded(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[name] {
		return name
	}
	if len(r.known) >= r.most {
		return "other"
	}
	r.known[name] = true
	return name
}
