package policy

import (
	"context"
	"errors"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// workBetweenChecks is how much of the rules' estimated cost, in nanoseconds, is spent between two looks at the context,
// rulesBetweenChecks how many rules are tried at most. Values may be thousands of times longer than the estimate has them.
const (
	workBetweenChecks  = 1000
	rulesBetweenChecks = 64
)

// decision is what one policy says of one request.
type decision struct {
	allowed bool
	// rule is the rule that decided, or that could not be evaluated; the zero one when none matched.
	rule ruleRef
	// reason is why it is denied; failure is set when that is because something could not be evaluated.
	reason  verdict.Reason
	failure error
}

// evaluator is the scratch space of one decision. One goroutine owns it.
type evaluator struct {
	policy   *compiled
	facts    *attribute.Facts
	rule     ruleRef
	slots    []slot
	closures []closure
	gatherer gatherer
	// matched are the numbers of the patterns that matched last.
	matched []uint32
}

func newEvaluator(p *compiled) *evaluator {
	return &evaluator{policy: p, slots: make([]slot, len(p.accessors)), closures: make([]closure, len(p.sites)), gatherer: newGatherer(p.index)}
}

// reset forgets everything about the request.
func (e *evaluator) reset() {
	e.facts, e.rule = nil, ruleRef{}
	clear(e.slots)
	for i := range e.closures {
		e.closures[i].reset()
	}
	e.gatherer.reset()
	if cap(e.matched) > keptIDs {
		e.matched = nil
	}
}

// decide evaluates the policy for a request. An error means that the context ended; everything else is a decision.
func (p *compiled) decide(ctx context.Context, f *attribute.Facts) (d decision, err error) {
	e, isEvaluator := p.pool.Get().(*evaluator)
	if !isEvaluator {
		e = newEvaluator(p)
	}
	e.facts = f
	defer func() {
		if recover() != nil {
			// The text of a panic can hold parts of the request, so it ends here; so does the evaluator.
			d, err = failed(errPanic, e.rule), nil
			return
		}
		e.reset()
		p.pool.Put(e)
	}()
	if failure := e.prepare(); failure != nil {
		return failed(failure, ruleRef{}), nil
	}
	return e.run(ctx)
}

// prepare reads the attributes that the request mapping names. A request of which all are empty is refused: it is
// more likely a fault than a question.
func (e *evaluator) prepare() error {
	empty := len(e.policy.eager) > 0
	for _, i := range e.policy.eager {
		s := e.read(i)
		if s.err != nil {
			return s.err
		}
		empty = empty && s.isText && s.text == ""
	}
	if empty {
		return errMissing
	}
	return nil
}

// run decides by the index, or by trying every rule.
func (e *evaluator) run(ctx context.Context) (decision, error) {
	if e.policy.index != nil {
		return e.lookUp(ctx, e.policy.index)
	}
	return e.try(ctx, nil, nil)
}

// try tries rules in order until one decides: some, or all for nil. rest are the conditions that are not settled yet,
// nil for the whole matcher.
func (e *evaluator) try(ctx context.Context, rows []uint32, rest []operand) (decision, error) {
	var allows ruleRef
	count := len(rows)
	if rows == nil {
		count = e.policy.rules.len()
	}
	between := min(max(workBetweenChecks/max(e.policy.program.cost, 1), 1), rulesBetweenChecks)
	for i := range count {
		r := e.policy.rules.ref(uint32(i))
		if rows != nil {
			r.row = rows[i]
		}
		if i%between == 0 {
			if err := ctx.Err(); err != nil {
				return decision{}, err
			}
		}
		e.rule = r
		matched, err := e.holds(rest)
		if err != nil {
			return failed(err, r), nil
		}
		if !matched {
			continue
		}
		switch {
		case r.denies() && e.policy.effect != allowOverride:
			return decision{rule: r, reason: verdict.RuleDenied}, nil
		case r.denies() || e.policy.effect == denyOverride:
		case e.policy.effect == allowAndDeny:
			if !allows.valid() {
				allows = r
			}
		default:
			return decision{allowed: true, rule: r}, nil
		}
	}
	if allows.valid() || e.policy.effect == denyOverride {
		return decision{allowed: true, rule: allows}, nil
	}
	return decision{reason: verdict.NoMatchingRule}, nil
}

// holds evaluates the rest of the matcher for the current rule, or all of it for nil.
func (e *evaluator) holds(rest []operand) (bool, error) {
	if rest != nil {
		return all(e, rest)
	}
	return e.matches()
}

// matches evaluates the matcher for the current rule. A number other than 0 counts as true.
func (e *evaluator) matches() (bool, error) {
	v, err := e.policy.program.value(e)
	if err != nil {
		return false, err
	}
	switch x := v.(type) {
	case bool:
		return x, nil
	case float64:
		return x != 0, nil
	}
	return false, errType
}

// failed is the denial for something that could not be evaluated.
func failed(err error, r ruleRef) decision {
	d := decision{rule: r, reason: verdict.PolicyError, failure: err}
	switch {
	case errors.Is(err, errMissing):
		d.reason = verdict.AttributeMissing
	case errors.Is(err, errAmbiguous):
		d.reason = verdict.AttributeMany
	case !isOwn(err):
		d.failure = errPanic // its text may hold parts of the request
	}
	return d
}

// isOwn reports whether an error is one of this package, whose texts hold nothing of a request.
func isOwn(err error) bool {
	for _, own := range []error{errUnlike, errType, errArgument, errPanic} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}
