package extauthz

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/durward-pdp/durward/pdp/verdict"
)

var update = flag.Bool("update", false, "write the golden files")

// explained is what stages know of a decision and clients must not.
func explained() verdict.Explanation {
	return verdict.Explanation{
		Bundle: "acme", Revision: "r42", Policy: "main", Rule: "policy.csv:3", RuleID: "1f2e", Detail: "never shown",
		Limits: []verdict.LimitState{{Name: "per-subject", Quota: 100, Remaining: 99, Window: time.Minute, Reset: 600 * time.Millisecond}},
	}
}

func TestGoldenResponses(t *testing.T) {
	grpc := header("content-type", "application/grpc+proto")
	refusedLimits := []verdict.LimitState{
		{Name: "per-subject", Quota: 100, Window: time.Minute, Reset: time.Minute, RetryAfter: 2500 * time.Millisecond, Refused: true},
		{Name: "trial", Quota: 1, Window: time.Hour, Refused: true, Shadow: true},
	}
	limited := verdict.Verdict{
		Reason: verdict.LimitExceeded, DecisionID: "d3", Stage: "limits.take",
		Obligations: verdict.Obligations{SetResponse: []verdict.Field{
			{Name: "retry-after", Value: "3"}, {Name: "ratelimit", Value: `"per-subject";r=0;t=3`},
		}},
		Explanation: verdict.Explanation{Bundle: "acme", Revision: "r42", Limit: "per-subject", Limits: refusedLimits},
	}
	for _, tc := range []struct {
		name    string
		in      *authv3.CheckRequest
		verdict verdict.Verdict
	}{
		{"allow", message(), verdict.Verdict{
			Effect: verdict.Allow, Reason: verdict.Allowed, DecisionID: "d1", Subject: "user:corp:alice", Explanation: explained(),
			Obligations: verdict.Obligations{
				SetUpstream:    []verdict.Field{{Name: "x-durward-subject", Value: "alice"}, {Name: "x-durward-tenant", Value: ""}},
				RemoveUpstream: []string{"authorization", "x_durward_subject", "X-Durward-Subject", "proxy-authorization"},
				SetResponse:    []verdict.Field{{Name: "ratelimit", Value: `"per-subject";r=99;t=1`}, {Name: "set-cookie", Value: "a=1"}},
				Metadata:       []verdict.Field{{Name: "subject", Value: "forged"}, {Name: "effect", Value: "forged"}},
			},
		}},
		{"deny_401", message(), verdict.Verdict{
			Reason: verdict.TokenSignature, DecisionID: "d2", Stage: "identity",
			Explanation: verdict.Explanation{Bundle: "acme", Revision: "r42"},
			Obligations: verdict.Obligations{
				SetUpstream: []verdict.Field{{Name: "x-durward-subject", Value: "not for denials"}},
				SetResponse: []verdict.Field{
					{Name: "www-authenticate", Value: `Bearer realm="orders", error="invalid_token"`},
					{Name: "www-authenticate", Value: `DPoP algs="ES256"`},
				},
			},
		}},
		{"deny_429", message(), limited},
		{"deny_429_grpc", message(grpc), limited},
		{"deny_403_head", message(func(h *authv3.AttributeContext_HttpRequest) { h.Method, h.Headers[":method"] = "HEAD", "HEAD" }),
			verdict.Verdict{Reason: verdict.NoMatchingRule, DecisionID: "d4", Stage: "policy"}},
		{"redirect", message(), verdict.Verdict{Status: 302, Reason: verdict.TokenMissing, DecisionID: "d5", Obligations: verdict.Obligations{
			SetResponse: []verdict.Field{{Name: "location", Value: "https://idp.example.com/"}, {Name: "set-cookie", Value: "a=1"}, {Name: "set-cookie", Value: "b=2"}},
		}}},
		{"outage", message(), verdict.Verdict{Reason: verdict.LimitsUnavailable, DecisionID: "d6", Degraded: true, Stage: "limits.take"}},
		{"zero", message(), verdict.Verdict{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := check(t, newServer(t, &decider{verdict: tc.verdict}), tc.in)
			compact, err := protojson.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, compact, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			file := filepath.Join("testdata", tc.name+".json")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.Bytes(), want)
			}
		})
	}
}

// TestOnlyAllowAllows: an empty CheckResponse would let the request pass.
func TestOnlyAllowAllows(t *testing.T) {
	for name, v := range map[string]verdict.Verdict{
		"zero verdict":                   {},
		"unknown effect":                 {Effect: 7, Reason: verdict.Allowed, Status: 200},
		"deny that says allowed":         {Effect: verdict.Deny, Reason: verdict.Allowed, Status: 200},
		"unknown reason":                 {Reason: "made_up"},
		"deny with obligations of allow": {Obligations: verdict.Obligations{SetUpstream: []verdict.Field{{Name: "x-a", Value: "b"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			out := check(t, newServer(t, &decider{verdict: v}), message())
			if out.GetStatus().GetCode() == 0 || out.GetDeniedResponse() == nil {
				t.Errorf("response allows: %v", out)
			}
		})
	}
	if out := check(t, newServer(t, &decider{verdict: allowed()}), message()); out.GetStatus().GetCode() != 0 || out.GetOkResponse() == nil {
		t.Errorf("an allow is denied: %v", out)
	}
}

func TestStatusIsClamped(t *testing.T) {
	for status, want := range map[int]int{0: 403, 99: 403, 200: 403, 204: 403, 299: 403, 300: 300, 401: 401, 599: 599, 600: 403, 700: 403, -1: 403, 1 << 40: 403} {
		out := check(t, newServer(t, &decider{verdict: verdict.Verdict{Status: status, Reason: verdict.NoMatchingRule}}), message())
		if got := int(out.GetDeniedResponse().GetStatus().GetCode()); got != want {
			t.Errorf("status %d is sent as %d, want %d", status, got, want)
		}
	}
}

// TestStatusCodes: the code of google.rpc.Status follows the class of the denial and is never 0; gRPC clients get
// the same in grpc-status.
func TestStatusCodes(t *testing.T) {
	for status, want := range map[int]int32{
		401: 16, 403: 7, 429: 8, 503: 14, 400: 3, 413: 3, 431: 3, 415: 3, 405: 12, 404: 5, 402: 7, 302: 7, 500: 14, 599: 14,
	} {
		s := newServer(t, &decider{verdict: verdict.Verdict{Status: status, Reason: verdict.NoMatchingRule}})
		if got := check(t, s, message()).GetStatus().GetCode(); got != want {
			t.Errorf("status %d has code %d, want %d", status, got, want)
		}
		out := check(t, s, message(header("content-type", "application/grpc")))
		if got := field(out.GetDeniedResponse().GetHeaders(), "grpc-status"); got != strconv.Itoa(int(want)) {
			t.Errorf("status %d has grpc-status %q, want %d", status, got, want)
		}
		if got := int(out.GetDeniedResponse().GetStatus().GetCode()); got != status {
			t.Errorf("status %d is sent as %d to a gRPC client", status, got)
		}
	}
}

func TestGRPCClients(t *testing.T) {
	s := newServer(t, &decider{verdict: verdict.Verdict{Reason: verdict.TokenExpired, DecisionID: "d1"}})
	for contentType, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/GRPC+json": true, "application/grpc;x=y": true,
		"application/grpc-web": false, "application/grpc-web-text": false, "application/grpcx": false, "application/json": false,
	} {
		denied := check(t, s, message(header("content-type", contentType))).GetDeniedResponse()
		if got := field(denied.GetHeaders(), "grpc-status") != ""; got != want {
			t.Errorf("%s: grpc-status set = %v, want %v", contentType, got, want)
		}
		text := "invalid_token; decision d1"
		if want && (denied.GetBody() != text || field(denied.GetHeaders(), "grpc-message") != text || field(denied.GetHeaders(), "content-type") != "") {
			t.Errorf("%s: denied %v", contentType, denied)
		}
	}
	if out := check(t, s, lines("content-type", "application/grpc", "content-type", "text/html")); field(out.GetDeniedResponse().GetHeaders(), "grpc-status") != "" {
		t.Error("a request with two content types is taken for gRPC")
	}
	if got := percentEncode("50% \u00e9\n"); got != "50%25 %C3%A9%0A" {
		t.Errorf("percentEncode = %q", got)
	}
}

// TestPublicReasonOnly: for every reason of the list, the client's side of the response holds the public one alone.
func TestPublicReasonOnly(t *testing.T) {
	for _, reason := range verdict.Reasons() {
		out := check(t, newServer(t, &decider{verdict: verdict.Verdict{Reason: reason, DecisionID: "d1", Explanation: explained()}}), message())
		var body struct{ Type, Title, Code, Decision_id string }
		if err := json.Unmarshal([]byte(out.GetDeniedResponse().GetBody()), &body); err != nil {
			t.Fatalf("%s: %v", reason, err)
		}
		want := string(reason.Public())
		if want == "" {
			want = "access_denied"
		}
		if body.Code != want || body.Decision_id != "d1" || body.Title == "" || body.Type == "" {
			t.Errorf("%s: body %+v", reason, body)
		}
		public := protojson.Format(out.GetDeniedResponse()) + protojson.Format(out.GetStatus())
		for _, secret := range []string{string(reason), "policy.csv", "r42", "acme", "never shown", "per-subject"} {
			if secret != want && strings.Contains(public, secret) {
				t.Errorf("%s: the client learns %q: %s", reason, secret, public)
			}
		}
		if got := out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != string(reason) {
			t.Errorf("metadata has reason %q, want %q", got, reason)
		}
	}
}

func TestProblemIsBounded(t *testing.T) {
	v := verdict.Verdict{Reason: verdict.LimitExceeded, DecisionID: strings.Repeat("d", 64)}
	for range 40 {
		v.Explanation.Limits = append(v.Explanation.Limits, verdict.LimitState{Name: strings.Repeat("&", 64), Refused: true})
	}
	v.Explanation.Limits = append(v.Explanation.Limits, verdict.LimitState{Name: "caf\u00e9 \"x\"", Refused: true})
	body := check(t, newServer(t, &decider{verdict: v}), message()).GetDeniedResponse().GetBody()
	if !json.Valid([]byte(body)) || len(body) >= 1024 || !strings.Contains(body, quotaType) {
		t.Errorf("body of %d bytes: %s", len(body), body)
	}
}

func TestMetadataIsBoundedAndUTF8(t *testing.T) {
	v := allowed()
	v.DecisionID, v.Explanation.Rule, v.Stage = "d\xff\r\n", strings.Repeat("r", 5000), "\xff"
	for range 100 {
		v.Explanation.Limits = append(v.Explanation.Limits, verdict.LimitState{Name: "\xff"})
		v.Obligations.Metadata = append(v.Obligations.Metadata, verdict.Field{Name: strconv.Itoa(len(v.Obligations.Metadata)), Value: "\xfe"})
	}
	// check encodes the response: a text that is no UTF-8 would fail the call.
	fields := check(t, newServer(t, &decider{verdict: v}), message()).GetDynamicMetadata().GetFields()
	if n := len(fields["limits"].GetListValue().GetValues()); n != maxLimits {
		t.Errorf("%d limits", n)
	}
	if n := len(fields["rule"].GetStringValue()); n != maxText || len(fields) > maxExtra+16 {
		t.Errorf("rule of %d bytes, %d fields", n, len(fields))
	}
	v.Effect = verdict.Deny
	denied := check(t, newServer(t, &decider{verdict: v}), message()).GetDeniedResponse()
	if got := field(denied.GetHeaders(), decisionHeader); got != "" {
		t.Errorf("an unsafe decision id is sent: %q", got)
	}
}

// TestStagesCannotForgeMetadata: a stage's own value never stands where the verdict has none.
func TestStagesCannotForgeMetadata(t *testing.T) {
	v := verdict.Verdict{Reason: verdict.NoRoute}
	names := []string{"effect", "decision_id", "reason", "degraded", "stage", "policy", "rule", "rule_id", "bundle", "revision", "limit", "limits", "observed"}
	for _, name := range names {
		v.Obligations.Metadata = append(v.Obligations.Metadata, verdict.Field{Name: name, Value: "forged"})
	}
	fields := check(t, newServer(t, &decider{verdict: v}), message()).GetDynamicMetadata().GetFields()
	for _, name := range names {
		if fields[name].GetStringValue() == "forged" {
			t.Errorf("%s is forged", name)
		}
	}
}

// TestUnsafeHeadersDeny: a header that cannot be carried is never dropped, because the API behind would then decide
// without it.
func TestUnsafeHeadersDeny(t *testing.T) {
	upstream := func(f ...verdict.Field) verdict.Obligations { return verdict.Obligations{SetUpstream: f} }
	response := func(f ...verdict.Field) verdict.Obligations { return verdict.Obligations{SetResponse: f} }
	for name, o := range map[string]verdict.Obligations{
		"carriage return":       upstream(verdict.Field{Name: "x-a", Value: "a\rb"}),
		"line feed":             upstream(verdict.Field{Name: "x-a", Value: "a\nb"}),
		"NUL":                   upstream(verdict.Field{Name: "x-a", Value: "a\x00b"}),
		"tab":                   upstream(verdict.Field{Name: "x-a", Value: "a\tb"}),
		"DEL":                   upstream(verdict.Field{Name: "x-a", Value: "a\x7f"}),
		"not ASCII":             upstream(verdict.Field{Name: "x-a", Value: "caf\u00e9"}),
		"not UTF-8":             upstream(verdict.Field{Name: "x-a", Value: "\xff"}),
		"space before":          upstream(verdict.Field{Name: "x-a", Value: " alice"}),
		"space after":           upstream(verdict.Field{Name: "x-a", Value: "alice "}),
		"100 KB":                upstream(verdict.Field{Name: "x-a", Value: strings.Repeat("a", 100<<10)}),
		"9 KB":                  upstream(verdict.Field{Name: "x-a", Value: strings.Repeat("a", maxValue+1)}),
		"too much in all":       upstream(many(6, 8<<10)...),
		"too many":              upstream(many(maxFields+1, 1)...),
		"empty name":            upstream(verdict.Field{Value: "a"}),
		"space in the name":     upstream(verdict.Field{Name: "x a", Value: "a"}),
		"upper case":            upstream(verdict.Field{Name: "X-A", Value: "a"}),
		"two values":            upstream(verdict.Field{Name: "x-a", Value: "a"}, verdict.Field{Name: "x-a", Value: "b"}),
		"response: line feed":   response(verdict.Field{Name: "x-a", Value: "a\nb"}),
		"response: too many":    response(many(maxFields+1, 1)...),
		"response: too much":    response(many(6, 8<<10)...),
		"response: type":        response(verdict.Field{Name: "content-type", Value: "text/html"}),
		"response: encoding":    response(verdict.Field{Name: "content-encoding", Value: "gzip"}),
		"response: status":      response(verdict.Field{Name: "grpc-status", Value: "0"}),
		"removal: pseudo":       {RemoveUpstream: []string{":path"}},
		"removal: host":         {RemoveUpstream: []string{"Host"}},
		"removal: empty":        {RemoveUpstream: []string{""}},
		"removal: bad name":     {RemoveUpstream: []string{"x a"}},
		"removal: length":       {RemoveUpstream: []string{"content-length"}},
		"removal: far too many": {RemoveUpstream: make([]string, maxRemovals+1)},
	} {
		t.Run(name, func(t *testing.T) { wantUnsafe(t, o) })
	}
	for _, name := range []string{
		"host", "content-length", "transfer-encoding", "te", "trailer", "connection", "upgrade", "keep-alive", "proxy-connection",
		"proxy-authorization", ":path", ":authority", ":method", ":scheme", "x-envoy-original-path", "x_envoy_internal", "content_length",
	} {
		t.Run("never "+name, func(t *testing.T) {
			wantUnsafe(t, upstream(verdict.Field{Name: name, Value: "3"}))
			wantUnsafe(t, response(verdict.Field{Name: name, Value: "3"}))
		})
	}
}

func many(n, size int) []verdict.Field {
	out := make([]verdict.Field, n)
	for i := range out {
		out[i] = verdict.Field{Name: "x-" + strconv.Itoa(i), Value: strings.Repeat("a", size)}
	}
	return out
}

// wantUnsafe asks with an allow and with a denial that carry the obligations. Both must become the refusal, and
// the refusal must have gone through the decider, which records it.
func wantUnsafe(t *testing.T, o verdict.Obligations) {
	t.Helper()
	effects := []verdict.Effect{verdict.Allow}
	if len(o.SetResponse) > 0 {
		effects = append(effects, verdict.Deny)
	}
	for _, effect := range effects {
		d := &decider{verdict: verdict.Verdict{Effect: effect, Reason: verdict.TokenExpired, Status: 401, DecisionID: "d1", Obligations: o}}
		out := check(t, newServer(t, d), message())
		if out.GetStatus().GetCode() != 7 || out.GetDeniedResponse().GetStatus().GetCode() != 403 {
			t.Errorf("%v: answered %v", effect, out)
		}
		if got := out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != "header_value_unsafe" {
			t.Errorf("%v: reason %q", effect, got)
		}
		if len(d.seen) != 2 || d.seen[0].Invalid != "" || d.last().Invalid != "header_value_unsafe" || d.last().Method != "GET" {
			t.Errorf("%v: the refusal was not decided and recorded", effect)
		}
	}
}

func TestSafeHeadersPass(t *testing.T) {
	v := allowed()
	v.Obligations = verdict.Obligations{
		SetUpstream:    []verdict.Field{{Name: "x-a", Value: ""}, {Name: "x_b", Value: "a b, c!~"}, {Name: "content-type", Value: "text/plain"}},
		RemoveUpstream: []string{"X-A", "x_a", "x-envoy-original-path", "proxy-authorization"},
	}
	ok := check(t, newServer(t, &decider{verdict: v}), message()).GetOkResponse()
	if len(ok.GetHeaders()) != 3 || field(ok.GetHeaders(), "x_b") != "a b, c!~" {
		t.Errorf("headers %v", ok.GetHeaders())
	}
	// Envoy removes after it sets, in any case: x-a must not be removed again.
	if got := strings.Join(ok.GetHeadersToRemove(), " "); got != "x_a x-envoy-original-path proxy-authorization" {
		t.Errorf("removes %q", got)
	}
}

// TestExplicitActions: the action's zero value appends to what the client sent.
func TestExplicitActions(t *testing.T) {
	v := allowed()
	v.Obligations = verdict.Obligations{
		SetUpstream: []verdict.Field{{Name: "x-durward-subject", Value: "alice"}},
		SetResponse: []verdict.Field{{Name: "ratelimit", Value: "a"}, {Name: "link", Value: "a"}, {Name: "link", Value: "b"}, {Name: "set-cookie", Value: "c"}},
	}
	actions := func(fields []*corev3.HeaderValueOption) (out []string) {
		for _, h := range fields {
			out = append(out, h.GetHeader().GetKey()+" "+h.GetAppendAction().String())
		}
		return out
	}
	ok := check(t, newServer(t, &decider{verdict: v}), message()).GetOkResponse()
	got := strings.Join(append(actions(ok.GetHeaders()), actions(ok.GetResponseHeadersToAdd())...), "\n")
	want := strings.Join([]string{
		"x-durward-subject OVERWRITE_IF_EXISTS_OR_ADD", "ratelimit OVERWRITE_IF_EXISTS_OR_ADD",
		"link APPEND_IF_EXISTS_OR_ADD", "link APPEND_IF_EXISTS_OR_ADD", "set-cookie APPEND_IF_EXISTS_OR_ADD",
	}, "\n")
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestVerdictReplacesOwnHeaders: a stage may be stricter about caching than the adapter; the field stays single.
func TestVerdictReplacesOwnHeaders(t *testing.T) {
	v := verdict.Verdict{Reason: verdict.NoRoute, DecisionID: "d1", Obligations: verdict.Obligations{SetResponse: []verdict.Field{{Name: "cache-control", Value: "private"}}}}
	denied := check(t, newServer(t, &decider{verdict: v}), message()).GetDeniedResponse()
	n := 0
	for _, h := range denied.GetHeaders() {
		if h.GetHeader().GetKey() == "cache-control" {
			n++
		}
	}
	if n != 1 || field(denied.GetHeaders(), "cache-control") != "private" {
		t.Errorf("headers %v", denied.GetHeaders())
	}
}

func field(fields []*corev3.HeaderValueOption, name string) string {
	for _, h := range fields {
		if h.GetHeader().GetKey() == name {
			return h.GetHeader().GetValue()
		}
	}
	return ""
}
