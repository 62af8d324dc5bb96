package pdp

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// stage is a pipeline.Stage from a function.
type stage func(context.Context, *pipeline.Case) (pipeline.Outcome, error)

func (s stage) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	return s(ctx, c)
}

// recorder keeps what outlives the call.
type recorder struct {
	entries  []audit.Entry
	verdicts []verdict.Verdict
	during   func() // if set, is called while it records
	err      error
}

func (r *recorder) Record(_ context.Context, e *audit.Entry) error {
	if r.during != nil {
		r.during()
	}
	r.entries = append(r.entries, *e)
	r.verdicts = append(r.verdicts, *e.Verdict)
	return r.err
}

// fixture is an engine with one service, "orders", and a policy that grants.
type fixture struct {
	engine   *Engine
	recorder *recorder
	observed []Observation
	settled  int
	policy   stage
}

func (f *fixture) Settle(*pipeline.Case) { f.settled++ }

func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{recorder: &recorder{}, policy: func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		c.Grant = &pipeline.Grant{By: "main"}
		return pipeline.Continue, nil
	}}
	clock := func() time.Time { return start }
	p, err := pipeline.New(pipeline.Options{Clock: clock, Settler: f, Steps: []pipeline.Step{{
		Point: "policy",
		Stage: stage(func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) { return f.policy(ctx, c) }),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	options := Options{
		Pipeline: p, Recorder: f.recorder, Clock: clock, Random: bytes.NewReader(bytes.Repeat([]byte{0xa5}, 1024)), Budget: time.Hour,
		Observe: func(o Observation) {
			copied := *o.Verdict
			o.Verdict = &copied
			f.observed = append(f.observed, o)
		},
	}
	for _, c := range change {
		c(&options)
	}
	if f.engine, err = New(options); err != nil {
		t.Fatal(err)
	}
	return f
}

// publish gives the engine its snapshot.
func (f *fixture) publish(t *testing.T) {
	t.Helper()
	service, problems := route.Compile("acme", "r1", &format.Service{
		Name: "orders", Match: []format.Match{{Host: "orders.example.com"}},
		Routes: []format.Route{
			{Name: "read-order", Path: "/orders/{id}", Methods: []string{"GET"}, Action: "orders:read"},
			{Name: "list", Path: "/orders", Methods: []string{"GET"}},
		},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	table, err := route.NewTable([]*route.Service{service})
	if err != nil {
		t.Fatal(err)
	}
	id, err := attribute.Compile("request.query.id", nil)
	if err != nil {
		t.Fatal(err)
	}
	f.engine.Publish(&pipeline.Snapshot{Routes: table, Services: map[*route.Service]*pipeline.Service{service: {
		Route: service, Record: pipeline.RecordNames{Headers: []string{"user-agent"}, Query: []string{"q"}, Params: []string{"id"}},
		Resources: []*attribute.ResourceTemplate{nil, {Type: "list", ID: id}},
	}}})
}

func get(target string) *request.Request {
	return &request.Request{Adapter: "ext_authz", Caller: "edge", Method: "GET", Scheme: "https", Host: "orders.example.com", Target: target}
}

func TestNewNeedsItsParts(t *testing.T) {
	good := newFixture(t).engine.options
	for name, change := range map[string]func(*Options){
		"pipeline": func(o *Options) { o.Pipeline = nil },
		"recorder": func(o *Options) { o.Recorder = nil },
		"clock":    func(o *Options) { o.Clock = nil },
		"random":   func(o *Options) { o.Random = nil },
		"budget":   func(o *Options) { o.Budget = 0 },
	} {
		options := good
		change(&options)
		if e, err := New(options); !errors.Is(err, ErrOptions) || e != nil {
			t.Errorf("without %s: New = %v, %v", name, e, err)
		}
	}
}

func TestNoSnapshotDenies(t *testing.T) {
	f := newFixture(t)
	v := f.engine.Decide(t.Context(), get("/orders/7"))
	if v.Allowed() || v.Reason != verdict.NoSnapshot || v.HTTPStatus() != 503 || !v.Degraded {
		t.Errorf("verdict %+v", v)
	}
	if f.engine.Snapshot() != nil {
		t.Error("a snapshot before the first")
	}
	f.engine.Publish(&pipeline.Snapshot{})
	if v := f.engine.Decide(t.Context(), get("/orders/7")); v.Allowed() || v.Reason != verdict.NoService {
		t.Errorf("empty snapshot: verdict %+v", v)
	}
}

func TestDecide(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	var seen attribute.Facts
	policy := f.policy
	f.policy = func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		seen = c.Facts
		return policy(ctx, c)
	}
	v := f.engine.Decide(t.Context(), get("/orders/7"))
	if !v.Allowed() || v.Reason != verdict.Allowed || v.Explanation.Bundle != "acme" || v.Explanation.Revision != "r1" {
		t.Errorf("verdict %+v", v)
	}
	if want := strings.Repeat("a5", 16); v.DecisionID != want {
		t.Errorf("DecisionID = %q, want %q", v.DecisionID, want)
	}
	want := attribute.Resource{Type: "route", ID: "/orders/{id}", Properties: map[string]string{"id": "7"}}
	if diff := cmp.Diff(want, seen.Resource); diff != "" || seen.Action != "orders:read" || !seen.Subject.IsAnonymous() || !seen.Now.Equal(start) {
		t.Errorf("action %q, subject %+v, now %v, resource (-want +got):\n%s", seen.Action, seen.Subject, seen.Now, diff)
	}
	entry := f.recorder.entries[0]
	if entry.Match.Route.Name != "read-order" || entry.Action != "orders:read" || entry.ResourceType != "route" || !entry.Time.Equal(start) ||
		len(entry.Steps) != 1 || entry.Steps[0].Point != "policy" || entry.Headers[0] != "user-agent" || entry.Query[0] != "q" || entry.Params[0] != "id" {
		t.Errorf("entry %+v", entry)
	}
	if len(f.observed) != 1 || f.observed[0].Service != "orders" || f.observed[0].Route != "read-order" || f.observed[0].Caller != "edge" || f.observed[0].Adapter != "ext_authz" {
		t.Errorf("observed %+v", f.observed)
	}
	t.Run("action and resource of a route without them", func(t *testing.T) {
		if v := f.engine.Decide(t.Context(), get("/orders?id=9")); !v.Allowed() || seen.Action != "GET" || seen.Resource.Type != "list" || seen.Resource.ID != "9" {
			t.Errorf("verdict %+v, action %q, resource %+v", v, seen.Action, seen.Resource)
		}
	})
}

// TestDenials: each is recorded and observed once, with what was known.
func TestDenials(t *testing.T) {
	for _, tc := range []struct {
		name    string
		request *request.Request
		policy  stage
		want    verdict.Reason
		status  int
		stage   string
		service string
		settled int
	}{
		{"unknown host", &request.Request{Host: "other.test", Target: "/", Method: "GET"}, nil, verdict.NoService, 403, "route", "", 0},
		{"unknown path", get("/nothing"), nil, verdict.NoRoute, 403, "route", "orders", 0},
		{"other method", &request.Request{Host: "orders.example.com", Target: "/orders/7", Method: "DELETE"}, nil, verdict.RouteMethod, 405, "route", "orders", 0},
		{"ambiguous path", get("/orders/../7"), nil, verdict.PathAmbiguous, 400, "route", "", 0},
		{"ambiguous resource", get("/orders?id=1&id=2"), nil, verdict.AttributeMany, 400, "route", "orders", 0},
		{"refused by the adapter", &request.Request{Invalid: "duplicate_header"}, nil, verdict.DuplicateHeader, 400, "route", "", 0},
		{"denied by a stage", get("/orders/7"), func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
			return c.Deny(verdict.RuleDenied), nil
		}, verdict.RuleDenied, 403, "policy", "orders", 1},
		{"nobody grants", get("/orders/7"), func(context.Context, *pipeline.Case) (pipeline.Outcome, error) {
			return pipeline.Continue, nil
		}, verdict.NotGranted, 403, "", "orders", 1},
		{"a stage errs", get("/orders/7"), func(context.Context, *pipeline.Case) (pipeline.Outcome, error) {
			return pipeline.Continue, errors.New("secret")
		}, verdict.StageFailed, 503, "policy", "orders", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			f.publish(t)
			if tc.policy != nil {
				f.policy = tc.policy
			}
			v := f.engine.Decide(t.Context(), tc.request)
			if v.Allowed() || v.Reason != tc.want || v.HTTPStatus() != tc.status || v.Stage != tc.stage || v.DecisionID == "" {
				t.Errorf("verdict %+v, status %d; want %q, %d at %q", v, v.HTTPStatus(), tc.want, tc.status, tc.stage)
			}
			if len(f.recorder.verdicts) != 1 || f.recorder.verdicts[0].Reason != tc.want || len(f.observed) != 1 || f.observed[0].Service != tc.service {
				t.Errorf("recorded %+v, observed %+v", f.recorder.verdicts, f.observed)
			}
			if f.settled != tc.settled {
				t.Errorf("settled %d times, want %d", f.settled, tc.settled)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	r := get("/orders/7")
	v := f.engine.Refuse(t.Context(), r, verdict.MalformedRequest)
	if v.Allowed() || v.Reason != verdict.MalformedRequest || v.HTTPStatus() != 400 {
		t.Errorf("verdict %+v", v)
	}
	if r.Invalid != "" {
		t.Error("the caller's request was changed")
	}
	if e := f.recorder.entries; len(e) != 1 || e[0].Request.Target != "/orders/7" {
		t.Errorf("entries %+v", e)
	}
	if v := f.engine.Refuse(t.Context(), r, "made_up"); v.Allowed() || v.HTTPStatus() != 403 {
		t.Errorf("an unknown reason: %+v", v)
	}
}

// TestOperation: a question without an HTTP request brings its own resource.
func TestOperation(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	r := &request.Request{Operation: &request.Operation{
		Service: "orders", Action: "orders:read", ResourceType: "order", ResourceID: "7", Properties: map[string]string{"tenant": "t1"},
	}}
	v := f.engine.Decide(t.Context(), r)
	if !v.Allowed() || f.recorder.entries[0].ResourceType != "order" || f.recorder.entries[0].ResourceID != "7" || f.recorder.entries[0].Action != "orders:read" {
		t.Errorf("verdict %+v, entry %+v", v, f.recorder.entries[0])
	}
}

// TestPanicDenies: whatever the stages had prepared is withdrawn, and nothing of the panic's text is kept.
func TestPanicDenies(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	f.policy = func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		c.Grant = &pipeline.Grant{By: "main"}
		c.Verdict.Effect = verdict.Allow
		c.Verdict.Status = 302
		c.Verdict.Obligations.SetUpstream = []verdict.Field{{Name: "x-durward-subject", Value: "alice"}}
		panic("secret")
	}
	v := f.engine.Decide(t.Context(), get("/orders/7"))
	if v.Allowed() || v.Reason != verdict.Internal || v.HTTPStatus() != 503 || len(v.Obligations.SetUpstream) != 0 || strings.Contains(v.Explanation.Detail, "secret") {
		t.Errorf("verdict %+v", v)
	}
	if len(f.observed) != 1 || !f.observed[0].Panic || len(f.recorder.entries) != 1 || f.settled != 0 {
		t.Errorf("observed %+v, %d records, %d settled", f.observed, len(f.recorder.entries), f.settled)
	}
}

// TestRecordOrDeny: where a record is demanded and lost, an allow becomes a denial and a denial stays one.
func TestRecordOrDeny(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	f.recorder.err = errors.New("queue is full")
	policy := f.policy
	f.policy = func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		c.Verdict.Obligations.SetUpstream = []verdict.Field{{Name: "x-durward-subject", Value: "alice"}}
		return policy(ctx, c)
	}
	v := f.engine.Decide(t.Context(), get("/orders/7"))
	if v.Allowed() || v.Reason != verdict.AuditUnavailable || v.HTTPStatus() != 503 || v.Stage != "audit" || len(v.Obligations.SetUpstream) != 0 || !v.Degraded {
		t.Errorf("verdict %+v", v)
	}
	if o := f.observed[0].Verdict; o.Allowed() || o.Reason != verdict.AuditUnavailable {
		t.Errorf("observed %+v", o)
	}
	if v := f.engine.Decide(t.Context(), get("/nothing")); v.Reason != verdict.NoRoute || v.Stage != "route" {
		t.Errorf("a denial became %+v", v)
	}
}

func TestRecorderThatPanics(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Recorder = panicking{} })
	f.publish(t)
	v := f.engine.Decide(t.Context(), get("/orders/7"))
	if v.Allowed() || v.Reason != verdict.AuditUnavailable || len(f.observed) != 1 || !f.observed[0].Panic {
		t.Errorf("verdict %+v, observed %+v", v, f.observed)
	}
	if v := f.engine.Decide(t.Context(), get("/nothing")); v.Reason != verdict.NoRoute {
		t.Errorf("a denial became %+v", v)
	}
}

type panicking struct{}

func (panicking) Record(context.Context, *audit.Entry) error { panic("secret") }

func TestNoRandomDenies(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Random = iotest.ErrReader(errors.New("no entropy")) })
	f.publish(t)
	v := f.engine.Decide(t.Context(), get("/orders/7"))
	if v.Allowed() || v.Reason != verdict.Internal || v.DecisionID != "" || len(f.recorder.entries) != 1 {
		t.Errorf("verdict %+v, %d records", v, len(f.recorder.entries))
	}
}

// TestDeadline: the verdict leaves before the caller's own deadline, after which it would follow its failure mode.
func TestDeadline(t *testing.T) {
	callers := time.Now().Add(30 * time.Minute)
	ctx, cancel := context.WithDeadline(t.Context(), callers)
	defer cancel()
	f := newFixture(t)
	f.publish(t)
	var deadline time.Time
	policy := f.policy
	f.policy = func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		deadline, _ = ctx.Deadline()
		return policy(ctx, c)
	}
	f.engine.Decide(ctx, get("/orders/7"))
	if want := callers.Add(-5 * time.Millisecond); !deadline.Equal(want) {
		t.Errorf("deadline %v, want %v: 5 ms before the caller's", deadline, want)
	}
	t.Run("own budget is shorter", func(t *testing.T) {
		f.engine.options.Budget = time.Minute
		f.engine.Decide(ctx, get("/orders/7"))
		if !deadline.Before(callers.Add(-20 * time.Minute)) {
			t.Errorf("deadline %v, the caller's %v", deadline, callers)
		}
	})
	t.Run("no time left", func(t *testing.T) {
		late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		if v := f.engine.Decide(late, get("/orders/7")); v.Allowed() || v.Reason != verdict.Deadline || v.HTTPStatus() != 503 {
			t.Errorf("verdict %+v", v)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if v := f.engine.Decide(gone, get("/orders/7")); v.Allowed() || v.Reason != verdict.Cancelled || v.HTTPStatus() != 503 {
			t.Errorf("verdict %+v", v)
		}
	})
	if f.settled != 0 {
		t.Error("an outage was charged to the client")
	}
}

// TestSnapshotInFlight: a decision keeps the snapshot that it began with.
func TestSnapshotInFlight(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	policy := f.policy
	f.policy = func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		f.engine.Publish(&pipeline.Snapshot{})
		return policy(ctx, c)
	}
	if v := f.engine.Decide(t.Context(), get("/orders/7")); !v.Allowed() || v.Explanation.Revision != "r1" {
		t.Errorf("verdict %+v", v)
	}
	if v := f.engine.Decide(t.Context(), get("/orders/7")); v.Reason != verdict.NoService {
		t.Errorf("the next decision: %+v", v)
	}
}

// TestGivenReachesTheStages: only DecideGiven hands a subject to the stages, as a copy of its own.
func TestGivenReachesTheStages(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	var seen *subject.Subject
	f.policy = func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		if seen = c.Given; !c.Subject.IsAnonymous() {
			t.Errorf("the subject was set to %+v before any stage ran", c.Subject)
		}
		c.Grant = &pipeline.Grant{By: "main"}
		return pipeline.Continue, nil
	}
	alice := subject.Subject{Key: "user:corp:alice", Kind: subject.KindUser, Authenticator: "corp", ID: "alice"}
	if v := f.engine.DecideGiven(t.Context(), get("/orders/7"), Given{Subject: alice}); !v.Allowed() || seen == nil || seen.Key != alice.Key {
		t.Errorf("%s, given %+v", v.Reason, seen)
	}
	if v := f.engine.Decide(t.Context(), get("/orders/7")); !v.Allowed() || seen != nil {
		t.Errorf("%s, given %+v to a request that nobody vouched for", v.Reason, seen)
	}
	if v := f.engine.Refuse(t.Context(), get("/orders/7"), verdict.MalformedRequest); v.Allowed() {
		t.Error("a refused request is allowed")
	}
	if len(f.recorder.entries) != 3 {
		t.Errorf("%d records; a given subject is no reason to decide without one", len(f.recorder.entries))
	}
}

// TestDescriptors: a request for limits runs a pipeline of its own, and no other request does.
func TestDescriptors(t *testing.T) {
	ask := func(domain string) *request.Request {
		return &request.Request{Adapter: "ratelimit", Descriptors: &request.Descriptors{Domain: domain}}
	}
	var seen []*pipeline.Case
	withLimits := func(o *Options) {
		p, err := pipeline.New(pipeline.Options{Clock: o.Clock, Steps: []pipeline.Step{{Point: "limits", Stage: stage(func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
			seen = append(seen, c)
			return pipeline.Continue, nil
		})}}})
		if err != nil {
			t.Fatal(err)
		}
		o.Descriptors = p
	}
	without, f := newFixture(t), newFixture(t, withLimits)
	for _, each := range []*fixture{without, f} {
		if v := each.engine.Decide(t.Context(), ask("edge")); v.Reason != verdict.NoSnapshot {
			t.Errorf("without a snapshot: %+v", v)
		}
		each.publish(t)
	}
	if v := without.engine.Decide(t.Context(), ask("edge")); v.Allowed() || v.Reason != verdict.NoService {
		t.Errorf("without a pipeline for descriptors: %+v", v)
	}
	service := &route.Service{Bundle: "acme", Name: "edge", Revision: "r1"}
	service.Routes = []*route.Route{{Service: service, Name: "descriptors", Public: true}}
	f.engine.Snapshot().Domains = map[string]*pipeline.Service{"edge": {Route: service}}
	if v := f.engine.Decide(t.Context(), ask("edge")); !v.Allowed() || v.Explanation.Bundle != "acme" || v.Explanation.Revision != "r1" || seen[0].Service == nil {
		t.Errorf("a domain: %+v", v)
	}
	if v := f.engine.Decide(t.Context(), ask("other")); !v.Allowed() || v.Explanation.Bundle != "" || seen[1].Service != nil {
		t.Errorf("an unknown domain: %+v", v)
	}
	if v := f.engine.Decide(t.Context(), get("/orders/7")); !v.Allowed() || len(seen) != 2 {
		t.Errorf("another request: %+v, %d in the pipeline of limits", v, len(seen))
	}
	if last := f.observed[len(f.observed)-3]; last.Service != "edge" || last.Route != "descriptors" || last.Adapter != "ratelimit" {
		t.Errorf("observed %+v", last)
	}
	if last := f.observed[len(f.observed)-2]; last.Service != "" || last.Route != UnknownDomain {
		t.Errorf("observed %+v of an unknown domain", last)
	}
}

// TestReports: a report of a failure runs a pipeline of its own, which charges and never allows, and no other request does.
func TestReports(t *testing.T) {
	report := get("/orders/7")
	report.Failure = &request.Failure{DecisionID: "d1"}
	var seen []*pipeline.Case
	var f *fixture
	withReports := func(o *Options) {
		p, err := pipeline.New(pipeline.Options{Clock: o.Clock, Settler: settler(func() { f.settled++ }), Steps: []pipeline.Step{{Point: "limits.report", Stage: stage(func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
			seen = append(seen, c)
			return c.Deny(verdict.ReportedFailure), nil
		})}}})
		if err != nil {
			t.Fatal(err)
		}
		o.Reports = p
	}
	without := newFixture(t)
	f = newFixture(t, withReports)
	for _, each := range []*fixture{without, f} {
		if v := each.engine.Decide(t.Context(), report); v.Reason != verdict.NoSnapshot {
			t.Errorf("without a snapshot: %+v", v)
		}
		each.publish(t)
	}
	if v := without.engine.Decide(t.Context(), report); v.Allowed() || v.Reason != verdict.NotGranted || without.settled != 0 {
		t.Errorf("without a pipeline for reports: %+v", v)
	}
	v := f.engine.Decide(t.Context(), report)
	if v.Allowed() || v.Reason != verdict.ReportedFailure || v.Stage != "limits.report" || f.settled != 1 || len(seen) != 1 || seen[0].Match.Route.Name != "read-order" {
		t.Errorf("%+v, %d settled, seen %d", v, f.settled, len(seen))
	}
	if last := f.observed[len(f.observed)-1]; !last.Report || last.Route != "read-order" {
		t.Errorf("observed %+v", last)
	}
	if last := f.recorder.entries[len(f.recorder.entries)-1]; last.Request.Failure == nil || last.Verdict.Reason != verdict.ReportedFailure {
		t.Errorf("recorded %+v", last)
	}
	if v := f.engine.Decide(t.Context(), get("/orders/7")); !v.Allowed() || len(seen) != 1 || f.observed[len(f.observed)-1].Report {
		t.Errorf("another request: %+v, %d in the pipeline of reports", v, len(seen))
	}
	elsewhere := *report
	elsewhere.Target = "/nowhere"
	if v := f.engine.Decide(t.Context(), &elsewhere); v.Reason != verdict.NoRoute || v.Stage != "route" || f.settled != 1 {
		t.Errorf("a report of no route: %+v, %d settled", v, f.settled)
	}
}

// settler is a pipeline.Settler from a function.
type settler func()

func (s settler) Settle(*pipeline.Case) { s() }
