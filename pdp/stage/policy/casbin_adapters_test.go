package policy

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	"github.com/casbin/casbin/v2/persist/cache"
	fileadapter "github.com/casbin/casbin/v2/persist/file-adapter"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// The tests of this file are about what changes rules in casbin, while an enforcer lives or on the way to a file and
// back; TestTrapOf numbers and runs them. Here a change is another bundle: it is compiled as a whole, or not at all.

const allowAndDenyText = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"

// priorityModel returns a model whose rules have a priority.
func priorityModel() string {
	return strings.Replace(withEffect(rbacModel, "priority(p.eft) || deny"), "p = sub", "p = priority, sub", 1)
}

// loader is an adapter that only loads.
type loader struct {
	persist.Adapter
	load func(model.Model) error
}

func (l loader) LoadPolicy(m model.Model) error { return l.load(m) }

// keepsCallback is a watcher that is told nothing, and keeps what it should call.
type keepsCallback struct{ callback func(string) }

func (w *keepsCallback) SetUpdateCallback(f func(string)) error { w.callback = f; return nil }
func (*keepsCallback) Update() error                            { return nil }
func (*keepsCallback) Close()                                   {}

// fileOfRules writes rules into a file.
func fileOfRules(t *testing.T, rules string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.csv")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mustChange fails on what a change of an enforcer's rules returns, unless it changed something.
func mustChange(t *testing.T, changed bool, err error) {
	t.Helper()
	if !changed || err != nil {
		t.Fatalf("casbin changes nothing: %v", err)
	}
}

func addedRulesAreSorted(t *testing.T) {
	// Casbin finds the column of the priority when it loads; an enforcer that never did puts every rule at the end.
	fresh, err := casbin.NewEnforcer(modelOf(t, priorityModel()))
	if err != nil {
		t.Fatal(err)
	}
	for e, want := range map[*casbin.Enforcer]bool{fresh: true, enforcerOf(t, priorityModel(), "p, 3, x, x, x, allow\n"): false} {
		for _, rule := range [][]any{{"2", "alice", "order", "read", "allow"}, {"1", "alice", "order", "read", "deny"}} {
			added, err := e.AddPolicy(rule...)
			mustChange(t, added, err)
		}
		if got := isAllowed(t, e, "alice", "order", "read"); got != want {
			t.Errorf("casbin: %v, want %v", got, want)
		}
	}
	const allow, deny = "p, 2, alice, order, read, allow\n", "p, 1, alice, order, read, deny\n"
	for _, rules := range []string{allow + deny, deny + allow} {
		if got := evaluate(t, setup{model: priorityModel(), rules: rules}.mustCompile(t), asks{sub: "alice", obj: "order", act: "read"}); got.Reason != verdict.RuleDenied {
			t.Errorf("%q: got %+v", rules, got)
		}
	}
}

func changedRulesAreSorted(t *testing.T) {
	const deny = "p, 2, alice, order, read, deny\n"
	e := enforcerOf(t, priorityModel(), "p, 1, alice, order, read, allow\n"+deny)
	e.EnableAutoSave(false) // its adapter cannot
	updated, err := e.UpdatePolicy([]string{"1", "alice", "order", "read", "allow"}, []string{"3", "alice", "order", "read", "allow"})
	mustChange(t, updated, err)
	if !isAllowed(t, e, "alice", "order", "read") {
		t.Error("casbin sorts a rule whose priority changes")
	}
	p := setup{model: priorityModel(), rules: "p, 3, alice, order, read, allow\n" + deny}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "alice", obj: "order", act: "read"}); got != (answer{false, verdict.RuleDenied, "2"}) {
		t.Errorf("got %+v", got)
	}
}

func reasonsMatched(t *testing.T) {
	modelText, rules := rbacWith(matcher, "r.sub == r.obj"), "p, other, order, write\n"+soundRules
	ok, rule, err := enforcerOf(t, modelText, rules).EnforceEx("x", "x", "x")
	if !ok || err != nil || strings.Join(rule, " ") != "other order write" {
		t.Errorf("casbin: %v by %q, %v", ok, rule, err)
	}
	if p, problems := (setup{model: modelText, rules: rules}).compile(); p != nil || !strings.Contains(problems.Error(), "does not read p") {
		t.Errorf("got %v", problems)
	}
}

// decisionsTakeNoLock: nobody waits for a decision, and it waits for nobody.
func decisionsTakeNoLock(t *testing.T) {
	batchHoldsLock(t)
	p := setup{rules: soundRules}.mustCompile(t)
	p.policies[0].index = nil
	ask := asks{sub: "user:corp:alice", obj: "order", act: "read"}
	first := &p.policies[0].program.alternatives[0][0]
	get, calls := first.get, 0
	first.get = func(e *evaluator) (any, error) {
		if calls++; calls == 1 {
			// In the midst of one decision another one and a load come to their ends. With a lock they would hang.
			if got := evaluate(t, p, ask); !got.Allowed {
				t.Errorf("meanwhile: got %+v", got)
			}
			setup{rules: "p, writer, order, write\n"}.mustCompile(t)
		}
		return get(e)
	}
	if got := evaluate(t, p, ask); !got.Allowed || calls != 2 {
		t.Errorf("got %+v after %d decisions", got, calls)
	}
}

// batchHoldsLock shows that what wants to change the rules of casbin waits for a whole batch, and that requests wait for it.
func batchHoldsLock(t *testing.T) {
	e, err := casbin.NewSyncedEnforcer(modelOf(t, rbacWith(matcher, "between() && r.sub == p.sub")))
	if err != nil {
		t.Fatal(err)
	}
	var entered atomic.Bool
	done := make(chan struct{})
	lock, calls := e.GetLock(), 0
	mayRead := func() bool {
		free := lock.TryRLock()
		if free {
			lock.RUnlock()
		}
		return free
	}
	e.AddFunction("between", func(...any) (any, error) {
		if calls++; calls == 1 {
			go func() {
				defer close(done)
				lock.Lock()
				entered.Store(true)
				lock.Unlock()
			}()
			for !entered.Load() && mayRead() { // until it waits
				runtime.Gosched()
			}
		} else if entered.Load() || mayRead() {
			t.Error("casbin lets others in between two requests of a batch")
		}
		return true, nil
	})
	added, err := e.AddPolicy("a", "x", "x")
	mustChange(t, added, err)
	if answers, err := e.BatchEnforce([][]any{{"a", "x", "x"}, {"a", "x", "x"}}); len(answers) != 2 || err != nil {
		t.Errorf("casbin: %v, %v", answers, err)
	}
	<-done
}

// resourcesAreNoSubjects: one g holds the names of subjects, roles and resources alike.
func resourcesAreNoSubjects(t *testing.T) {
	const subjects, resources = "p, orders, orders, read\ng, user:corp:alice, orders\n", "g, invoice, orders\n"
	one := rbacWith(matcher, "g(r.sub, p.sub) && g(r.obj, p.obj) && r.act == p.act")
	e := enforcerOf(t, one, subjects+resources)
	if !isAllowed(t, e, "invoice", "invoice", "read") {
		t.Error("casbin tells a subject from a resource of its name")
	}
	p := setup{model: one, rules: subjects + resources}.mustCompile(t)
	if got := evaluate(t, p, asks{sub: "user:corp:invoice", obj: "invoice", act: "read"}); got.Reason != verdict.NoMatchingRule {
		t.Errorf("the key of a subject: got %+v", got)
	}
	for _, x := range []struct {
		sub, rules, want string
	}{
		{"claims.sub", subjects + resources, "use subject.key"},
		{"subject.id", subjects + resources, "use subject.key"},
		{"subject.key", subjects + "g, invoice, user:corp:alice\n", "shape of a subject's key"},
	} {
		s := setup{model: one, rules: x.rules, request: map[string]string{"sub": x.sub, "obj": "resource.id", "act": "action"}}
		if p, problems := s.compile(); p != nil || !strings.Contains(problems.Error(), x.want) {
			t.Errorf("%s: want a refusal with %q, got:\n%v", x.sub, x.want, problems)
		}
	}
	// The other way round it is as in casbin: a resource named like a member is one. A relation for resources tells them apart.
	two := strings.Replace(strings.Replace(one, "g(r.obj", "g2(r.obj", 1), "g = _, _", "g = _, _\ng2 = _, _", 1)
	for modelText, rules := range map[string]string{one: subjects + resources, two: subjects + "g2, invoice, orders\n"} {
		want := modelText == one
		if got := isAllowed(t, enforcerOf(t, modelText, rules), "user:corp:alice", "user:corp:alice", "read"); got != want {
			t.Errorf("casbin: %v, want %v", got, want)
		}
		if got := evaluate(t, setup{model: modelText, rules: rules}.mustCompile(t), asks{sub: "user:corp:alice", obj: "user:corp:alice", act: "read"}); got.Allowed != want {
			t.Errorf("got %+v, want %v", got, want)
		}
	}
}

func conditionsAreRefused(t *testing.T) {
	modelText, rules := rbacWith("g = _, _", "g = _, _, (_)"), "p, reader, order, read\ng, alice, reader, until-yesterday\n"
	for _, copied := range []bool{false, true} {
		m := modelOf(t, modelText)
		if copied {
			m = m.Copy() // as LoadPolicy does
		}
		e, err := casbin.NewEnforcer(m, fileadapter.NewAdapter(fileOfRules(t, rules)))
		if err != nil {
			t.Fatal(err)
		}
		registered := e.AddNamedLinkConditionFunc("g", "alice", "reader", func(...string) (bool, error) { return false, nil })
		if got := isAllowed(t, e, "alice", "order", "read"); registered == copied || got != copied {
			t.Errorf("casbin: %v; it takes the condition: %v; it has a copy: %v", got, registered, copied)
		}
	}
	if p, problems := (setup{model: modelText, rules: rules}).compile(); p != nil || !strings.Contains(problems.Error(), "conditional roles") {
		t.Errorf("got %v", problems)
	}
}

func badLinksChangeNothing(t *testing.T) {
	casbinLosesLinks(t)
	p := setup{rules: soundRules}.mustCompile(t)
	for _, links := range []string{"g, a, b\ng, b, a\n", "g, bob\n"} {
		if next, problems := (setup{rules: soundRules + links}).compile(); next != nil || len(problems) == 0 {
			t.Errorf("%q loads: %v", links, problems)
		}
	}
	if got := evaluate(t, p, asks{sub: "user:corp:alice", obj: "order", act: "read"}); !got.Allowed {
		t.Errorf("the policy that was there: got %+v", got)
	}
}

// casbinLosesLinks: the rules of casbin survive a load that fails at the roles, but its roles do not.
func casbinLosesLinks(t *testing.T) {
	link := []string{"alice", "reader"}
	e, err := casbin.NewEnforcer(modelOf(t, rbacModel), loader{load: func(m model.Model) error {
		if err := m.AddPolicy("g", "g", link); err != nil {
			return err
		}
		return m.AddPolicy("p", "p", []string{"reader", "order", "read"})
	}})
	if err != nil {
		t.Fatal(err)
	}
	link = []string{"bob"} // casbin counts the fields of a link when it builds the roles
	if err := e.LoadPolicy(); err == nil {
		t.Fatal("casbin loads a link of one field")
	}
	// Nothing was asked before: the memo of g would still know.
	kept, err := e.HasGroupingPolicy("alice", "reader")
	if after := isAllowed(t, e, "alice", "order", "read"); !kept || err != nil || after {
		t.Errorf("casbin: the link is kept: %v (%v), and it counts: %v", kept, err, after)
	}
	if err := e.BuildRoleLinks(); err != nil || !isAllowed(t, e, "alice", "order", "read") {
		t.Errorf("casbin has nothing to go back to: %v", err)
	}
}

func nothingIsFiltered(t *testing.T) {
	modelText := withEffect(rbacModel, allowAndDenyText)
	for _, name := range []string{"alice", "a,b"} {
		allow, deny := fmt.Sprintf("p, %q, order, read, allow\n", name), fmt.Sprintf("p, %q, order, read, deny\n", name)
		if name == "alice" {
			allow = "p, alice, order, read, allow\n" // which the filter finds
		}
		e, err := casbin.NewEnforcer(modelOf(t, modelText), fileadapter.NewFilteredAdapter(fileOfRules(t, allow+deny)))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.LoadFilteredPolicy(&fileadapter.Filter{P: []string{name}}); err != nil {
			t.Fatal(err)
		}
		rules, err := e.GetPolicy()
		if err != nil || len(rules) > 1 || isAllowed(t, e, name, "order", "read") != (name == "alice") {
			t.Errorf("casbin finds %q for %s (%v)", rules, name, err)
		}
		if got := evaluate(t, setup{model: modelText, rules: allow + deny}.mustCompile(t), asks{sub: name, obj: "order", act: "read"}); got != (answer{false, verdict.RuleDenied, "2"}) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func rulesStayQuoted(t *testing.T) {
	rules := "p, bob, secret, read\np, reader, order, read\ng, \"alice, bob\", reader\n"
	path := fileOfRules(t, rules)
	e, err := casbin.NewEnforcer(modelOf(t, rbacModel), fileadapter.NewAdapter(path))
	if err != nil {
		t.Fatal(err)
	}
	before := isAllowed(t, e, "alice", "secret", "read")
	if err := e.SavePolicy(); err != nil {
		t.Fatal(err)
	}
	if err := e.LoadPolicy(); err != nil {
		t.Fatal(err)
	}
	if after := isAllowed(t, e, "alice", "secret", "read"); before || !after {
		t.Errorf("casbin: %v, and after its rules are saved and loaded %v", before, after)
	}
	p := rulesOf(rules).mustCompile(t)
	if got := evaluate(t, p, asks{sub: "alice", obj: "secret", act: "read"}); got.Allowed {
		t.Errorf("got %+v", got)
	}
	if got := evaluate(t, p, asks{sub: "alice, bob", obj: "order", act: "read"}); !got.Allowed {
		t.Errorf("the name with a comma: got %+v", got)
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p, problems := rulesOf(string(saved)).compile(); p != nil || !strings.Contains(problems.Error(), "3 fields here and 2") {
		t.Errorf("what casbin saved loads: %v", problems)
	}
}

// emptiedFile: casbin empties a file before it writes into it, and an empty file is no policy.
func emptiedFile(t *testing.T) {
	path := fileOfRules(t, soundRules)
	e, err := casbin.NewEnforcer(modelOf(t, rbacModel), fileadapter.NewAdapter(path))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	e.ClearPolicy()
	if err := e.SavePolicy(); err != nil {
		t.Fatal(err)
	}
	// If a new file took its place, who has the old one open would find the old rules.
	text, err := io.ReadAll(file)
	if len(text) > 0 || err != nil {
		t.Errorf("casbin writes a new file: the old one holds %q (%v)", text, err)
	}
	if p, problems := rulesOf(string(text)).compile(); p != nil || !strings.Contains(problems.Error(), "no rule for p") {
		t.Errorf("got %v", problems)
	}
}

// newRulesCount: an answer is of the rules that are in force, not of those that were when it was asked first.
func newRulesCount(t *testing.T) {
	modelText := withEffect(rbacModel, allowAndDenyText)
	const role, link, deny = "p, reader, order, read, allow\n", "g, alice, reader\n", "p, alice, order, read, deny\n"
	cached := func() *casbin.CachedEnforcer {
		e, err := casbin.NewCachedEnforcer(modelOf(t, modelText), fileadapter.NewAdapter(fileOfRules(t, role+link)))
		if err != nil {
			t.Fatal(err)
		}
		if !isAllowed(t, e, "alice", "order", "read") {
			t.Error("casbin denies before")
		}
		return e
	}
	e := cached()
	added, err := e.AddPolicy("alice", "order", "read", "deny")
	mustChange(t, added, err)
	if kept, now := isAllowed(t, e, "alice", "order", "read"), isAllowed(t, e.Enforcer, "alice", "order", "read"); !kept || now {
		t.Errorf("casbin: %v from the cache and %v without it, after a rule is added", kept, now)
	}
	e = cached()
	removed, err := e.RemovePolicy("reader", "order", "read", "allow")
	mustChange(t, removed, err)
	if kept, now := isAllowed(t, e, "alice", "order", "read"), isAllowed(t, e.Enforcer, "alice", "order", "read"); !kept || now {
		t.Errorf("casbin: %v from the cache and %v without it, after a rule is removed", kept, now)
	}
	for rules, want := range map[string]verdict.Reason{role + link: "", role + deny + link: verdict.RuleDenied, "p, other, order, read, allow\n" + link: verdict.NoMatchingRule} {
		if got := evaluate(t, setup{model: modelText, rules: rules}.mustCompile(t), asks{sub: "alice", obj: "order", act: "read"}); got.Reason != want {
			t.Errorf("%q: got %+v, want %q", rules, got, want)
		}
	}
}

// ruleTextIsNoKey: without roles the rule's text is the request's, so casbin forgets that one; with eft it never is.
func ruleTextIsNoKey(t *testing.T) {
	const rule = "p, alice, order, read\n"
	for modelText, forgets := range map[string]bool{rbacModel: true, withEffect(rbacModel, someAllow): false} {
		values := []any{"alice", "order", "read"}
		if !forgets {
			values = append(values, "allow")
		}
		e, err := casbin.NewCachedEnforcer(modelOf(t, modelText))
		if err != nil {
			t.Fatal(err)
		}
		added, err := e.AddPolicy(values...)
		mustChange(t, added, err)
		before := isAllowed(t, e, "alice", "order", "read")
		removed, err := e.RemovePolicy(values...)
		mustChange(t, removed, err)
		if after := isAllowed(t, e, "alice", "order", "read"); !before || after == forgets {
			t.Errorf("casbin: %v, and after the rule is removed %v", before, after)
		}
	}
	for rules, want := range map[string]bool{rule: true, "p, bob, order, read\n": false} {
		if got := evaluate(t, rulesOf(rules).mustCompile(t), asks{sub: "alice", obj: "order", act: "read"}); got.Allowed != want {
			t.Errorf("%q: got %+v", rules, got)
		}
	}
}

// requestsAreNotKept: what is asked leaves no answer behind.
func requestsAreNotKept(t *testing.T) {
	const strangers = 1000
	e, err := casbin.NewCachedEnforcer(modelOf(t, rbacModel))
	if err != nil {
		t.Fatal(err)
	}
	kept := cache.DefaultCache{}
	e.SetCache(&kept) // as it makes one for itself
	p := setup{rules: soundRules}.mustCompile(t)
	c := p.policies[0]
	before := c.rules.values.len()
	for i := range strangers {
		name := fmt.Sprint("user:corp:stranger", i)
		if isAllowed(t, e, name, "order", "read") {
			t.Fatal("casbin allows")
		}
		if got := evaluate(t, p, asks{sub: name, obj: "order", act: "read"}); got.Allowed {
			t.Fatalf("got %+v", got)
		}
	}
	if after := c.rules.values.len(); len(kept) != strangers || after != before {
		t.Errorf("casbin keeps %d answers to %d requests; here are %d values instead of %d", len(kept), strangers, after, before)
	}
}

// casbinLoadsUnlocked: the callback that the synchronised enforcer gives to its watcher is the one of the enforcer inside.
func casbinLoadsUnlocked(t *testing.T) {
	e, err := casbin.NewSyncedEnforcer(modelOf(t, rbacModel))
	if err != nil {
		t.Fatal(err)
	}
	var unlocked []bool
	e.SetAdapter(loader{load: func(model.Model) error {
		free := e.GetLock().TryLock()
		if free {
			e.GetLock().Unlock()
		}
		unlocked = append(unlocked, free)
		return nil
	}})
	var w keepsCallback
	if err := e.SetWatcher(&w); err != nil {
		t.Fatal(err)
	}
	if err := e.LoadPolicy(); err != nil {
		t.Fatal(err)
	}
	w.callback("")
	if fmt.Sprint(unlocked) != "[false true]" {
		t.Errorf("casbin loads without its lock, asked and by its watcher: %v", unlocked)
	}
}
