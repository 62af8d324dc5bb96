package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// randomCondition is a part of a matcher, and what a model must have for it, in words of randomModel.features.
type randomCondition struct{ text, needs string }

// keyed are conditions that an index can look up.
var keyConditions = []randomCondition{
	{`r.sub == p.sub`, ""},
	{`p.sub == r.sub`, ""},
	{`r.sub == p.sub`, "acl"},
	{`r.obj == p.obj`, "plain"},
	{`p.obj == r.obj`, "plain"},
	{`r.act == p.act`, "act"},
	{`r.act == p.act`, "act"},
	{`p.act == r.act`, "act"},
	{`r.dom == p.dom`, "dom"},
	{`r.dom == p.dom`, "domroles"},
	{`g(r.sub, p.sub)`, "roles"},
	{`g(r.sub, p.sub)`, "roles"},
	{`g(r.sub, p.sub, r.dom)`, "domroles"},
	{`g(r.sub, p.sub, r.dom)`, "domroles"},
	{`g(r.sub, p.sub, p.dom)`, "domroles"},
	{`g(r.sub, p.sub, p.dom) && r.dom == p.dom`, "domroles"},
	{`g2(r.obj, p.obj)`, "objroles"},
	{`keyMatch(r.obj, p.obj)`, "key"},
	{`keyMatch2(r.obj, p.obj)`, "key"},
	{`keyMatch2(r.obj, p.obj)`, "key"},
	{`keyMatch3(r.obj, p.obj)`, "key"},
	{`keyMatch4(r.obj, p.obj)`, "key"},
	{`keyMatch5(r.obj, p.obj)`, "key"},
	{`globMatch(r.obj, p.obj)`, "glob"},
	{`regexMatch(r.obj, p.obj)`, "regexobj"},
	{`regexMatch(r.act, p.act)`, "regexact"},
	{`regexMatch(r.act, p.act)`, "regexact"},
	{`regexMatch(r.obj, p.act)`, "regexact"},
	{`keyMatch(r.dom, p.dom)`, "dom"},
	{`keyMatch(r.dom,p.dom)`, "dom"},
	{`ipMatch(r.ip, p.net)`, "ip"},
	{`(r.act == p.act || p.act == "*")`, "act"},
	{`(p.act == "*" || r.act == p.act)`, "act"},
	{`(g(r.sub, p.sub) || p.sub == "n1")`, "roles"},
	{`(r.sub == p.sub || p.sub == "u9")`, ""},
	{`(keyMatch2(r.obj, p.obj) || p.obj == "*")`, "key"},
	{`(keyMatch(r.obj, p.obj) || keyMatch3(r.obj, p.obj))`, "key"},
	{`(keyMatch(r.dom, p.dom) || r.dom == p.dom)`, "dom"},
	{`(r.obj == p.obj || r.sub == p.obj)`, "plain"},
	{`(p.sub == "n1" || r.env.role == p.sub)`, "env"},
	{`(r.sub == p.sub || r.env.role == p.sub)`, "env"},
	{`r.act in ("read", p.act)`, "act"},
	{`r.act in (p.act, "write", "a")`, "act"},
	{`p.act == "read"`, "act"},
	{`"*" == p.act`, "act"},
	{`p.act in ("read", "write")`, "act"},
	{`r.act == "read"`, ""},
	{`r.act in ("read", "write", "")`, ""},
	{`r.sub == p.act`, "act"},
	{`r.obj == p.sub`, ""},
	{`regexMatch(r.sub, "^[un]")`, "never"}, // brackets: casbin may rewrite them
	{`keyMatch(r.obj, "/a/*")`, ""},
}

// residual are conditions that must be evaluated for each candidate.
var residualConditions = []randomCondition{
	{`r.act != p.act`, "act"},
	{`p.sub != "u1"`, ""},
	{`r.sub != "u2"`, ""},
	{`r.obj <= p.obj`, "plain"},
	{`r.sub > p.sub`, ""},
	{`r.act >= "read"`, ""},
	{`!(r.act == p.act)`, "act"},
	{`!(r.sub == p.sub)`, ""},
	{`!g(r.sub, p.sub)`, "roles"},
	{`g(p.sub, r.sub)`, "roles gtexts"},
	{`g(p.sub, "n3")`, "roles"},
	{`g2(p.obj, r.obj)`, "objroles g2texts"},
	{`g(p.sub, r.sub, r.dom)`, "domroles gtexts"},
	{`g(r.sub, p.sub, p.dom)`, "domroles"},
	{`!keyMatch2(r.obj, p.obj)`, "key"},
	{`eval(p.cond)`, "cond"},
	{`eval(p.cond)`, "cond"},
	{`eval(p.cond)`, "cond"},
	{`keyGet2(r.obj, p.obj, 'id') == r.act`, "key"},
	{`keyGet(r.obj, p.obj) in ('a', 'x/b', '')`, "key"},
	{`keyGet3(r.obj, p.obj, 'id') >= p.act`, "key act"},
	{`(r.sub == p.sub || r.obj == p.obj)`, "plain"},
	{`(r.sub == p.sub || r.act == p.act && r.obj != "/a")`, "act"},
	{`(g(r.sub, p.sub) || r.act == p.act)`, "roles act"},
	{`r.obj =~ '^/a'`, ""},
	{`r.act !~ 'rea'`, ""},
	{`r.env.age > 18`, "env"},
	{`r.env.tag == p.tag`, "env tag"},
	{`r.env.tag == p.tag`, "env tag"},
	{`r.env.tag >= p.tag`, "env tag"},
	{`r.env.role == "admin"`, "env"},
	{`r.env.role in ("admin", p.sub)`, "env"},
	{`keyMatch2(r.env.path, p.obj)`, "env key"},
	{`keyMatch(r.env.path, "/a/*")`, "env"},
	{`ipMatch(r.env.address, p.net)`, "env ip"},
	{`r.env.on`, "env"},
	{`(r.env.role == p.sub || p.sub == "n1")`, "env"},
	{`r.env.role != p.sub`, "env"},
	{`p.tag < "c"`, "tag"},
	{`!ipMatch(r.ip, p.net)`, "ip"},
	{`!ipMatch("10.1.2.3", p.net)`, "ip"},
}

// odd are conditions that keep a matcher out of any index.
var oddConditions = []randomCondition{
	{`(r.sub == p.sub ? r.obj == p.obj : r.act == p.act)`, "plain act"},
	{`r.sub + r.act == p.sub + p.act`, "act"},
	{`(r.sub == p.sub) == (r.act == p.act)`, "act"},
	{`r.act + "" == p.act`, "act"},
	{`1 + 1 == 2`, ""},
	{`(r.sub == p.sub) == true`, ""},
}

// Values are few, so that requests often meet rules, and nasty, so that they meet the edges of patterns.
var (
	subjects = []string{"u0", "u1", "u2", "u3", "n0", "n1", "n2", "n3", "n4", "n5", "", "u9", "t1"}
	domains  = []string{"d1", "d2", "d*", "", "*", "d1/x"}
	actions  = []string{"read", "write", "*", "", "re", "a", "xread", "READ"}
	paths    = []string{"/a", "/a/", "/a/b", "/a/x/b", "/a/b/c", "/ab", "/", "", "a", "x/b", "/a/\n", "/a/b\nc", "/a/\xff", "//", "/a//b",
		"/v1.0/a", "/v1x0/a", "/v1/0/a", "/a?b=c", "/a/b?c", "/a/{id}", "/a/:id", "/a/1/b/1", "/a/1/b/2", "/a|b", "/x.json", "/a/..", "/a/%2e",
		"/a:b/c", "/axb", "/a.b", "/\ufffd", "/a-b", "/v1.0/", "/v1.0", "/aa", "/a/b/", "*", "/*", "/a/*"}
	patterns = []string{"/a", "/a/*", "/*", "*", "/a/:id", "/a/:id/b", "/:x/*", "/a/*/b", "/a/{id}", "/a/{id}/b/{id}", "/a/{x}/b/{y}", "/{id}*", "/v1.0/:id",
		"/:id.json", "/x.json", "/a?b", "/a|b", "/a/:id/*", "a", "", "/a/*b", "/{a}-{b}", "/a/:", "/a:b/c", "/a/x{id}", "//", "/[ab]", "/a/{}", "/:a*",
		"/a/b", "/a/b/c", "/v1.0/{id}", "/v1.0/*", "/a.b", "/.", "/a/", "/ab", "/:x", "/:x/b", "/{x}/:y", "/\ufffd", "/a/b*", "/v1.0"}
	globPatterns = []string{"/a", "/a/*", "/**", "/*", "*", "/a/?", "/{a,ab}", "/[ab]", "/a/**/c", "/*/b", "", "/a*", `/\*`, "/v1.0/*", "/{a,b}/*"}
	expressions  = []string{`r.sub == "u1"`, `keyMatch(r.obj, "/a/*") && r.act == p.act`, `r.obj in ("/a", "/ab")`, `!(r.act == "read")`, `1 == 1`, `true`, `false`,
		`r.sub > "u1" || false`, `p.sub != "n1"`, `r.act == "read" || r.act == p.act`, `r.sub == p.sub ? true : r.act == "read"`, `r.sub == p.sub`}
	roleExpressions   = []string{`g(r.sub, p.sub)`, `g(r.sub, "n3")`}
	objectExpressions = []string{`r.env.age > 18`, `r.env.role == "admin"`, `r.env.tag == p.sub || true`, `r.env.role == "admin" && r.env.age < 30`, `r.env.on`,
		`r.env.nothing == 1`, `r.sub == "u1" || r.env.age >= 20`, `r.env.age == "20"`, `r.env.age + 1 > 20`}
	regexes       = []string{"^read$", "re", "(read|write)", ".*", "^$", "a+", "[a-r]", "^(read|write)$", "^re", "^READ$", "(?i)read", "read$", "^", "/a", "^/a/.*$", "^/a$", "^/(a|ab)$"}
	someAddresses = []string{"10.1.2.3", "10.0.0.1", "::1", "::ffff:10.1.2.3", "192.168.1.1", "x", "", "10.1.2", "fe80::1%eth0", "010.1.2.3", "2001:db8::1", "0.0.0.0"}
	someNetworks  = []string{"10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "192.168.0.0/16", "::1/128", "::1", "10.1.2.0/24", "10.1.2.9/24", "2001:db8::/32", "::ffff:10.1.2.3"}
	someTags      = []string{"a", "b", "c", "", "20"}
	someObjects   = []map[string]any{
		{"age": 20.0, "role": "admin", "tag": "b", "path": "/a/b", "on": true, "address": "10.1.2.3"},
		{"age": 40.0, "role": "n1", "tag": "a", "path": "/a", "on": false, "address": "x"},
		{"age": "20", "role": "u1", "tag": "c", "path": "/v1.0/a"},
		{"role": "u0", "on": "yes", "tag": 5.0},
		{"age": 15.0, "role": 5.0, "path": "", "address": "::1"},
		{"age": true, "tag": "b", "path": "/a/b\nc"},
		{},
	}
)

var randomEffects = []string{
	"some(where (p.eft == allow))",
	"some(where (p.eft == allow))",
	"!some(where (p.eft == deny))",
	"some(where (p.eft == allow)) && !some(where (p.eft == deny))",
	"priority(p.eft) || deny",
	"subjectPriority(p.eft) || deny",
}

func pickOne[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// randomModel is a random policy, and what is needed to ask it.
type randomModel struct {
	effect        string
	request, rule []string
	features      map[string]bool
	// branches are the conditions of the matcher: one branch must hold, of which all must hold.
	branches [][]string
	// pools are the values of the fields of p; size is the number of rules.
	pools map[string][]string
	size  int
	rows  [][]string
	links []string
	// matching are the functions by which names and domains of relations match.
	matching map[string]functions
	// tokenRoles are what the subject "t1" brings; it has no links.
	tokenRoles []string
}

func newRandomModel(r *rand.Rand) *randomModel {
	m := &randomModel{features: map[string]bool{}, pools: map[string][]string{}, effect: pickOne(r, randomEffects), size: 1 + r.IntN(14)}
	switch n := r.IntN(60); {
	case n == 0:
		m.size = 200 + r.IntN(1000)
	case n < 15:
		m.size = 15 + r.IntN(60)
	}
	m.chooseFields(r)
	m.chooseMatching(r)
	m.chooseMatcher(r)
	for range m.size {
		m.rows = append(m.rows, m.randomRow(r))
	}
	m.chooseLinks(r)
	return m
}

// chooseFields chooses the fields of r and p, and what the values of p are.
func (m *randomModel) chooseFields(r *rand.Rand) {
	has := func(feature string, oneIn int) bool {
		m.features[feature] = r.IntN(oneIn) == 0
		return m.features[feature]
	}
	m.request, m.rule = []string{"sub", "obj", "act"}, []string{"sub", "obj", "act"}
	m.pools["sub"], m.pools["act"] = subjects, actions
	if m.features["act"] = r.IntN(4) > 0; !m.features["act"] {
		m.features["regexact"] = true
		m.pools["act"] = regexes
	}
	switch r.IntN(7) {
	case 0, 1, 2:
		m.features["key"], m.pools["obj"] = true, patterns
	case 3:
		m.features["glob"], m.pools["obj"] = true, globPatterns
	case 4:
		m.features["regexobj"], m.pools["obj"] = true, regexes
	default:
		m.features["plain"], m.pools["obj"] = true, slices.Concat(paths[:10], paths[15:])
		has("objroles", 2)
	}
	if has("dom", 3) {
		m.request, m.rule = append(m.request, "dom"), append(m.rule, "dom")
		m.pools["dom"] = domains
	}
	m.features["domroles"] = m.features["dom"] && r.IntN(3) > 0
	m.features["roles"] = !m.features["domroles"] && (m.features["objroles"] || r.IntN(4) > 0)
	m.features["objroles"] = m.features["objroles"] && m.features["roles"]
	m.features["acl"] = !m.features["roles"] && !m.features["domroles"]
	if m.features["acl"] && strings.HasPrefix(m.effect, "subject") {
		m.effect = randomEffects[0]
	}
	if has("ip", 6) {
		m.request, m.rule = append(m.request, "ip"), append(m.rule, "net")
		m.pools["net"] = someNetworks
	}
	if has("env", 5) {
		m.request = append(m.request, "env")
	}
	if has("tag", 6) {
		m.rule = append(m.rule, "tag")
		m.pools["tag"] = someTags
	}
	if has("cond", 6) {
		m.rule = append(m.rule, "cond")
		m.pools["cond"] = expressions
		if m.features["roles"] {
			m.pools["cond"] = slices.Concat(m.pools["cond"], roleExpressions)
		}
		if m.features["env"] {
			m.pools["cond"] = slices.Concat(m.pools["cond"], objectExpressions)
		}
	}
	r.Shuffle(len(m.request), func(i, j int) { m.request[i], m.request[j] = m.request[j], m.request[i] })
	if !strings.HasPrefix(m.effect, "subject") {
		r.Shuffle(len(m.rule), func(i, j int) { m.rule[i], m.rule[j] = m.rule[j], m.rule[i] })
	}
	if r.IntN(4) > 0 {
		m.rule = append(m.rule, "eft")
		m.pools["eft"] = []string{"allow", "allow", "deny"}
	}
	if r.IntN(6) == 0 {
		m.rule = append(m.rule, "priority")
		m.pools["priority"] = []string{"-1", "0", "1", "2", "10"}
	}
}

// offered returns the conditions that the model can have.
func (m *randomModel) offered(from []randomCondition) []string {
	var offered []string
	for _, c := range from {
		fits := true
		for need := range strings.FieldsSeq(c.needs) {
			fits = fits && m.features[need]
		}
		if fits {
			offered = append(offered, c.text)
		}
	}
	return offered
}

func (m *randomModel) chooseMatcher(r *rand.Rand) {
	keys, rest, odds := m.offered(keyConditions), m.offered(residualConditions), m.offered(oddConditions)
	branches := []int{1, 1, 1, 1, 1, 2, 2, 3}[r.IntN(8)]
	for range branches {
		var branch []string
		for range 1 + r.IntN(4) {
			branch = append(branch, pickOne(r, keys))
		}
		if r.IntN(3) == 0 || m.features["env"] && r.IntN(2) == 0 {
			branch = append(branch, pickOne(r, rest))
		}
		if r.IntN(25) == 0 {
			branch = append(branch, pickOne(r, odds))
		}
		if m.features["cond"] && r.IntN(3) > 0 {
			branch = append(branch, "eval(p.cond)")
		}
		if r.IntN(30) == 0 { // nothing to look up
			branch = []string{pickOne(r, rest), pickOne(r, slices.Concat(rest, odds))}
		}
		r.Shuffle(len(branch), func(i, j int) { branch[i], branch[j] = branch[j], branch[i] })
		m.branches = append(m.branches, branch)
	}
	if r.IntN(10) == 0 { // a branch that says who may do everything
		m.branches = append(m.branches, []string{`r.sub == "u9"`})
	}
}

// randomRow returns the fields of a rule.
func (m *randomModel) randomRow(r *rand.Rand) []string {
	row := make([]string, len(m.rule))
	for i, f := range m.rule {
		row[i] = pickOne(r, m.pools[f])
		if m.size < 100 || r.IntN(3) == 0 {
			continue
		}
		number := fmt.Sprint(r.IntN(m.size / 2))
		switch {
		case f == "sub":
			row[i] = "m" + number
		case f == "dom":
			row[i] = "e" + number
		case f == "obj" && m.features["key"]:
			row[i] = pickOne(r, []string{"/t" + number + "/:id", "/a/" + number, "/t" + number + "/*", "/{x}/" + number, "/v1.0/:id/" + number, "/t" + number + "*"})
		case f == "obj":
			row[i] = "/t" + number
		}
	}
	return row
}

// chooseLinks makes role graphs that have no cycle: links go from lower to higher names.
func (m *randomModel) chooseLinks(r *rand.Rand) {
	arity := map[string]int{}
	switch {
	case m.features["domroles"]:
		arity["g"] = 3
	case m.features["roles"]:
		arity["g"] = 2
	}
	if m.features["objroles"] {
		arity["g2"] = 2
	}
	forest := strings.HasPrefix(m.effect, "subject")
	linked := map[string]bool{}
	link := func(name, from, to, domain string) {
		if arity[name] != 3 {
			domain = ""
		}
		line := fmt.Sprintf("%s,%s,%s", name, quote(from), quote(to))
		if arity[name] == 3 {
			line += "," + quote(domain)
		}
		if key := name + "\n" + from + "\n" + domain; !forest || !linked[key] {
			linked[key] = true
			m.links = append(m.links, line)
		}
	}
	for name := range arity {
		names := m.names(name)
		for range r.IntN(12) {
			i := r.IntN(len(names) - 1)
			link(name, names[i], names[i+1+r.IntN(len(names)-i-1)], pickOne(r, m.domains(name)))
		}
	}
	if m.size >= 100 && arity["g"] > 0 {
		for range m.size {
			number := fmt.Sprint(r.IntN(m.size / 2))
			link("g", "m"+number, pickOne(r, subjects[4:10]), "e"+fmt.Sprint(r.IntN(m.size/2)))
		}
		for range 100 { // a subject of many roles
			link("g", "u1", "m"+fmt.Sprint(r.IntN(m.size/2)), pickOne(r, domains))
		}
	}
	slices.Sort(m.links) // the map above has no order
	// Links stand for the token's roles in casbin, so other subjects must not ask about the names of rules.
	if arity["g"] > 0 && r.IntN(3) == 0 && !forest && !strings.Contains(m.matcher(), "g(p.") && m.matching["g"].Names == "" {
		m.tokenRoles = []string{pickOne(r, subjects[4:10]), "unknown", pickOne(r, subjects[4:10])}
	}
}

func quote(field string) string { return `"` + strings.ReplaceAll(field, `"`, `""`) + `"` }

// matcher returns the text of the matcher.
func (m *randomModel) matcher() string {
	var branches []string
	for _, b := range m.branches {
		branches = append(branches, strings.Join(b, " && "))
	}
	return strings.Join(branches, " || ")
}

// text returns the model's text with an effect and a matcher.
func (m *randomModel) text() string {
	roles := ""
	switch {
	case m.features["domroles"]:
		roles = "[role_definition]\ng = _, _, _\n"
	case m.features["objroles"]:
		roles = "[role_definition]\ng = _, _\ng2 = _, _\n"
	case m.features["roles"]:
		roles = "[role_definition]\ng = _, _\n"
	}
	return fmt.Sprintf("[request_definition]\nr = %s\n[policy_definition]\np = %s\n%s[policy_effect]\ne = %s\n[matchers]\nm = %s\n",
		strings.Join(m.request, ", "), strings.Join(m.rule, ", "), roles, m.effect, m.matcher())
}

// rules returns the text of the rules and links, without duplicates.
func (m *randomModel) rules(r *rand.Rand) string {
	lines := slices.Clone(m.links)
	for _, row := range m.rows {
		line := "p"
		for _, field := range row {
			line += "," + quote(field)
		}
		lines = append(lines, line)
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
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

// randomRequest returns values for the fields of r, often such as a rule names.
func (m *randomModel) randomRequest(r *rand.Rand) []any {
	row := pickOne(r, m.rows)
	near := r.IntN(4) > 0
	values := make([]any, len(m.request))
	for i, f := range m.request {
		column := slices.Index(m.rule, f)
		if near && column >= 0 && r.IntN(8) > 0 && !(f == "act" && m.features["regexact"]) {
			values[i] = m.instance(r, f, row[column])
			continue
		}
		switch f {
		case "sub":
			values[i] = pickOne(r, slices.Concat(subjects, m.names("g")))
			if m.size >= 100 && r.IntN(2) == 0 {
				values[i] = fmt.Sprint("m", r.IntN(m.size/2))
			}
		case "dom":
			values[i] = pickOne(r, domains)
		case "obj":
			values[i] = pickOne(r, paths)
		case "act":
			values[i] = pickOne(r, actions)
		case "ip":
			values[i] = someAddresses[r.IntN(min(len(someAddresses), 5+r.IntN(len(someAddresses))))]
		case "env":
			values[i] = pickOne(r, someObjects)
		}
	}
	return values
}

// instance returns a value that a field of a rule may match.
func (m *randomModel) instance(r *rand.Rand, field, value string) string {
	switch {
	case field == "sub" && r.IntN(2) == 0:
		return pickOne(r, subjects)
	case field == "obj" && !m.features["plain"] && r.IntN(3) == 0:
		return pickOne(r, paths)
	case field == "obj" && m.features["key"]:
		value = strings.NewReplacer(":id", "1", "{id}", "1", "{x}", "x", "{y}", "y", ":x", "x", "*", pickOne(r, []string{"", "b", "b/c"})).Replace(value)
	case field == "obj" && m.features["glob"]:
		value = strings.NewReplacer("**", "x/y", "*", "b", "?", "c").Replace(value)
	}
	return value
}
