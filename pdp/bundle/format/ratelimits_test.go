package format

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
)

const ratelimitsYAML = `domain: edge
descriptors:
  - key: status
    value: 404
    rate_limit: {unit: Minute, requests_per_unit: 10, name: missing, replaces: [{name: all}]}
    shadow_mode: true
    descriptors:
      - {key: path, value: /a*b, rate_limit: {unlimited: true}, share_threshold: true}
  - {key: mobile, value: true, quota_mode: true, detailed_metric: true, value_to_metric: true, metadata: {a: [1, 2.5], b: {c: d}}}
compat: {charge_denied: true}
`

// TestDecodeRateLimits reads every key.
func TestDecodeRateLimits(t *testing.T) {
	var got ratelimits.File
	if problems := Decode(&File{Path: "ratelimits/edge.yaml", Data: []byte(ratelimitsYAML)}, &got); len(problems) > 0 {
		t.Fatal(problems)
	}
	want := ratelimits.File{Domain: "edge", Descriptors: []ratelimits.Descriptor{
		{
			Key: "status", Value: "404", ShadowMode: true,
			RateLimit:   &ratelimits.RateLimit{Unit: "Minute", RequestsPerUnit: 10, Name: "missing"},
			Descriptors: []ratelimits.Descriptor{{Key: "path", Value: "/a*b", RateLimit: &ratelimits.RateLimit{Unlimited: true}, ShareThreshold: true}},
		},
		{
			Key: "mobile", Value: "true", QuotaMode: true, DetailedMetric: true, ValueToMetric: true,
			Metadata: map[string]any{"a": []any{int64(1), 2.5}, "b": map[string]any{"c": "d"}},
		},
	}}
	if len(got.Descriptors) == 2 && len(got.Descriptors[0].RateLimit.Replaces) == 1 {
		if name := got.Descriptors[0].RateLimit.Replaces[0].Name; name != "all" {
			t.Errorf("replaces %q", name)
		}
		got.Descriptors[0].RateLimit.Replaces = nil
	}
	want.Compat.ChargeDenied = true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeRateLimitsText: envoyproxy/ratelimit's reader takes whole numbers, true and false for text, as they are written.
func TestDecodeRateLimitsText(t *testing.T) {
	for written, want := range map[string]string{
		"404": "404", "-1": "-1", "007": "007", "1_000": "1_000", "0x1F": "0x1F", "true": "true", "False": "False", "yes": "yes",
		`"1.5"`: "1.5", "1.2.3.4": "1.2.3.4", "'*'": "*", "a*": "a*", "2026-01-01": "2026-01-01",
	} {
		var got ratelimits.File
		if problems := Decode(&File{Path: "a.yaml", Data: []byte("domain: " + written + "\n")}, &got); len(problems) > 0 || string(got.Domain) != want {
			t.Errorf("%s is read as %q: %v", written, got.Domain, problems)
		}
	}
}

// TestDecodeRateLimitsRefuses: what is rejected for its form, with its place.
func TestDecodeRateLimitsRefuses(t *testing.T) {
	for _, c := range []struct{ name, yaml, place, message string }{
		{"unknown key", "domain: a\ndescriptors:\n  - key: k\n    ratelimit: {unit: second}\n", "r.yaml:4:5", `unknown key "ratelimit" (did you mean "rate_limit"?)`},
		{"misspelled key of a limit", "domain: a\ndescriptors: [{key: k, rate_limit: {unit: day, requestsperunit: 5}}]\n", "r.yaml:2:48", `unknown key "requestsperunit" (did you mean "requests_per_unit"?)`},
		{"shadow_mode stands on the descriptor, stricter", "descriptors: [{key: k, rate_limit: {unit: day, shadow_mode: true}}]\n", "r.yaml:1:48", `unknown key "shadow_mode"`},
		{"float as a value", "descriptors: [{key: k, value: 1.5}]\n", "r.yaml:1:31", `expected text, found a number (put it in quotes: "1.5")`},
		{"float as a number", "descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1.5}}]\n", "r.yaml:1:67", "expected a whole number"},
		{"infinity as a value", "domain: .inf\n", "r.yaml:1:9", "expected text, found a number"},
		{"above 64 bits", "domain: 123456789012345678901234567890\n", "r.yaml:1:9", "expected text, found a number"},
		{"text as requests_per_unit", "descriptors: [{key: k, rate_limit: {requests_per_unit: '5'}}]\n", "r.yaml:1:56", "expected a whole number"},
		{"a list of text", "descriptors:\n  - a\n", "r.yaml:2:5", "expected a mapping, found the text"},
		{"descriptors as a mapping", "descriptors: {key: a}\n", "r.yaml:1:14", "expected a list, found a mapping"},
		{"a key that is no text", "domain: a\n0.25: b\n", "r.yaml:2:1", "a key must be text"},
		{"broken YAML", "domain: [a\n", "r.yaml:1:9", "not YAML"},
		{"an empty file", "", "r.yaml", "the file is empty"},
		{"a key without a value, stricter", "domain: a\ndescriptors:\n", "r.yaml:2:1", "a key without a value"},
		{"a key twice, stricter", "domain: a\ndomain: b\n", "r.yaml:2:1", `stands twice`},
		{"an anchor, stricter", "domain: &a a\n", "r.yaml:1:9", "anchors"},
		{"a switch as text", "descriptors: [{key: k, shadow_mode: 'true'}]\n", "r.yaml:1:37", "expected true or false"},
		{"compat with another key", "compat: {charge: true}\n", "r.yaml:1:10", `unknown key "charge" (known here: charge_denied, shadow_mode, quota_mode, merge_domain, on_error)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			problems := Decode(&File{Path: "r.yaml", Data: []byte(c.yaml)}, new(ratelimits.File))
			if text := problems.Error(); len(problems) != 1 || !strings.HasPrefix(text, c.place+": ") || !strings.Contains(text, c.message) {
				t.Errorf("got %q, want %q at %s", text, c.message, c.place)
			}
		})
	}
}
