package decisiontest_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/decisiontest"
)

// withOpaque returns the policy's files with an authenticator of opaque tokens, and a suite.
func withOpaque(suite string) map[string][]byte {
	contents := with(map[string]string{"tests/s.yaml": suite})
	contents["bundle.yaml"] = append(contents["bundle.yaml"], `  vault:
    kind: introspection
    issuer: https://vault.example.com
    introspection: {url: "https://vault.example.com/a b?c=d", client: {id: shop, authentication: private_key_jwt, secret: vault}, timeout: 10ms}
    roles: {from: roles, allow: [reader]}
`...)
	contents["services/orders/service.yaml"] = []byte(strings.Replace(policy["services/orders/service.yaml"], "accept: [corp, workloads]", "accept: [vault, corp]", 1))
	return contents
}

const opaqueSuite = `suite: s
tokens:
  opal: {authenticator: vault, claims: {sub: opal, aud: orders-api, roles: [reader, writer], scope: orders}}
  revoked: {extends: opal, claims: {active: false}}
  garbled: {extends: opal, omit: [active]}
  lying: {extends: opal, claims: {active: "yes"}}
  ended: {extends: opal, exp: -1s}
  elsewhere: {extends: opal, claims: {aud: refunds-api}}
  foreign: {extends: opal, claims: {iss: "https://idp.example.com"}}
  alice: {authenticator: corp, claims: {sub: alice, aud: orders-api, roles: [reader]}}
  unknown: {raw: junk}
cases:
  - {name: opal, request: {host: a.example.com, path: /orders/7/a, token: opal}, expect: {decision: allow, upstream: {x-subject: opal}}}
  - {name: "no writer", request: {method: PUT, host: a.example.com, path: /orders/7, token: opal}, expect: {reason: no_matching_rule}}
  - {name: revoked, request: {host: a.example.com, path: /orders/7/a, token: revoked}, expect: {status: 401, reason: token_inactive, public_reason: invalid_token}}
  - {name: garbled, request: {host: a.example.com, path: /orders/7/a, token: garbled}, expect: {status: 503, reason: introspection_unavailable, degraded: true}}
  - {name: lying, request: {host: a.example.com, path: /orders/7/a, token: lying}, expect: {reason: introspection_unavailable}}
  - {name: ended, request: {host: a.example.com, path: /orders/7/a, token: ended}, expect: {reason: token_expired}}
  - {name: elsewhere, request: {host: a.example.com, path: /orders/7/a, token: elsewhere}, expect: {reason: token_audience}}
  - {name: foreign, request: {host: a.example.com, path: /orders/7/a, token: foreign}, expect: {reason: token_issuer}}
  - {name: alice, request: {host: a.example.com, path: /orders/7/a, token: alice}, expect: {decision: allow}}
  - {name: unknown, request: {host: a.example.com, path: /orders/7/a, token: unknown}, expect: {reason: token_inactive}}
  - name: "it ends"
    steps:
      - {request: {host: a.example.com, path: /orders/7/a, token: opal}, expect: {decision: allow}}
      - {at: +6min, request: {host: a.example.com, path: /orders/7/a, token: opal}, expect: {reason: token_expired}}
`

// TestOpaqueTokens: a stand-in for the issuer answers about opaque tokens what their author says.
func TestOpaqueTokens(t *testing.T) {
	options, problems := open(t, withOpaque(opaqueSuite))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Failure != nil {
			t.Errorf("%s: %+v", r.Case, r.Failure)
		}
	}
	if len(report.Results) != 11 {
		t.Errorf("%d results", len(report.Results))
	}
	// Expectations that do not hold fail.
	lies := strings.NewReplacer("reason: token_inactive, public", "reason: token_expired, public", "{decision: allow}", "{decision: deny}", "reason: token_audience", "reason: token_inactive").Replace(opaqueSuite)
	options, _ = open(t, withOpaque(lies))
	if report, err = decisiontest.Run(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	failed := map[string]bool{}
	for _, r := range report.Results {
		if r.Failure != nil {
			failed[r.Case] = true
		}
	}
	if want := map[string]bool{"revoked": true, "elsewhere": true, "alice": true, "it ends": true}; !maps.Equal(failed, want) {
		t.Errorf("failed %v, want %v", failed, want)
	}
}

// TestOpaqueTokensHaveNoHeader: there is nothing that it could be a part of.
func TestOpaqueTokensHaveNoHeader(t *testing.T) {
	_, problems := open(t, withOpaque(strings.Replace(opaqueSuite, "exp: -1s", "header: {typ: JWT}", 1)))
	if len(problems) != 1 || problems[0].Line != 7 || problems[0].Message != "an opaque token has no header" {
		t.Error(problems)
	}
}

// TestMatrixOfRoles: people of roles are those of an authenticator of opaque tokens, where the service takes these first.
func TestMatrixOfRoles(t *testing.T) {
	options, _ := open(t, withOpaque(opaqueSuite))
	table, err := decisiontest.Matrix(t.Context(), options, decisiontest.MatrixOptions{Roles: []string{"reader"}, Routes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range table.Rows {
		if got := row.Cells[0]; got != "allow" {
			t.Errorf("%+v", row)
		}
	}
	if len(table.Rows) != 2 {
		t.Errorf("%d rows", len(table.Rows))
	}
}
