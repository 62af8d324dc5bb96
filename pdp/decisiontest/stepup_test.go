package decisiontest_test

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/decisiontest"
)

// TestStepUp: the real check of a login's strength runs on the tokens of a suite, whose login is an instant like any other.
func TestStepUp(t *testing.T) {
	text := cases(
		"method: PUT, path: /orders/7, token: fresh => decision: allow",
		"method: PUT, path: /orders/7, token: weak => status: 401, reason: assurance_insufficient, public_reason: insufficient_user_authentication, stage: identity",
		"method: PUT, path: /orders/7, token: timeless => reason: assurance_insufficient",
		"method: PUT, path: /orders/7, subject: just => decision: allow",
		"method: PUT, path: /orders/7, subject: carol => reason: assurance_insufficient",
		"steps: [{at: +9min, request: {host: a.example.com, method: PUT, path: /orders/7, token: fresh}, expect: {reason: assurance_insufficient, "+
			`response: {www-authenticate: 'Bearer realm="orders", error="insufficient_user_authentication", `+
			`error_description="The operation needs a stronger or more recent authentication", acr_values="mfa", max_age="600"'}}}]`,
	)
	text = strings.Replace(text, "  junk:", `  fresh: {extends: bob, claims: {acr: mfa}, auth_time: -2min, exp: +1h}
  weak: {extends: fresh, claims: {acr: pwd}}
  timeless: {extends: fresh, omit: [auth_time]}
  junk:`, 1)
	text = strings.Replace(text, "  dave:", `  just: {key: "user:corp:just", roles: [writer], scopes: [orders], acr: mfa, auth_time: -10min}
  dave:`, 1)
	contents := with(map[string]string{"tests/s.yaml": text})
	const service = "services/orders/service.yaml"
	contents[service] = []byte(strings.Replace(string(contents[service]), "scopes: [orders]}", "scopes: [orders], assurance: {acr: [mfa], max_age: 10min}}", 1))
	options, problems := open(t, contents)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 6 {
		t.Errorf("%d cases ran", len(report.Results))
	}
	for _, r := range report.Results {
		if r.Failure != nil {
			t.Errorf("%s: %+v", r.Case, r.Failure)
		}
	}
	twice := strings.Replace(text, "claims: {acr: mfa}", "claims: {acr: mfa, auth_time: 1}", 1)
	if _, problems := open(t, with(map[string]string{"tests/s.yaml": twice})); len(problems) != 1 || !strings.Contains(problems[0].Message, "auth_time stands here and among the claims") {
		t.Errorf("auth_time twice: %v", problems)
	}
}
