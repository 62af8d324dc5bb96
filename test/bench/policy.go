package bench

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/policy"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// question is what the policy contest asks of both engines: who wants what.
type question struct {
	user, domain, object, action string
	claims                       map[string]any // instead of the user, for rules on attributes
	allowed                      bool
}

// policyCase is a model with its rules and questions that are spread over them.
type policyCase struct {
	name      string
	rules     int // of p
	model     string
	text      string // the rules
	fields    map[string]format.Attribute
	questions []question
	enough    time.Duration // ends Casbin's part
}

// spread is how many different questions a case has, so that none is a hot one.
const spread = 1 << 14

// runPolicy compares the policy stage with casbin's Enforcer, both in process, smallest policies first.
func runPolicy(ctx context.Context, s Setup) ([]Row, error) {
	var rows []Row
	for _, size := range s.Sizes {
		for _, build := range policyCases {
			c := build(size)
			if c == nil {
				continue
			}
			c.enough = s.CasbinTime
			more, err := c.run(ctx, s)
			if err != nil {
				return nil, err
			}
			if err := s.progress(more); err != nil {
				return nil, err
			}
			rows = append(rows, more...)
		}
	}
	return rows, nil
}

// run measures one case. The two run one after the other, not in turns: a million rules in both engines at once would mostly
// measure the garbage collector.
func (c *policyCase) run(ctx context.Context, s Setup) ([]Row, error) {
	var rows []Row
	for _, contestant := range []struct {
		subject string
		load    func() (func(context.Context, *question) error, error)
		round   func(context.Context, func(context.Context, *question) error) (sample, error)
		rounds  int
	}{
		{"durward", c.stage, c.many(s.Span), s.Rounds},
		{"casbin", c.enforcer, c.few, 1},
	} {
		before, begin := heap(), time.Now()
		ask, err := contestant.load()
		if err != nil {
			return nil, err
		}
		loaded := sample{
			{"load", "ms"}:               float64(time.Since(begin).Microseconds()) / 1e3,
			{"memory_per_rule", "bytes"}: float64(heap()-before) / float64(strings.Count(c.text, "\n")),
		}
		samples := []sample{}
		for range contestant.rounds {
			measured, err := contestant.round(ctx, ask)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.name, contestant.subject, err)
			}
			samples = append(samples, measured)
		}
		rows = append(rows, summarise(c.name, contestant.subject, samples)...)
		rows = append(rows, summarise(c.name, contestant.subject, []sample{loaded})...)
	}
	return rows, nil
}

// heap is what is alive.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what stood in a pool goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// many asks for at least span.
func (c *policyCase) many(span time.Duration) func(context.Context, func(context.Context, *question) error) (sample, error) {
	return func(ctx context.Context, ask func(context.Context, *question) error) (sample, error) {
		i := 0
		return repeat(ctx, span, func(ctx context.Context) error {
			q := &c.questions[i%len(c.questions)]
			i++
			return ask(ctx, q)
		})
	}
}

// few asks three times, unless that takes too long, or until the span is over where a question is quick.
func (c *policyCase) few(ctx context.Context, ask func(context.Context, *question) error) (sample, error) {
	const least = 200 * time.Millisecond
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin, decisions := time.Now(), 0
	var took time.Duration
	for decisions == 0 || took < c.enough && (decisions < 3 || took < least) {
		if err := ask(ctx, &c.questions[decisions%len(c.questions)]); err != nil {
			return nil, err
		}
		decisions++
		took = time.Since(begin)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	runtime.ReadMemStats(&after)
	return sample{
		{"time", "ns"}:      float64(took.Nanoseconds()) / float64(decisions),
		{"allocs", "count"}: float64(after.Mallocs-before.Mallocs) / float64(decisions),
	}, nil
}

// enforcer asks casbin.
func (c *policyCase) enforcer() (func(context.Context, *question) error, error) {
	m, err := model.NewModelFromString(c.model)
	if err != nil {
		return nil, fmt.Errorf("%s: reading the model with casbin: %w", c.name, err)
	}
	// The string adapter panics on a blank line, and so on a line break at the end.
	enforcer, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(strings.TrimSpace(c.text)))
	if err != nil {
		return nil, fmt.Errorf("%s: loading the rules into casbin: %w", c.name, err)
	}
	_, hasDomain := c.fields["dom"]
	return func(_ context.Context, q *question) error {
		values := []any{q.user, q.object, q.action}
		if q.claims != nil {
			values[0] = q.claims
		}
		if hasDomain {
			values = []any{q.user, q.domain, q.object, q.action}
		}
		allowed, err := enforcer.Enforce(values...)
		if err != nil {
			return err
		}
		return q.check(allowed)
	}, nil
}

// stage asks the policy stage, with what the stages before it would have found out.
func (c *policyCase) stage() (func(context.Context, *question) error, error) {
	stage := policy.New()
	part, problems := stage.Compile(c.bundle())
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: compiling the policy: %w", c.name, problems)
	}
	asked := &pipeline.Case{
		Service: &pipeline.Service{Parts: map[string]any{stage.Name(): part}},
		Facts: attribute.Facts{
			Request: &request.Request{Body: request.Body{Size: -1}},
			Match:   route.Match{Route: &route.Route{Name: "any"}},
		},
	}
	return func(ctx context.Context, q *question) error {
		asked.Grant, asked.Verdict = nil, verdict.Verdict{}
		asked.Subject = subject.Subject{Key: q.user, Kind: subject.KindUser, Tenant: q.domain, Claims: q.claims}
		asked.Match.Path, asked.Resource.ID, asked.Action = q.object, q.object, q.action
		outcome, err := stage.Evaluate(ctx, asked)
		if err != nil {
			return err
		}
		if !q.allowed && asked.Verdict.Reason != verdict.NoMatchingRule {
			return fmt.Errorf("%w: denied %q", errAnswer, asked.Verdict.Reason)
		}
		return q.check(outcome == pipeline.Continue && asked.Grant != nil)
	}, nil
}

func (c *policyCase) bundle() (*format.Bundle, *format.Service) {
	files := format.NewFiles(map[string][]byte{
		"bundle.yaml":                  []byte("format: 1\n"),
		"services/orders/service.yaml": []byte("service: orders\n"),
		"services/orders/model.conf":   []byte(c.model),
		"services/orders/policy.csv":   []byte(c.text),
	})
	b := &format.Bundle{Files: files}
	b.File, _ = files.Get("", "bundle.yaml")
	s := &format.Service{Name: "orders", Dir: "services/orders", Routes: []format.Route{{Name: "any", Path: "/{rest...}"}}}
	s.File, _ = files.Get(s.Dir, "service.yaml")
	hour := format.Duration(time.Hour) // nothing is refused for its cost: it is what is measured
	s.Policies = []format.Policy{{Name: "main", Model: "model.conf", Rules: []string{"policy.csv"}, Request: c.fields, MaxCost: &hour}}
	return b, s
}

func (q *question) check(allowed bool) error {
	if allowed != q.allowed {
		return fmt.Errorf("%w: allowed is %t for %q %q %q", errAnswer, allowed, q.user, q.object, q.action)
	}
	return nil
}
