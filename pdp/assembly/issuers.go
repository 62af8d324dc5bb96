package assembly

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/durward-pdp/durward/pdp/token"
)

// openKeys starts what fetches the keys of issuers.
func (p *parts) openKeys(o Options, m *metrics) {
	log := keyLog{logger: o.Logger}
	p.keys = keys.New(keys.Options{Fetcher: p.egress, Clock: o.Clock, Jitter: rand.Float64, Observe: func(before, after keys.State) {
		m.keyFetches.WithLabelValues(after.Bundle, after.Issuer, outcomeOf(before, after)).Inc()
		log.fetched(before, after)
	}})
	m.watchIssuers(p.keys.States, o.Clock)
}

// watchIssuers shows how the keys of issuers stand.
func (m *metrics) watchIssuers(states func() []keys.State, clock func() time.Time) {
	m.registry.MustRegister(&keyCollector{states: states, clock: clock})
}

// outcomeOf says what a fetch came to.
func outcomeOf(before, after keys.State) string {
	switch {
	case after.Trouble != "":
		return "failed"
	case before.Set == after.Set:
		return "unchanged"
	}
	return "changed"
}

// keyLog tells the log of changes of issuers' keys, and not of every fetch.
type keyLog struct {
	logger *slog.Logger
}

// fetched takes what a fetch changed.
func (l keyLog) fetched(before, after keys.State) {
	about := []any{"bundle", after.Bundle, "issuer", after.Issuer, "host", after.Host}
	switch {
	case after.Trouble != "" && before.Trouble != "": // said before; configz has the last word
	case after.Trouble != "" && after.Set == nil:
		l.logger.Error("an issuer's keys cannot be fetched, its tokens are refused 503 until they can", append(about, "error", after.Trouble)...)
	case after.Trouble != "":
		l.logger.Warn("an issuer's keys cannot be fetched, the last good ones serve on", append(about, "error", after.Trouble, "fetched", after.Fetched.UTC().Format(time.RFC3339))...)
	case before.Trouble != "":
		l.logger.Info("an issuer's keys can be fetched again", append(about, "after", after.Fetched.Sub(before.Failing).Round(time.Second).String())...)
	}
	if before.Set == after.Set {
		return
	}
	was, is := idsOf(before.Set), idsOf(after.Set)
	without := func(list, taken []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(id string) bool { return slices.Contains(taken, id) })
	}
	l.logger.Info("an issuer's keys are new", append(about, "keys", is, "added", without(is, was), "removed", without(was, is))...)
	if unusable := unusableOf(after.Set); len(unusable) > 0 {
		l.logger.Warn("an issuer has keys that cannot be used", append(about, "keys", unusable)...)
	}
}

// idsOf names the usable keys of a set, which may be nil.
func idsOf(set *token.KeySet) []string {
	out := []string{}
	if set == nil {
		return out
	}
	for _, k := range set.Keys() {
		out = append(out, nameOf(k))
	}
	return out
}

// nameOf is a key's id or, where it has none, its thumbprint (RFC 7638).
func nameOf(k *token.Key) string {
	if id := k.ID(); id != "" {
		return id
	}
	return fmt.Sprintf("without kid, SHA-256 %x", k.Thumbprint())
}

// unusableOf says of each unusable key where it stands in the set and why it is unusable.
func unusableOf(set *token.KeySet) []string {
	out := []string{}
	if set == nil {
		return out
	}
	for _, k := range set.Unusable() {
		out = append(out, fmt.Sprintf("line %d, column %d: %v", k.Line, k.Column, k.Err))
	}
	return out
}

// keySourceView is what configz shows of an issuer whose keys are fetched.
type keySourceView struct {
	Bundle string `json:"bundle"`
	Issuer string `json:"issuer"`
	// Host is where the keys are from; empty where discovery has not found it yet.
	Host string `json:"host"`
	// Discovery says that the issuer's metadata says where the keys are.
	Discovery bool            `json:"discovery"`
	Keys      []issuerKeyView `json:"keys"`
	Unusable  []string        `json:"unusable"`
	// Fetched is when the keys were last fetched or confirmed, Fresh until when they need not be, Due when they will be.
	Fetched time.Time `json:"fetched,omitzero"`
	Fresh   time.Time `json:"fresh_until,omitzero"`
	Due     time.Time `json:"next_fetch,omitzero"`
	Stale   bool      `json:"stale"`
	// Trouble is why the last fetch failed, and Failing since when fetches do.
	Trouble string    `json:"error,omitzero"`
	Failing time.Time `json:"failing_since,omitzero"`
}

type issuerKeyView struct {
	ID string `json:"id"`
	// Algorithm is the one that the key is for, empty for all of its type.
	Algorithm string `json:"algorithm"`
	Type      string `json:"type"`
}

func viewsOfIssuers(states []keys.State, now time.Time) []keySourceView {
	out := make([]keySourceView, len(states))
	for i := range states {
		s := &states[i]
		out[i] = keySourceView{
			Bundle: s.Bundle, Issuer: s.Issuer, Host: s.Host, Discovery: s.URL == "", Keys: []issuerKeyView{}, Unusable: unusableOf(s.Set),
			Fetched: s.Fetched, Fresh: s.Fresh, Due: s.Due, Stale: s.Set == nil || now.After(s.Fresh), Trouble: s.Trouble, Failing: s.Failing,
		}
		if s.Set == nil {
			continue
		}
		for _, k := range s.Set.Keys() {
			out[i].Keys = append(out[i].Keys, issuerKeyView{ID: nameOf(k), Algorithm: k.Algorithm(), Type: k.Type()})
		}
	}
	return out
}

// keyCollector shows how the keys of issuers stand when somebody looks.
type keyCollector struct {
	states func() []keys.State
	clock  func() time.Time
}

// Describe implements prometheus.Collector.
func (*keyCollector) Describe(out chan<- *prometheus.Desc) {
	out <- keysAge()
	out <- keysUsable()
}

func keysAge() *prometheus.Desc {
	return prometheus.NewDesc("durward_keys_age_seconds", "Time since an issuer's keys were last fetched or confirmed; absent before the first time.", []string{"bundle", "issuer"}, nil)
}

func keysUsable() *prometheus.Desc {
	return prometheus.NewDesc("durward_keys", "Keys in an issuer's set, as last fetched: those that can verify tokens, and those that cannot.", []string{"bundle", "issuer", "usable"}, nil)
}

// Collect implements prometheus.Collector. Sources of one issuer are shown as one: the oldest age, and all keys.
func (c *keyCollector) Collect(out chan<- prometheus.Metric) {
	type who struct{ bundle, issuer string }
	type sums struct{ age, usable, unusable float64 }
	shown, now := map[who]*sums{}, c.clock()
	for _, s := range c.states() {
		key := who{s.Bundle, s.Issuer}
		if shown[key] == nil {
			shown[key] = &sums{age: -1}
		}
		if s.Set == nil {
			continue
		}
		one := shown[key]
		one.age = max(one.age, now.Sub(s.Fetched).Seconds())
		one.usable += float64(s.Set.Len())
		one.unusable += float64(len(s.Set.Unusable()))
	}
	for key, one := range shown {
		if one.age >= 0 {
			out <- prometheus.MustNewConstMetric(keysAge(), prometheus.GaugeValue, one.age, key.bundle, key.issuer)
		}
		out <- prometheus.MustNewConstMetric(keysUsable(), prometheus.GaugeValue, one.usable, key.bundle, key.issuer, "true")
		out <- prometheus.MustNewConstMetric(keysUsable(), prometheus.GaugeValue, one.unusable, key.bundle, key.issuer, "false")
	}
}
