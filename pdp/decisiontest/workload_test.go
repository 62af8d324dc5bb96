package decisiontest_test

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/decisiontest"
)

// TestWorkloadSuites: SPIFFE ids of a suite's certificates are read as a server reads them.
func TestWorkloadSuites(t *testing.T) {
	text := cases(
		"path: /orders/7/a, certificate: batch => decision: allow, upstream: {x-subject: spiffe://example.com/shop/reader, x-tenant: shop}",
		"path: /orders/7/a, certificate: stranger => reason: no_matching_rule",
		"path: /orders/7/a, certificate: twofold => reason: certificate_invalid",
		"path: /orders/7/a, certificate: ported => reason: certificate_invalid",
		"path: /orders/7/a, certificate: foreign => reason: certificate_invalid",
	)
	text = strings.Replace(text, "spiffe://example.com/shop/reader, x-tenant", `"spiffe://example.com/shop/reader", x-tenant`, 1)
	text = strings.Replace(text, `  batch: {sans: ["spiffe://example.com/batch"]}`, `  batch: {sans: ["spiffe://example.com/shop/reader", batch.example.com]}
  stranger: {sans: ["spiffe://example.com/shop/root"]}
  twofold: {sans: ["spiffe://example.com/shop/reader", "spiffe://example.com/shop/writer"]}
  ported: {sans: ["spiffe://example.com:443/shop/reader"]}
  foreign: {sans: ["spiffe://example.net/shop/reader"]}`, 1)
	contents := with(map[string]string{"tests/s.yaml": text})
	edit := func(name, before, after string) {
		t.Helper()
		if !strings.Contains(string(contents[name]), before) {
			t.Fatalf("%s has no %q", name, before)
		}
		contents[name] = []byte(strings.Replace(string(contents[name]), before, after, 1))
	}
	edit("bundle.yaml", `sans: ["spiffe://example.com/*"]`, `spiffe: {trust_domain: example.com, paths: ["/{team}/{role}"]}, subject: {tenant: team}, roles: {from: role, allow: [reader]}`)
	edit("services/orders/service.yaml", "{x-subject: subject.id}", "{x-subject: subject.id, x-tenant: claims.team}")
	options, problems := open(t, contents)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 5 {
		t.Errorf("%d cases ran", len(report.Results))
	}
	for _, r := range report.Results {
		if r.Failure != nil {
			t.Errorf("%s: %+v", r.Case, r.Failure)
		}
	}
}
