package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// policyCases make the cases of one size: the number of rules for p. nil stands for a size that a case is not asked in.
var policyCases = []func(rules int) *policyCase{rbac, domains, rest, abac, eval}

// perRole is how many rules a role has; each role has one user.
const perRole = 10

// modelOf returns a model with the effect allow-override.
func modelOf(request, rule, roles, matcher string) string {
	if roles != "" {
		roles = "[role_definition]\n" + roles + "\n"
	}
	return fmt.Sprintf("[request_definition]\nr = %s\n[policy_definition]\np = %s\n%s[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = %s\n",
		request, rule, roles, matcher)
}

func fieldsOf(mapping ...string) map[string]format.Attribute {
	fields := map[string]format.Attribute{}
	for i := 0; i < len(mapping); i += 2 {
		fields[mapping[i]] = format.Attribute{Name: mapping[i+1]}
	}
	return fields
}

// ask makes questions about rules that are spread over the policy: every second one is about what another user may do.
func (c *policyCase) ask(make func(rule, user int) question) *policyCase {
	random := rand.New(rand.NewPCG(uint64(c.rules), 0))
	c.questions = nil
	for i := range spread {
		rule := random.IntN(c.rules)
		user := rule / perRole
		if i%2 == 1 {
			user = (user + 1 + random.IntN(max(c.rules/perRole-1, 1))) % max(c.rules/perRole, 1)
		}
		q := make(rule, user)
		q.allowed = user == rule/perRole
		c.questions = append(c.questions, q)
	}
	return c
}

// rbac has users, roles, objects and actions.
func rbac(rules int) *policyCase {
	var text strings.Builder
	for i := range rules {
		fmt.Fprintf(&text, "p, role%d, order%d, read\n", i/perRole, i)
	}
	for i := range rules / perRole {
		fmt.Fprintf(&text, "g, user:corp:user%d, role%d\n", i, i)
	}
	c := &policyCase{name: fmt.Sprintf("rbac/%d", rules), rules: rules, text: text.String(),
		model:  modelOf("sub, obj, act", "sub, obj, act", "g = _, _", "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"),
		fields: fieldsOf("sub", "subject.key", "obj", "resource.id", "act", "action")}
	return c.ask(func(rule, user int) question {
		return question{user: fmt.Sprint("user:corp:user", user), object: fmt.Sprint("order", rule), action: "read"}
	})
}

// domains has the same in domains of ten roles each.
func domains(rules int) *policyCase {
	domain := func(rule int) int { return rule / perRole / 10 }
	var text strings.Builder
	for i := range rules {
		fmt.Fprintf(&text, "p, role%d, tenant%d, order%d, read\n", i/perRole, domain(i), i)
	}
	for i := range rules / perRole {
		fmt.Fprintf(&text, "g, user:corp:user%d, role%d, tenant%d\n", i, i, domain(i*perRole))
	}
	c := &policyCase{name: fmt.Sprintf("domains/%d", rules), rules: rules, text: text.String(),
		model: modelOf("sub, dom, obj, act", "sub, dom, obj, act", "g = _, _, _",
			"g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act"),
		fields: fieldsOf("sub", "subject.key", "dom", "subject.tenant", "obj", "resource.id", "act", "action")}
	return c.ask(func(rule, user int) question {
		return question{user: fmt.Sprint("user:corp:user", user), domain: fmt.Sprint("tenant", domain(rule)), object: fmt.Sprint("order", rule), action: "read"}
	})
}

// rest has roles, path patterns and methods.
func rest(rules int) *policyCase {
	methods := []string{"GET", "POST", "PUT", "DELETE"}
	var text strings.Builder
	for i := range rules {
		fmt.Fprintf(&text, "p, role%d, /tenants/:tenant/service%d/items/:id, %s\n", i/perRole, i/2, methods[i%len(methods)])
	}
	for i := range rules / perRole {
		fmt.Fprintf(&text, "g, user:corp:user%d, role%d\n", i, i)
	}
	c := &policyCase{name: fmt.Sprintf("rest/%d", rules), rules: rules, text: text.String(),
		model:  modelOf("sub, obj, act", "sub, obj, act", "g = _, _", "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act"),
		fields: fieldsOf("sub", "subject.key", "obj", "request.path", "act", "action")}
	return c.ask(func(rule, user int) question {
		return question{user: fmt.Sprint("user:corp:user", user), object: fmt.Sprintf("/tenants/t%d/service%d/items/%d", rule%97, rule/2, rule), action: methods[rule%len(methods)]}
	})
}

// abac has an attribute of the subject that must equal a field of the rule.
func abac(rules int) *policyCase {
	var text strings.Builder
	for i := range rules {
		fmt.Fprintf(&text, "p, department%d, order%d, read\n", i/perRole, i)
	}
	c := &policyCase{name: fmt.Sprintf("abac/%d", rules), rules: rules, text: text.String(),
		model:  modelOf("sub, obj, act", "dept, obj, act", "", "r.sub.department == p.dept && r.obj == p.obj && r.act == p.act"),
		fields: fieldsOf("sub", "claims", "obj", "resource.id", "act", "action")}
	return c.ask(func(rule, user int) question {
		return question{claims: map[string]any{"department": fmt.Sprint("department", user)}, object: fmt.Sprint("order", rule), action: "read"}
	})
}

// eval has a condition in each rule. Casbin parses it in every decision, so the sizes end earlier.
func eval(rules int) *policyCase {
	if rules > 10_000 {
		return nil
	}
	var text strings.Builder
	for i := range rules {
		fmt.Fprintf(&text, "p, \"r.sub.department == 'department%d' && r.sub.level >= %d\", order%d, read\n", i/perRole, 1+i%3, i)
	}
	c := &policyCase{name: fmt.Sprintf("abac_eval/%d", rules), rules: rules, text: text.String(),
		model:  modelOf("sub, obj, act", "rule, obj, act", "", "eval(p.rule) && r.obj == p.obj && r.act == p.act"),
		fields: fieldsOf("sub", "claims", "obj", "resource.id", "act", "action")}
	return c.ask(func(rule, user int) question {
		return question{claims: map[string]any{"department": fmt.Sprint("department", user), "level": 3.0}, object: fmt.Sprint("order", rule), action: "read"}
	})
}
