package policy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	comparisons = flag.Int("comparisons", 300_000, "how many requests TestDifferential compares with casbin")
	firstSeed   = flag.Uint64("seed", 0, "the first seed of TestDifferential")
)

// outcomeCounts counts the outcomes of comparisons.
type outcomeCounts map[string]int

func (c outcomeCounts) add(other outcomeCounts) {
	for what, n := range other {
		c[what] += n
	}
}

// String lists the counts by name.
func (c outcomeCounts) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "\n  %8d  %s", c[what], what)
	}
	return b.String()
}

// randomTrial is one random policy in both engines.
type randomTrial struct {
	model  *randomModel
	oracle *oracle
	counts outcomeCounts
	// alone asks casbin about one rule, made when it is needed; examined counts the requests that it was asked about.
	alone    *singleRules
	examined int
}

// runTrial compares the random policy of a seed for some random requests. An error says what differs.
func runTrial(ctx context.Context, seed uint64, requests int) (outcomeCounts, error) {
	r := rand.New(rand.NewPCG(seed, 7))
	m := newRandomModel(r)
	rules := m.rules(r)
	source := oracleSource{model: m.text(), rules: rules, object: func(f string) bool { return f == "env" },
		tokenSubject: "t1", tokenRoles: m.tokenRoles, tokenDomain: "d1", domains: m.features["domroles"], matching: m.matching}
	t := &randomTrial{model: m, counts: outcomeCounts{}}
	fail := func(values []any, difference string) error {
		return fmt.Errorf("seed %d: %q: %s\n%s\n%s\ntoken roles of t1: %q, matching: %v", seed, values, difference, source.model, shortened(rules), m.tokenRoles, m.matching)
	}
	o, problems, err := newOracleOf(source)
	if err != nil {
		return nil, fail(nil, "casbin does not load what is accepted here: "+err.Error())
	}
	if len(problems) > 0 {
		t.counts["policies refused"]++
		t.counts["refused: "+withoutPlace(problems[0].Error())]++
		return t.counts, nil
	}
	t.oracle = o
	t.counts["policies"]++
	for name, matching := range m.matching {
		t.counts["policies with "+name+matching.Names+" of names"]++
		t.counts["policies with "+name+matching.Domains+" of domains"]++
	}
	if isIndexed, reason := planOf(o.compiled); isIndexed {
		t.counts["policies indexed"]++
	} else {
		t.counts["policies linear"]++
		if before, _, found := strings.Cut(reason, " of "); found {
			reason = before + "…"
		}
		t.counts["linear: "+reason]++
	}
	if seed%8 == 0 { // the loop must agree too
		o.compiled.index = nil
		t.counts["policies without their index"]++
	}
	if m.size >= 100 {
		requests = max(requests/4, 1)
		t.counts["policies of 200 rules and more"]++
	}
	for range requests {
		values := m.randomRequest(r)
		c := o.compare(ctx, values)
		if c.difference == "" {
			c.difference = t.examine(values, c)
		}
		if c.difference != "" {
			return nil, fail(values, c.difference)
		}
		t.counts["comparisons"]++
		t.counts["outcome: "+c.outcome]++
		if c.allowed {
			t.counts["allowed"]++
		}
	}
	return t.counts, nil
}

func shortened(rules string) string {
	if len(rules) > 6000 {
		return rules[:6000] + "…"
	}
	return rules
}

// withoutPlace returns the message of a problem without names and places, so that equal ones can be counted.
func withoutPlace(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	if _, after, found := strings.Cut(message, ": "); found {
		message = after
	}
	return message[:min(len(message), 60)]
}

// examine looks closer at outcomes in which the engines do not plainly agree. It returns what is wrong.
func (t *randomTrial) examine(values []any, c comparison) string {
	switch c.outcome {
	case outcomeStricter, outcomeBothDeny:
		// Casbin has an answer. There is none here if all is empty, or if values of unlike types are compared. Besides, a
		// request that cannot be allowed may be denied for an error that casbin does not come to, but not where it names a rule.
		isEmpty := !slices.ContainsFunc(values, func(v any) bool { return v != "" })
		unlike := t.model.features["env"] && (errors.Is(c.decision.failure, errUnlike) || errors.Is(c.decision.failure, errType))
		if (c.outcome == outcomeStricter || len(c.rule) > 0) && !isEmpty && !unlike {
			return fmt.Sprintf("casbin: %v by %q; here it is denied for an error: %v at %q", c.allowed, c.rule, c.decision.failure, ruleTexts(c.decision))
		}
	case outcomeAnswered:
		if t.examined++; t.examined > 12 || t.model.size > 100 {
			return ""
		}
		return t.examineAnswer(values, c.decision)
	}
	return ""
}

// examineAnswer checks an answer where casbin errs: it must be the effect of the rules that match when each is tried
// alone, and of each rule that cannot be evaluated alone some condition of every branch must be false.
func (t *randomTrial) examineAnswer(values []any, d decision) string {
	if t.alone == nil {
		alone, err := newSingleRules(t.model, t.oracle)
		if err != nil {
			return "ask casbin about single rules: " + err.Error()
		}
		t.alone = alone
	}
	var matching [][]string
	for _, row := range t.alone.rows {
		if !t.alone.counts(row) {
			continue
		}
		matched, err := t.alone.matches(row, values)
		if err == nil && matched {
			matching = append(matching, row)
			if t.alone.decides(row) {
				break
			}
		}
		if err != nil && !t.alone.isFalse(row, values) {
			return fmt.Sprintf("casbin errs, we answer %v by %q, and the rule %q can be neither evaluated nor ruled out", d.allowed, ruleTexts(d), row)
		}
	}
	allowed, rule := t.alone.effect(matching)
	if allowed != d.allowed || !slices.Equal(rule, ruleTexts(d)) {
		return fmt.Sprintf("casbin errs; of the rules that can be evaluated it is %v by %q; here: %v by %q", allowed, rule, d.allowed, ruleTexts(d))
	}
	return ""
}

// TestDifferential compares random policies with casbin's Enforcer: the decision and the rule that it names.
func TestDifferential(t *testing.T) {
	const requests = 120
	var (
		next, done atomic.Uint64
		mutex      sync.Mutex
		counts     = outcomeCounts{}
		group      sync.WaitGroup
		began      = time.Now()
	)
	next.Store(*firstSeed)
	for range 2 {
		group.Go(func() {
			for done.Load() < uint64(*comparisons) && !t.Failed() {
				counted, err := runTrial(t.Context(), next.Add(1)-1, requests)
				if err != nil {
					t.Error(err)
					return
				}
				done.Add(uint64(counted["comparisons"]))
				mutex.Lock()
				counts.add(counted)
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("in %v:%v", time.Since(began).Round(time.Second), counts)
	if t.Failed() {
		return
	}
	for what, least := range map[string]int{
		"policies":                       *comparisons / 300,
		"policies indexed":               *comparisons / 400,
		"policies without their index":   *comparisons / 4000,
		"policies of 200 rules and more": *comparisons / 20_000,
		"allowed":                        *comparisons / 10,
		"outcome: " + outcomeAgreed:      *comparisons * 8 / 10,
		"outcome: " + outcomeBothErr:     *comparisons / 500,
	} {
		if counts[what] < least {
			t.Errorf("too little was compared: %d %s, want %d", counts[what], what, least)
		}
	}
}

func FuzzDifferential(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		if _, err := runTrial(t.Context(), seed, 40); err != nil {
			t.Fatal(err)
		}
	})
}
