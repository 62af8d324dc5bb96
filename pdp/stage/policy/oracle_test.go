package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"
	"github.com/casbin/casbin/v2/rbac"
	"github.com/casbin/casbin/v2/util"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
)

// oracle is a policy in both engines.
type oracle struct {
	enforcer *casbin.Enforcer
	compiled *compiled
	fields   []string
	// object reports whether a field of r can hold an object.
	object func(field string) bool
	// context selects r2 or the like in casbin, where the policy is written apart here.
	context *casbin.EnforceContext
	// tokenSubject is the subject whose token brings tokenRoles; in casbin these are links.
	tokenSubject string
	tokenRoles   []string
}

// oracleSource is what an oracle is made of. Fields are mapped to attributes that can hold any text, or, those that
// object names, to claims that can hold anything.
type oracleSource struct {
	model, rules string
	object       func(field string) bool
	tokenSubject string
	tokenRoles   []string
	tokenDomain  string
	// domains is set when g has domains.
	domains bool
	// matching are the functions by which names and domains of relations match.
	matching map[string]functions
}

// isSubject are the field names that are mapped to the subject's key.
func isSubject(field string) bool { return field == "sub" || field == "user" || field == "subject" }

// newOracle loads a policy into both engines. With objects, every field but the members of g can hold an object.
func newOracle(modelText, rules string, objects bool) (*oracle, format.Problems, error) {
	defs, _ := readModel(fileOf("model.conf", modelText))
	return newOracleOf(oracleSource{model: modelText, rules: rules, object: func(f string) bool {
		return objects && !(isSubject(f) && defs["g"] != nil)
	}})
}

func newOracleOf(s oracleSource) (*oracle, format.Problems, error) {
	o, problems := s.compile()
	if len(problems) > 0 {
		return nil, problems, nil
	}
	for _, role := range s.tokenRoles {
		link := fmt.Sprintf("g,%s,%s", quote(s.tokenSubject), quote(role))
		if s.domains {
			link += "," + quote(s.tokenDomain)
		}
		if !strings.Contains("\n"+s.rules, "\n"+link+"\n") {
			s.rules += link + "\n"
		}
	}
	var err error
	if o.enforcer, err = loadCasbin(s.model, s.rules); err == nil {
		register(o.enforcer, s.matching)
	}
	return o, nil, err
}

// functions are those by which names and domains of a relation match.
type functions struct{ Names, Domains string }

// declare writes the matching of a policy, which only YAML can.
func declare(p *format.Policy, matching map[string]functions) {
	var text strings.Builder
	for relation, m := range matching {
		fmt.Fprintf(&text, "      %s: {names: %q, domains: %q}\n", relation, m.Names, m.Domains)
	}
	var decoded format.Service
	if text.Len() > 0 {
		_ = format.Decode(fileOf("service.yaml", "policies:\n  - name: x\n    matching:\n"+text.String()), &decoded)
		p.Matching = decoded.Policies[0].Matching
	}
}

// register gives an enforcer the functions by which names and domains match.
func register(e *casbin.Enforcer, matching map[string]functions) {
	for _, relation := range slices.Sorted(maps.Keys(matching)) {
		if m := matching[relation]; m.Names != "" {
			e.AddNamedMatchingFunc(relation, "", casbinMatching[m.Names])
		}
		if m := matching[relation]; m.Domains != "" {
			e.AddNamedDomainMatchingFunc(relation, "", casbinMatching[m.Domains])
		}
	}
}

// casbinMatching are casbin's functions that return a bool, but that what is no pattern matches nothing. Casbin tries the
// names of requests as patterns too, and panics; TestCasbinMatchingIsPoisoned shows what becomes of it then.
var casbinMatching = map[string]rbac.MatchingFunc{
	"keyMatch": util.KeyMatch, "keyMatch2": neverPanics(util.KeyMatch2), "keyMatch3": neverPanics(util.KeyMatch3), "keyMatch4": neverPanics(util.KeyMatch4),
	"keyMatch5": neverPanics(util.KeyMatch5), "regexMatch": neverPanics(util.RegexMatch),
	"globMatch": func(value, pattern string) bool {
		matched, err := util.GlobMatch(value, pattern)
		return err == nil && matched
	},
}

func neverPanics(match rbac.MatchingFunc) rbac.MatchingFunc {
	return func(value, pattern string) (matched bool) {
		defer func() { _ = recover() }()
		return match(value, pattern)
	}
}

// loadCasbin loads a policy into casbin.
func loadCasbin(modelText, rules string) (*casbin.Enforcer, error) {
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, err
	}
	// The file adapter trims lines and the string adapter does not: it panics on a blank one.
	lines := strings.Split(rules, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return casbin.NewEnforcer(m, stringadapter.NewAdapter(strings.Join(lines, "\n")))
}

// compile compiles the policy as a guard, so that deny-override can be compared too.
func (s oracleSource) compile() (*oracle, format.Problems) {
	o := &oracle{object: s.object, tokenSubject: s.tokenSubject, tokenRoles: s.tokenRoles}
	request := map[string]format.Attribute{}
	defs, _ := readModel(fileOf("model.conf", s.model))
	if defs["r"] != nil {
		var ignored format.Problems
		o.fields = fields(defs["r"], &ignored)
	}
	empty := ""
	for _, f := range o.fields {
		switch {
		case s.object != nil && s.object(f):
			request[f] = format.Attribute{Name: "claims." + f}
		case isSubject(f):
			request[f] = format.Attribute{Name: "subject.key", Missing: &empty}
		default:
			request[f] = format.Attribute{Name: "resource.properties." + f, Missing: &empty}
		}
	}
	files := format.NewFiles(map[string][]byte{"model.conf": []byte(s.model), "policy.csv": []byte(s.rules), "bundle.yaml": nil})
	owner, _ := files.Get("", "bundle.yaml")
	anyCost := format.Duration(time.Hour)
	policy := &format.Policy{Name: "main", Model: "model.conf", Rules: []string{"policy.csv"}, Request: request, MaxCost: &anyCost}
	declare(policy, s.matching)
	if s.tokenRoles != nil {
		policy.TokenRoles = &format.TokenRoles{From: "subject.roles", Relation: "g"}
		if s.domains {
			policy.TokenRoles.Domain = "subject.tenant"
		}
	}
	var problems format.Problems
	o.compiled, problems = compilePolicy(&source{policy: policy, files: files, file: owner, path: "$.guards[0]", guard: true})
	return o, problems
}

func fileOf(path, text string) *format.File {
	f, _ := format.NewFiles(map[string][]byte{path: []byte(text)}).Get("", path)
	return f
}

func (o *oracle) facts(values []any) *attribute.Facts {
	f := &attribute.Facts{Request: &request.Request{}, Match: route.Match{Route: &route.Route{}},
		Resource: attribute.Resource{Properties: map[string]string{}}, Subject: subject.Subject{Kind: subject.KindUser, Tenant: "d1", Claims: map[string]any{}}}
	for i, field := range o.fields {
		f.Subject.Claims[field] = values[i]
		text, isText := values[i].(string)
		switch {
		case !isText:
		case isSubject(field):
			f.Subject.Key = text
		default:
			f.Resource.Properties[field] = text
		}
	}
	if o.tokenRoles != nil && f.Subject.Key == o.tokenSubject {
		f.Subject.Roles = o.tokenRoles
	}
	return f
}

// Outcomes of a comparison.
const (
	outcomeAgreed   = "agreed"
	outcomeBothErr  = "both err"
	outcomeBothDeny = "both deny, here for an error"
	outcomeStricter = "casbin allows, here an error"
	outcomeAnswered = "casbin errs and we answer"
)

// comparison is what came out of a comparison.
type comparison struct {
	outcome, difference string
	decision            decision
	// allowed and rule are what casbin says.
	allowed bool
	rule    []string
}

// compare asks both engines and returns an outcome, or what differs.
func (o *oracle) compare(ctx context.Context, values []any) comparison {
	asked := slices.Clone(values)
	if o.context != nil {
		asked = append([]any{*o.context}, values...)
	}
	ok, explain, casbinErr := o.enforcer.EnforceEx(asked...)
	if o.context != nil {
		explain = strings.Split(single(strings.Join(explain, "\n"), "2"), "\n")
		if explain[0] == "" {
			explain = nil
		}
	}
	d, err := o.compiled.decide(ctx, o.facts(values))
	c := comparison{decision: d, allowed: ok && casbinErr == nil, rule: explain}
	switch {
	case err != nil:
		c.difference = "decide: " + err.Error()
	case d.failure != nil && d.allowed:
		c.difference = fmt.Sprintf("allowed with an error: %+v", d)
	case casbinErr != nil && d.failure != nil:
		c.outcome = outcomeBothErr
	case casbinErr != nil:
		c.outcome = outcomeAnswered
	case d.failure != nil && !ok:
		c.outcome = outcomeBothDeny
	case d.failure != nil:
		c.outcome = outcomeStricter
	case ok != d.allowed || !slices.Equal(explain, ruleTexts(d)):
		c.difference = fmt.Sprintf("casbin: %v by %q; here: %v by %q", ok, explain, d.allowed, ruleTexts(d))
	default:
		c.outcome = outcomeAgreed
	}
	return c
}

// casbin's own functions; patterns on which they panic are not compiled here.
func casbinKeyMatch2(value, pattern string) bool { return util.KeyMatch2(value, pattern) }
func casbinKeyMatch3(value, pattern string) bool { return util.KeyMatch3(value, pattern) }
func casbinKeyMatch4(value, pattern string) bool { return util.KeyMatch4(value, pattern) }
func casbinKeyMatch5(value, pattern string) bool { return util.KeyMatch5(value, pattern) }
