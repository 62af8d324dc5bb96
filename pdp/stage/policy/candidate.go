package policy

import (
	"context"
	"fmt"
	"slices"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// nextVersion is the next version of one policy, asked beside it. Its answer is noted and never counts.
type nextVersion struct {
	of   *compiled
	next *compiled
}

// compileCandidate compiles the next version of a policy as strictly as the policy itself; nil when there is none.
func compileCandidate(b *format.Bundle, s *format.Service, policies []*compiled, params []string) (*nextVersion, format.Problems) {
	declared := s.Candidate
	if declared == nil {
		return nil, nil
	}
	i := slices.IndexFunc(s.Policies, func(p format.Policy) bool { return p.Name == declared.Policy })
	switch {
	case declared.Policy == "" && len(s.Policies) == 1:
		i = 0
	case declared.Policy == "":
		return nil, format.Problems{s.File.Problem("$.candidate", "the service has not exactly one policy: say of which one this is the next version, policy: NAME")}
	case i < 0:
		return nil, format.Problems{s.File.Problem("$.candidate.policy", fmt.Sprintf("the service has no policy %q", printable(declared.Policy)))}
	}
	next := s.Policies[i]
	next.Rules = declared.Rules
	if declared.Model != "" {
		next.Model = declared.Model
	}
	compiledNext, problems := compilePolicy(&source{policy: &next, files: b.Files, dir: s.Dir, file: s.File, path: "$.candidate", params: params})
	if len(problems) > 0 || i >= len(policies) {
		return nil, problems
	}
	compiledNext.rules.forgetFiles()
	return &nextVersion{of: policies[i], next: compiledNext}, nil
}

// ask notes what the candidate says beside the answer of the policy in force. What goes wrong in it is an answer too; when
// its time is over it has none.
func (n *nextVersion) ask(ctx context.Context, c *pipeline.Case, current decision) {
	ctx, cancel := quarter(ctx)
	defer cancel()
	d, err := n.next.decide(ctx, &c.Facts)
	if err != nil {
		return
	}
	noted := &verdict.Candidate{Policy: n.of.name, Disagrees: d.allowed != current.allowed}
	if d.allowed {
		noted.Effect = verdict.Allow
	} else {
		noted.Reason = d.reason
	}
	if d.rule.valid() {
		noted.Rule, noted.RuleID = d.rule.position(), d.rule.id("p")
	}
	c.Verdict.Explanation.Candidate = noted
}
