package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// shape is a model whose parts a random policy is made of.
type shape struct {
	request, rule, roles, matcher string
}

var shapes = []shape{
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && r.obj == p.obj && r.act == p.act`},
	{"sub, obj, act", "sub, obj, act", "g = _, _", `g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act`},
	{"sub, obj, act", "sub, obj, act", "g = _, _", `r.act == p.act && keyMatch(r.obj, p.obj) && g(r.sub, p.sub)`},
	{"sub, obj, act", "sub, obj, act", "g = _, _", `g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act)`},
	{"sub, obj, act", "sub, obj, act", "g = _, _", `g(r.sub, p.sub) && keyMatch3(r.obj, p.obj) && (r.act == p.act || p.act == "*")`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && keyMatch4(r.obj, p.obj) && r.act != p.act`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && keyMatch5(r.obj, p.obj) && r.act <= p.act`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && globMatch(r.obj, p.obj) && r.act in ("read", "write", p.act)`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && keyGet(r.obj, p.obj) in ('a', 'x/b') || r.act == p.act && !(r.sub == p.sub)`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && keyGet2(r.obj, p.obj, 'id') == r.act`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub && keyGet3(r.obj, p.obj, 'id') >= p.act`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub ? r.obj == p.obj : r.act == p.act`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub + r.act == p.sub + p.act && r.obj =~ 'a'`},
	{"sub, obj, act", "sub, obj, act", "", `(r.sub == p.sub) == (r.act == p.act) && r.obj != p.obj`},
	{"sub, dom, obj, act", "sub, dom, obj, act", "g = _, _, _", `g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act`},
	{"sub, dom, obj, act", "sub, dom, obj, act", "g = _, _, _", `g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) && keyMatch(r.obj, p.obj) && r.act == p.act`},
	{"sub, obj, act", "sub, obj, act", "g = _, _\ng2 = _, _", `g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act || r.sub == "u9"`},
	{"sub, dom, obj, act", "sub, dom, obj, act", "g = _, _, _", `g(r.sub, p.sub, p.dom) && r.obj == p.obj && r.act == p.act`},
	{"sub, obj, act", "sub, obj, act", "g = _, _", `r.act == p.act + "" && r.obj + "" == p.obj && g(r.sub, p.sub)`},
	{"sub, obj, act", "sub, obj, act", "", `r.sub == p.sub == true && (r.act in ("read", p.act)) == false`},
	{"sub, obj, act", "sub, obj, act", "", `ipMatch("10.1.2.3", "10.0.0.0/8") && ipMatch("::ffff:10.1.2.3", "10.1.2.3") && !ipMatch("10.1.2.3", "11.1.2.3") && r.sub == p.sub`},
	{"sub, obj, act", "sub, obj, act", "g = _, _", `g(r.sub, p.sub) && eval(p.obj) && r.act == p.act`},
}

var randomEffects = []string{
	"some(where (p.eft == allow))",
	"!some(where (p.eft == deny))",
	"some(where (p.eft == allow)) && !some(where (p.eft == deny))",
	"priority(p.eft) || deny",
}

// Values are few, so that requests often meet rules, and nasty, so that they meet the edges of patterns.
var (
	subjects = []string{"u0", "u1", "u2", "u3", "n0", "n1", "n2", "n3", "n4", "n5", "", "u9"}
	domains  = []string{"d1", "d2", "d*", "", "*"}
	actions  = []string{"read", "write", "*", "", "re", "a"}
	paths    = []string{"/a", "/a/", "/a/b", "/a/x/b", "/a/b/c", "/ab", "/", "", "a", "x/b", "/a/\n", "/a/b\nc", "/a/\xff", "//", "/a//b",
		"/v1.0/a", "/v1x0/a", "/a?b=c", "/a/b?c", "/a/{id}", "/a/:id", "/a/1/b/1", "/a/1/b/2", "/a|b", "/x.json", "/a/..", "/a/%2e"}
	patterns = []string{"/a", "/a/*", "/*", "*", "/a/:id", "/a/:id/b", "/:x/*", "/a/*/b", "/a/{id}", "/a/{id}/b/{id}", "/a/{x}/b/{y}", "/{id}*", "/v1.0/:id",
		"/:id.json", "/x.json", "/a?b", "/a|b", "/a/:id/*", "a", "", "/**", "/a/*b", "/{a}-{b}", "/a/:", "/a:b/c", "/a/x{id}", "//", "/[ab]", "/a/{}", "/:a*"}
	expressions = []string{`r.sub == "u1"`, `keyMatch(r.obj, "/a/*") && r.act == p.act`, `r.obj in ("/a", "/ab")`, `g(r.sub, p.sub)`, `!(r.act == "read")`, `1 == 1`, `r.sub > "u1" || false`}
	regexes     = []string{"^read$", "re", "(read|write)", ".*", "^$", "a+", "[a-r]"}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// randomPolicy returns a model and rules.
func randomPolicy(r *rand.Rand) (modelText, rules string) {
	s := shapes[r.IntN(len(shapes))]
	effect := pick(r, randomEffects)
	rule, withEft := s.rule, r.IntN(4) > 0
	numbered := r.IntN(5) == 0
	if withEft {
		rule += ", eft"
	}
	if numbered {
		rule = "priority, " + rule
	}
	roles := ""
	if s.roles != "" {
		roles = "[role_definition]\n" + s.roles + "\n"
	}
	modelText = fmt.Sprintf("[request_definition]\nr = %s\n[policy_definition]\np = %s\n%s[policy_effect]\ne = %s\n[matchers]\nm = %s\n", s.request, rule, roles, effect, s.matcher)
	var lines []string
	for range 1 + r.IntN(14) {
		lines = append(lines, randomRule(r, s, rule))
	}
	for _, relation := range strings.Split(s.roles, "\n") {
		if relation != "" {
			lines = append(lines, randomLinks(r, relation)...)
		}
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return modelText, unique(lines)
}

func randomRule(r *rand.Rand, s shape, fields string) string {
	line := "p"
	for _, f := range strings.Split(fields, ", ") {
		value := ""
		switch f {
		case "priority":
			value = fmt.Sprint(r.IntN(5) - 1)
		case "sub":
			value = pick(r, subjects)
		case "dom":
			value = pick(r, domains)
		case "eft":
			value = pick(r, []string{"allow", "allow", "deny"})
		case "act":
			value = pick(r, actions)
			if strings.Contains(s.matcher, "regexMatch") {
				value = pick(r, regexes)
			}
		case "obj":
			value = pick(r, patterns)
			if strings.Contains(s.matcher, "eval") {
				value = pick(r, expressions)
			} else if !strings.Contains(s.matcher, "key") && r.IntN(2) == 0 {
				value = pick(r, paths[:10])
			}
		}
		line += `,"` + strings.ReplaceAll(value, `"`, `""`) + `"`
	}
	return line
}

// randomLinks returns links that form no cycle: always from a lower to a higher name.
func randomLinks(r *rand.Rand, relation string) []string {
	name, arity, _ := strings.Cut(relation, " = ")
	var lines []string
	link := func(from, to string) {
		line := fmt.Sprintf("%s,%q,%q", name, from, to)
		if strings.Count(arity, "_") == 3 {
			line += `,"` + pick(r, domains) + `"`
		}
		lines = append(lines, line)
	}
	names := subjects[:10]
	if name == "g2" {
		names = paths[:6]
	}
	for range r.IntN(12) {
		i := r.IntN(len(names) - 1)
		link(names[i], names[i+1+r.IntN(len(names)-i-1)])
	}
	return lines
}

func unique(lines []string) string {
	seen := map[string]bool{}
	var out strings.Builder
	for _, l := range lines {
		if !seen[l] {
			out.WriteString(l + "\n")
		}
		seen[l] = true
	}
	return out.String()
}

// compareRandom compares one random policy for some random requests and counts the outcomes.
func compareRandom(t *testing.T, seed uint64, requests int, counts map[string]int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	modelText, rules := randomPolicy(r)
	o, problems, err := newOracle(modelText, rules, false)
	if err != nil {
		t.Fatalf("seed %d: casbin does not load what is accepted here: %v\n%s\n%s", seed, err, modelText, rules)
	}
	if len(problems) > 0 {
		counts["refused"]++
		return
	}
	counts["policies"]++
	for range requests {
		values := make([]any, len(o.fields))
		for i, f := range o.fields {
			switch f {
			case "sub":
				values[i] = pick(r, subjects)
			case "dom":
				values[i] = pick(r, domains)
			case "obj":
				values[i] = pick(r, paths)
			case "act":
				values[i] = pick(r, actions)
			}
		}
		outcome, difference := o.compare(t.Context(), values)
		if difference != "" {
			t.Fatalf("seed %d: %q: %s\n%s\n%s", seed, values, difference, modelText, rules)
		}
		counts[outcome]++
		if allowed, _ := o.enforcer.Enforce(values...); allowed {
			counts["allowed"]++
		}
	}
}

// TestDifferential compares random policies with casbin's Enforcer: the decision and the rule that it names.
func TestDifferential(t *testing.T) {
	counts := map[string]int{}
	for seed := range uint64(1500) {
		compareRandom(t, seed, 40, counts)
	}
	t.Logf("%v", counts)
	if counts[agreed] < 30000 || counts["allowed"] < 3000 || counts["policies"] < 800 || counts[stricter] > counts[agreed]/100 {
		t.Errorf("too little was compared: %v", counts)
	}
}

func FuzzDifferential(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		compareRandom(t, seed, 40, map[string]int{})
	})
}
