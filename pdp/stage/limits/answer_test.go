package limits

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// shown are the response fields of a case.
type shown struct{ Left, Policy, Retry string }

func fields(t *testing.T, c *pipeline.Case) shown {
	t.Helper()
	for _, f := range c.Verdict.Obligations.SetResponse {
		if f.Name == fieldRetry {
			continue
		}
		list, err := httpsfv.UnmarshalList([]string{f.Value})
		if err != nil {
			t.Errorf("%s: %q is no structured list: %v", f.Name, f.Value, err)
			continue
		}
		if again, err := httpsfv.Marshal(list); err != nil || again != f.Value {
			t.Errorf("%s: %q, canonical %q, %v", f.Name, f.Value, again, err)
		}
		for _, member := range list {
			item, ok := member.(httpsfv.Item)
			if _, text := item.Value.(string); !ok || !text {
				t.Errorf("%s: a member is no string: %v", f.Name, member)
			}
		}
	}
	return shown{fieldOf(c, fieldLeft), fieldOf(c, fieldPolicy), fieldOf(c, fieldRetry)}
}

func TestFields(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("per-subject: {rate: 100/min, burst: 2, by: [subject.key]}", "per-address: {rate: 5/30s, by: [client.network]}",
			"login: {rate: 9/h, by: [client.network], at: gate}", "shade: {rate: 1/d, by: [], shadow: true}")
		for i, step := range []struct {
			headers []string
			reason  verdict.Reason
			want    shown
		}{
			{[]string{"user=alice"}, verdict.Allowed, shown{
				`"login";r=8;t=400, "per-subject";r=1;t=1, "per-address";r=4;t=6`,
				`"login";q=9;w=3600, "per-subject";q=100;w=60, "per-address";q=5;w=30`, ""}},
			{[]string{"user=alice"}, verdict.Allowed, shown{
				`"login";r=7;t=400, "per-subject";r=0;t=1, "per-address";r=3;t=6`,
				`"login";q=9;w=3600, "per-subject";q=100;w=60, "per-address";q=5;w=30`, ""}},
			{[]string{"user=alice"}, verdict.LimitExceeded, shown{`"per-subject";r=0;t=1`, `"per-subject";q=100;w=60`, "1"}},
			{[]string{"user=bob"}, verdict.Allowed, shown{ // per-address was charged for the refusal too: it counts all
				`"login";r=5;t=400, "per-subject";r=1;t=1, "per-address";r=1;t=6`,
				`"login";q=9;w=3600, "per-subject";q=100;w=60, "per-address";q=5;w=30`, ""}},
			{[]string{"user=carol"}, verdict.Allowed, shown{
				`"login";r=4;t=400, "per-subject";r=1;t=1, "per-address";r=0;t=6`,
				`"login";q=9;w=3600, "per-subject";q=100;w=60, "per-address";q=5;w=30`, ""}},
			{[]string{"user=dave"}, verdict.LimitExceeded, shown{`"per-address";r=0;t=6`, `"per-address";q=5;w=30`, "6"}},
		} {
			c := b.decide(step.headers...)
			if c.Verdict.Reason != step.reason {
				t.Errorf("step %d: %q, want %q", i, c.Verdict.Reason, step.reason)
			}
			if diff := cmp.Diff(step.want, fields(t, c)); diff != "" {
				t.Errorf("step %d: -want +got\n%s", i, diff)
			}
		}
	})
}

// TestNoPartitionInFields: the fields name limits, never what their counters are keyed by.
func TestNoPartitionInFields(t *testing.T) {
	b := newBench(t, nil, "a: {rate: 1/d, by: [subject.key, client.address, request.header.secret]}")
	for range 2 {
		c := b.decide("user=alice", "secret=hunter2")
		all := c.Verdict.Explanation.Detail
		for _, f := range c.Verdict.Obligations.SetResponse {
			all += f.Value
		}
		for _, leak := range []string{"alice", "192.0.2.1", "hunter2", "pk="} {
			if strings.Contains(all, leak) {
				t.Errorf("%q holds %q", all, leak)
			}
		}
	}
}

func limitNamed(t *testing.T, name string, d ratelimiter.Definition) *ratelimiter.Limit {
	t.Helper()
	d.Name = name
	if d.Count == 0 {
		d.Count, d.Window = 10, time.Minute
	}
	l, err := ratelimiter.NewLimit(d)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRefuse: what becomes of a decision of the limiter.
func TestRefuse(t *testing.T) {
	short, long, shade := limitNamed(t, "short", ratelimiter.Definition{}), limitNamed(t, "long", ratelimiter.Definition{}), limitNamed(t, "shade", ratelimiter.Definition{Shadow: true})
	for _, row := range []struct {
		name     string
		decision ratelimiter.Decision
		reason   verdict.Reason
		limit    string
		want     shown
	}{
		{"the longest wait counts", ratelimiter.Decision{Limits: []ratelimiter.Status{
			{Limit: short, Retry: time.Second, More: time.Second}, {Limit: long, Retry: 90 * time.Second, More: 1500 * time.Millisecond}, {Limit: shade, Retry: time.Hour}}},
			verdict.LimitExceeded, "long", shown{`"short";r=0;t=1, "long";r=0;t=2`, `"short";q=10;w=60, "long";q=10;w=60`, "90"}},
		{"a part of a second is one", ratelimiter.Decision{Limits: []ratelimiter.Status{{Limit: short, Retry: time.Microsecond, More: time.Microsecond}}},
			verdict.LimitExceeded, "short", shown{`"short";r=0;t=1`, `"short";q=10;w=60`, "1"}},
		{"never less than one", ratelimiter.Decision{Limits: []ratelimiter.Status{{Limit: short}}},
			verdict.LimitExceeded, "short", shown{`"short";r=0`, `"short";q=10;w=60`, "1"}},
		{"never", ratelimiter.Decision{Limits: []ratelimiter.Status{{Limit: short, Retry: time.Hour, More: time.Second}, {Limit: long, Never: true, Remaining: 5}}},
			verdict.LimitExceeded, "long", shown{`"short";r=0;t=1, "long";r=5`, `"short";q=10;w=60, "long";q=10;w=60`, ""}},
		{"unavailable wins", ratelimiter.Decision{Unavailable: true, Degraded: true, Limits: []ratelimiter.Status{{Limit: short, Retry: time.Second}, {Limit: long, Unavailable: true}}},
			verdict.LimitsUnavailable, "long", shown{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &pipeline.Case{}
			outcome, err := refuse(c, &row.decision)
			if outcome != pipeline.Stop || err != nil || c.Verdict.Reason != row.reason || c.Verdict.Explanation.Limit != row.limit {
				t.Errorf("%v, %v, %q by %q", outcome, err, c.Verdict.Reason, c.Verdict.Explanation.Limit)
			}
			if diff := cmp.Diff(row.want, fields(t, c)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if c.Verdict.Degraded != row.decision.Degraded {
				t.Errorf("degraded %v", c.Verdict.Degraded)
			}
		})
	}
	for _, d := range []ratelimiter.Decision{{}, {Degraded: true}, {Limits: []ratelimiter.Status{{Limit: shade}}}} {
		if outcome, err := refuse(&pipeline.Case{}, &d); outcome != pipeline.Stop || err == nil {
			t.Errorf("a refusal by nobody: %v, %v", outcome, err)
		}
	}
}

// TestFullBucket: where no more can come, there is no time until more.
func TestFullBucket(t *testing.T) {
	l := limitNamed(t, `quo"te\d`, ratelimiter.Definition{})
	statuses := []ratelimiter.Status{{Limit: l, Room: true, Remaining: 10}}
	if got := left(statuses); got != `"quo\"te\\d";r=10` {
		t.Errorf("%s", got)
	}
	list, err := httpsfv.UnmarshalList([]string{quotas(statuses)})
	if err != nil || len(list) != 1 {
		t.Fatal(err)
	}
	item, _ := list[0].(httpsfv.Item)
	q, _ := item.Params.Get("q")
	w, _ := item.Params.Get("w")
	if item.Value != `quo"te\d` || q != int64(10) || w != int64(60) {
		t.Errorf("%v, q %v, w %v", item.Value, q, w)
	}
}

// TestStructuredFieldsSuite writes the strings of the working group's suite. It is no part of this repository:
// DURWARD_SUITES names where it is.
func TestStructuredFieldsSuite(t *testing.T) {
	root := os.Getenv("DURWARD_SUITES")
	if root == "" {
		t.Skip("left out: DURWARD_SUITES does not say where the suite structured-fields is")
	}
	written := 0
	for _, name := range []string{"string.json", "string-generated.json", "list.json", "examples.json"} {
		data, err := os.ReadFile(filepath.Join(root, "structured-fields", name))
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Name      string          `json:"name"`
			Raw       []string        `json:"raw"`
			Type      string          `json:"header_type"`
			Expected  json.RawMessage `json:"expected"`
			Canonical []string        `json:"canonical"`
		}
		if err := json.Unmarshal(data, &cases); err != nil {
			t.Fatal(err)
		}
		for _, tc := range cases {
			var item []json.RawMessage
			var text string
			if tc.Type != "item" || json.Unmarshal(tc.Expected, &item) != nil || len(item) != 2 || json.Unmarshal(item[0], &text) != nil || string(item[1]) != "[]" {
				continue
			}
			want := tc.Canonical
			if want == nil {
				want = tc.Raw
			}
			if got := string(appendName(nil, text)); len(want) != 1 || got != want[0] {
				t.Errorf("%s: %s: %s, want %s", name, tc.Name, got, want)
			}
			written++
		}
	}
	if written < 90 {
		t.Errorf("only %d strings were written", written)
	}
}
