package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// The first tests of this file are about traps of Casbin that a request can reach; TestTrapOf numbers and runs them.

func noErrorTextLeaves(t *testing.T) {
	model := rbacWith(matcher, "ipMatch(r.obj, p.obj) && g(r.sub, p.sub)")
	_, err := enforcerOf(t, model, "p, reader, 10.0.0.0/8, read\n").Enforce("user:corp:a", "secret-text", "read")
	if err == nil || !strings.Contains(err.Error(), ".go:") {
		t.Errorf("casbin hides where it happened: %v", err)
	}
	p := setup{model: model, rules: "p, reader, 10.0.0.0/8, read\n"}.mustCompile(t)
	c := asks{sub: "user:corp:a", obj: "secret-text", act: "read"}.newCase(p)
	if _, err := New().Evaluate(t.Context(), c); err != nil {
		t.Fatalf("an error instead of a denial: %v", err)
	}
	c.NameRule()
	got := c.Verdict
	if got.Reason != verdict.PolicyError || got.Explanation.Rule != "services/orders/policy.csv:1" || got.Explanation.Detail != errArgument.Error() {
		t.Errorf("got %q at %q: %q", got.Reason, got.Explanation.Rule, got.Explanation.Detail)
	}
	p.policies[0].index = nil // it does not ask conditions that it looks up
	p.policies[0].program.alternatives[0][0].get = func(*evaluator) (any, error) { panic("secret-text") }
	c = asks{sub: "user:corp:a", obj: "10.0.0.1", act: "read"}.newCase(p)
	outcome, err := New().Evaluate(t.Context(), c)
	if err != nil || outcome != 0 || c.Verdict.Reason != verdict.PolicyError || strings.Contains(fmt.Sprint(c.Verdict), "secret-text") {
		t.Errorf("a panic: got %v, %v, %+v", outcome, err, c.Verdict)
	}
	p.policies[0].program.alternatives[0][0].get = func(*evaluator) (any, error) { return nil, errors.New("secret-text") }
	c = asks{sub: "user:corp:a", obj: "10.0.0.1", act: "read"}.newCase(p)
	if _, err := New().Evaluate(t.Context(), c); err != nil || strings.Contains(fmt.Sprint(c.Verdict), "secret-text") {
		t.Errorf("a foreign error: got %v, %+v", err, c.Verdict)
	}
}

func textStaysText(t *testing.T) {
	e := enforcerOf(t, rbacModel, "p, user:corp:a, \"{\"\"a\"\":1}\", read\n")
	values := []any{"user:corp:a", `{"a":1}`, "read"}
	before := isAllowed(t, e, values...)
	e.EnableAcceptJsonRequest(true)
	after := isAllowed(t, e, values...)
	if _, isText := values[1].(string); !before || after || isText {
		t.Errorf("casbin: %v, and with JSON %v; the caller's value is %v", before, after, values[1])
	}
	p := setup{rules: "p, user:corp:a, \"{\"\"a\"\":1}\", read\n"}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "user:corp:a", obj: `{"a":1}`, act: "read"}); !got.Allowed {
		t.Errorf("text that looks like JSON: got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "user:corp:a", obj: `{"a": 1}`, act: "read"}); got.Reason != verdict.NoMatchingRule {
		t.Errorf("other text: got %+v", got)
	}
}

func allEmpty(t *testing.T) {
	s := setup{rules: "p, \"\", \"\", \"\"\n",
		request:  map[string]string{"sub": "subject.key", "obj": "subject.tenant", "act": "action"},
		defaults: map[string]string{"sub": "", "obj": "", "act": ""}}
	p := s.mustCompile(t)
	if got := evaluate(t, p, asks{}); got.Allowed || got.Reason != verdict.AttributeMissing {
		t.Errorf("got %+v", got)
	}
	if got := evaluate(t, p, asks{act: "x"}); got.Reason != verdict.NoMatchingRule {
		t.Errorf("one is not empty: got %+v", got)
	}
}

// orderOfErrors: one rule that cannot be evaluated denies the request, unless an earlier rule decides.
func orderOfErrors(t *testing.T) {
	model := rbacWith(matcher, "r.act == p.act && eval(p.obj) && r.sub.key == p.sub")
	s := setup{model: model, rules: "p, user:corp:a, true, read\np, user:corp:b, r.sub.tenant == 'x', read\n", request: map[string]string{"sub": "subject", "obj": "resource", "act": "action"}}
	p := s.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "user:corp:a", obj: "x", act: "read"}); got != (answer{true, "", "1"}) {
		t.Errorf("an earlier rule: got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "user:corp:b", obj: "x", act: "read"}); got != (answer{false, verdict.AttributeMissing, "2"}) {
		t.Errorf("no earlier rule: got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "user:corp:c", obj: "x", act: "read"}); got != (answer{false, verdict.NoMatchingRule, ""}) {
		t.Errorf("a rule about another subject: got %+v", got)
	}
}

func chainOfTenLinks(t *testing.T) {
	p := setup{rules: "p, n10, order, read\n" + links(9) + "g, n9, n10\n"}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "n0", obj: "order", act: "read"}); !got.Allowed {
		t.Errorf("got %+v", got)
	}
	tokens := setup{rules: "p, n9, order, read\n" + links(9), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	if got := evaluate(t, tokens, asks{sub: "user:corp:a", roles: []string{"n0"}, obj: "order", act: "read"}); !got.Allowed {
		t.Errorf("below a token role: got %+v", got)
	}
}

// hostileSubjects: subjects and paths that no rule names leave nothing behind.
func hostileSubjects(t *testing.T) {
	var rules strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rules, "p, role%d, /path%d/*, read\ng, member%d, role%d\n", i, i, i, i)
	}
	model := rbacWith(matcher, "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act")
	p := setup{model: model, rules: rules.String(), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 10000 {
		long := fmt.Sprintf("user:corp:%d%s", i, strings.Repeat("x", 1000))
		if got := evaluate(t, p, asks{sub: long, roles: []string{long + "-role"}, obj: "/" + long, act: "read"}); got.Allowed {
			t.Fatalf("got %+v", got)
		}
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("10,000 subjects left %d bytes", grown)
	}
	runtime.KeepAlive(p)
}

// evaluatorsForget: what a decision read is gone before the next one takes the evaluator.
func evaluatorsForget(t *testing.T) {
	p := setup{rules: "p, reader, order, read\n", tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	for range 100 {
		if got := evaluate(t, p, asks{sub: "user:corp:a", roles: []string{"reader"}, obj: "order", act: "read"}); !got.Allowed {
			t.Fatalf("with the role: got %+v", got)
		}
		if got := evaluate(t, p, asks{sub: "user:corp:a", obj: "order", act: "read"}); got.Allowed {
			t.Fatalf("without the role: got %+v", got)
		}
	}
}

// functionsStayCasbins checks the functions whose meaning surprises: what they match is Casbin's choice, and stays so.
func functionsStayCasbins(t *testing.T) {
	for _, x := range []struct {
		function, value, pattern string
		want                     bool
	}{
		{"keyMatch", "/a/x/zzz", "/a/*/b", true},
		{"keyMatch2", "/v1x0/a", "/v1.0/:id", true},
		{"keyMatch2", "/x.json", "/:id.json", true},
		{"keyMatch2", "/x", "/:id.json", true},
		{"keyMatch2", "/foo/", "/foo/*", true},
		{"keyMatch2", "/foo", "/foo/*", false},
		{"keyMatch2", "/foo/a\nb", "/foo/*", false},
		{"keyMatch2", "/foo/a\nb", "/foo/:id", true},
		{"keyMatch2", "/axxx", "/a|b", true},
		{"keyMatch3", "/a-b", "/{a}-{b}", true},
		{"keyMatch3", "/ab", "/{a}-{b}", true},
		{"keyMatch4", "/a/1/b/1", "/a/{x}/b/{x}", true},
		{"keyMatch4", "/a/1/b/2", "/a/{x}/b/{x}", false},
		{"keyMatch5", "/a/1?b=c", "/a/{x}", true},
		{"regexMatch", "xready", "read", true},
		{"globMatch", "/a/b/c", "/a/*", false},
		{"ipMatch", "::ffff:10.1.2.3", "10.0.0.0/8", true},
	} {
		apply, err := compilePattern(x.function, x.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := apply(x.value, ""); got != x.want || err != nil {
			t.Errorf("%s(%q, %q): got %v, %v", x.function, x.value, x.pattern, got, err)
		}
	}
}

// TestCancelledBetweenRules: the more a rule may cost, the more often the context is looked at.
func TestCancelledBetweenRules(t *testing.T) {
	var rules strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&rules, "p, role%d, order, read\n", i)
	}
	for conditions, late := range map[string]int{
		"r.sub == p.sub && r.obj == p.obj && r.act == p.act":                    rulesBetweenChecks,
		"g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act":                   workBetweenChecks / 50,
		"regexMatch(r.sub, p.sub) && keyMatch4(r.obj, p.obj) && r.act == p.act": 1,
	} {
		p := setup{model: rbacWith(matcher, conditions), rules: rules.String()}.mustCompile(t)
		ctx, cancel := context.WithCancel(t.Context())
		tried := 0
		p.policies[0].index = nil
		first := &p.policies[0].program.alternatives[0][0]
		get := first.get
		first.get = func(e *evaluator) (any, error) {
			if tried++; tried == 100 {
				cancel()
			}
			return get(e)
		}
		c := asks{sub: "user:corp:a", obj: "order", act: "read"}.newCase(p)
		outcome, err := New().Evaluate(ctx, c)
		if outcome != 0 || !errors.Is(err, context.Canceled) || c.Grant != nil {
			t.Errorf("%s: got %v, %v", conditions, outcome, err)
		}
		if tried < 100 || tried >= 100+late {
			t.Errorf("%s: tried %d rules", conditions, tried)
		}
		cancel()
	}
}

// TestWorkIsBounded: nothing can stop a match that has begun, so a value that would take long is refused before.
func TestWorkIsBounded(t *testing.T) {
	long := "/" + strings.Repeat("a", 8190)
	for _, x := range []struct {
		function, pattern string
		longest           int // of the lengths that are tried
	}{
		{"regexMatch", "^/a+/[0-9]{1,9}$", 8191},
		{"regexMatch", "(a?){500}(a?){499}b", 64},
		{"regexMatch", "((a{0,10}){0,10}){0,10}b", 64},
		{"keyMatch", "/b/*", 8191},
		{"keyMatch2", "/:x/:y", 8191},
		{"keyMatch2", "/v1.0/:x.json", 8191},
		{"keyMatch2", "/v1.0" + strings.Repeat("/:x", 60), 8191},
		{"keyMatch3", "/{x}" + strings.Repeat("/{x}.json", 60), 512},
		{"keyMatch4", "/{x}" + strings.Repeat("/{x}", 60), 512},
		{"keyMatch5", "/{x}" + strings.Repeat("/{x}.json", 60), 512},
		{"keyGet2", strings.Repeat("/:x", 60), 512},
		{"keyGet3", strings.Repeat("/{x}", 60), 512},
		{"globMatch", "/b/**/c*", 8191},
		{"globMatch", "/{a,aa}{a,aa}{a,aa}{a,aa}{a,aa}{a,aa}b", 64},
		{"globMatch", "/" + strings.Repeat("*a", 1000) + "b", 64},
	} {
		apply, err := compilePattern(x.function, x.pattern)
		if err != nil {
			t.Fatal(err)
		}
		longest := 0
		for _, length := range []int{64, 256, 512, 8191} {
			if _, err := apply(long[:length], "x"); err == nil {
				longest = length
			} else if !errors.Is(err, pattern.ErrArgument) {
				t.Errorf("%s(%.40s): %v", x.function, x.pattern, err)
			}
		}
		if longest != x.longest {
			t.Errorf("%s(%.40s) takes values of %d bytes, want %d", x.function, x.pattern, longest, x.longest)
		}
	}
	for _, glob := range []string{strings.Repeat("{a,aa}", 7), "{a,b,{c,d,{e,f,g,h}}}{a,b,c,d}", strings.Repeat("{", 65) + "a" + strings.Repeat("}", 65)} {
		if _, err := compilePattern("globMatch", "/"+glob); !errors.Is(err, pattern.ErrArgument) {
			t.Errorf("the glob %s compiles: %v", glob, err)
		}
	}
	if _, err := compilePattern("globMatch", `/\{a,b\}/{a,b,[,]}{a,b}{a,b}`); err != nil {
		t.Error(err)
	}
	p := setup{model: rbacWith(matcher, "g(r.sub, p.sub) && r.obj =~ '^(a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?)+$' && r.act == p.act"), rules: "p, user:corp:a, order, read\n"}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "user:corp:a", obj: "aaa", act: "read"}); !got.Allowed {
		t.Errorf("got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "user:corp:a", obj: long[1:], act: "read"}); got.Allowed || got.Reason != verdict.PolicyError {
		t.Errorf("got %+v", got)
	}
}

func TestConcurrentDecisions(t *testing.T) {
	model := rbacWith(matcher, "g(r.sub, p.sub) && regexMatch(r.obj, p.obj) && ('x' + r.act) == ('x' + p.act) && (r.obj, 'a') != ''")
	model = strings.Replace(model, " && (r.obj, 'a') != ''", " && r.obj in ('order', p.obj)", 1)
	p := setup{model: model, rules: "p, reader, ^order$, read\np, writer, ^order$, write\ng, writer, reader\n",
		tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			role, act := []string{"reader", "writer"}[worker%2], []string{"read", "write"}[worker/2%2]
			for range 300 {
				got := evaluate(t, p, asks{sub: fmt.Sprint("user:corp:", worker), roles: []string{role}, obj: "order", act: act})
				if want := role == "writer" || act == "read"; got.Allowed != want {
					t.Errorf("%s may %s: got %+v", role, act, got)
				}
			}
		})
	}
	group.Wait()
}

// rbacOf returns a compiled RBAC policy of n rules, of which the last but one matches.
func rbacOf(t testing.TB, n int) (*compiled, *attribute.Facts) {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, "p, role%d, order%d, read\n", i, i)
	}
	fmt.Fprintf(&rules, "g, user:corp:alice, role%d\n", n-2)
	p := setup{rules: rules.String(), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	f := asks{sub: "user:corp:alice", roles: []string{"staff"}, obj: fmt.Sprint("order", n-2), act: "read"}.facts()
	return p.policies[0], &f
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, f := rbacOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = p.decide(b.Context(), f)
			}
		})
	}
}

// FuzzModel reads models: whatever is accepted must load in casbin and evaluate without a panic.
func FuzzModel(f *testing.F) {
	f.Add(rbacModel, "p, a, b, c\n")
	f.Add(domainModel, "p, a, b, c, d\n")
	f.Add(withEffect(rbacModel, "priority(p.eft) || deny"), "p, a, b, c, deny\ng, a, b\n")
	for _, c := range slices.Concat(keyConditions, residualConditions, oddConditions) {
		f.Add(rbacWith(matcher, c.text), "p, a, \"/b/*\", c\np, a, true, d\n")
	}
	f.Add(rbacWith(matcher, "[r_sub] == p.sub && r.act == p.act"), "p, a, \"/b/*\", c\n")
	f.Add(rbacWith(matcher, "eval(p.obj) && r.act == p.act"), "p, a, [r.sub] == 'a', c\n")
	f.Fuzz(func(t *testing.T, modelText, rules string) {
		o, problems, err := newOracle(modelText, rules, false)
		if len(problems) > 0 {
			return
		}
		if err != nil {
			t.Fatalf("casbin does not load what is accepted here: %v", err)
		}
		values := make([]any, len(o.fields))
		for i := range values {
			values[i] = []string{"a", "/b/c", "c"}[i%3]
		}
		c := o.compare(t.Context(), values)
		if c.difference != "" || c.outcome == outcomeStricter {
			t.Fatalf("%s%s", c.outcome, c.difference)
		}
		if row := ruleTexts(c.decision); c.outcome == outcomeAnswered && c.decision.allowed && row != nil {
			// Casbin's error is about a rule before this one, which it must have no trouble with.
			o.enforcer.GetModel()["p"]["p"].Policy = [][]string{row}
			if allowed, err := o.enforcer.Enforce(values...); err != nil || !allowed {
				t.Fatalf("allowed by %q, of which casbin says %v, %v", row, allowed, err)
			}
		}
	})
}

// FuzzRules reads rule files: what is accepted is what encoding/csv and casbin's adapter read.
func FuzzRules(f *testing.F) {
	f.Add("p, a, b, c\n# x\n\"p\",\"a\"\"b\", ,\"\"\ng, a, b\n")
	f.Fuzz(func(t *testing.T, rules string) {
		o, problems, err := newOracle(rbacModel, rules, false)
		if len(problems) > 0 {
			return
		}
		if err != nil {
			t.Fatalf("casbin does not load what is accepted here: %v", err)
		}
		theirs, err := o.enforcer.GetPolicy()
		if err != nil || len(theirs) != o.compiled.rules.len() {
			t.Fatalf("%d rules, casbin has %d (%v)", o.compiled.rules.len(), len(theirs), err)
		}
		for i := range theirs {
			r := o.compiled.rules.ref(uint32(i))
			for j := range r.set.width {
				if r.text(j) != theirs[i][j] {
					t.Fatalf("rule %d: %q, casbin has %q", i, r.joined(), theirs[i])
				}
			}
		}
	})
}

// FuzzKeyPatterns compares patterns that need no regular expression with their regular expressions.
func FuzzKeyPatterns(f *testing.F) {
	for i, p := range patterns {
		f.Add(p, paths[i%len(paths)])
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		for name, theirs := range map[string]func(string, string) bool{"keyMatch2": casbinKeyMatch2, "keyMatch3": casbinKeyMatch3, "keyMatch4": casbinKeyMatch4, "keyMatch5": casbinKeyMatch5} {
			apply, err := compilePattern(name, pattern)
			if err != nil {
				continue
			}
			if got, err := apply(value, ""); err != nil || got != theirs(value, pattern) {
				t.Errorf("%s(%q, %q): got %v, %v", name, value, pattern, got, err)
			}
		}
	})
}

// TestRequestIsNotKept: an evaluator in the pool holds nothing of the last request.
func TestRequestIsNotKept(t *testing.T) {
	p, f := rbacOf(t, 10)
	e := newEvaluator(p)
	e.facts = f
	f.Request = &request.Request{}
	if err := e.prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.reset()
	if e.facts != nil || e.rule.valid() {
		t.Error("facts or rule are kept")
	}
	for _, s := range e.slots {
		if s != (slot{}) {
			t.Errorf("a value is kept: %v", s.value)
		}
	}
	for _, c := range e.closures {
		if c.name != "" || c.domain != "" || c.valid || c.own != nil || len(c.roles.ids) > 0 {
			t.Errorf("a closure is kept: %+v", c)
		}
	}
}
