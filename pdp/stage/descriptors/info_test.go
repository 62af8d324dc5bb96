package descriptors

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/ratelimiter"
)

const listed = `
domain: edge
descriptors:
  - {key: user, rate_limit: {unit: minute, requests_per_unit: 2, name: per-user}}
  - {key: user, value: "bot-*", share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 3}}
  - {key: user, value: root, rate_limit: {unlimited: true}}
  - key: path
    shadow_mode: true
    rate_limit: {unit: day, requests_per_unit: 0}
    descriptors:
      - {key: method, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 7}}
  - {key: nothing}
`

func TestInfoOf(t *testing.T) {
	w := newWorld(t, listed)
	info, ok := InfoOf(&pipeline.Service{Parts: map[string]any{Name: w.part}})
	if !ok {
		t.Fatal("no domain")
	}
	var got []string
	for _, r := range info.Rules {
		text := r.Path
		if r.Limit != nil {
			text += fmt.Sprintf(" %d/%s %s", r.Limit.RequestsPerUnit, r.Limit.Unit, r.Limit.Name)
		}
		got = append(got, text+fmt.Sprintf(" %t %t %t", r.Unlimited, r.Shadow, r.Quota))
	}
	want := []string{
		"edge.path 0/day  false true false",
		"edge.path.method 7/second  false false true",
		"edge.user 2/minute per-user false false false",
		"edge.user_bot-* 3/hour  false false false",
		"edge.user_root true false false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w = newWorld(t, "domain: edge\ncompat: {shadow_mode: true, quota_mode: true}\ndescriptors:\n  - {key: user, rate_limit: {unit: minute, requests_per_unit: 2}}\n")
	info, _ = InfoOf(&pipeline.Service{Parts: map[string]any{Name: w.part}})
	if len(info.Rules) != 1 || !info.Rules[0].Shadow || !info.Rules[0].Quota {
		t.Errorf("modes of the whole domain: %+v", info.Rules)
	}
	if _, ok := InfoOf(&pipeline.Service{}); ok {
		t.Error("a domain of nobody")
	}
}

// Whoever watches limits hears of a refusal, whether a charge was refused or a look.
func TestRefusalsAreHeard(t *testing.T) {
	w := newWorld(t, `
domain: edge
descriptors:
  - {key: plain, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: one, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: two, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
`)
	w.ask(keys("plain"))
	w.ask(keys("one", "two"))
	if len(w.heard) != 0 {
		t.Fatalf("heard %v of what had room", w.heard)
	}
	w.ask(keys("plain"))
	w.ask(keys("one", "two"))
	dry := keys("one", "two")
	dry.Mode = request.Dry
	w.ask(dry)
	if diff := cmp.Diff([]string{"edge.plain", "edge.one", "edge.two"}, w.heard); diff != "" {
		t.Error(diff)
	}
}

// The counter of a descriptor is the one that a request is charged at.
func TestCounter(t *testing.T) {
	w := newWorld(t, listed)
	service := &pipeline.Service{Parts: map[string]any{Name: w.part}}
	info, _ := InfoOf(service)
	for value, path := range map[string]string{"alice": "edge.user", "bot-7": "edge.user_bot-*"} {
		w.ask(of(request.Pair{Key: "user", Value: value}))
		charge, met, err := Counter(service, []request.Pair{{Key: "user", Value: value}})
		if err != nil || met != path || charge.Limit == nil || charge.Key.Limit() != info.Keys.Limit() {
			t.Fatalf("%s: %+v, %q, %v", value, charge, met, err)
		}
		d, err := w.stage.limiter.Peek(t.Context(), []ratelimiter.Charge{charge})
		if err != nil || d.Limits[0].Remaining != charge.Limit.Definition().Count-1 {
			t.Errorf("%s: %+v, %v", value, d, err)
		}
	}
	for name, c := range map[string]struct {
		pairs []request.Pair
		path  string
		fails bool
	}{
		"unlimited":   {[]request.Pair{{Key: "user", Value: "root"}}, "edge.user_root", false},
		"no rule":     {[]request.Pair{{Key: "elsewhere"}}, "", false},
		"never room":  {[]request.Pair{{Key: "path", Value: "/"}}, "edge.path", true},
		"nothing":     {nil, "", false},
		"not so deep": {[]request.Pair{{Key: "nothing", Value: "x"}}, "", false},
	} {
		charge, path, err := Counter(service, c.pairs)
		if charge.Limit != nil || path != c.path || (err != nil) != c.fails {
			t.Errorf("%s: %+v, %q, %v", name, charge, path, err)
		}
	}
	if _, _, err := Counter(&pipeline.Service{}, nil); err == nil {
		t.Error("a counter of no domain")
	}
}
