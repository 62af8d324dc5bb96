package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2/util"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// namesBy is the matching of g's names by a function.
func namesBy(function string) map[string]functions {
	return map[string]functions{"g": {Names: function}}
}

func domainsBy(function string) map[string]functions {
	return map[string]functions{"g": {Domains: function}}
}

// matchedDomainModel is an RBAC model with domains.
var matchedDomainModel = strings.NewReplacer("r = sub, obj, act", "r = sub, dom, obj", "p = sub, obj, act", "p = sub, obj", "g = _, _", "g = _, _, _",
	matcher, "g(r.sub, p.sub, r.dom) && r.obj == p.obj").Replace(rbacModel)

// membershipModel allows whoever is a member of p.sub.
var membershipModel = strings.NewReplacer("r = sub, obj, act", "r = sub", "p = sub, obj, act", "p = sub", matcher, "g(r.sub, p.sub)").Replace(rbacModel)

// TestMatching shows what Casbin's search makes of patterns, one by one: each answer is Casbin's, with the index and without.
func TestMatching(t *testing.T) {
	for _, c := range []struct {
		name, function, rules string
		// in and out are names that are allowed and that are not.
		in, out string
	}{
		{"a member is a pattern", "keyMatch", "g,a*,r\np,r\n", "a ab a* r", "b"},
		{"the role that is asked about is one", "keyMatch", "g,x,ab\np,a*\n", "x ab a", "y b"},
		{"a role by an own link matches the names of links", "keyMatch", "g,x,a*\ng,ab,r\np,r\n", "x ab", "a* a y"},
		{"and the role that is asked about, which no link names", "keyMatch", "g,x,a*\np,ab\n", "x ab", "a y"},
		{"a role by the link of a pattern does not match names", "keyMatch", "g,x*,a*\ng,ab,r\np,r\n", "ab x*", "x xx a"},
		{"but its own links lead on", "keyMatch", "g,x*,a*\ng,a*,r\np,r\n", "x x* a a*", "y"},
		{"a name that no link knows leads nowhere", "keyMatch", "g,x,a*\ng,b*,r\np,r\np,ab\n", "x ab b r", "y a"},
		{"a name that is reached by one pattern matches another", "keyMatch", "g,a*,bc\ng,b*,r\np,r\n", "a bc bd", "c"},
		{"the text of a pattern is its member", "regexMatch", "g,^a[0-9]$,r\np,^r$\n", "a1 ^a[0-9]$ r", "a xa1"},
		{"patterns of regexMatch are not anchored", "regexMatch", "g,a,r\np,^r$\n", "a xax r", "b"},
		{"cycles through patterns end", "keyMatch", "g,a*,b\ng,b*,ac\np,ad\np,r\ng,ac,r\n", "a ac b bx r ad", "c"},
		{"ten links through patterns", "keyMatch", patternChain(10) + "p,n10x\n", "n0xa n10x n1x", "n11"},
		{"eleven links through patterns", "keyMatch", patternChain(11) + "p,n11x\n", "n1xa n11x", "n0xa n0x"},
		{"a literal of the matcher is a pattern", "literal", "g,x,ab\ng,ab,z\ng,y,z\np,z\n", "x ab", "y z"},
		{"which a role matches as a name", "literal", "g,x,z\ng,x,a*\np,z\n", "x", "y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			model := membershipModel
			if c.function == "literal" {
				c.function, model = "keyMatch", strings.Replace(model, "g(r.sub, p.sub)", `g(r.sub, p.sub) && g(r.sub, "ab*")`, 1)
			}
			o, problems, err := newOracleOf(oracleSource{model: model, rules: c.rules, matching: namesBy(c.function)})
			if err != nil || len(problems) > 0 {
				t.Fatal(err, problems)
			}
			for range 2 {
				for sub := range strings.FieldsSeq(c.in + " | " + c.out) {
					want := strings.Contains(" "+c.in+" ", " "+sub+" ")
					if got := o.compare(t.Context(), []any{sub}); sub != "|" && (got.outcome != outcomeAgreed || got.allowed != want) {
						t.Errorf("%s: %s%s, allowed by casbin: %v", sub, got.outcome, got.difference, got.allowed)
					}
				}
				o.compiled.index = nil
			}
		})
	}
}

// patternChain returns n links of which each but the first begins at a pattern that matches the role of the one before.
func patternChain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "g,n%dx*,n%dx\n", i, i+1)
	}
	return b.String()
}

// TestMatchingIsRefused: what does not load, and where.
func TestMatchingIsRefused(t *testing.T) {
	with := func(rules string, matching map[string]functions) setup {
		return setup{rules: soundRules + rules, matching: matching}
	}
	domains := func(rules string, function string) setup {
		return setup{model: matchedDomainModel, rules: "p,reader,order\n" + rules, matching: domainsBy(function),
			request: map[string]string{"sub": "subject.key", "dom": "subject.tenant", "obj": "resource.id"}}
	}
	many := &strings.Builder{}
	for i := range maxBelow + 1 {
		fmt.Fprintf(many, "g, m%d, reader\n", i)
	}
	for _, c := range []struct {
		name  string
		setup setup
		want  string
	}{
		{"an unknown function", with("", namesBy("keyMatch22")), `"keyMatch22" is none of keyMatch, keyMatch2, keyMatch3, keyMatch4, keyMatch5, regexMatch, globMatch (did you mean "keyMatch2"?)`},
		{"networks", with("", namesBy("ipMatch")), `"ipMatch" is none of`},
		{"an unknown relation", with("", map[string]functions{"g2": {Names: "keyMatch"}}), `no role relation "g2"`},
		{"domains without domains", with("", domainsBy("keyMatch")), "g has no domains"},
		{"nothing", with("", map[string]functions{"g": {}}), "say names: FUNCTION"},
		{"a member that is no pattern", with("g, (, reader\n", namesBy("regexMatch")), "policy.csv:3:4: the member: not a pattern of regexMatch"},
		{"a role that is no pattern", with("g, x, a[\n", namesBy("regexMatch")), "policy.csv:3:7: the role: not a pattern of regexMatch"},
		{"a role of a rule that is no pattern", with("p, a[, order, read\n", namesBy("regexMatch")), "policy.csv:3:4: sub: not a pattern of regexMatch"},
		{"a domain that is no pattern", domains("g,a,reader,d[\n", "regexMatch"), "policy.csv:2:12: the domain: not a pattern of regexMatch"},
		{"a role that matches a subject", with("g, boss, *\n", namesBy("keyMatch")), `policy.csv:3:10: the role "*" matches "user:corp:alice", which has the shape of a subject's key`},
		{"a subject that is a key pattern", with("", namesBy("keyMatch2")), `policy.csv:2:4: the subject "user:corp:alice" is a pattern of keyMatch2 that matches others: write names: keyMatch or globMatch`},
		{"a subject that is not anchored", with("", namesBy("regexMatch")), `policy.csv:2:4: the subject "user:corp:alice" is a pattern of regexMatch that matches others: write ^…$`},
		{"a subject in a rule", setup{rules: "p, user:corp:alice, order, read\n", matching: namesBy("keyMatch2")}, `policy.csv:1:4: the subject`},
		{"a role that matches too much", setup{rules: "p, reader, order, read\ng, boss, m*\n" + many.String(), matching: namesBy("keyMatch")}, "policy.csv:2:10: the role \"m*\" matches more than 4096 names"},
		{"a name that is too long", with("g, "+strings.Repeat("a", 60_000)+", reader\ng, *b*c*d*e, reader\n", namesBy("globMatch")), "is too long for a pattern"},
		{"patterns of domains in each other", domains("g,a,reader,d/:x\ng,a,reader,:y/:x\n", "keyMatch2"), `policy.csv:2:12: the domain "d/:x", a pattern of keyMatch2, is matched by the domain ":y/:x" itself`},
		{"a request brings the pattern", setup{model: rbacWith(matcher, "g(p.sub, r.sub)"), rules: soundRules, matching: namesBy("keyMatch")}, "a request must not bring it"},
		{"another function beside the automatic one", setup{model: strings.NewReplacer("r = sub, obj, act", "r = sub, dom", "p = sub, obj, act", "p = sub, dom",
			"g = _, _", "g = _, _, _", matcher, "g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom)").Replace(rbacModel), rules: "p,reader,d\n", matching: domainsBy("keyMatch2"),
			request: map[string]string{"sub": "subject.key", "dom": "subject.tenant"}}, "makes keyMatch patterns of domains already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, problems := c.setup.compile(); len(problems) == 0 || !strings.Contains(problems.Error(), c.want) {
				t.Errorf("want %s\ngot  %v", c.want, problems)
			}
		})
	}
}

// TestDomainsInEachOther shows why some domains are refused: Casbin's answer depends on the order of links.
func TestDomainsInEachOther(t *testing.T) {
	// d/1 matches d/:x, whose text matches d/.x, which d/1 does not match.
	const narrow, wide = "g,a,narrow,d/:x\n", "g,a,reader,d/.x\n"
	answers := map[bool]bool{}
	for _, rules := range []string{"g,b,other,d/1\n" + narrow + wide, wide + narrow + "g,b,other,d/1\n"} {
		e, err := loadCasbin(matchedDomainModel, "p,reader,order\n"+strings.TrimSpace(rules))
		if err != nil {
			t.Fatal(err)
		}
		// Built once more, with the function in place: the order is that of the file and not that of a map.
		e.AddNamedDomainMatchingFunc("g", "", util.KeyMatch2)
		if err := e.BuildRoleLinks(); err != nil {
			t.Fatal(err)
		}
		allowed, err := e.Enforce("a", "d/1", "order")
		if err != nil {
			t.Fatal(err)
		}
		answers[allowed] = true
	}
	if len(answers) != 2 {
		t.Errorf("the order does not matter: %v", answers)
	}
}

// TestCasbinMatchingIsPoisoned: Casbin tries the name of a request as a pattern. One that is none stays in its graph, and
// every later name that the graph does not know is an error.
func TestCasbinMatchingIsPoisoned(t *testing.T) {
	const rules = "p,^reader$\ng,^a,reader"
	e, err := loadCasbin(membershipModel, rules)
	if err != nil {
		t.Fatal(err)
	}
	e.AddNamedMatchingFunc("g", "", util.RegexMatch)
	for _, step := range []struct {
		sub           string
		allowed, errs bool
	}{{"ab", true, false}, {"(", false, true}, {"ac", false, true}} {
		if allowed, err := e.Enforce(step.sub); allowed != step.allowed || (err != nil) != step.errs {
			t.Errorf("%s: casbin says %v, %v", step.sub, allowed, err)
		}
	}
	o, problems := oracleSource{model: membershipModel, rules: rules, matching: namesBy("regexMatch")}.compile()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for sub, want := range map[string]bool{"(": false, "ac": true} {
		if d, err := o.compiled.decide(t.Context(), o.facts([]any{sub})); err != nil || d.allowed != want || d.failure != nil {
			t.Errorf("%s: %+v, %v", sub, d, err)
		}
	}
}

// TestNamesOfRequestsAreNoPatterns: a subject, a role of a token and a resource that are named like a pattern get what
// others get.
func TestNamesOfRequestsAreNoPatterns(t *testing.T) {
	for function, hostile := range map[string][]string{
		"keyMatch": {"*", "a*"}, "keyMatch2": {"*", "/*", ":x"}, "keyMatch3": {"{x}", "*"}, "keyMatch4": {"{x}"}, "keyMatch5": {"{x}"},
		"regexMatch": {".*", "", "(", "^"}, "globMatch": {"*", "**", "{admin,x}", "["},
	} {
		rules := "p, ^admin$, order, read\np, admin, order, read\ng, ^boss$, admin\ng, boss, admin\ng, user:corp:a, admin\n"
		if function != "regexMatch" {
			rules = strings.ReplaceAll(strings.ReplaceAll(rules, "p, ^admin$, order, read\n", ""), "g, ^boss$, admin\n", "")
		} else {
			rules = strings.ReplaceAll(strings.ReplaceAll(rules, "p, admin, order, read\n", ""), "g, boss, admin\n", "")
			rules = strings.ReplaceAll(rules, "g, user:corp:a,", "g, ^user:corp:a$,")
		}
		if function == "keyMatch2" {
			rules = strings.ReplaceAll(rules, "g, user:corp:a, admin\n", "") // it would match every user
		}
		for range 2 {
			p := setup{rules: rules, matching: namesBy(function), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}.mustCompile(t)
			for _, name := range hostile {
				if got := evaluate(t, p, asks{sub: "user:corp:b", roles: []string{name, "x"}, obj: "order", act: "read"}); got.Allowed || got.Reason != verdict.NoMatchingRule {
					t.Errorf("%s: a token with the role %q: %+v", function, name, got)
				}
				if got := evaluate(t, p, asks{sub: name, obj: "order", act: "read"}); got.Allowed {
					t.Errorf("%s: the subject %q: %+v", function, name, got)
				}
			}
			if got := evaluate(t, p, asks{sub: "user:corp:b", roles: []string{"boss"}, obj: "order", act: "read"}); !got.Allowed {
				t.Errorf("%s: the role boss: %+v", function, got)
			}
			p.policies[0].index = nil
		}
	}
}

// TestTokenRolesMatch: a role of a token is a name that may match the patterns of links and rules.
func TestTokenRolesMatch(t *testing.T) {
	p := setup{matching: namesBy("keyMatch"), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"},
		rules: "p, staff, order, read\np, aud*, order, audit\ng, eng-*, staff\n" + "p, m10, order, deep\ng, deep-*, m2\n" + chainFrom(2, 10) + "p, m11, order, deeper\ng, m1*, m11\n" +
			"p, adm-x, order, purge\ng, lead, adm*\n"}.mustCompile(t)
	for range 2 {
		for _, x := range []struct {
			role, act string
			want      bool
		}{{"eng-db", "read", true}, {"eng", "read", false}, {"auditor", "audit", true}, {"aud", "audit", true}, {"au", "audit", false}, {"user:corp:audit", "audit", false},
			{"deep-1", "deep", true}, {"deep-1", "deeper", false},
			{"lead", "purge", true}, {"adm*", "purge", false}, {"lead*", "purge", false}} {
			if got := evaluate(t, p, asks{sub: "user:corp:b", roles: []string{x.role}, obj: "order", act: x.act}); got.Allowed != x.want {
				t.Errorf("the role %s may %s: %+v", x.role, x.act, got)
			}
		}
		p.policies[0].index = nil
	}
}

// chainFrom returns links of a chain from one number to another.
func chainFrom(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "g, m%d, m%d\n", i, i+1)
	}
	return b.String()
}

// TestMatchingTooLong: a name too long for a pattern is denied for an error, with the index and without.
func TestMatchingTooLong(t *testing.T) {
	s := setup{model: strings.NewReplacer("g = _, _", "g = _, _\ng2 = _, _", matcher, "g2(r.obj, p.obj) && r.act == p.act && g(r.sub, p.sub)").Replace(rbacModel),
		rules: soundRules + "p, reader, books, read\ng2, /book/*x*y*z, books\n", matching: map[string]functions{"g2": {Names: "globMatch"}}}
	p := s.mustCompile(t)
	for range 2 {
		for obj, want := range map[string]answer{
			"/book/1xyz":                          {true, "", "3"},
			"/book/" + strings.Repeat("a", 1<<18): {false, verdict.PolicyError, "1"},
			"/pen/" + strings.Repeat("a", 1<<18):  {false, verdict.NoMatchingRule, ""},
		} {
			if got := evaluate(t, p, asks{sub: "user:corp:alice", obj: obj, act: "read"}); got != want {
				t.Errorf("%.20s: %+v", obj, got)
			}
		}
		p.policies[0].index = nil
	}
}

// TestMatchingIsExplained: a way through patterns names the link of each.
func TestMatchingIsExplained(t *testing.T) {
	s := setup{model: strings.NewReplacer("g = _, _", "g = _, _\ng2 = _, _", matcher, "g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act").Replace(rbacModel),
		matching: map[string]functions{"g": {Names: "keyMatch"}, "g2": {Names: "keyMatch2"}}, tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"},
		rules: "p, reader, books, read\np, lead-*, books, write\ng, user:corp:*, reader\ng2, /book/:id, books\ng, boss, lead-*\ng, lead-a, reader\n"}
	p := s.mustCompile(t)
	for _, x := range []struct {
		asks asks
		want []string
	}{
		{asks{sub: "user:corp:a", obj: "/book/1", act: "read"},
			[]string{`g(): user:corp:a > user:corp:* > reader by ["policy.csv:3" "policy.csv:3"]`, `g2(): /book/1 > /book/:id > books by ["policy.csv:4" "policy.csv:4"]`}},
		{asks{sub: "user:corp:a", roles: []string{"lead-x"}, obj: "books", act: "write"}, []string{`g(): user:corp:a > lead-x > lead-* by ["" "policy.csv:2"]`}},
		{asks{sub: "user:x:a", roles: []string{"boss"}, obj: "books", act: "read"}, []string{`g(): user:x:a > boss > lead-* > lead-a > reader by ["" "policy.csv:5" "policy.csv:5" "policy.csv:6"]`}},
		{asks{sub: "user:x:a", obj: "/book/1", act: "read"}, []string{"would be allowed if roles contained reader"}},
	} {
		got := explained(t, p, x.asks, request.ExplainDecision)
		for _, want := range x.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: want %s in\n%s", x.asks, want, got)
			}
		}
	}
}
