package policy

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxMisses is how many near misses are told, maxMatching how many matching rules, maxChanges for how many rules a
	// change is looked for.
	maxMisses   = 5
	maxMatching = 100
	maxChanges  = 4
)

// inquiry collects what the guards and policies answered, where the request asks why. The zero inquiry collects nothing.
type inquiry struct {
	wanted  request.Explain
	answers []response
}

// response is what one guard or policy said; explanation is set where it is known already.
type response struct {
	policy      *compiled
	guard       bool
	decision    decision
	explanation *verdict.PolicyExplanation
}

func inquiryOf(r *request.Request) inquiry {
	if r == nil {
		return inquiry{}
	}
	return inquiry{wanted: r.Explain}
}

func (q *inquiry) add(policy *compiled, guard bool, d decision) {
	if q.wanted != request.ExplainNone {
		q.answers = append(q.answers, response{policy: policy, guard: guard, decision: d})
	}
}

// explain says why each answer came about, in a part of the time that is left.
func (q *inquiry) explain(ctx context.Context, f *attribute.Facts) []verdict.PolicyExplanation {
	ctx, cancel := quarter(ctx)
	defer cancel()
	out := make([]verdict.PolicyExplanation, 0, len(q.answers))
	for i := range q.answers {
		a := &q.answers[i]
		if a.explanation != nil {
			out = append(out, *a.explanation)
			continue
		}
		out = append(out, a.explain(ctx, f, q.wanted == request.ExplainAll))
	}
	return out
}

// quarter bounds what the decision can do without by a quarter of the time that is left: what comes after it needs time too,
// and a denial of the deadline would take the answer's place.
func quarter(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, has := ctx.Deadline()
	if !has {
		return ctx, func() {}
	}
	left := time.Until(deadline) //nolint:forbidigo // contexts know the wall clock alone
	return context.WithTimeout(ctx, left/4)
}

// explain says why a policy answered as it did.
func (a *response) explain(ctx context.Context, f *attribute.Facts, all bool) (x verdict.PolicyExplanation) {
	defer func() {
		if recover() != nil {
			// The text of a panic can hold parts of the request, so it ends here.
			x.Partial = true
		}
	}()
	d := a.decision
	x = verdict.PolicyExplanation{Policy: a.policy.name, Guard: a.guard}
	if d.allowed {
		x.Effect = verdict.Allow
	}
	s := newSearch(a.policy, f)
	if d.rule.valid() {
		decider := reference(d.rule)
		x.Decider = &decider
	}
	if d.rule.valid() && d.failure == nil {
		x.Roles = s.paths(ctx, d.rule)
	}
	if d.allowed && !all {
		return x
	}
	v := survey{search: s, denied: !d.allowed, all: all, least: s.leastClass()}
	x.Partial = v.run(ctx) != nil || v.more
	for _, row := range v.matching {
		x.Matching = append(x.Matching, reference(s.policy.rules.ref(row)))
	}
	if d.allowed {
		return x
	}
	if d.rule.valid() && d.failure == nil {
		// A rule denies. Without it, others may.
		if allowed, err := s.rule(ctx, d.rule); err == nil && allowed {
			x.Change = "would be allowed if rule " + d.rule.position() + " did not deny it"
		}
	} else if d.failure == nil {
		x.Change = v.change(ctx)
	}
	if d.failure != nil && d.rule.valid() {
		v.failed(d.rule.row)
	} else if d.failure != nil && v.failing {
		v.failed(v.firstFailing)
	}
	for _, miss := range v.misses {
		x.Misses = append(x.Misses, s.nearMiss(miss))
	}
	if s.e.prepare() != nil {
		x.Misses = slices.Insert(x.Misses, 0, s.unread())
	}
	return x
}

// reference names a rule.
func reference(r ruleRef) verdict.RuleReference {
	out := verdict.RuleReference{Position: r.position(), ID: r.id("p"), Effect: verdict.Allow}
	if r.denies() {
		out.Effect = verdict.Deny
	}
	fields := []string{r.set.ptype}
	for i := range r.set.width {
		field := r.text(i)
		if strings.ContainsAny(field, ",\"") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		fields = append(fields, field)
	}
	out.Text = cut(strings.Join(fields, ", "), maxShownRule)
	return out
}

// nearMiss describes a rule that does not match.
func (s *search) nearMiss(miss nearRule) verdict.NearMiss {
	rule := s.policy.rules.ref(miss.row)
	out := verdict.NearMiss{Rule: reference(rule), Failed: miss.attempt.failed}
	conditions := s.alternatives[miss.attempt.alternative]
	for i := range conditions {
		out.Conditions = append(out.Conditions, s.describe(&conditions[i], rule))
	}
	return out
}

// unread says which attributes of the request could not be read, so that no rule was tried.
func (s *search) unread() verdict.NearMiss {
	var out verdict.NearMiss
	for _, i := range s.policy.eager {
		if _, err := s.e.slot(i); err != nil {
			out.Conditions = append(out.Conditions, verdict.Condition{Text: s.policy.accessors[i].Name(), Error: s.slotError(i, err)})
		}
	}
	if len(out.Conditions) == 0 {
		out.Conditions = []verdict.Condition{{Text: "request", Error: "every field of the request is empty"}}
	}
	out.Failed = len(out.Conditions)
	return out
}

// survey looks for the rules that match and those that nearly do.
type survey struct {
	search      *search
	denied, all bool
	// least is the class that no change can be below.
	least class
	// misses are the nearest, changes those that a change of the request would most easily make match.
	misses, changes []nearRule
	matching        []uint32
	// failing is set when some rule cannot be evaluated; firstFailing is the first.
	failing      bool
	firstFailing uint32
	// more is set when more rules match than are told; complete when every rule was looked at.
	more, complete bool
}

// nearRule is a rule that does not match, and how far it is from it.
type nearRule struct {
	row     uint32
	attempt attempt
	score   int
}

// run tries the rules in order, until no later one can be nearer.
func (v *survey) run(ctx context.Context) error {
	err := v.search.each(ctx, func(row uint32) bool {
		t := v.search.try(row)
		if t.outcome == errs && !v.failing {
			v.failing, v.firstFailing = true, row
		}
		switch {
		case t.outcome == holds && v.all:
			if v.more = len(v.matching) == maxMatching; !v.more {
				v.matching = append(v.matching, row)
			}
		case t.outcome != holds && v.denied && !v.search.policy.rules.denies.has(row):
			v.misses = insert(v.misses, nearRule{row: row, attempt: t, score: t.failed}, maxMisses)
			v.rank(row, t)
		}
		return !v.done()
	})
	v.complete = err == nil && !v.done()
	return err
}

// rank keeps a rule that a change of the request may make match.
func (v *survey) rank(row uint32, t attempt) {
	if t.class == classNever || len(v.changes) == maxChanges && v.changes[maxChanges-1].score <= t.score() {
		return
	}
	v.search.refine(&t, row)
	v.changes = insert(v.changes, nearRule{row: row, attempt: t, score: t.score()}, maxChanges)
}

// score orders attempts by what would have to change; the least first.
func (t *attempt) score() int { return t.failed*int(classNever) + int(t.class) }

// done reports whether no later rule can add anything.
func (v *survey) done() bool {
	if v.all && !v.more {
		return false
	}
	if !v.denied {
		return true
	}
	near := len(v.misses) == maxMisses && v.misses[maxMisses-1].score == 1
	return near && (v.least == classNever || len(v.changes) == maxChanges && v.changes[maxChanges-1].score == int(classNever)+int(v.least))
}

// leastClass returns the lowest class of a change that any rule can need.
func (s *search) leastClass() class {
	least := classNever
	for _, conditions := range s.alternatives {
		for i := range conditions {
			least = min(least, conditions[i].class)
		}
	}
	return least
}

// change returns the smallest change that would allow, and makes sure that its rule is among the misses.
func (v *survey) change(ctx context.Context) string {
	for _, c := range v.changes {
		sentence := v.search.change(ctx, c.row, c.attempt, v.complete && !v.search.erred)
		if sentence == "" {
			continue
		}
		known := slices.ContainsFunc(v.misses, func(m nearRule) bool { return m.row == c.row })
		if !known && len(v.misses) > 0 {
			c.score = c.attempt.failed
			v.misses = insert(v.misses[:len(v.misses)-1], c, maxMisses)
		}
		return sentence
	}
	return ""
}

// failed puts the rule that could not be evaluated before all others.
func (v *survey) failed(row uint32) {
	v.misses = slices.DeleteFunc(v.misses, func(m nearRule) bool { return m.row == row })
	v.misses = slices.Insert(v.misses, 0, nearRule{row: row, attempt: v.search.try(row)})
	v.misses = v.misses[:min(len(v.misses), maxMisses)]
}

// insert keeps the best candidates in order; of equal ones the first that came.
func insert(list []nearRule, c nearRule, limit int) []nearRule {
	at := len(list)
	for at > 0 && list[at-1].score > c.score {
		at--
	}
	if at == limit {
		return list
	}
	if len(list) == limit {
		list = list[:limit-1]
	}
	return slices.Insert(list, at, c)
}
