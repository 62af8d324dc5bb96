package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// compileObserve returns, by route index, until when denials by policies are alarms only; the zero time is never.
func compileObserve(s *format.Service) ([]time.Time, format.Problems) {
	until := make([]time.Time, len(s.Routes))
	var problems format.Problems
	for i, o := range s.Observe {
		path := fmt.Sprintf("$.observe[%d]", i)
		end, err := time.Parse(time.DateOnly, o.Until)
		if err != nil {
			problems = append(problems, s.File.Problem(path+".until", "observe ends at the beginning of a day, in UTC: until: YYYY-MM-DD"))
			continue
		}
		route := slices.IndexFunc(s.Routes, func(r format.Route) bool { return r.Name == o.Route })
		switch {
		case route < 0:
			problems = append(problems, s.File.Problem(path+".route", fmt.Sprintf("the service has no route %q", printable(o.Route))))
		case s.Routes[route].Access == "public":
			problems = append(problems, s.File.Problem(path+".route", "a public route has no policy whose denials could be observed"))
		case !until[route].IsZero():
			problems = append(problems, s.File.Problem(path+".route", "the route stands twice"))
		default:
			until[route] = end
		}
	}
	return until, problems
}

// observes reports whether a policy's denial lets the case pass as an alarm. It never does for guards, for same, or for a
// request that can be read in two ways, by whichever policy.
func (p *part) observes(c *pipeline.Case, reason verdict.Reason) bool {
	switch reason {
	case verdict.NoMatchingRule, verdict.RuleDenied, verdict.AttributeMissing, verdict.PolicyError:
		return c.Now.Before(p.observed[c.Match.Route.Index]) && !p.ambiguous(&c.Facts)
	}
	return false
}

// ambiguous reports whether an attribute that a policy can read has several values. The policy that denies may not have come
// to it, and those after it are not asked.
func (p *part) ambiguous(f *attribute.Facts) bool {
	for _, policy := range p.policies {
		for _, a := range policy.accessors {
			if _, presence := a.Get(f); presence == attribute.Ambiguous {
				return true
			}
		}
	}
	return false
}
