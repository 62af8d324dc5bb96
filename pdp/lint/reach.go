package lint

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy"
)

const (
	maxProduct = 1 << 12 // lookups for one route; beyond, all groups of rules are compared
	maxWork    = 1 << 24 // such comparisons in one policy; beyond, the check ends
)

// reach holds the routes of each service against the rules of its policies. What a request brings is unknown and may be
// anything; what the route itself fixes must fit.
func (r *run) reach() {
	for i := range r.policies {
		v := &r.policies[i]
		if v.service == nil {
			continue
		}
		f := &reachFinder{policyView: v, run: r, reached: make([]bool, v.Rules.Len()), tables: map[string]*columnTable{}, matchers: map[string]func(string) []uint32{}, known: map[int][]string{}}
		routes := 0
		for route := range v.service.Routes {
			if v.service.Routes[route].Access != "public" {
				routes++
				f.route(route)
			}
		}
		if routes > 0 && f.work < maxWork {
			f.report()
		}
	}
}

// reachFinder marks the rules that some route can reach.
type reachFinder struct {
	*policyView
	run     *run
	reached []bool
	tables  map[string]*columnTable
	// matchers are those of pattern conditions, by function and column.
	matchers map[string]func(string) []uint32
	// known are the texts that routes fix for a column, for hints.
	known map[int][]string
	work  int
}

// columnTable groups the rules by the values of some columns.
type columnTable struct {
	columns []int
	groups  map[string]*ruleGroup
}

type ruleGroup struct {
	values []uint32
	rows   []int32
	// allows is set when one of the rules allows; marked when all of them are reached.
	allows, marked bool
}

// fixed is what a route fixes for a column: the values that can match.
type fixed struct {
	column int
	values map[uint32]bool
}

func (f *reachFinder) route(index int) {
	route := &f.service.Routes[index]
	for _, name := range slices.Sorted(maps.Keys(f.source.Request)) {
		a := f.source.Request[name]
		if values, ok := fact(f.service, route, a.Name); ok && len(values) == 0 && a.Missing == nil {
			p := routeOf(f.service, index, fmt.Sprintf("the route %q is always denied: the policy %s needs %s, which is missing here", route.Name, f.Name, a.Name))
			f.run.add("route-never-allowed", p)
			return
		}
	}
	allowed := false
	for _, alternative := range f.Alternatives {
		var all []fixed
		possible := true
		for i := range alternative {
			if values, ok := f.fit(&alternative[i], route); ok {
				all = append(all, fixed{alternative[i].Column, values})
				possible = possible && len(values) > 0
			}
		}
		if possible && f.mark(all) {
			allowed = true
		}
	}
	if !allowed {
		f.run.add("route-never-allowed", routeOf(f.service, index, fmt.Sprintf("no rule of the policy %s can allow the route %q%s", f.Name, route.Name, f.describe(route))))
	}
}

// describe says what a route is to the rules.
func (f *reachFinder) describe(route *format.Route) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.source.Request)) {
		attribute := f.source.Request[name].Name
		if values, ok := fact(f.service, route, attribute); ok && len(values) > 0 {
			parts = append(parts, attribute+" "+strings.Join(values, " or "))
		}
	}
	if parts == nil {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// fact returns what a route fixes of an attribute; ok is false where a request may bring anything.
func fact(s *format.Service, r *format.Route, name string) (values []string, ok bool) {
	one := func(text string) ([]string, bool) {
		if text == "" {
			return nil, true
		}
		return []string{text}, true
	}
	switch name {
	case "action":
		if r.Action == "" {
			return r.Methods, true
		}
		return one(r.Action)
	case "request.method":
		return r.Methods, true
	case "route.name":
		return one(r.Name)
	case "route.service":
		return one(s.Name)
	case "route.template":
		return one(r.Path)
	case "resource.type":
		if r.Resource == nil {
			return one("route")
		}
		return one(r.Resource.Type)
	case "resource.id":
		switch {
		case r.Resource == nil:
			return one(r.Path)
		case r.Resource.ID.Name == "":
			return nil, true
		}
		return nil, false
	}
	if property, ok := strings.CutPrefix(name, "resource.properties."); ok && r.Resource != nil {
		_, there := r.Resource.Properties[property]
		return nil, !there
	}
	if param, ok := strings.CutPrefix(name, "params."); ok {
		return nil, !strings.Contains(r.Path, "{"+param+"}") && !strings.Contains(r.Path, "{"+param+"...}")
	}
	return nil, false
}

// fit returns the values of a condition's column with which it can hold on a route; ok is false where any may.
func (f *reachFinder) fit(c *policy.Condition, route *format.Route) (values map[uint32]bool, ok bool) {
	switch c.Kind {
	case policy.Constant:
		return map[uint32]bool{f.Rules.Find(c.Text): f.Rules.Find(c.Text) != 0}, true
	case policy.Equal, policy.Pattern:
		if c.Attribute == "request.path" {
			return f.fitPath(c, route)
		}
		texts, known := fact(f.service, route, c.Attribute)
		if !known {
			return nil, false
		}
		if texts == nil {
			if text := f.missing(c.Attribute); text != nil {
				texts = []string{*text}
			}
		}
		f.remember(c.Column, texts)
		values = map[uint32]bool{}
		for _, text := range texts {
			f.add(values, c, text)
		}
		return values, true
	case policy.Any:
		values = map[uint32]bool{}
		for i := range c.Any {
			member, known := f.fit(&c.Any[i], route)
			if !known {
				return nil, false
			}
			for value, holds := range member {
				if holds {
					values[value] = true
				}
			}
		}
		return values, true
	default: // the others depend on more than the route
	}
	return nil, false
}

// missing returns what the policy takes for an attribute that is missing.
func (f *reachFinder) missing(attribute string) *string {
	for _, a := range f.source.Request {
		if a.Name == attribute {
			return a.Missing
		}
	}
	return nil
}

func (f *reachFinder) remember(column int, texts []string) {
	for _, text := range texts {
		if len(f.known[column]) < maxListed && !slices.Contains(f.known[column], text) {
			f.known[column] = append(f.known[column], text)
		}
	}
}

// add adds the values of a condition's column that fit a text.
func (f *reachFinder) add(values map[uint32]bool, c *policy.Condition, text string) {
	if c.Kind == policy.Equal {
		if value := f.Rules.Find(text); value != 0 {
			values[value] = true
		}
		return
	}
	distinct := f.distinct(c.Column)
	key := fmt.Sprint(c.Function, c.Column)
	match, ok := f.matchers[key]
	if !ok {
		match, _ = c.Matcher(f.texts(distinct))
		f.matchers[key] = match
	}
	if c.Function == "regexMatch" {
		f.work += len(distinct) // they may have to be tried one by one
	}
	if match == nil || f.work >= maxWork {
		for _, value := range distinct {
			values[value] = true
		}
		return
	}
	for _, id := range match(text) {
		values[distinct[id]] = true
	}
}

// fitPath returns the paths and key patterns that a template and they can both match.
func (f *reachFinder) fitPath(c *policy.Condition, route *format.Route) (values map[uint32]bool, ok bool) {
	distinct := f.distinct(c.Column)
	if f.work += len(distinct); f.work >= maxWork {
		return nil, false
	}
	template := route.Path
	if f.service.Path.Case == "insensitive" {
		template = strings.ToLower(template) // as canonical paths are there
	}
	values = map[uint32]bool{}
	for _, value := range distinct {
		if overlaps(c.Function, f.Rules.Text(value), template) {
			values[value] = true
		}
	}
	return values, true
}

// overlaps reports whether some path can match a template and a pattern of a function; "" is equality. It answers yes
// where it cannot tell.
func overlaps(function, pattern, template string) bool {
	switch function {
	case "", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5":
		if function != "" && !judged(function, pattern) {
			return true
		}
	case "keyMatch":
		before, _, star := strings.Cut(pattern, "*")
		if !star {
			return overlaps("", pattern, template)
		}
		literal, _, named := strings.Cut(template, "{")
		return strings.HasPrefix(literal, before) || named && strings.HasPrefix(before, literal)
	default:
		return true
	}
	ps, ts := strings.Split(pattern, "/"), strings.Split(template, "/")
	for i := 0; ; i++ {
		switch {
		case i < len(ts) && strings.HasSuffix(ts[i], "...}"), i < len(ps) && i > 0 && ps[i] == "*" && function != "" && i < len(ts):
			return true
		case i == len(ts) || i == len(ps):
			return len(ts) == len(ps)
		case strings.HasPrefix(ts[i], "{"), function == "keyMatch2" && strings.Contains(ps[i], ":"), function != "" && strings.Contains(ps[i], "{"):
		case ps[i] != ts[i]:
			return false
		}
	}
}

// mark marks the rules that fit, and reports whether one of them allows.
func (f *reachFinder) mark(all []fixed) bool {
	slices.SortStableFunc(all, func(a, b fixed) int { return a.column - b.column })
	var joined []fixed
	for _, x := range all {
		if n := len(joined); n > 0 && joined[n-1].column == x.column {
			both := map[uint32]bool{}
			for value := range x.values {
				both[value] = x.values[value] && joined[n-1].values[value]
			}
			joined[n-1].values = both
			continue
		}
		joined = append(joined, x)
	}
	table := f.table(joined)
	product := 1
	for _, x := range joined {
		product = min(product*len(x.values), maxProduct+1)
	}
	if product > maxProduct {
		return f.markAll(table, joined)
	}
	allows := false
	values := make([]uint32, len(joined))
	choices := make([][]uint32, len(joined))
	for i, x := range joined {
		for value, holds := range x.values {
			if holds {
				choices[i] = append(choices[i], value)
			}
		}
		if choices[i] == nil {
			return false
		}
	}
	for n := range product {
		for i, of := range choices {
			values[i], n = of[n%len(of)], n/len(of)
		}
		if n > 0 {
			break // choices hold less than the product was made of
		}
		if g := table.groups[groupKey(values)]; g != nil {
			allows = f.markGroup(g) || allows
		}
	}
	return allows
}

// markAll compares every group.
func (f *reachFinder) markAll(table *columnTable, all []fixed) bool {
	allows := false
	f.work += len(table.groups)
	if f.work >= maxWork {
		return true
	}
	for _, g := range table.groups {
		fits := true
		for i, x := range all {
			fits = fits && x.values[g.values[i]]
		}
		if fits {
			allows = f.markGroup(g) || allows
		}
	}
	return allows
}

func (f *reachFinder) markGroup(g *ruleGroup) bool {
	if !g.marked {
		g.marked = true
		for _, row := range g.rows {
			f.reached[row] = true
		}
	}
	return g.allows
}

// table returns the rules grouped by the columns that are fixed.
func (f *reachFinder) table(all []fixed) *columnTable {
	columns := make([]int, len(all))
	for i, x := range all {
		columns[i] = x.column
	}
	name := fmt.Sprint(columns)
	if t, ok := f.tables[name]; ok {
		return t
	}
	t := &columnTable{columns: columns, groups: map[string]*ruleGroup{}}
	f.tables[name] = t
	values := make([]uint32, len(columns))
	for row := range f.Rules.Len() {
		for i, column := range columns {
			values[i] = f.Rules.Value(row, column)
		}
		key := groupKey(values)
		g := t.groups[key]
		if g == nil {
			g = &ruleGroup{values: slices.Clone(values)}
			t.groups[key] = g
		}
		g.rows = append(g.rows, int32(row))
		g.allows = g.allows || !f.Rules.Denies(row)
	}
	return t
}

func groupKey(values []uint32) string {
	key := make([]byte, 0, 4*len(values))
	for _, value := range values {
		key = binary.LittleEndian.AppendUint32(key, value)
	}
	return string(key)
}

// report tells of the rules that no route reaches.
func (f *reachFinder) report() {
	for row, reached := range f.reached {
		if reached {
			continue
		}
		f.run.everywhere(f.policyView, "rule-unreachable", f.Rules.Position(row), func() Finding {
			for _, c := range f.conditions(false) {
				texts := f.known[c.Column]
				if c.Kind != policy.Equal || texts == nil {
					continue
				}
				if text := f.Rules.Text(f.Rules.Value(row, c.Column)); !slices.Contains(texts, text) {
					p := f.Rules.Problem(row, c.Column, fmt.Sprintf("no route has %s %q, so the rule never matches", c.Attribute, text))
					if near := format.Nearest(text, texts); near != "" {
						p.Hint = fmt.Sprintf("did you mean %q?", near)
					}
					return Finding{Problem: p}
				}
			}
			return Finding{Problem: f.Rules.Problem(row, -1, "no route fits all the fields of the rule, so it never matches")}
		})
	}
}
