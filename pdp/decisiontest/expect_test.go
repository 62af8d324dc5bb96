package decisiontest

import (
	"encoding/base64"
	"reflect"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// denial and allowance are verdicts in which every expectation has something to compare with.
func denial() *verdict.Verdict {
	return &verdict.Verdict{
		Reason: verdict.LimitExceeded, Stage: "limits", Degraded: true, RetryAfter: 2500 * time.Millisecond,
		Obligations: verdict.Obligations{SetResponse: []verdict.Field{{Name: "retry-after", Value: "3"}, {Name: "vary", Value: "a"}, {Name: "vary", Value: "b"}}},
		Explanation: verdict.Explanation{
			Policy: "main", Rule: "services/a/policy.csv:3", RuleID: "abc", Limit: "logins",
			Limits:   []verdict.LimitState{{Name: "logins", Remaining: 0}, {Name: "per-address", Remaining: 7}},
			Policies: []verdict.PolicyExplanation{{}, {Change: "would be allowed if roles contained writer"}},
		},
	}
}

func allowance() *verdict.Verdict {
	return &verdict.Verdict{
		Effect: verdict.Allow, Reason: verdict.Allowed,
		Obligations: verdict.Obligations{
			SetUpstream: []verdict.Field{{Name: "x-subject", Value: "alice"}, {Name: "x-dotted", Value: "a.b.c"},
				{Name: "x-token", Value: "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"tenant":"acme","roles":["a","b"],"iat":7}`)) + ".x"}},
			RemoveUpstream: []string{"authorization"},
		},
	}
}

// expectations are, for every key, one that the verdict meets and one that it does not, with the difference.
var expectations = []struct {
	field, key   string
	verdict      func() *verdict.Verdict
	right, wrong suite.Expect
	want, got    string
}{
	{"Decision", "decision", denial, suite.Expect{Decision: "deny"}, suite.Expect{Decision: "allow"}, "allow", "deny"},
	{"Decision", "decision", allowance, suite.Expect{Decision: "allow"}, suite.Expect{Decision: "deny"}, "deny", "allow"},
	{"Status", "status", denial, suite.Expect{Status: 429}, suite.Expect{Status: 403}, "403", "429"},
	{"Status", "status", allowance, suite.Expect{Status: 200}, suite.Expect{Status: 403}, "403", "200"},
	{"Reason", "reason", denial, suite.Expect{Reason: "limit_exceeded"}, suite.Expect{Reason: "allowed"}, "allowed", "limit_exceeded"},
	{"PublicReason", "public_reason", denial, suite.Expect{PublicReason: "quota_exceeded"}, suite.Expect{PublicReason: "access_denied"}, "access_denied", "quota_exceeded"},
	{"Rule", "rule", denial, suite.Expect{Rule: "services/a/policy.csv:3"}, suite.Expect{Rule: "services/a/policy.csv:4"}, "services/a/policy.csv:4", "services/a/policy.csv:3"},
	{"Rule", "rule", allowance, suite.Expect{}, suite.Expect{Rule: "services/a/policy.csv:4"}, "services/a/policy.csv:4", "nothing"},
	{"RuleID", "rule_id", denial, suite.Expect{RuleID: "abc"}, suite.Expect{RuleID: "abd"}, "abd", "abc"},
	{"Policy", "policy", denial, suite.Expect{Policy: "main"}, suite.Expect{Policy: "other"}, "other", "main"},
	{"Policy", "policy", denial, suite.Expect{}, suite.Expect{Policy: "a\n::error::b"}, `"a\n::error::b"`, "main"},
	{"Stage", "stage", denial, suite.Expect{Stage: "limits"}, suite.Expect{Stage: "policy"}, "policy", "limits"},
	{"Limit", "limit", denial, suite.Expect{Limit: "logins"}, suite.Expect{Limit: "per-address"}, "per-address", "logins"},
	{"Remaining", "remaining.per-address", denial, suite.Expect{Remaining: map[string]int64{"per-address": 7, "logins": 0}}, suite.Expect{Remaining: map[string]int64{"per-address": 0}}, "0", "7"},
	{"Remaining", "remaining.other", denial, suite.Expect{}, suite.Expect{Remaining: map[string]int64{"other": 0}}, "0", "no such limit"},
	{"Upstream", "upstream.x-subject", allowance, suite.Expect{Upstream: map[string]string{"x-subject": "alice", "x-client": "c"}}, suite.Expect{Upstream: map[string]string{"x-subject": "bob"}}, "bob", "alice"},
	{"Upstream", "upstream.authorization", allowance, suite.Expect{}, suite.Expect{Upstream: map[string]string{"authorization": "Bearer t"}}, "Bearer t", "absent"},
	{"Upstream", "upstream.x-client", denial, suite.Expect{}, suite.Expect{Upstream: map[string]string{"x-client": "c"}}, "c", "absent"},
	{"UpstreamToken", "upstream_token.tenant", allowance, suite.Expect{UpstreamToken: map[string]any{"tenant": "acme", "roles": []any{"a", "b"}, "iat": int64(7)}}, suite.Expect{UpstreamToken: map[string]any{"tenant": "hooli"}}, `"hooli"`, `"acme"`},
	{"UpstreamToken", "upstream_token.roles", allowance, suite.Expect{}, suite.Expect{UpstreamToken: map[string]any{"roles": []any{"b", "a"}}}, `["b","a"]`, `["a","b"]`},
	{"UpstreamToken", "upstream_token.sub", allowance, suite.Expect{}, suite.Expect{UpstreamToken: map[string]any{"sub": "x"}}, `"x"`, "absent"},
	{"UpstreamToken", "upstream_token.sub", denial, suite.Expect{}, suite.Expect{UpstreamToken: map[string]any{"sub": "x"}}, `"x"`, "no token"},
	{"UpstreamAbsent", "upstream_absent[1]", allowance, suite.Expect{UpstreamAbsent: []string{"authorization"}}, suite.Expect{UpstreamAbsent: []string{"authorization", "x-subject"}}, "x-subject absent", "x-subject alice"},
	{"UpstreamAbsent", "upstream_absent[0]", allowance, suite.Expect{}, suite.Expect{UpstreamAbsent: []string{"x-client"}}, "x-client absent", "x-client c"},
	{"Response", "response.retry-after", denial, suite.Expect{Response: map[string]string{"retry-after": "3", "vary": "a, b"}}, suite.Expect{Response: map[string]string{"retry-after": "4"}}, "4", "3"},
	{"Response", "response.allow", denial, suite.Expect{}, suite.Expect{Response: map[string]string{"allow": ""}}, `""`, "absent"},
	{"ResponseAbsent", "response_absent[0]", denial, suite.Expect{ResponseAbsent: []string{"allow"}}, suite.Expect{ResponseAbsent: []string{"retry-after"}}, "retry-after absent", "retry-after 3"},
	{"RetryAfter", "retry_after", denial, suite.Expect{RetryAfter: ref(int64(3))}, suite.Expect{RetryAfter: ref(int64(2))}, "2", "3"},
	{"RetryAfter", "retry_after", allowance, suite.Expect{RetryAfter: ref(int64(0))}, suite.Expect{RetryAfter: ref(int64(1))}, "1", "0"},
	{"Degraded", "degraded", denial, suite.Expect{Degraded: ref(true)}, suite.Expect{Degraded: ref(false)}, "false", "true"},
	{"Degraded", "degraded", allowance, suite.Expect{Degraded: ref(false)}, suite.Expect{Degraded: ref(true)}, "true", "false"},
	{"Change", "change", denial, suite.Expect{Change: "contained writer"}, suite.Expect{Change: "admin"}, "text that holds admin", "would be allowed if roles contained writer"},
	{"Change", "change", allowance, suite.Expect{}, suite.Expect{Change: "admin"}, "text that holds admin", "no change is known"},
}

// TestEveryExpectationCanFail is the runner's own guard: an expectation that nobody compares would always hold.
func TestEveryExpectationCanFail(t *testing.T) {
	question := &request.Request{Header: request.Header{{Name: "authorization", Value: "Bearer t"}, {Name: "x-client", Value: "c"}}}
	tried := map[string]bool{}
	for _, c := range expectations {
		tried[c.field] = true
		if found := compare(&c.right, question, c.verdict()); len(found) != 0 {
			t.Errorf("%s: %+v differs: %+v", c.key, c.right, found)
		}
		found := compare(&c.wrong, question, c.verdict())
		if want := (Difference{Key: c.key, Want: c.want, Got: c.got}); len(found) != 1 || found[0] != want {
			t.Errorf("%s: got %+v, want %+v", c.key, found, want)
		}
	}
	fields := reflect.TypeFor[suite.Expect]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; !tried[name] {
			t.Errorf("no case for %s", name)
		}
	}
}

func TestShown(t *testing.T) {
	for text, want := range map[string]string{"a b": "a b", "": `""`, " a": `" a"`, "a\nb": `"a\nb"`, "a\x1b[31m": `"a\x1b[31m"`, "é": "é", `a"b`: `"a\"b"`} {
		if got := shown(text); got != want {
			t.Errorf("shown(%q) = %s, want %s", text, got, want)
		}
	}
}
