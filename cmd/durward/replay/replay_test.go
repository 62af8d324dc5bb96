package replay

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// whole is a record with every part.
const whole = `{"decision_id":"d2","time":"2026-01-02T03:04:05.678901Z","took_us":1234,"adapter":"native","caller":"shop","bundle":"acme","revision":"r7",` +
	`"service":"orders","route":"read","template":"/orders/{id}/{part}/{rest...}","request":{"method":"POST","scheme":"https","protocol":"HTTP/2",` +
	`"host":"orders.example.com","params":[{"name":"id","value":"a/b ü"},{"name":"rest","value":"x/y%2Fz"}],"query":[{"name":"page","value":"2 &"}],` +
	`"headers":[{"name":"User-Agent","value":"probe/1.0"}],"body_size":12,"body_partial":true,"client_address":"203.0.113.9","peer_address":"198.51.100.7:4711",` +
	`"server_name":"sni.example.com","certificate":{"subject":"CN=x","sans":["spiffe://x/y","x.example.com","x@example.com"],"thumbprint":"0102","not_after":"2026-02-01T00:00:00Z"}},` +
	`"subject":{"key":"user:corp:alice","kind":"user","authenticator":"corp","id":"alice","issuer":"https://idp.example.com","tenant":"t1","roles":["reader"],` +
	`"dropped_roles":3,"scopes":["s"],"acr":"mfa","amr":["otp"],"auth_time":"2026-01-02T03:03:05Z","token_id":"j","key_id":"k","binding":"dpop","key_thumbprint":"t",` +
	`"claims":[{"name":"org.units","value":"[\"shop\",7]"},{"name":"org.id","value":"9"},{"name":"cut","value":"\"abc"},{"name":"hidden","value":"[masked]"}]},` +
	`"action":"orders:read","resource":{"type":"order","id":"7"},"effect":"allow","status":200,"reason":"allowed","masked":["query","params.part","resource.id"],"truncated":true,"later":{"key":1}}`

func recordFrom(t *testing.T, text string) *Record {
	t.Helper()
	r, err := Find(strings.NewReader(text), "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bundleWith(t *testing.T, main, service string) *format.Bundle {
	t.Helper()
	files := format.NewFiles(map[string][]byte{"bundle.yaml": []byte(main), "services/orders/service.yaml": []byte(service)})
	b, s := &format.Bundle{Files: files}, &format.Service{}
	b.File, _ = files.Get("", "bundle.yaml")
	s.File, _ = files.Get("", "services/orders/service.yaml")
	if problems := append(format.Decode(b.File, b), format.Decode(s.File, s)...); len(problems) > 0 {
		t.Fatal(problems)
	}
	b.Services = []*format.Service{s}
	return b
}

func TestQuestion(t *testing.T) {
	b := bundleWith(t, "name: acme\n", "service: orders\nroutes:\n  - {name: read, path: /, methods: [GET], body: {types: [application/*]}}\n")
	r := recordFrom(t, whole)
	q := r.Question(b)
	if want := "/orders/a%2Fb%20%C3%BC/not-recorded/x/y%2Fz?page=2+%26"; q.Target != want {
		t.Errorf("target %s, want %s", q.Target, want)
	}
	want := request.Header{{Name: "user-agent", Value: "probe/1.0"}, {Name: "content-type", Value: "application/x"}}
	if diff := cmp.Diff(want, q.Header); diff != "" {
		t.Error(diff)
	}
	if q.Mode != request.Dry || q.Method != "POST" || q.Host != "orders.example.com" || q.Body.Size != 12 || !q.Body.Partial || q.SNI != "sni.example.com" ||
		q.Client.String() != "203.0.113.9" || q.Peer.Address.String() != "198.51.100.7:4711" || q.Extensions[serviceExtension] != "acme/orders" || !q.SelectExtension {
		t.Errorf("%+v", q)
	}
	c := q.Certificate
	if diff := cmp.Diff([]string{"spiffe://x/y", "x.example.com", "x@example.com"}, c.SANs()); diff != "" || len(c.URIs) != 1 || len(c.DNSNames) != 1 || c.Thumbprint[1] != 2 || !c.NotBefore.Equal(r.Time) {
		t.Errorf("%+v %s", c, diff)
	}
	who := r.Who()
	if diff := cmp.Diff(map[string]any{"org": map[string]any{"units": []any{"shop", 7.0}, "id": 9.0}}, who.Claims); diff != "" {
		t.Error(diff)
	}
	if who.Key != "user:corp:alice" || who.Tenant != "t1" || who.Roles[0] != "reader" || who.DroppedRoles != 3 || who.ACR != "mfa" || !who.AuthTime.Equal(time.Date(2026, 1, 2, 3, 3, 5, 0, time.UTC)) {
		t.Errorf("%+v", who)
	}
	op := recordFrom(t, `{"decision_id":"d","time":"2026-01-02T03:04:05Z","adapter":"native","bundle":"acme","service":"orders","route":"read","effect":"deny","reason":"no_matching_rule","action":"orders:read","resource":{"type":"order","id":"7"},"subject":{"key":"anonymous","kind":"anonymous"}}`)
	q = op.Question(b)
	if diff := cmp.Diff(&request.Operation{Service: "acme/orders", Action: "orders:read", ResourceType: "order", ResourceID: "7"}, q.Operation); diff != "" {
		t.Error(diff)
	}
	if anonymous := op.Who(); !anonymous.IsAnonymous() {
		t.Errorf("%+v", anonymous)
	}
}

func TestGaps(t *testing.T) {
	r := recordFrom(t, whole)
	b := bundleWith(t, "name: acme\nrecord: {headers: [user-agent], claims: [org, sub]}\nguards:\n  - {name: g, request: {x: request.header.x-tier}}\n",
		"service: orders\npolicies:\n  - {name: main, request: {a: request.header.User-Agent, b: claims.org.units, c: claims.age, d: extensions.zone, e: {attr: request.path, missing: '-'}, f: claims}}\n")
	want := []string{
		"query parameters (the bundle does not list all that came)",
		"path parameter part (the bundle does not list it under record)",
		"resource.id (the bundle does not list it under record)",
		"claims.hidden (it held a credential)",
		"claims.cut (it was cut)",
		"the ends of texts or lists that were cut to their bounds",
		"claims (a rule may read any part of it, and records hold only what the bundle lists)",
		"claims.age (a rule reads it, and the bundle does not list it under record)",
		"extensions.zone (it is not recorded)",
		"request.header.x-tier (a rule reads it, and the bundle does not list it under record)",
		"request.path (it is rebuilt from the template, so escapes may differ)",
	}
	if diff := cmp.Diff(want, r.Gaps(b)); diff != "" {
		t.Error(diff)
	}
	plain := recordFrom(t, `{"decision_id":"d","time":"2026-01-02T03:04:05Z","service":"orders","template":"/orders","request":{"method":"GET"},"effect":"allow","reason":"allowed"}`)
	if got := plain.Gaps(bundleWith(t, "name: acme\n", "service: orders\npolicies:\n  - {name: main, request: {a: request.path}}\n")); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestObstacles: every reason is either replayed or says why not.
func TestObstacles(t *testing.T) {
	for _, tc := range []struct {
		reason verdict.Reason
		stage  string
		want   string
	}{
		{verdict.Allowed, "", ""},
		{verdict.NoMatchingRule, "policy", ""},
		{verdict.TokenMissing, "identity", ""},
		{verdict.ScopeMissing, "identity", ""},
		{verdict.LimitExceeded, "limits.take", ""},
		{verdict.TokenExpired, "identity", "no record holds credentials"},
		{verdict.CertificateBad, "identity", "no record holds credentials"},
		{verdict.Deadline, "policy", "a fault of that moment"},
		{verdict.KeysUnavailable, "identity", "a fault of that moment"},
		{verdict.DuplicateHeader, "route", "its raw form"},
		{verdict.BodyType, "inspection.body", "its body"},
	} {
		r := recordFrom(t, whole)
		r.Reason, r.Stage = string(tc.reason), tc.stage
		if got := r.Obstacle(); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
	nowhere := recordFrom(t, `{"decision_id":"d","time":"2026-01-02T03:04:05Z","request":{"method":"GET","host":"x"},"effect":"deny","reason":"no_service"}`)
	if got := nowhere.Obstacle(); !strings.Contains(got, "no service answered") {
		t.Errorf("%q", got)
	}
}

func TestCompare(t *testing.T) {
	r := recordFrom(t, whole)
	r.Policy, r.RuleID = "main", "1"
	same := verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed, Explanation: verdict.Explanation{Policy: "main", RuleID: "1"}}
	if got := r.Compare(&same, "orders", "read"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	keys := func(in []Difference) (out []string) {
		for _, d := range in {
			out = append(out, d.Key)
		}
		return out
	}
	other := verdict.Verdict{Reason: verdict.NoMatchingRule, Stage: "policy", Explanation: verdict.Explanation{Policy: "other", Observed: verdict.RuleDenied}}
	if diff := cmp.Diff([]string{"service", "route", "effect", "status", "reason", "stage", "policy", "rule_id", "observed"}, keys(r.Compare(&other, "", ""))); diff != "" {
		t.Error(diff)
	}
	r.Effect, r.Reason, r.Stage, r.Status = "deny", string(verdict.LimitExceeded), "limits.take", 429
	if got := r.Compare(&same, "orders", "read"); len(got) != 0 || !r.ByLimit() {
		t.Errorf("a limit is not replayed: %+v", got)
	}
	if diff := cmp.Diff([]string{"reason"}, keys(r.Compare(&other, "orders", "read"))); diff != "" {
		t.Errorf("the policy had let it pass then: %s", diff)
	}
	r.Stage = "limits.gate"
	if got := r.Compare(&other, "orders", "read"); len(got) != 0 {
		t.Errorf("the policy had not been asked: %+v", got)
	}
}

func TestFind(t *testing.T) {
	one := `{"decision_id":"a1","time":"2026-01-02T03:04:05Z","effect":"allow","reason":"allowed","correlation_id":"b2"}` + "\n"
	two := `{"decision_id":"b2","time":"2026-01-02T03:04:05Z","effect":"allow","reason":"allowed"}` + "\n"
	for _, tc := range []struct{ name, log, id, want string }{
		{"the only one", "\n" + one + "\n", "", "a1"},
		{"by id", one + two, "b2", "b2"},
		{"the first of two", one + two, "", "!several"},
		{"none", one, "c3", "!none of this decision"},
		{"an empty log", "", "", "!none of this decision"},
		{"twice", two + two, "b2", "!two lines, the second one 2,"},
		{"a report", strings.Replace(two, `"effect"`, `"report":{"outcome":"failed","decision_id":"a1"},"effect"`, 1), "b2", `!no decision, but a failure that the API reported about decision "a1"`},
		{"a decision beside its report", one + strings.Replace(two, `"effect"`, `"report":{"outcome":"failed","decision_id":"a1"},"effect"`, 1), "a1", "a1"},
		{"no JSON", "what", "", "!in line 1: invalid character"},
		{"something after it", strings.TrimSpace(one) + " 7\n", "", "!in line 1: invalid character"},
		{"no record", `{"decision_id":"a1"}`, "", "!this is no record"},
		{"another effect", strings.Replace(one, `"allow"`, `"perhaps"`, 1), "", "!this is no record"},
		{"a long line", one + strings.Repeat(" ", maxLine+1), "", "!in line 2: bufio.Scanner: token too long"},
	} {
		r, err := Find(strings.NewReader(tc.log), tc.id)
		if want, refused := strings.CutPrefix(tc.want, "!"); refused {
			if !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, %v; want %q", tc.name, r, err, want)
			}
		} else if err != nil || r.DecisionID != tc.want {
			t.Errorf("%s: %v, %v", tc.name, r, err)
		}
	}
}

// TestRecordsAreKnown: what servers write is read, key by key.
func TestRecordsAreKnown(t *testing.T) {
	for _, name := range []string{"allowed", "limited", "unrouted"} {
		data, err := os.ReadFile("../../../pdp/audit/testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var compact, again map[string]any
		if err := json.Unmarshal(data, &compact); err != nil {
			t.Fatal(err)
		}
		if compact["decision_id"] == nil {
			compact["decision_id"] = "d" // one that the fixture lacks, and decisions have
		}
		line, err := json.Marshal(compact)
		if err != nil {
			t.Fatal(err)
		}
		r := recordFrom(t, string(line))
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatal(err)
		}
		// A replay has no use for these.
		for _, key := range []string{"took_us", "correlation_id", "steps", "retry_after_ms", "candidate"} {
			delete(compact, key)
		}
		for path, value := range leaves("", compact) {
			if diff := cmp.Diff(value, leaves("", again)[path]); diff != "" {
				t.Errorf("%s: %s is not read\n%s", name, path, diff)
			}
		}
	}
}

// leaves lists the values of a document by their paths.
func leaves(at string, value any) map[string]any {
	out := map[string]any{}
	if object, ok := value.(map[string]any); ok {
		for key, below := range object {
			for path, leaf := range leaves(at+"."+key, below) {
				out[path] = leaf
			}
		}
		return out
	}
	if text, ok := value.(string); ok {
		if instant, err := time.Parse(time.RFC3339Nano, text); err == nil {
			value = instant.UTC().Format(time.RFC3339Nano)
		}
	}
	if list, ok := value.([]any); ok {
		text, _ := json.Marshal(list)
		if strings.Contains(string(text), `"remaining"`) || strings.Contains(string(text), `"quota"`) {
			return out // limits are written with their zeros
		}
	}
	out[at] = value
	return out
}

// FuzzFind: no line of a log is more than an error, and what is read makes a question.
func FuzzFind(f *testing.F) {
	f.Add(whole, "")
	f.Add(whole, "d2")
	f.Add(`{"decision_id":"d","time":"2026-01-02T03:04:05Z","effect":"deny","reason":"no_route","template":"{{}}{a...}{","request":{"path":"%"},"subject":{"kind":"user","claims":[{"name":"a.b","value":"1"},{"name":"a","value":"2"},{"name":"a.c","value":"3"},{"name":"..","value":"{}"}]}}`, "")
	main, service := []byte("name: acme\n"), []byte("service: orders\nroutes:\n  - {name: read, path: /, methods: [GET], body: {types: [text/plain]}}\n")
	files := format.NewFiles(map[string][]byte{"bundle.yaml": main, "service.yaml": service})
	b, s := &format.Bundle{}, &format.Service{}
	b.File, _ = files.Get("", "bundle.yaml")
	s.File, _ = files.Get("", "service.yaml")
	if problems := append(format.Decode(b.File, b), format.Decode(s.File, s)...); len(problems) > 0 {
		f.Fatal(problems)
	}
	b.Services = []*format.Service{s}
	f.Fuzz(func(t *testing.T, log, id string) {
		r, err := Find(strings.NewReader(log), id)
		if err != nil {
			return
		}
		q := r.Question(b)
		if q.Mode != request.Dry || q.Header.Count("authorization") > 0 && !strings.Contains(strings.ToLower(log), "authorization") {
			t.Errorf("%q makes the question %+v", log, q)
		}
		_, _, _, _ = r.Who(), r.Gaps(b), r.Obstacle(), r.Compare(&verdict.Verdict{}, "", "")
	})
}
