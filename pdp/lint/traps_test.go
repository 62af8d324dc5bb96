package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestTrapsBlockActivation goes through the traps of Casbin: each is found, at its place, under the code of its page.
func TestTrapsBlockActivation(t *testing.T) {
	const (
		matcher = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
		model   = "services/orders/model.conf"
		csv     = "services/orders/policy.csv"
		yaml    = "services/orders/service.yaml"
	)
	cost := func(rules int) string {
		var b strings.Builder
		for i := range rules {
			fmt.Fprintf(&b, "p, reader, order, read%d\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ file, from, to, want string }{
		"a matcher that is none":        {model, matcher, matcher + " &&", "matcher-syntax model.conf:14:"},
		"a field that r has not":        {model, "r.act == p.act", "r.dom == p.act", "matcher-name model.conf:14:42"},
		"a field that p has not":        {model, "r.act == p.act", "r.act == p.action", "matcher-name model.conf:14:51"},
		"an unknown function":           {model, "r.act == p.act", "same(r.act, p.act)", "matcher-name model.conf:14:42"},
		"a function of two arguments":   {model, "r.act == p.act", "keyMatch2(r.act)", "matcher-types model.conf:14:42"},
		"a relation of two fields":      {model, "g(r.sub, p.sub)", "g(r.sub, p.sub, r.obj)", "matcher-types model.conf:14:5"},
		"a method":                      {model, "r.act == p.act", "r.act.Len() == p.act", "matcher-types model.conf:14:"},
		"another effect":                {model, "some(where (p.eft == allow))", "any(where (p.eft == allow))", "effect-unknown model.conf:11:5"},
		"an effect that allows":         {model, "some(where (p.eft == allow))", "!some(where (p.eft == deny))", "effect-default-allow model.conf:11:5"},
		"a hash in a literal":           {model, "r.act == p.act", `r.act == p.act && r.act != "a#b"`, "matcher-literal model.conf:14:"},
		"a semicolon in a literal":      {model, "r.act == p.act", `r.act == p.act && r.act != "a;b"`, "matcher-literal model.conf:14:"},
		"brackets in a literal":         {model, "r.act == p.act", `regexMatch(r.act, "^[ab]+in$") && r.act == p.act`, "matcher-literal model.conf:14:"},
		"r. in a literal":               {model, "r.act == p.act", `r.act == p.act && r.act != "/r.a"`, "matcher-literal model.conf:14:"},
		"p. in a literal":               {model, "r.act == p.act", `r.act == p.act && r.act != "/p.html"`, "matcher-literal model.conf:14:"},
		"a date in a literal":           {model, "r.act == p.act", `r.act == p.act && r.act != "2026-01-01"`, "matcher-literal model.conf:14:"},
		"a matcher without rules":       {model, matcher, `r.act == "read"`, "matcher-without-rules model.conf:14:"},
		"a second matcher":              {model, "[matchers]", "[matchers]\nm2 = r.act == p.act", "model-definition model.conf:14:1"},
		"roles with conditions":         {model, "g = _, _", "g = _, _, (_, _)", "role-conditional model.conf:8:"},
		"neither allow nor deny":        {model, "p = sub, obj, act", "p = sub, obj, act, eft\n-- policy\np, reader, order, read, DENY", "rule-effect policy.csv:1:1"},
		"too few fields":                {csv, "p, reader, order, read", "p, reader, order", "rule-width policy.csv:1:"},
		"too many fields":               {csv, "p, reader, order, read", "p, reader, order, read, allow, x", "rule-width policy.csv:1:"},
		"no rules":                      {csv, "p, reader, order, read\np, writer, order, write\n", "", "policy-empty service.yaml:7:5"},
		"the same rule":                 {csv, "g, writer", "p, reader, order, read\ng, writer", "rule-duplicate policy.csv:3:"},
		"a covered rule":                {csv, "g, writer", "p, writer, order, read\ng, writer", "rule-shadowed policy.csv:3:1"},
		"a blank":                       {csv, "p, reader, ", "p, reader , ", "rule-blank policy.csv:1:4"},
		"a quoted blank":                {csv, "p, reader, ", `p, "reader ", `, "rule-blank policy.csv:1:4"},
		"equal when joined":             {csv, "g, writer", "p, \"a,b\", c, d\np, a, \"b,c\", d\ng, writer", "rule-collision policy.csv:4:"},
		"a cycle":                       {csv, "g, writer, reader", "g, writer, reader\ng, reader, writer", "role-cycle policy.csv:"},
		"a long chain":                  {csv, "g, writer, reader", "g, a, b\ng, b, c\ng, c, d\ng, d, e\ng, e, f\ng, f, h\ng, h, i\ng, i, j\ng, j, k\ng, k, l", "role-depth policy.csv:"},
		"a role like a user":            {csv, "g, writer, reader", "g, writer, user:corp:bob", "role-key-shaped policy.csv:3:1"},
		"a user like a role":            {yaml, "sub: subject.key", "sub: subject.id", "role-member "},
		"a bad expression":              {model, "r.act == p.act", "regexMatch(r.act, p.act)\n-- policy\np, reader, order, (read", "pattern-invalid policy.csv:1:19"},
		"a bad network":                 {model, "r.act == p.act", "ipMatch(r.act, p.act)\n-- policy\np, reader, order, 10.0.0.0/33", "pattern-invalid policy.csv:1:19"},
		"a bad glob":                    {model, "r.act == p.act", "globMatch(r.act, p.act)\n-- policy\np, reader, order, [", "pattern-invalid policy.csv:1:19"},
		"a dot in a key pattern":        {model, "r.act == p.act", "keyMatch2(r.act, p.act)\n-- policy\np, reader, order, /v1.0", "keymatch-regex policy.csv:1:19"},
		"a plus in a key pattern":       {model, "r.act == p.act", "keyMatch2(r.act, p.act)\n-- policy\np, reader, order, /a+b", "keymatch-regex policy.csv:1:19"},
		"a star in a key pattern":       {model, "r.act == p.act", "keyMatch2(r.act, p.act)\n-- policy\np, reader, order, /*/a", "keymatch-star policy.csv:1:19"},
		"a suffix in a key pattern":     {model, "r.act == p.act", "keyMatch2(r.act, p.act)\n-- policy\np, reader, order, /:id.json", "keymatch-suffix policy.csv:1:19"},
		"a bar in a key pattern":        {model, "r.act == p.act", "keyMatch2(r.act, p.act)\n-- policy\np, reader, order, /a|/b", "keymatch-bar policy.csv:1:19"},
		"a dot in the matcher":          {model, "r.act == p.act", `r.act == p.act && keyMatch2(r.obj, "/v1.0")`, "keymatch-regex model.conf:14:"},
		"no anchor in the matcher":      {model, "r.act == p.act", `r.act == p.act && (regexMatch(r.obj, 'order') || r.obj == "x")`, "regex-unanchored model.conf:14:"},
		"too many rules without index":  {model, matcher, `r.act == p.act ? r.obj == p.obj : g(r.sub, p.sub)` + "\n-- policy\n" + cost(10_000), "policy-cost "},
		"some rules without index":      {model, matcher, `r.act == p.act ? r.obj == p.obj : g(r.sub, p.sub)` + "\n-- policy\n" + cost(10), "matcher-linear model.conf:14:"},
		"a log-in without any limit":    {yaml, "defaults: {limits: [per-address]}\nroutes:", "routes:\n  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login}", "login-without-limit service.yaml:"},
		"a log-in without a good limit": {yaml, "routes:", "routes:\n  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login}", "login-address-limit service.yaml:"},
	} {
		files := example(t)
		to, rules, other := strings.Cut(c.to, "\n-- policy\n")
		if files[c.file] = strings.Replace(files[c.file], c.from, to, 1); other {
			files[csv] = rules + "\n"
		}
		if files[c.file] == example(t)[c.file] {
			t.Fatalf("%s: nothing to replace", name)
		}
		var got []string
		for _, f := range look(t, files).Findings {
			got = append(got, f.Code+" "+strings.TrimPrefix(f.Position.String(), "services/orders/"))
		}
		if !slices.ContainsFunc(got, func(found string) bool { return strings.HasPrefix(found, c.want) }) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
