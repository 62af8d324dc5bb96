package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// explainedTrial is a random policy, and what is asked of it.
type explainedTrial struct {
	t      *testing.T
	source oracleSource
	oracle *oracle
	counts outcomeCounts
}

// check explains one decision and looks whether all that is said is so. It returns what is wrong.
func (x *explainedTrial) check(values []any) string {
	p := x.oracle.compiled
	before, err := p.decide(x.t.Context(), x.oracle.facts(values))
	if err != nil {
		return err.Error()
	}
	q := inquiry{wanted: request.ExplainAll, answers: []response{{policy: p, decision: before}}}
	e := q.explain(x.t.Context(), x.oracle.facts(values))[0]
	if after, _ := p.decide(x.t.Context(), x.oracle.facts(values)); fmt.Sprint(after) != fmt.Sprint(before) {
		return fmt.Sprintf("decided %v, and %v after the explanation", before, after)
	}
	if (e.Effect == verdict.Allow) != before.allowed || (e.Decider != nil) != before.rule.valid() || e.Decider != nil && e.Decider.Position != before.rule.position() {
		return fmt.Sprintf("decided %+v, explained as %+v", before, e)
	}
	if wrong := x.checkRules(values, before, &e); wrong != "" {
		return wrong
	}
	if wrong := x.checkChange(values, &e); wrong != "" {
		return wrong
	}
	// Without all matching rules the search ends as soon as nothing later can be nearer.
	q.wanted = request.ExplainDecision
	short := q.explain(x.t.Context(), x.oracle.facts(values))[0]
	if short.Matching != nil {
		return "matching rules that nobody asked for"
	}
	if short.Change != e.Change {
		x.counts["other changes"]++
		if wrong := x.checkChange(values, &short); wrong != "" {
			return wrong
		}
	}
	return x.checkNearest(before, &short, x.oracle.facts(values))
}

// checkRules compares the rules that are said to match, and those that are not, with the matcher's own answers.
func (x *explainedTrial) checkRules(values []any, d decision, e *verdict.PolicyExplanation) string {
	p := x.oracle.compiled
	ev := newEvaluator(p)
	ev.facts = x.oracle.facts(values)
	var matching []string
	matches, failing := map[string]bool{}, false
	for row := range p.rules.len() {
		ev.rule = p.rules.ref(uint32(row))
		matched, err := ev.matches()
		failing = failing || err != nil
		if matched {
			matching = append(matching, ev.rule.position())
			matches[ev.rule.position()] = true
		}
	}
	var told []string
	for _, m := range e.Matching {
		told = append(told, m.Position)
	}
	if e.Partial != (len(matching) > maxMatching) || !slices.Equal(told, matching[:min(len(matching), maxMatching)]) {
		return fmt.Sprintf("%q match, told are %q, partial %v", matching, told, e.Partial)
	}
	for i, m := range e.Misses {
		failed := 0
		for _, c := range m.Conditions {
			if !c.Holds {
				failed++
			}
		}
		if matches[m.Rule.Position] || failed != m.Failed || failed == 0 || m.Rule.Effect == verdict.Deny && d.failure == nil {
			return fmt.Sprintf("a wrong near miss: %+v", m)
		}
		if i > 0 && d.failure == nil && e.Misses[i-1].Failed > m.Failed {
			return fmt.Sprintf("misses out of order: %+v", e.Misses)
		}
	}
	if wrong := x.checkNearest(d, e, ev.facts); wrong != "" {
		return wrong
	}
	if failing {
		x.counts["requests with errors"]++
		return ""
	}
	if allowed, err := newSearch(p, ev.facts).rule(x.t.Context(), ruleRef{}); err != nil || d.failure == nil && allowed != d.allowed {
		return fmt.Sprintf("decided %+v, the search comes to %v, %v", d, allowed, err)
	}
	return ""
}

// checkNearest counts the failed conditions of every rule that could allow: none is nearer than those that are told. The last
// of them makes room for the rule that a change is about.
func (x *explainedTrial) checkNearest(d decision, e *verdict.PolicyExplanation, f *attribute.Facts) string {
	if d.failure != nil || d.allowed {
		return ""
	}
	s := newSearch(x.oracle.compiled, f)
	var failed []int
	for row := range x.oracle.compiled.rules.len() {
		if t := s.try(uint32(row)); t.outcome != holds && !s.policy.rules.denies.has(uint32(row)) {
			failed = append(failed, t.failed)
		}
	}
	slices.Sort(failed)
	failed = failed[:min(len(failed), maxMisses)]
	if len(failed) != len(e.Misses) {
		return fmt.Sprintf("%d misses are told, want %d", len(e.Misses), len(failed))
	}
	for i, m := range e.Misses {
		if m.Failed != failed[i] && (i < len(failed)-1 || e.Change == "") {
			return fmt.Sprintf("miss %d has %d failed conditions, want %d: %+v", i, m.Failed, failed[i], m)
		}
	}
	return ""
}

// checkChange makes the change that a sentence names, and asks again.
func (x *explainedTrial) checkChange(values []any, e *verdict.PolicyExplanation) string {
	if e.Change == "" {
		return ""
	}
	rest, isChange := strings.CutPrefix(e.Change, "would be allowed if ")
	if !isChange {
		return "what does this mean: " + e.Change
	}
	source, values := x.source, slices.Clone(values)
	var matched []matchedPart
	parts := strings.Split(rest, " and ")
	// Values first: roles are those of the subject that is then asked about.
	isRole := func(part string) bool {
		return strings.HasPrefix(part, "roles") || strings.Contains(part, " were a member of ")
	}
	parts = append(slices.DeleteFunc(slices.Clone(parts), isRole), slices.DeleteFunc(parts, func(part string) bool { return !isRole(part) })...)
	for _, part := range parts {
		switch {
		case strings.HasPrefix(part, "rule policy.csv:"):
			number, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(part, "rule policy.csv:"), " did not deny it"))
			lines := strings.Split(source.rules, "\n")
			lines[number-1] = ""
			source.rules = strings.Join(lines, "\n")
			x.counts["change: rule"]++
		case strings.HasPrefix(part, "roles"):
			domain, role, _ := strings.Cut(strings.TrimPrefix(part, "roles"), " contained ")
			link := "g," + quote(fmt.Sprint(values[slices.Index(x.oracle.fields, "sub")])) + "," + quote(role)
			if source.domains {
				link += "," + quote(strings.TrimPrefix(domain, " in "))
			}
			source.rules += link + "\n"
			x.counts["change: role"]++
		case strings.Contains(part, " were a member of "):
			_, role, _ := strings.Cut(part, " were a member of ")
			source.rules += "g2," + quote(fmt.Sprint(values[slices.Index(x.oracle.fields, "obj")])) + "," + quote(role) + "\n"
			x.counts["change: member"]++
		case strings.Contains(part, " matched "):
			matched = append(matched, matchedPartOf(part, e.Misses))
			x.counts["change: pattern"]++
		default:
			name, value, found := strings.Cut(part, " were ")
			if !found || !x.assign(values, name, value) {
				return "what does this mean: " + e.Change
			}
			x.counts["change: value"]++
		}
	}
	return x.allowedAfter(source, values, matched, e.Change)
}

// matchedPart says that an attribute matched a pattern. It matches for each of the functions that the misses try that
// pattern with.
type matchedPart struct {
	attribute string
	functions []pattern.Apply
}

var patternCall = regexp.MustCompile(`(\w+)\(r\.([\w.]+), p\.\w+\)`)

func matchedPartOf(part string, misses []verdict.NearMiss) matchedPart {
	m := matchedPart{}
	name, text, _ := strings.Cut(part, " matched ")
	m.attribute = name
	for _, miss := range misses {
		for _, c := range miss.Conditions {
			for _, call := range patternCall.FindAllStringSubmatch(c.Text, -1) {
				f, known := pattern.Find(call[1])
				if c.Holds || !known || !strings.HasSuffix(name, "."+call[2]) || !slices.Contains(strings.Split(c.Wanted, " or "), text) {
					continue
				}
				if apply, err := f.Compile(text); err == nil {
					m.functions = append(m.functions, apply)
				}
			}
		}
	}
	return m
}

// matches reports whether a value is one that the change speaks of.
func (m *matchedPart) matches(value string) bool {
	for _, apply := range m.functions {
		if v, err := apply(value, ""); err != nil || v != true {
			return false
		}
	}
	return true
}

func (x *explainedTrial) assign(values []any, name, value string) bool {
	if member, isMember := strings.CutPrefix(name, "claims.env."); isMember {
		i := slices.Index(x.oracle.fields, "env")
		object, isObject := values[i].(map[string]any)
		if !isObject {
			return false
		}
		object = maps.Clone(object)
		object[member] = value
		values[i] = object
		return true
	}
	field := strings.TrimPrefix(name, "resource.properties.")
	if name == "subject.key" {
		field = "sub"
	}
	i := slices.Index(x.oracle.fields, field)
	if i >= 0 {
		values[i] = value
	}
	return i >= 0
}

// allowedAfter asks the changed question. Where attributes are to match patterns, all values that do must be allowed.
func (x *explainedTrial) allowedAfter(source oracleSource, values []any, matched []matchedPart, sentence string) string {
	changed, problems := source.compile()
	if len(problems) > 0 {
		x.counts["changes that do not load"]++
		return ""
	}
	x.counts["changes that allow"]++
	return x.allowedWherever(changed, values, matched, sentence)
}

func (x *explainedTrial) allowedWherever(changed *oracle, values []any, matched []matchedPart, sentence string) string {
	if len(matched) == 0 {
		d, err := changed.compiled.decide(x.t.Context(), changed.facts(values))
		if err != nil || !d.allowed {
			return fmt.Sprintf("%q is not so: %+v, %v with %q", sentence, d, err, values)
		}
		return ""
	}
	m := &matched[0]
	if len(m.functions) == 0 {
		return "no miss has the pattern of: " + sentence
	}
	for _, value := range slices.Concat(paths, actions, someAddresses) {
		if value == "" || !m.matches(value) {
			continue // an empty attribute is none, and what has none is refused
		}
		if !x.assign(values, m.attribute, value) {
			return "what does this mean: " + sentence
		}
		if wrong := x.allowedWherever(changed, values, matched[1:], sentence); wrong != "" {
			return wrong
		}
		x.counts["patterns that allow"]++
	}
	return ""
}

// TestRandomExplanations explains decisions of random policies, and makes the changes that are said to allow.
func TestRandomExplanations(t *testing.T) {
	counts := outcomeCounts{}
	for seed := range uint64(1200) {
		r := rand.New(rand.NewPCG(seed, 11))
		m := newRandomModel(r)
		if m.size >= 100 && seed%8 > 0 {
			continue
		}
		x := explainedTrial{t: t, counts: counts, source: oracleSource{model: m.text(), rules: m.rules(r), object: func(f string) bool { return f == "env" },
			tokenSubject: "t1", tokenRoles: m.tokenRoles, tokenDomain: "d1", domains: m.features["domroles"], matching: m.matching}}
		var problems []string
		o, found := x.source.compile()
		for _, p := range found {
			problems = append(problems, p.Error())
		}
		if x.oracle = o; len(problems) > 0 {
			counts["refused"]++
			continue
		}
		counts["policies"]++
		for range 15 {
			values := m.randomRequest(r)
			counts["explanations"]++
			if wrong := x.check(values); wrong != "" {
				t.Fatalf("seed %d: %q: %s\n%s\n%s\ntoken roles of t1: %q", seed, values, wrong, x.source.model, shortened(x.source.rules), m.tokenRoles)
			}
		}
	}
	t.Logf("%v", counts)
	for what, least := range map[string]int{"policies": 500, "changes that allow": 1000, "change: rule": 100, "change: role": 100, "change: value": 500, "change: pattern": 50, "patterns that allow": 500, "requests with errors": 100} {
		if counts[what] < least {
			t.Errorf("too little was tried: %d %s, want %d", counts[what], what, least)
		}
	}
}
