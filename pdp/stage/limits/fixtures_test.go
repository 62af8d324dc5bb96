package limits

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

var errDown = errors.New("a dependency is down")

// load decodes a bundle named acme with one service, orders.
func load(t testing.TB, bundle, service string) (*format.Bundle, *format.Service) {
	t.Helper()
	b := &format.Bundle{Files: format.NewFiles(map[string][]byte{
		"bundle.yaml":                  []byte("format: 1\nname: acme\n" + bundle),
		"services/orders/service.yaml": []byte("service: orders\n" + service),
	})}
	s := &format.Service{Dir: "services/orders"}
	b.File, _ = b.Files.Get("", "bundle.yaml")
	s.File, _ = b.Files.Get("", "services/orders/service.yaml")
	if problems := format.Decode(b.File, b); len(problems) > 0 {
		t.Fatal(problems)
	}
	if problems := format.Decode(s.File, s); len(problems) > 0 {
		t.Fatal(problems)
	}
	b.Services = []*format.Service{s}
	return b, s
}

// bench is the stage in a pipeline whose other stages do what a header of the request says.
type bench struct {
	t        testing.TB
	now      *atomic.Int64 // microseconds
	limiter  *ratelimiter.Limiter
	stage    *Stage
	dropped  *atomic.Int64
	pipeline *pipeline.Pipeline
	service  *pipeline.Service
	routes   []format.Route
}

func (b *bench) clock() time.Time        { return time.UnixMicro(b.now.Load()) }
func (b *bench) advance(d time.Duration) { b.now.Add(d.Microseconds()) }

// newBench compiles limits, one line each, for a service with a route "one" (/things/{id}) that names all of them.
func newBench(t testing.TB, shared func(clock func() time.Time) ratelimiter.Store, definitions ...string) *bench {
	t.Helper()
	b := &bench{t: t, now: new(atomic.Int64), dropped: new(atomic.Int64)}
	b.now.Store(1767225600_000000)
	local, err := memory.New(memory.Options{Now: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	o := ratelimiter.Options{Local: local, Now: b.clock, Replicas: 2, Queue: 4}
	if shared != nil {
		o.Shared = shared(b.clock)
	}
	if b.limiter, err = ratelimiter.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.limiter.Close(context.Background()) })
	if b.stage, err = New(Options{Limiter: b.limiter, Dropped: func() { b.dropped.Add(1) }}); err != nil {
		t.Fatal(err)
	}
	var names []string
	text := "limit_definitions:\n"
	for _, d := range definitions {
		name, _, _ := strings.Cut(d, ":")
		names = append(names, name)
		text += "  " + d + "\n"
	}
	text += "routes:\n  - {name: one, path: \"/things/{id}\", methods: [GET], limits: [" + strings.Join(names, ", ") + "]}\n"
	bundle, service := load(t, "", text)
	part, problems := b.stage.Compile(bundle, service)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b.routes = service.Routes
	b.service = &pipeline.Service{Parts: map[string]any{Name: part}}
	b.pipeline, err = pipeline.New(pipeline.Options{
		Settler: b.stage, Clock: b.clock,
		Steps: []pipeline.Step{
			{Point: "inspection.shape", Stage: b.act("inspection", verdict.HeaderInvalid)},
			{Point: "limits.gate", Stage: b.stage.Gate(), Failure: verdict.LimitsUnavailable},
			{Point: "identity", Stage: b.act("identity", verdict.TokenSignature)},
			{Point: "policy", Stage: b.act("policy", verdict.NoMatchingRule)},
			{Point: "limits.take", Stage: b.stage.Take(), Failure: verdict.LimitsUnavailable},
			{Point: "upstream", Stage: b.act("upstream", verdict.HeaderUnsafe)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cancelKey finds the function that ends the caller's context.
type cancelKey struct{}

type stageFunc func(context.Context, *pipeline.Case) (pipeline.Outcome, error)

func (f stageFunc) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	return f(ctx, c)
}

// act is a stage that denies, fails or cancels when the request's header of its name says so; identity also takes the
// subject from "user", and policy grants.
func (b *bench) act(name string, reason verdict.Reason) pipeline.Stage {
	return stageFunc(func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		switch told, _ := c.Request.Header.Get(name); told {
		case "deny":
			return c.Deny(reason), nil
		case "fail":
			return pipeline.Stop, errDown
		case "cancel":
			if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
				cancel()
			}
		}
		if user, n := c.Request.Header.Get("user"); name == "identity" && n > 0 {
			c.Subject = subject.Subject{Key: subject.Key(subject.KindUser, "corp", user), Kind: subject.KindUser, Authenticator: "corp", ID: user, Claims: map[string]any{"units": 3.0}}
		}
		if name == "policy" {
			c.Grant = &pipeline.Grant{By: "main"}
		}
		return pipeline.Continue, nil
	})
}

// newCase is a GET from 192.0.2.1 with the headers "name=value".
func (b *bench) newCase(headers ...string) *pipeline.Case {
	r := &request.Request{Method: "GET", Client: netip.MustParseAddr("192.0.2.1"), Body: request.Body{Size: -1}}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		r.Header = append(r.Header, request.Field{Name: name, Value: value})
	}
	_, n := r.Header.Get("releases")
	r.Releases = n > 0
	return &pipeline.Case{
		Service: b.service,
		Facts: attribute.Facts{
			Request: r, Subject: subject.Anonymous(), Now: b.clock(),
			Match: route.Match{Route: &route.Route{Name: "one"}, Params: []route.Param{{Name: "id", Value: "7"}}},
		},
	}
}

// decide runs a request and returns its case.
func (b *bench) decide(headers ...string) *pipeline.Case {
	b.t.Helper()
	c := b.newCase(headers...)
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	b.pipeline.Run(context.WithValue(ctx, cancelKey{}, cancel), c)
	return c
}

// left returns what remains of a limit for a request, in the shared store.
func (b *bench) left(name string, headers ...string) int64 {
	b.t.Helper()
	c := b.newCase(headers...)
	if user, n := c.Request.Header.Get("user"); n > 0 {
		c.Subject = subject.Subject{Key: subject.Key(subject.KindUser, "corp", user), Kind: subject.KindUser}
	}
	r, err := limitsOf(c)
	if err != nil {
		b.t.Fatal(err)
	}
	i := slices.IndexFunc(r.all, func(l *binding) bool { return l.limit.Definition().Name == name })
	charges, wrong := charge(&c.Facts, r.all[i:i+1])
	if wrong.is() || len(charges) != 1 {
		b.t.Fatalf("limit %s cannot be charged: %+v", name, wrong)
	}
	d, err := b.limiter.Peek(b.t.Context(), charges)
	if err != nil || len(d.Limits) != 1 || d.Degraded {
		b.t.Fatalf("peek %s: %+v, %v", name, d, err)
	}
	return d.Limits[0].Remaining
}

// wantLeft waits for the settler, which works behind the decisions.
func (b *bench) wantLeft(want int64, name string, headers ...string) {
	b.t.Helper()
	end := time.Now().Add(5 * time.Second)
	got := b.left(name, headers...)
	for got != want && time.Now().Before(end) {
		time.Sleep(2 * time.Millisecond)
		got = b.left(name, headers...)
	}
	if got != want {
		b.t.Errorf("%d left of %s, want %d", got, name, want)
	}
}

func (b *bench) want(c *pipeline.Case, reason verdict.Reason, at string) {
	b.t.Helper()
	if v := &c.Verdict; v.Reason != reason || v.Stage != at || v.Allowed() != (reason == verdict.Allowed) {
		b.t.Errorf("%v %q at %q (%s), want %q at %q", v.Effect, v.Reason, v.Stage, v.Explanation.Detail, reason, at)
	}
}

// fieldOf returns a response field; "" when it is not set, and an error text when it is set twice.
func fieldOf(c *pipeline.Case, name string) string {
	var values []string
	for _, f := range c.Verdict.Obligations.SetResponse {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	if len(values) > 1 {
		return "set " + strconv.Itoa(len(values)) + " times"
	}
	return strings.Join(values, "")
}

// stores runs a test on memory alone and on a real Redis with the test's clock.
func stores(t *testing.T, test func(t *testing.T, open func(...string) *bench)) {
	t.Run("memory", func(t *testing.T) {
		test(t, func(definitions ...string) *bench { t.Helper(); return newBench(t, nil, definitions...) })
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Start(t)
		test(t, func(definitions ...string) *bench {
			t.Helper()
			server.Do("FLUSHALL")
			return newBench(t, func(clock func() time.Time) ratelimiter.Store {
				s, err := redis.New(redis.Options{URL: server.URL(), Now: time.Now, Timeout: 30 * time.Second, ScriptTime: clock})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				return s
			}, definitions...)
		})
	})
}
