package assembly

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// observed makes every metric show up.
func observed(t *testing.T) *metrics {
	t.Helper()
	m := newMetrics(settings.Metrics{Routes: true, MaxRoutes: 10}, Version{Version: "v1", Revision: "r1"})
	m.decision(pdp.Observation{Adapter: "ext_authz", Service: "orders", Route: "read-order", Took: time.Millisecond, Panic: true, Verdict: &verdict.Verdict{
		Effect: verdict.Allow, Reason: verdict.Allowed, Degraded: true,
		Explanation: verdict.Explanation{Bundle: "acme", Observed: verdict.NoMatchingRule, Candidate: &verdict.Candidate{Policy: "main", Effect: verdict.Deny, Disagrees: true}, Limits: []verdict.LimitState{{Name: "per-subject", Refused: true, Shadow: true}, {Name: "other", Leased: true}}},
	}})
	m.ratelimit.count(&pdp.Observation{Verdict: &verdict.Verdict{Descriptors: []verdict.DescriptorState{
		{Rule: "edge.user", Hits: 1, Charged: true, Limit: &verdict.DescriptorLimit{RequestsPerUnit: 1}}, {Rule: "edge.user", Hits: 1, Exceeded: true, Shadow: true},
	}}}, m.limitNames.label)
	m.decision(pdp.Observation{Adapter: "native", Service: "orders", Route: "log-in", Took: time.Millisecond, Report: true, Verdict: &verdict.Verdict{Reason: verdict.ReportedFailure}})
	m.step("identity", time.Millisecond, pipeline.Stop, errors.New("an outage"))
	m.redis(redis.Call{Operation: "take", Decisions: 7, Duration: time.Millisecond})
	m.watchRecords(func() int { return 3 })
	shared, err := openState(Options{Settings: settings.Defaults(), Clock: time.Now, Logger: (&logged{}).logger()}, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shared.close() })
	if _, err := shared.table("blocks", nil); err != nil {
		t.Fatal(err)
	}
	shared.await(t.Context())
	m.watchRedis(func() int { return 4 })
	m.watchTokens(func() identity.CacheStats { return identity.CacheStats{Hits: 5, Misses: 6, Bytes: 7} })
	m.watchAnswers(func() int { return 5 })
	m.introspection.event(introspection.Event{Bundle: "acme", Authenticator: "idp", Source: introspection.Cached, Outcome: introspection.Active})
	m.keyFetches.WithLabelValues("acme", "https://idp.example.com", "unchanged").Inc()
	set, err := token.ParseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	m.watchIssuers(func() []keys.State {
		place := keys.Place{Bundle: "acme", Issuer: "https://idp.example.com"}
		return []keys.State{{Place: place}, {Place: place, Set: set, Fetched: time.Unix(100, 0)}, {Place: place, Set: set, Fetched: time.Unix(90, 0)}, {Place: keys.Place{Bundle: "other"}}}
	}, func() time.Time { return time.Unix(110, 0) })
	m.keyUsesDropped.Inc()
	m.published(&pipeline.Snapshot{Bundles: []pipeline.BundleInfo{{Name: "acme", Revision: "r1", Loaded: time.Unix(7, 0)}}})
	m.introspection.event(introspection.Event{Bundle: "acme", Authenticator: "idp", Source: introspection.Call, Outcome: introspection.Timeout, Took: time.Millisecond, Circuit: true})
	m.bundleLoads.WithLabelValues("acme", "loaded").Inc()
	m.refused.WithLabelValues("/etc/durward/bundle").Set(1)
	m.dropped.WithLabelValues("full").Inc()
	m.logout(logoutDone)
	m.watchBlocks(emptyBlocks(t))
	return m
}

// family is one metric as it is shown.
type family struct {
	kind, help string
	labels     []string
	samples    map[string]float64 // value, or count of a histogram, by "label=value,…"
}

// families are the server's own metrics by name, without those of the Go runtime and the process.
func families(t *testing.T, m *metrics) map[string]family {
	t.Helper()
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]family{}
	for _, gathered := range all {
		if strings.HasPrefix(gathered.GetName(), "go_") || strings.HasPrefix(gathered.GetName(), "process_") {
			continue
		}
		f := family{kind: strings.ToLower(gathered.GetType().String()), help: gathered.GetHelp(), samples: map[string]float64{}}
		for _, metric := range gathered.GetMetric() {
			var pairs []string
			f.labels = nil
			for _, l := range metric.GetLabel() {
				f.labels = append(f.labels, l.GetName())
				pairs = append(pairs, l.GetName()+"="+l.GetValue())
			}
			value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			f.samples[strings.Join(pairs, ",")] = value
		}
		out[gathered.GetName()] = f
	}
	return out
}

// described are the names of all registered metrics, whether something was observed or not.
func described(t *testing.T, m *metrics) []string {
	t.Helper()
	descriptions := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descriptions)
	close(descriptions)
	var names []string
	for d := range descriptions {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		if strings.HasPrefix(name, "durward_") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestMetrics(t *testing.T) {
	f := families(t, observed(t))
	for _, tt := range []struct {
		name, labels string
		want         float64
	}{
		{"durward_decisions_total", "adapter=ext_authz,decision=allow,mode=enforce,reason=allowed,route=orders/read-order,stage=", 1},
		{"durward_decision_duration_seconds", "adapter=ext_authz", 1},
		{"durward_degraded_total", "decision=allow", 1},
		{"durward_failopen_total", "", 1},
		{"durward_panics_total", "", 1},
		{"durward_reports_total", "reason=reported_failure", 1},
		{"durward_limited_total", "limit=per-subject,shadow=true", 1},
		{"durward_limit_leased_total", "limit=other", 1},
		{"durward_stage_errors_total", "stage=identity", 1},
		{"durward_stage_duration_seconds", "stage=identity", 1},
		{"durward_redis_duration_seconds", "operation=take", 1},
		{"durward_redis_errors_total", "", 0},
		{"durward_redis_call_decisions", "", 1},
		{"durward_redis_queue_length", "", 4},
		{"durward_records_queue_length", "", 3},
		{"durward_bundle_info", "bundle=acme,revision=r1", 1},
		{"durward_candidate_total", "bundle=acme,outcome=deny,policy=main,service=orders", 1},
		{"durward_observed_total", "bundle=acme,reason=no_matching_rule,service=orders", 1},
		{"durward_bundle_last_success_timestamp_seconds", "bundle=acme", 7},
	} {
		if got, ok := f[tt.name].samples[tt.labels]; got != tt.want || !ok || len(f[tt.name].samples) != 1 {
			t.Errorf("%s is %v, want %v for %q alone", tt.name, f[tt.name].samples, tt.want, tt.labels)
		}
	}
}

// TestRevisionsInForce forgets the revision before.
func TestRevisionsInForce(t *testing.T) {
	m := observed(t)
	m.published(&pipeline.Snapshot{Bundles: []pipeline.BundleInfo{{Name: "gone", Revision: "r1"}}})
	m.published(&pipeline.Snapshot{Bundles: []pipeline.BundleInfo{{Name: "acme", Revision: "r2", Load: pipeline.LoadInfo{Compiled: 3, Reused: 4, Took: 1500 * time.Millisecond}}}})
	for name, want := range map[string]map[string]float64{
		"durward_bundle_info":         {"bundle=acme,revision=r2": 1},
		"durward_bundle_load_seconds": {"bundle=acme": 1.5},
		"durward_bundle_services":     {"bundle=acme,how=compiled": 3, "bundle=acme,how=reused": 4},
	} {
		if diff := cmp.Diff(want, families(t, m)[name].samples); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestRouteLabelsAreCapped: labels are opt-in, and those beyond the bound are one.
func TestRouteLabelsAreCapped(t *testing.T) {
	decide := func(configured settings.Metrics, routes int) map[string]float64 {
		m := newMetrics(configured, Version{})
		for i := range routes {
			for range 2 {
				m.decision(pdp.Observation{Adapter: "a", Service: "s", Route: fmt.Sprintf("r%d", i), Verdict: &verdict.Verdict{Reason: verdict.NoMatchingRule, Stage: "policy"}})
			}
		}
		m.decision(pdp.Observation{Adapter: "a", Service: "s", Verdict: &verdict.Verdict{Reason: verdict.NoRoute}})
		out := map[string]float64{}
		for labels, n := range families(t, m)["durward_decisions_total"].samples {
			_, rest, _ := strings.Cut(labels, "route=")
			name, _, _ := strings.Cut(rest, ",")
			out[name] += n
		}
		return out
	}
	if got := decide(settings.Metrics{MaxRoutes: 5}, 8); len(got) != 1 || got[""] != 17 {
		t.Errorf("without routes: %v", got)
	}
	if got := decide(settings.Metrics{Routes: true, MaxRoutes: 5}, 8); len(got) != 7 || got["other"] != 6 || got["s/r4"] != 2 || got[""] != 1 {
		t.Errorf("capped: %v", got)
	}
}
