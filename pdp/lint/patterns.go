package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/policy"
)

var (
	colonSuffix = regexp.MustCompile(`:[A-Za-z0-9_]+[^/A-Za-z0-9_*]`)
	innerStar   = regexp.MustCompile(`\*.|[^/]\*$`)

	// literalCall is a call whose pattern stands in the matcher.
	literalCall = regexp.MustCompile(`\b(keyMatch[2-5]?|regexMatch)\(\s*([A-Za-z0-9_.]+)\s*,\s*(?:"([^"]*)"|'([^']*)')\s*\)`)
)

// trap says what is odd about a pattern of a function that matches an attribute: a code and a message, or "".
func trap(function, attribute, pattern string) (code, message string) {
	colon := function == "keyMatch2"
	switch function {
	case "keyMatch":
		if at := strings.IndexByte(pattern, '*'); at >= 0 && at < len(pattern)-1 {
			return "keymatch-star", fmt.Sprintf("keyMatch ends at the first *: %q is not looked at", pattern[at+1:])
		}
	case "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5":
		switch {
		case strings.Contains(pattern, "|"):
			return "keymatch-bar", "| divides the pattern into two, of which the first is open at its end and the second at its beginning"
		case colon && colonSuffix.MatchString(pattern):
			return "keymatch-suffix", "a name after a colon goes on to the next slash: what follows it here belongs to it and is not compared"
		case innerStar.MatchString(pattern):
			return "keymatch-star", "a * within the pattern is one of regular expressions: /* takes any number of segments, and any other * repeats the character before it"
		case strings.Contains(pattern, "."):
			return "keymatch-regex", "a dot matches any character, the slash too"
		case strings.ContainsAny(pattern, `\()[]+?^$`):
			return "keymatch-regex", "Casbin makes a regular expression of the pattern, in which this is no plain text"
		}
	case "regexMatch":
		whole := strings.HasPrefix(pattern, "^") && strings.HasSuffix(pattern, "$")
		if bare := strings.TrimSuffix(strings.TrimPrefix(pattern, "^"), "$"); whole && strings.Contains(bare, "|") && !(strings.HasPrefix(bare, "(") && strings.HasSuffix(bare, ")")) {
			return "regex-unanchored", "| divides the expression: ^ is about its first part alone, $ about its last; write ^(…)$"
		}
		if !whole && attribute != "request.method" && !universal(function, pattern) {
			return "regex-unanchored", "the expression need not match the whole value; write ^…$"
		}
	}
	return "", ""
}

// patterns finds patterns that mean something else than they look like.
func (r *run) patterns() {
	for i := range r.policies {
		v := &r.policies[i]
		r.literals(v)
		for _, c := range v.conditions(true) {
			if c.Kind != policy.Pattern {
				continue
			}
			type found struct{ code, message string }
			traps := map[uint32]found{}
			for _, value := range v.distinct(c.Column) {
				if code, message := trap(c.Function, c.Attribute, v.Rules.Text(value)); code != "" {
					traps[value] = found{code, message}
				}
			}
			if len(traps) == 0 {
				continue
			}
			for row := range v.Rules.Len() {
				if f, ok := traps[v.Rules.Value(row, c.Column)]; ok && !r.full(f.code) {
					r.add(f.code, v.Rules.Problem(row, c.Column, f.message))
				}
			}
		}
	}
}

// literals finds such patterns in the matcher itself.
func (r *run) literals(v *policyView) {
	for _, c := range v.conditions(true) {
		for _, call := range literalCall.FindAllStringSubmatch(c.Source, -1) {
			attribute := v.source.Request[strings.TrimPrefix(call[2], "r.")].Name
			if code, message := trap(call[1], attribute, call[3]+call[4]); code != "" {
				r.add(code, v.MatcherProblem(fmt.Sprintf("%s: %s", call[0], message)))
			}
		}
	}
}

// paths finds rules about raw paths: beside routes they say things twice, and where they deny they can be evaded.
func (r *run) paths() {
	for i := range r.policies {
		v := &r.policies[i]
		column := slices.IndexFunc(v.conditions(true), func(c policy.Condition) bool {
			return c.Attribute == "request.path" && (c.Kind == policy.Pattern || c.Kind == policy.Equal)
		})
		if column < 0 {
			continue
		}
		field := v.conditions(true)[column].Column
		if v.service != nil {
			declared := 0
			for i := range v.service.Routes {
				if v.service.Routes[i].Access != "public" && !strings.Contains(v.service.Routes[i].Path, "...}") {
					declared++
				}
			}
			if declared > 1 {
				p := v.File.Problem(v.Path+".request", fmt.Sprintf("the rules match request.path, and the service declares %d paths as routes: each path stands in two places", declared))
				p.Hint = "map action and resource.id, or declare one route with {rest...}"
				r.add("path-rules", p)
			}
		}
		if v.Effect == "allow-override" {
			continue
		}
		for row := range v.Rules.Len() {
			if v.Rules.Denies(row) && !r.full("path-deny") {
				r.add("path-deny", v.Rules.Problem(row, field, "whoever writes %40 for @, or another such escape, does not match this pattern and may reach the same object"))
			}
		}
	}
}
