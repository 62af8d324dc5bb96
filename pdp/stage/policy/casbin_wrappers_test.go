package policy

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	fileadapter "github.com/casbin/casbin/v2/persist/file-adapter"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestTrapOf shows the traps that need more than one policy and one request: what an enforcer keeps, changes and hands
// out, and that nothing of it exists here.
func TestTrapOf(t *testing.T) {
	for _, x := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"1.2.1 the text of an error holds the stack", noErrorTextLeaves},
		{"1.2.2 an enforcer can be switched off", nothingIsSwitchedOff},
		{"1.2.3 JSON in a request changes its type and the caller's values", textStaysText},
		{"1.2.5 one rule that fails denies unless an earlier one decides", orderOfErrors},
		{"1.2.6 all attributes are empty", allEmpty},
		{"1.2.7 priority looks at all rules after each rule", eachRuleOnce},
		{"1.2.8 removing a rule moves the last one into its place", rulesKeepTheirOrder},
		{"1.2.8 AddPolicy sorts by priority only after a load", addedRulesAreSorted},
		{"1.2.8 UpdatePolicy does not sort", changedRulesAreSorted},
		{"1.2.10 EnforceEx hands out the rule itself", rulesCannotBeChanged},
		{"1.2.10 EnforceEx names the first rule where the matcher reads none", reasonsMatched},
		{"1.2.11 BatchEnforce ends at the first error", errorsStayApart},
		{"1.2.11 BatchEnforce holds the lock until its end", decisionsTakeNoLock},
		{"1.3a subjects, roles and resources of one g share their names", resourcesAreNoSubjects},
		{"1.3b ten links, also below a token's role", chainOfTenLinks},
		{"1.3e a model's copy forgets the conditions of its roles", conditionsAreRefused},
		{"1.3f the memo of g grows with every subject", hostileSubjects},
		{"1.3f asking about a name inserts it", unknownNamesAreNotKept},
		{"1.3g the memo of g is stale after a role is revoked", revokedAtOnce},
		{"1.3g what a decision read is gone before the next", evaluatorsForget},
		{"1.3h links that cannot be loaded leave no roles", badLinksChangeNothing},
		{"1.4 functions whose meaning surprises", functionsStayCasbins},
		{"1.4 built-in functions cannot be replaced and do not say so", functionsCannotBeAdded},
		{"1.4 regexMatch and eval compile their text in every call", compiledOnce},
		{"1.5 the cache joins its key without quotes", requestsAreNotJoined},
		{"1.5 the cache keeps answers after a role is revoked", answersAreNotKept},
		{"1.5 the cache keeps answers after a rule is added or removed", newRulesCount},
		{"1.5 the cache forgets only the request that is the rule's text", ruleTextIsNoKey},
		{"1.5 the cache grows with every request", requestsAreNotKept},
		{"1.5 the synchronised enforcer loads without its lock", policiesNeverChange},
		{"1.5 a filtered load that fails leaves an empty model", failedLoadIsNoPolicy},
		{"1.5 a filter compares text between commas, not fields", nothingIsFiltered},
		{"1.5 SavePolicy writes fields without their quotes", rulesStayQuoted},
		{"1.5 SavePolicy writes over the file", emptiedFile},
		{"1.5 a rule without a type panics", ruleWithoutType},
		{"1.5 a line of more than 64 KiB", longLine},
		{"1.5 a comma in quotes", quotedComma},
	} {
		t.Run(x.name, x.test)
	}
}

// enforcerOf loads a policy into casbin.
func enforcerOf(t *testing.T, modelText, rules string) *casbin.Enforcer {
	t.Helper()
	e, err := loadCasbin(modelText, strings.TrimSpace(rules))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// isAllowed asks casbin and fails on an error.
func isAllowed(t *testing.T, e interface{ Enforce(...any) (bool, error) }, values ...any) bool {
	t.Helper()
	ok, err := e.Enforce(values...)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func nothingIsSwitchedOff(t *testing.T) {
	e := enforcerOf(t, rbacModel, soundRules)
	e.EnableEnforce(false)
	if !isAllowed(t, e, "mallory", "order", "read") {
		t.Error("casbin denies although it is switched off")
	}
	// What decides nothing denies: there is nothing to switch.
	c := asks{sub: "mallory", obj: "order", act: "read"}.newCase(&part{})
	if outcome, err := New().Evaluate(t.Context(), c); outcome != pipeline.Stop || err == nil || c.Grant != nil {
		t.Errorf("without policies: got %v, %v, %v", outcome, err, c.Grant)
	}
}

// eachRuleOnce counts how often the first condition is evaluated when no rule matches.
func eachRuleOnce(t *testing.T) {
	const n = 500
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, "p, u%d, order, read, deny\n", i)
	}
	matcher := "r.sub != p.sub && r.act == 'x' && r.obj == p.obj && r.act == p.act"
	p := setup{model: withEffect(rbacWith("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", matcher), "priority(p.eft) || deny"), rules: rules.String()}.mustCompile(t)
	p.policies[0].index = nil // it tries none
	tried := 0
	first := &p.policies[0].program.alternatives[0][0]
	get := first.get
	first.get = func(e *evaluator) (any, error) { tried++; return get(e) }
	if got := evaluate(t, p, asks{sub: "alice", obj: "order", act: "read"}); got.Allowed {
		t.Errorf("got %+v", got)
	}
	if tried != n {
		t.Errorf("%d rules were tried %d times", n, tried)
	}
}

func rulesKeepTheirOrder(t *testing.T) {
	modelText := withEffect(rbacModel, "priority(p.eft) || deny")
	const unrelated = "p, x, x, x, allow\n"
	rest := "p, alice, order, read, deny\np, alice, order, read, allow\n"
	e := enforcerOf(t, modelText, unrelated+rest)
	before := isAllowed(t, e, "alice", "order", "read")
	if _, err := e.RemovePolicy("x", "x", "x", "allow"); err != nil {
		t.Fatal(err)
	}
	if after := isAllowed(t, e, "alice", "order", "read"); before || !after {
		t.Errorf("casbin: %v before and %v after an unrelated rule is removed", before, after)
	}
	for _, rules := range []string{unrelated + rest, rest} {
		if got := evaluate(t, setup{model: modelText, rules: rules}.mustCompile(t), asks{sub: "alice", obj: "order", act: "read"}); got.Reason != verdict.RuleDenied {
			t.Errorf("%q: got %+v", rules, got)
		}
	}
}

func rulesCannotBeChanged(t *testing.T) {
	e := enforcerOf(t, rbacModel, "p, alice, order, read\n")
	_, rule, err := e.EnforceEx("alice", "order", "read")
	if err != nil {
		t.Fatal(err)
	}
	rule[0] = "mallory"
	if !isAllowed(t, e, "mallory", "order", "read") {
		t.Error("casbin handed out a copy")
	}
	p := setup{rules: "p, alice, order, read\n"}.mustCompile(t)
	f := asks{sub: "alice", obj: "order", act: "read"}.facts()
	d, err := p.policies[0].decide(t.Context(), &f)
	if err != nil {
		t.Fatal(err)
	}
	ruleTexts(d)[0] = "mallory"
	if got := evaluate(t, p, asks{sub: "mallory", obj: "order", act: "read"}); got.Allowed {
		t.Errorf("got %+v", got)
	}
}

func errorsStayApart(t *testing.T) {
	modelText, rules := rbacWith(matcher, "r.sub == p.sub && ipMatch(r.obj, p.obj)"), "p, alice, 10.0.0.0/8, read\n"
	e := enforcerOf(t, modelText, rules)
	if answers, err := e.BatchEnforce([][]any{{"alice", "x", "read"}, {"alice", "10.0.0.1", "read"}}); err == nil || len(answers) > 1 {
		t.Errorf("casbin: %v, %v", answers, err)
	}
	p := setup{model: modelText, rules: rules}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "alice", obj: "x", act: "read"}); got.Reason != verdict.PolicyError {
		t.Errorf("no address: got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "alice", obj: "10.0.0.1", act: "read"}); !got.Allowed {
		t.Errorf("the next request: got %+v", got)
	}
}

func unknownNamesAreNotKept(t *testing.T) {
	p := setup{rules: soundRules, tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	c := p.policies[0]
	before := fmt.Sprint(c.rules.values.len(), *c.relations["g"])
	for i := range 100 {
		name := fmt.Sprint("user:corp:stranger", i)
		if got := evaluate(t, p, asks{sub: name, roles: []string{name + "-role"}, obj: name, act: name}); got.Allowed {
			t.Fatalf("got %+v", got)
		}
	}
	if after := fmt.Sprint(c.rules.values.len(), *c.relations["g"]); after != before {
		t.Errorf("the policy changed from\n%s to\n%s", before, after)
	}
}

func revokedAtOnce(t *testing.T) {
	e := enforcerOf(t, rbacModel, soundRules)
	if !isAllowed(t, e, "user:corp:alice", "order", "read") {
		t.Fatal("casbin denies before")
	}
	if err := e.GetRoleManager().DeleteLink("user:corp:alice", "reader"); err != nil {
		t.Fatal(err)
	}
	if !isAllowed(t, e, "user:corp:alice", "order", "read") {
		t.Error("casbin forgot its memo")
	}
	ask := asks{sub: "user:corp:alice", obj: "order", act: "read"}
	if got := evaluate(t, setup{rules: soundRules}.mustCompile(t), ask); !got.Allowed {
		t.Errorf("before: got %+v", got)
	}
	if got := evaluate(t, setup{rules: "p, reader, order, read\n"}.mustCompile(t), ask); got.Allowed {
		t.Errorf("after: got %+v", got)
	}
}

func functionsCannotBeAdded(t *testing.T) {
	e := enforcerOf(t, functionModel("keyMatch"), "p, /a, x, x\n")
	e.AddFunction("keyMatch", func(...any) (any, error) { return true, nil })
	if isAllowed(t, e, "s", "/b", "x") {
		t.Error("casbin replaced its function")
	}
	if _, problems := (setup{model: functionModel("myMatch"), rules: soundRules}).compile(); !strings.Contains(problems.Error(), "unknown function") {
		t.Errorf("got %v", problems)
	}
}

// compiledOnce: what compiles its text in each call allocates hundreds of times for a few rules.
func compiledOnce(t *testing.T) {
	modelText := rbacWith(matcher, "eval(p.sub) && regexMatch(r.obj, p.obj) && r.act == p.act")
	var rules strings.Builder
	for i := range 50 {
		fmt.Fprintf(&rules, "p, r.obj != 'x%d', ^/[a-z]+/%d$, read\n", i, i)
	}
	e := enforcerOf(t, modelText, rules.String())
	theirs := testing.AllocsPerRun(5, func() { isAllowed(t, e, "s", "/abc/x", "read") })
	p := setup{model: modelText, rules: rules.String()}.mustCompile(t)
	f := asks{sub: "s", obj: "/abc/x", act: "read"}.facts()
	ours := testing.AllocsPerRun(5, func() {
		if d, err := p.policies[0].decide(t.Context(), &f); d.allowed || err != nil {
			t.Fatalf("got %+v, %v", d, err)
		}
	})
	if theirs < 1000 || ours > 100 {
		t.Errorf("casbin allocates %v times, here it is %v times", theirs, ours)
	}
}

func requestsAreNotJoined(t *testing.T) {
	modelText, rules := rbacModel, "p, a, /x, GET$$y\n"
	e, err := casbin.NewCachedEnforcer(modelOf(t, modelText))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddPolicy("a", "/x", "GET$$y"); err != nil {
		t.Fatal(err)
	}
	if !isAllowed(t, e, "a", "/x", "GET$$y") || !isAllowed(t, e, "a", "/x$$GET", "y") {
		t.Error("casbin's cache tells the requests apart")
	}
	p := setup{rules: rules}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "a", obj: "/x", act: "GET$$y"}); !got.Allowed {
		t.Errorf("got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "a", obj: "/x$$GET", act: "y"}); got.Allowed {
		t.Errorf("got %+v", got)
	}
}

func modelOf(t *testing.T, text string) model.Model {
	t.Helper()
	m, err := model.NewModelFromString(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func answersAreNotKept(t *testing.T) {
	e, err := casbin.NewCachedEnforcer(modelOf(t, rbacModel))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddPolicy("reader", "order", "read"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddGroupingPolicy("alice", "reader"); err != nil {
		t.Fatal(err)
	}
	before := isAllowed(t, e, "alice", "order", "read")
	if _, err := e.RemoveGroupingPolicy("alice", "reader"); err != nil {
		t.Fatal(err)
	}
	if after := isAllowed(t, e, "alice", "order", "read"); !before || !after {
		t.Errorf("casbin: %v, and after the role is revoked %v", before, after)
	}
	p := setup{rules: "p, reader, order, read\n", tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
	for _, roles := range [][]string{{"reader"}, nil, {"reader"}, {"other"}} {
		got := evaluate(t, p, asks{sub: "user:corp:alice", roles: roles, obj: "order", act: "read"})
		if got.Allowed != slices.Contains(roles, "reader") {
			t.Errorf("with %q: got %+v", roles, got)
		}
	}
}

// policiesNeverChange: a new policy is a new value beside the one that decides.
func policiesNeverChange(t *testing.T) {
	casbinLoadsUnlocked(t)
	old := setup{rules: soundRules}.mustCompile(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				if got := evaluate(t, old, asks{sub: "user:corp:alice", obj: "order", act: "read"}); !got.Allowed {
					t.Errorf("got %+v", got)
					return
				}
			}
		})
	}
	for range 20 {
		next := setup{rules: "p, writer, order, write\n"}.mustCompile(t)
		if got := evaluate(t, next, asks{sub: "user:corp:alice", obj: "order", act: "read"}); got.Allowed {
			t.Errorf("the new one: got %+v", got)
		}
	}
	group.Wait()
}

func failedLoadIsNoPolicy(t *testing.T) {
	modelText := withEffect(rbacModel, denyOverrideText)
	path := filepath.Join(t.TempDir(), "policy.csv")
	if err := os.WriteFile(path, []byte("p, mallory, order, read, deny"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := casbin.NewEnforcer(modelOf(t, modelText), fileadapter.NewFilteredAdapter(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.LoadPolicy(); err != nil {
		t.Fatal(err)
	}
	before := isAllowed(t, e, "mallory", "order", "read")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := e.LoadFilteredPolicy(&fileadapter.Filter{P: []string{"mallory"}}); err == nil {
		t.Fatal("casbin loads a file that is not there")
	}
	if after := isAllowed(t, e, "mallory", "order", "read"); before || !after {
		t.Errorf("casbin: %v, and after the failed load %v", before, after)
	}
	s := oracleSource{model: modelText, rules: "p, mallory, order, read, deny\np, broken\n"}
	if o, problems := s.compile(); o.compiled != nil || len(problems) == 0 {
		t.Error("a broken file makes a policy")
	}
}

func ruleWithoutType(t *testing.T) {
	if got := casbinAnswer(rbacModel, ", reader, order, read\n"); got != "panics" {
		t.Errorf("casbin: %s", got)
	}
	if _, problems := rulesOf(", reader, order, read\n").compile(); !strings.Contains(problems.Error(), "no type") {
		t.Errorf("got %v", problems)
	}
}

func longLine(t *testing.T) {
	rules := "p, reader, order, " + strings.Repeat("x", maxRuleLine) + "\n"
	path := filepath.Join(t.TempDir(), "policy.csv")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := casbin.NewEnforcer(modelOf(t, rbacModel), fileadapter.NewAdapter(path)); !errors.Is(err, bufio.ErrTooLong) {
		t.Errorf("casbin: %v", err)
	}
	if _, problems := rulesOf(rules).compile(); !strings.Contains(problems.Error(), "longer than 65536") {
		t.Errorf("got %v", problems)
	}
}

func quotedComma(t *testing.T) {
	rules := "p, \"a,b\", order, read\n"
	if got := casbinAnswer(rbacModel, rules, "a,b", "order", "read"); got != allows {
		t.Errorf("casbin: %s", got)
	}
	if got := evaluate(t, rulesOf(rules).mustCompile(t), asks{sub: "a,b", obj: "order", act: "read"}); !got.Allowed {
		t.Errorf("got %+v", got)
	}
}
