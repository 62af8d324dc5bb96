package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/casbin/casbin/v2/constant"
	"github.com/casbin/casbin/v2/model"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// effect is what a policy makes of the rules that match.
type effect uint8

const (
	// allowOverride: the first rule that allows.
	allowOverride effect = iota
	// denyOverride: the first rule that denies, else allow. Only guards may have it.
	denyOverride
	// allowAndDeny: no rule denies and one allows.
	allowAndDeny
	// priority: the first rule that matches.
	priority
	// subjectPriority: the same, after the rules are sorted by how deep their subjects stand in the roles.
	subjectPriority
)

// effects are the texts that Casbin compares with, exactly.
var effects = map[string]effect{
	constant.AllowOverrideEffect:   allowOverride,
	constant.DenyOverrideEffect:    denyOverride,
	constant.AllowAndDenyEffect:    allowAndDeny,
	constant.PriorityEffect:        priority,
	constant.SubjectPriorityEffect: subjectPriority,
}

var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// casbinModel is a checked model: the names of its fields, and the matcher as casbin's parser rewrote it.
type casbinModel struct {
	file *format.File
	// request and rule are the field names of r and p.
	request, rule []string
	// arities are the numbers of fields of the role relations, by name.
	arities map[string]int
	effect  effect
	// matcher is casbin's text; source is where it came from.
	matcher string
	source  *definition
	// domainPatterns is set when casbin matches the domains of roles as keyMatch patterns.
	domainPatterns bool
}

// parseModel reads and checks a model.
func parseModel(file *format.File, guard bool) (*casbinModel, format.Problems) {
	defs, problems := readModel(file)
	if len(problems) > 0 {
		return nil, problems
	}
	m := &casbinModel{file: file, arities: map[string]int{}, source: defs["m"]}
	for key, d := range defs {
		switch key[0] {
		case 'r':
			m.request = fields(d, &problems)
		case 'p':
			m.rule = fields(d, &problems)
		case 'g':
			m.arities[key] = arity(d, &problems)
		}
	}
	problems = append(problems, checkLiterals(m.source)...)
	if len(problems) > 0 {
		return nil, problems
	}
	parsed, err := model.NewModelFromString(string(file.Data))
	if err != nil {
		return nil, format.Problems{file.ProblemAt(1, 1, "Casbin cannot read the model")}
	}
	m.matcher = parsed["m"]["m"].Value
	m.domainPatterns = strings.Contains(m.matcher, "keyMatch(r_dom, p_dom)")
	m.effect, problems = parseEffect(defs["e"], parsed["e"]["e"].Value, guard)
	if m.effect == subjectPriority && len(problems) == 0 {
		problems = m.checkSubjectPriority(defs["p"])
	}
	return m, problems
}

// fields returns the names of an r or p definition.
func fields(d *definition, problems *format.Problems) []string {
	names := strings.Split(d.value, ",")
	offset := 0
	seen := map[string]bool{}
	for i, raw := range names {
		names[i] = strings.TrimSpace(raw)
		if !fieldName.MatchString(names[i]) {
			*problems = append(*problems, d.problem(offset, fmt.Sprintf("%q is not the name of a field", printable(names[i]))))
		} else if seen[names[i]] {
			*problems = append(*problems, d.problem(offset, fmt.Sprintf("the field %s stands twice", printable(names[i]))))
		}
		seen[names[i]] = true
		offset += len(raw) + 1
	}
	return names
}

// arity returns the number of fields of a role relation.
func arity(d *definition, problems *format.Problems) int {
	if strings.ContainsAny(d.value, "()") {
		*problems = append(*problems, d.problem(0, "conditional roles are not enforced by this version"))
		return 0
	}
	parts := strings.Split(d.value, ",")
	for _, part := range parts {
		if strings.TrimSpace(part) != "_" {
			*problems = append(*problems, d.problem(0, `a role relation is written "_, _" or "_, _, _"`))
			return 0
		}
	}
	if len(parts) != 2 && len(parts) != 3 {
		*problems = append(*problems, d.problem(0, "role relations other than of 2 or 3 fields are not enforced by this version"))
	}
	return len(parts)
}

// parseEffect reads the effect from casbin's text of it.
func parseEffect(d *definition, text string, guard bool) (effect, format.Problems) {
	e, known := effects[text]
	if !known {
		return e, format.Problems{d.problem(0, "unsupported effect: Casbin knows five texts and compares them blank by blank")}
	}
	if e == denyOverride && !guard {
		return e, format.Problems{d.problem(0, "this effect allows without a rule that allows; only guards may have it")}
	}
	return e, nil
}

// checkSubjectPriority refuses what Casbin's sort by subject assumes without looking.
func (m *casbinModel) checkSubjectPriority(p *definition) format.Problems {
	if m.rule[0] != "sub" {
		return format.Problems{p.problem(0, "with subjectPriority the first field of p must be sub")}
	}
	if m.arities["g"] == 0 {
		return format.Problems{p.problem(0, "subjectPriority needs a role relation g")}
	}
	return nil
}

// index returns the position of a name, or -1.
func index(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}
