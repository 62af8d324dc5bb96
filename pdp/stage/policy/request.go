package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// open finds the files of a policy.
func (s *source) open() (modelFile *format.File, ruleFiles []*format.File, problems format.Problems) {
	if s.policy.Name == "" {
		problems = append(problems, s.problem(".name", "a policy needs a name"))
	}
	modelFile, found := s.files.Get(s.dir, s.policy.Model)
	if s.policy.Model == "" || !found {
		problems = append(problems, s.problem(".model", "there is no model %q in the bundle", printable(s.policy.Model)))
	}
	if len(s.policy.Rules) == 0 {
		problems = append(problems, s.problem(".rules", "a policy needs rules"))
	}
	for i, ref := range s.policy.Rules {
		file, found := s.files.Get(s.dir, ref)
		if !found {
			problems = append(problems, s.problem(fmt.Sprintf(".rules[%d]", i), "there is no file %q in the bundle", printable(ref)))
			continue
		}
		if slices.Contains(ruleFiles, file) {
			problems = append(problems, s.problem(fmt.Sprintf(".rules[%d]", i), "the file %q is listed twice", printable(ref)))
			continue
		}
		ruleFiles = append(ruleFiles, file)
	}
	return modelFile, ruleFiles, problems
}

// requestFields compiles the mapping of the fields of r to attributes.
func (s *source) requestFields(m *casbinModel) (map[string]requestField, format.Problems) {
	fields := map[string]requestField{}
	var problems format.Problems
	for _, name := range m.request {
		mapped, found := s.policy.Request[name]
		if !found {
			problems = append(problems, s.problem(".request", "the model's r has the field %s: say which attribute it is", name))
			continue
		}
		accessor, err := attribute.Compile(mapped.Name, s.params)
		if err != nil {
			problems = append(problems, s.problem(".request."+name, "%s", err))
			continue
		}
		f := requestField{name: name, accessor: accessor, kind: kindOfAttribute(accessor, mapped.Missing != nil)}
		if mapped.Missing != nil {
			if f.kind == kindObject || accessor.IsObject() {
				problems = append(problems, s.problem(".request."+name, "an object has no value to take when it is missing"))
			}
			f.accessor = accessor.WithMissing(*mapped.Missing)
		}
		fields[name] = f
	}
	for _, name := range slices.Sorted(maps.Keys(s.policy.Request)) {
		if index(m.request, name) < 0 {
			problems = append(problems, s.problem(".request."+name, "the model's r has no field %q, only %s", printable(name), strings.Join(m.request, ", ")))
		}
	}
	return fields, problems
}

// tokenRoles compiles token_roles, by relation.
func (s *source) tokenRoles(m *casbinModel) (map[string]*tokenRoles, format.Problems) {
	declared := s.policy.TokenRoles
	if declared == nil {
		return nil, nil
	}
	var problems format.Problems
	t := &tokenRoles{}
	var err error
	if t.from, err = attribute.Compile(declared.From, s.params); err != nil {
		problems = append(problems, s.problem(".token_roles.from", "%s", err))
	} else if !t.from.UsesSubject() || t.from.IsObject() {
		problems = append(problems, s.problem(".token_roles.from", "roles come from an attribute of the subject or its claims"))
	}
	arity := m.arities[declared.Relation]
	switch {
	case arity == 0:
		problems = append(problems, s.problem(".token_roles.relation", "the model has no role relation %q", printable(declared.Relation)))
	case arity == 2 && declared.Domain != "":
		problems = append(problems, s.problem(".token_roles.domain", "%s has no domains", declared.Relation))
	case arity == 3 && declared.Domain == "":
		problems = append(problems, s.problem(".token_roles", "%s has domains: say in which one the roles hold, such as domain: subject.tenant", declared.Relation))
	case arity == 3:
		if t.domain, err = attribute.Compile(declared.Domain, s.params); err != nil {
			problems = append(problems, s.problem(".token_roles.domain", "%s", err))
		} else if !t.domain.UsesSubject() || t.domain.IsObject() {
			problems = append(problems, s.problem(".token_roles.domain", "the domain of a token's roles comes from the subject or its claims: a request must not choose it"))
		}
	}
	return map[string]*tokenRoles{declared.Relation: t}, problems
}

// defaultMaxCost is the longest decision that a policy may have which does not say max_cost.
const defaultMaxCost = time.Millisecond

// checkCost refuses policies whose longest decision is estimated above max_cost.
func (s *source) checkCost(p *compiled) format.Problems {
	most := defaultMaxCost
	if s.policy.MaxCost != nil {
		most = time.Duration(*s.policy.MaxCost)
	}
	if p.plan.estimate <= most {
		return nil
	}
	return format.Problems{s.problem(".max_cost", "%s, and %s is allowed; %s", p.plan.describe(p.matcher), most,
		"join conditions on single fields of p by && (r.x == p.x, g(r.x, p.x), keyMatch2(r.x, p.x)), divide the rules among policies, or set max_cost")}
}
