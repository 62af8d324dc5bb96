package doors

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/clients/authz"
)

// curious asks through the SDK with a wish for reasons. Limits that count by the door's name or by the address count each
// door apart.
func curious(t *testing.T, name, address string, wanted authz.Explain) func(ctx context.Context, server string, q *question) (authz.Decision, error) {
	clients := map[string]*authz.Client{}
	return func(ctx context.Context, server string, q *question) (authz.Decision, error) {
		if clients[server] == nil {
			clients[server] = newClient(t, shared.socket(server), "")
		}
		r := sdkRequest(q, name, address)
		r.Explain = wanted
		return clients[server].Check(ctx, r)
	}
}

// TestSameAnswerExplained asks every example with a wish for reasons and without: the answer is the same, and the reasons
// lead to it.
func TestSameAnswerExplained(t *testing.T) {
	plain, decided, all := curious(t, "plain", "192.0.2.1:1", authz.ExplainNone), curious(t, "decided", "192.0.2.2:1", authz.ExplainDecision), curious(t, "all", "192.0.2.3:1", authz.ExplainAll)
	explained := 0
	var last string
	unexported := cmp.AllowUnexported(answer{})
	for _, e := range examples(t) {
		if e.noSDK || e.token != "" {
			continue
		}
		if e.server == "" {
			e.server = "main"
		}
		var answers [3]answer
		for i, ask := range []func(context.Context, string, *question) (authz.Decision, error){plain, decided, all} {
			var d authz.Decision
			var err error
			for range max(e.times, 1) {
				d, err = ask(t.Context(), e.server, &e.q)
			}
			if answers[i], err = readDecision(d, err); err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
			if answers[i].decision = ""; e.server == "main" {
				last = d.ID
			}
			slices.Sort(answers[i].Removed)
			if i == 0 && d.Explanation.Policies != nil {
				t.Errorf("%s: reasons that nobody wanted: %+v", e.name, d.Explanation.Policies)
			}
			if i > 0 {
				explained += checkReasons(t, e.name, &d)
			}
		}
		if answers[0].Reason != string(e.reason) || answers[0].Rule != e.rule {
			t.Errorf("%s: %+v, want %s by %q", e.name, answers[0], e.reason, e.rule)
		}
		if diff := cmp.Diff(answers[0], answers[1], unexported) + cmp.Diff(answers[0], answers[2], unexported); diff != "" {
			t.Errorf("%s: the wish for reasons changes the answer:\n%s", e.name, diff)
		}
	}
	if explained < 60 {
		t.Errorf("%d answers were explained; the examples must reach the policies", explained)
	}
	checkNothingKept(t, last)
}

// checkReasons holds the reasons against the decision, and returns 1 where there are any.
func checkReasons(t *testing.T, name string, d *authz.Decision) int {
	t.Helper()
	x := &d.Explanation
	if len(x.Policies) == 0 {
		if d.Stage == "policy" && d.Reason != "not_granted" || x.Rule != "" {
			t.Errorf("%s: no reasons for %s by the stage %s, rule %q", name, d.Reason, d.Stage, x.Rule)
		}
		return 0
	}
	final := x.Policies[len(x.Policies)-1]
	if denied := d.Stage == "policy"; denied == final.Allowed {
		t.Errorf("%s: %s by the stage %q, and the last policy says allowed: %v", name, d.Reason, d.Stage, final.Allowed)
	}
	if x.Rule != "" && (final.Decider == nil || final.Decider.Position != x.Rule || final.Decider.ID != x.RuleID || final.Decider.Text == "") {
		t.Errorf("%s: rule %s (%s), explained as %+v", name, x.Rule, x.RuleID, final.Decider)
	}
	if d.Reason == "no_matching_rule" && len(final.Misses) == 0 {
		t.Errorf("%s: %s without a near miss: %+v", name, d.Reason, final)
	}
	return 1
}

// checkNothingKept waits for a record and wants no record of the server to hold reasons: they show values of requests.
func checkNothingKept(t *testing.T, id string) {
	t.Helper()
	for end := time.Now().Add(startTime); ; time.Sleep(10 * time.Millisecond) {
		records, err := os.ReadFile(filepath.Join(shared.dir, "main.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(records, []byte(id)) {
			for _, word := range []string{"would be allowed", `"policies"`, `"misses"`, `"wanted"`} {
				if bytes.Contains(records, []byte(word)) {
					t.Errorf("the records hold %s", word)
				}
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no record of %s", id)
		}
	}
}

// TestGatewaysCannotAskWhy: no field of a gateway's message is a wish for reasons, and no answer to one holds any.
func TestGatewaysCannotAskWhy(t *testing.T) {
	known := []string{"effect", "decision_id", "reason", "degraded", "subject", "stage", "policy", "rule", "rule_id", "bundle", "revision", "limit", "limits", "observed"}
	client := authv3.NewAuthorizationClient(dial(t, shared.socket("main")))
	wishes := []string{"explain", "durward.explain", "x-durward-explain"}
	for _, e := range examples(t) {
		if e.server != "" || e.token != "" {
			continue
		}
		in := gatewayMessage(&e.q, "why", false)
		if in.Attributes.ContextExtensions == nil {
			in.Attributes.ContextExtensions = map[string]string{}
		}
		for _, wish := range wishes {
			in.Attributes.ContextExtensions[wish] = "2"
		}
		out, err := client.Check(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		for name := range out.GetDynamicMetadata().GetFields() {
			if !slices.Contains(known, name) {
				t.Errorf("%s: the metadata hold %s", e.name, name)
			}
		}
		shown, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"would be allowed", "misses", "p, reader", "member of"} {
			if strings.Contains(string(shown), word) {
				t.Errorf("%s: the answer holds %q: %s", e.name, word, shown)
			}
		}
	}
}

// TestRestrictedCallersCannotAskWhy: a caller without the permission is refused, not answered with less.
func TestRestrictedCallersCannotAskWhy(t *testing.T) {
	client := newClient(t, shared.socket("restricted"), callerToken)
	q := get(orders, "/orders/7", claimsOf("alice", "reader").bearer())
	for _, wanted := range []authz.Explain{authz.ExplainDecision, authz.ExplainAll} {
		r := sdkRequest(&q, "sdk", "")
		r.Explain = wanted
		if d, err := client.Check(t.Context(), r); err == nil || d.Reason != "caller_not_trusted" || d.Explanation.Policies != nil {
			t.Errorf("explain %d: %+v, %v", wanted, d, err)
		}
	}
}
