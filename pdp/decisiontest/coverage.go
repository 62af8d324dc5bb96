package decisiontest

import (
	"fmt"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// Coverage is what a run has seen of a bundle.
type Coverage struct {
	// Routes are all routes, Rules all rules of policies and guards, in the order of their files.
	Routes []CoveredRoute
	Rules  []CoveredRule
}

// CoveredRoute is a route and what was seen of it.
type CoveredRoute struct {
	Service, Route string
	Position       format.Position
	// Public is set for a route that needs no denial.
	Public bool
	// Allowed and Denied are whether a request to it was allowed and denied.
	Allowed, Denied bool
}

// CoveredRule is a rule of a policy and whether it decided a request.
type CoveredRule struct {
	Position format.Position
	Decided  bool
}

// Covered reports whether enough was seen of the route: an allow, and a denial unless it is public.
func (r *CoveredRoute) Covered() bool { return r.Allowed && (r.Denied || r.Public) }

// Percent returns the parts of the routes and the rules that are covered, 100 where there are none.
func (c *Coverage) Percent() (routes, rules float64) {
	covered, decided := 0, 0
	for i := range c.Routes {
		if c.Routes[i].Covered() {
			covered++
		}
	}
	for i := range c.Rules {
		if c.Rules[i].Decided {
			decided++
		}
	}
	return percent(covered, len(c.Routes)), percent(decided, len(c.Rules))
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * float64(part) / float64(whole)
}

// Missing says, a line each, what was not seen and where it stands.
func (c *Coverage) Missing() []string {
	var out []string
	for i := range c.Routes {
		r := &c.Routes[i]
		var what []string
		if !r.Allowed {
			what = append(what, "no allow")
		}
		if !r.Denied && !r.Public {
			what = append(what, "no deny")
		}
		if len(what) > 0 {
			out = append(out, fmt.Sprintf("%s: route %s of %s: %s", r.Position, r.Route, r.Service, strings.Join(what, ", ")))
		}
	}
	for _, r := range c.Rules {
		if !r.Decided {
			out = append(out, fmt.Sprintf("%s: the rule decided nothing", r.Position))
		}
	}
	return out
}

// coverage collects while a run goes on.
type coverage struct {
	seen   Coverage
	routes map[[2]string]int
	rules  map[string]int // by path:line
}

func newCoverage(b *format.Bundle) *coverage {
	c := &coverage{routes: map[[2]string]int{}, rules: map[string]int{}}
	for _, s := range b.Services {
		for i := range s.Routes {
			r := &s.Routes[i]
			c.routes[[2]string{s.Name, r.Name}] = len(c.seen.Routes)
			c.seen.Routes = append(c.seen.Routes, CoveredRoute{
				Service: s.Name, Route: r.Name, Position: s.File.At(fmt.Sprintf("$.routes[%d].name", i)), Public: r.Access == "public",
			})
		}
	}
	for i := range b.Guards {
		c.addRules(b, "", &b.Guards[i])
	}
	for _, s := range b.Services {
		for i := range s.Policies {
			c.addRules(b, s.Dir, &s.Policies[i])
		}
	}
	return c
}

func (c *coverage) addRules(b *format.Bundle, dir string, p *format.Policy) {
	for _, ref := range p.Rules {
		file, ok := b.Files.Get(dir, ref)
		if !ok {
			continue
		}
		number := 0
		for line := range strings.SplitSeq(string(file.Data), "\n") {
			number++
			key := fmt.Sprintf("%s:%d", file.Path, number)
			if _, known := c.rules[key]; known || !isRule(line) || !strings.HasPrefix(kindOf(line), "p") {
				continue
			}
			c.rules[key] = len(c.seen.Rules)
			c.seen.Rules = append(c.seen.Rules, CoveredRule{Position: format.Position{File: file.Path, Line: number}})
		}
	}
}

// isRule reports whether a line of a rule file holds a rule: it is neither empty nor a comment.
func isRule(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && line[0] != '#'
}

// kindOf returns the first field of a rule: p, g, g2, …
func kindOf(line string) string {
	kind, _, _ := strings.Cut(line, ",")
	return strings.Trim(kind, " \t\"\r")
}

func (c *coverage) see(a *Answer) {
	if i, ok := c.routes[[2]string{a.Service, a.Route}]; ok {
		r := &c.seen.Routes[i]
		r.Allowed = r.Allowed || a.Verdict.Allowed()
		r.Denied = r.Denied || !a.Verdict.Allowed()
	}
	// Every policy that was asked has its own deciding rule; the verdict itself names one of them.
	for i := range a.Verdict.Explanation.Policies {
		if decider := a.Verdict.Explanation.Policies[i].Decider; decider != nil {
			if rule, ok := c.rules[decider.Position]; ok {
				c.seen.Rules[rule].Decided = true
			}
		}
	}
}

func (c *coverage) result() *Coverage { return &c.seen }
