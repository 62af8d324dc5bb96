package policy

import (
	"math/rand/v2"
	"slices"
)

// randomPatterns are patterns of each function: of subjects, of paths and of domains. Some match others of them.
var randomPatterns = map[string]struct{ names, paths, domains []string }{
	"keyMatch":   {[]string{"u*", "n*", "*", "n1*", "t*"}, []string{"/a*", "/a/*", "*", "/*"}, []string{"d*", "*", "d1*"}},
	"keyMatch2":  {[]string{":x", "u.", "n.", "*", "n1|n2", "u:x"}, []string{"/a/*", "/:x", "/a/:x", "/*", "/a/:x/b"}, []string{"*", ":x", "d1/*", "d."}},
	"keyMatch3":  {[]string{"{x}", "u{x}", "n.", "*"}, []string{"/a/{x}", "/{x}", "/a/*", "/{x}b"}, []string{"*", "{x}", "d1/{x}"}},
	"keyMatch4":  {[]string{"{x}", "u{x}", "{x}{x}", "*"}, []string{"/a/{x}", "/{x}/{x}", "/a/*"}, []string{"*", "{x}", "d1/{x}"}},
	"keyMatch5":  {[]string{"{x}", "u{x}", "u1?", "*"}, []string{"/a/{x}", "/{x}", "/a/*"}, []string{"*", "{x}", "d1/*"}},
	"regexMatch": {[]string{"^u", "^n[0-3]$", "1", "u.|n4", ".", "^[un]1$"}, []string{"^/a", "b$", "^/a/.$", "/"}, []string{"^d1$", "^d[12]$", "", "/x$"}},
	"globMatch":  {[]string{"u*", "[un]1", "*", "{u1,n2}", "n?"}, []string{"/a/*", "/**", "/a*", "/?"}, []string{"d*", "d1/*", "*"}},
}

// chooseMatching chooses the functions by which names and domains match, and makes the rules name patterns of them.
func (m *randomModel) chooseMatching(r *rand.Rand) {
	m.matching = map[string]functions{}
	choose := func(relation string, domains bool) {
		var declared functions
		if r.IntN(3) == 0 {
			declared.Names = pickOne(r, matchingFunctions)
		}
		if domains && r.IntN(3) == 0 {
			declared.Domains = pickOne(r, matchingFunctions)
		}
		m.features[relation+"texts"] = declared.Names == ""
		if declared != (functions{}) {
			m.matching[relation] = declared
		}
	}
	if m.features["roles"] || m.features["domroles"] {
		choose("g", m.features["domroles"])
		m.pools["sub"] = slices.Concat(subjects, randomPatterns[m.matching["g"].Names].names)
		if m.features["domroles"] {
			m.pools["dom"] = slices.Concat(domains, randomPatterns[m.matching["g"].Domains].domains)
		}
	}
	if m.features["objroles"] {
		choose("g2", false)
		m.pools["obj"] = slices.Concat(m.pools["obj"], randomPatterns[m.matching["g2"].Names].paths)
	}
}

// names returns the names of a relation's links in an order in which links go only upwards.
func (m *randomModel) names(relation string) []string {
	plain, patterns := subjects[:10], randomPatterns[m.matching[relation].Names].names
	if relation == "g2" {
		plain, patterns = paths[:6], randomPatterns[m.matching[relation].Names].paths
	}
	var names []string
	for i := range max(len(plain), len(patterns)) {
		if i < len(plain) {
			names = append(names, plain[i])
		}
		if i < len(patterns) {
			names = append(names, patterns[i])
		}
	}
	return names
}

// domains returns the domains of a relation's links.
func (m *randomModel) domains(relation string) []string {
	if function := m.matching[relation].Domains; function != "" {
		return slices.Concat([]string{"d1", "d2", "d1/x"}, randomPatterns[function].domains)
	}
	return domains
}
