package decisiontest_test

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/decisiontest"
)

// vault is the policy with a service that takes proofs, and one that wants nonces.
func vault() map[string][]byte {
	contents := with(nil)
	service := policy["services/orders/service.yaml"]
	for name, dpop := range map[string]string{"vault": "dpop: {}", "fresh": "dpop: {nonce: required, on_error: allow}"} {
		text := strings.NewReplacer("service: orders", "service: "+name, `"*.example.com"`, name+".example.org", "audiences: [orders-api]", "audiences: [orders-api], "+dpop,
			"action: read,", "action: read, require: bound,").Replace(service)
		contents["services/"+name+"/service.yaml"] = []byte(text)
		contents["services/"+name+"/model.conf"] = []byte(policy["services/orders/model.conf"])
		contents["services/"+name+"/policy.csv"] = []byte(policy["services/orders/policy.csv"])
	}
	return contents
}

const bound = `suite: s
tokens:
  alice: {authenticator: corp, dpop: true, claims: {sub: alice, aud: orders-api, roles: [reader]}}
  old: {extends: alice, exp: -1s}
  other: {extends: alice, claims: {cnf: {jkt: other}}}
  both: {extends: alice, certificate: batch}
  held: {authenticator: corp, certificate: batch, claims: {sub: alice, aud: orders-api, roles: [reader]}}
  plain: {authenticator: corp, claims: {sub: alice, aud: orders-api, roles: [reader]}}
certificates:
  batch: {sans: ["spiffe://example.com/batch"]}
  twin: {sans: ["spiffe://example.com/batch"]}
`

// TestProofs: suites show bound tokens, with the proofs that fit and with others.
func TestProofs(t *testing.T) {
	const read = "host: vault.example.org, path: \"/orders/7/%61?x=1\", "
	var b strings.Builder
	b.WriteString(bound + "cases:\n")
	rows := []struct{ request, reason string }{
		{read + "token: alice", "allowed"},
		{read + "token: alice, proof: {header: {typ: DPOP+JWT}}", "allowed"},
		{read + "token: alice, proof: {iat: -60s}", "allowed"},
		{read + "token: alice, proof: {iat: -61s}", "proof_invalid"},
		{read + "token: alice, proof: {claims: {htm: POST}}", "proof_invalid"},
		{read + "token: alice, proof: {omit: [ath]}", "proof_invalid"},
		{read + "token: alice, proof: {header: {typ: JWT}}", "proof_invalid"},
		{read + "token: alice, proof: {raw: a.b.c}", "proof_invalid"},
		{read + "token: alice, proof: {absent: true}", "proof_missing"},
		{read + "token: alice, proof: {scheme: Bearer}", "token_binding"},
		{read + "token: old", "token_expired"},
		{read + "token: other", "token_binding"},
		{read + "token: both, certificate: batch", "allowed"},
		{read + "token: both, certificate: twin", "token_binding"},
		{read + "token: both", "token_binding"},
		{read + "token: held, certificate: batch", "allowed"},
		{read + "token: held", "token_binding"},
		{read + "token: plain", "binding_required"},
		{"host: a.example.com, path: /orders/7/a, token: alice", "token_missing"},
		{"operation: {service: vault, action: read}, token: alice", "token_binding"},
	}
	for _, row := range rows {
		b.WriteString("  - {name: '" + row.request + "', request: {" + row.request + "}, expect: {reason: " + row.reason + "}}\n")
	}
	again := "request: {" + read + "token: alice, proof: {claims: {jti: same}}}, expect: "
	fresh := "request: {host: fresh.example.org, path: /orders/7/a, token: alice}, expect: "
	b.WriteString("  - {name: used twice, steps: [{" + again + "{decision: allow}}, {" + again + "{reason: proof_replayed, public_reason: invalid_dpop_proof}}, {at: +71s, " +
		strings.Replace(again, "claims:", "iat: +71s, claims:", 1) + "{reason: proof_invalid}}, {at: +71s, " + again + "{decision: allow}}]}\n")
	b.WriteString("  - {name: many, steps: [{repeat: 2, request: {" + read + "token: alice}, expect: {decision: allow}}]}\n")
	b.WriteString("  - {name: nonce, steps: [{" + fresh + "{status: 401, reason: proof_nonce}}, {" + fresh + "{decision: allow, response_absent: [dpop-nonce]}}, {at: +3min, " + fresh + "{decision: allow}}, {at: +12min, " +
		strings.Replace(fresh, "alice", "long", 1) + "{reason: proof_nonce}}]}\n")
	b.WriteString("  - {name: outage, given: {redis: down}, steps: [{request: {" + read + "token: alice}, expect: {status: 503, reason: proof_unavailable, degraded: true}}, {" + fresh + "{reason: proof_nonce}}, {" + fresh + "{decision: allow, degraded: true}}]}\n")
	text := strings.Replace(b.String(), "certificates:\n", "  long: {extends: alice, exp: +1h}\ncertificates:\n", 1)
	contents := vault()
	contents["tests/s.yaml"] = []byte(text)
	options, problems := open(t, contents)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(rows) + 4; len(report.Results) != want {
		t.Errorf("%d results, want %d", len(report.Results), want)
	}
	for _, r := range report.Results {
		if r.Failure != nil {
			t.Errorf("%s: step %d: %+v", r.Case, r.Failure.Step, r.Failure.Differences)
		}
	}
}

// TestProofsInMatrices: whoever is bound brings a proof for each route, and does what a service says about nonces.
func TestProofsInMatrices(t *testing.T) {
	contents := vault()
	contents["tests/s.yaml"] = []byte(bound + "matrix: {subjects: [alice, plain, anonymous], services: [vault, fresh], routes: [health, read], params: {id: \"7\", rest: a b}, golden: s.csv}\n")
	contents["tests/s.csv"] = []byte(`service,route,method,alice,plain,anonymous
fresh,health,GET,allow,allow,allow
fresh,read,GET,allow,deny binding_required,deny token_missing
fresh,read,HEAD,allow,deny binding_required,deny token_missing
vault,health,GET,allow,allow,allow
vault,read,GET,allow,deny binding_required,deny token_missing
vault,read,HEAD,allow,deny binding_required,deny token_missing
`)
	options, problems := open(t, contents)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil || report.Failed() != 0 {
		t.Errorf("%v, %+v", err, report.Results[0].Failure)
	}
}

// TestProofsThatCannotBe: what a suite says of a proof that is not made.
func TestProofsThatCannotBe(t *testing.T) {
	const read = "host: vault.example.org, path: /orders/7/a, "
	for request, want := range map[string]string{
		read + "token: plain, proof: {iat: -1s}":                                         "dpop: true comes with a proof",
		read + "proof: {iat: -1s}":                                                       "dpop: true comes with a proof",
		read + "token: alice, proof: {raw: x, iat: -1s}":                                 "made, raw, or absent",
		read + "token: alice, proof: {raw: x, absent: true}":                             "made, raw, or absent",
		read + "token: alice, proof: {absent: true, omit: [a]}":                          "made, raw, or absent",
		read + "token: alice, proof: {scheme: Basic}":                                    "scheme is DPoP or Bearer",
		"operation: {service: vault, action: read}, token: alice, proof: {absent: true}": "is no HTTP request",
	} {
		contents := vault()
		contents["tests/s.yaml"] = []byte(bound + "cases: [{name: a, request: {" + request + "}, expect: {status: 401}}]\n")
		if _, problems := open(t, contents); !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v", request, problems)
		}
	}
	for from, to := range map[string]string{"certificate: batch, claims": "certificate: batchh, claims", "plain: {": "plain: {raw: x, dpop: true, "} {
		contents := vault()
		contents["tests/s.yaml"] = []byte(strings.Replace(bound, from, to, 1) + "cases: [{name: a, request: {path: /}, expect: {status: 403}}]\n")
		if _, problems := open(t, contents); len(problems) == 0 {
			t.Errorf("%s is taken", to)
		}
	}
}
