package descriptors

import (
	"fmt"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// Info is what a compiled domain is, for those who look at limits instead of taking them.
type Info struct {
	// Rules are what is limited; Keys are the counters of all of them.
	Rules []descriptor.Rule
	Keys  ratelimiter.KeySpace
}

// InfoOf returns what a compiled domain is; false for what this stage did not compile.
func InfoOf(s *pipeline.Service) (Info, bool) {
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return Info{}, false
	}
	info := Info{Rules: p.domain.Rules(), Keys: p.domain.Keys()}
	for i := range info.Rules {
		info.Rules[i].Shadow = info.Rules[i].Shadow || p.compat.ShadowMode
	}
	return info, true
}

// Counter returns what one hit of a descriptor would charge, and the path of the rule that it meets. The charge has no
// limit where none holds for the descriptor, and no key where the limit never has room.
func Counter(s *pipeline.Service, pairs []request.Pair) (ratelimiter.Charge, string, error) {
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return ratelimiter.Charge{}, "", ErrNotCompiled
	}
	one := &request.Descriptors{List: []request.Descriptor{{Pairs: pairs}}}
	rules, err := p.domain.Match(question(one))
	if err != nil {
		return ratelimiter.Charge{}, "", err
	}
	if rules[0].Limit == nil {
		return ratelimiter.Charge{}, rules[0].Path, nil
	}
	if closed(&rules[0]) {
		return ratelimiter.Charge{}, rules[0].Path, fmt.Errorf("the limit %s refuses everything: it has no counter", rules[0].Path)
	}
	plan, err := newPlan(rules, p)
	if err != nil {
		return ratelimiter.Charge{}, "", err
	}
	return plan.charges[0], rules[0].Path, nil
}
