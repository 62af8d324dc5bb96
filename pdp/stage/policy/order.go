package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// sortRules puts rules into the order in which Casbin tries them: by the depth of their subjects for subjectPriority,
// then by a column that is named priority, whatever the effect is.
func sortRules(m *casbinModel, rules, links *ruleSet) format.Problems {
	var problems format.Problems
	if m.effect == subjectPriority {
		problems = sortBySubject(m, rules, links)
	}
	column := index(m.rule, "priority")
	if column < 0 {
		return problems
	}
	numbers := make([]int, rules.len())
	for row := range numbers {
		r := rules.ref(uint32(row))
		n, err := strconv.Atoi(r.text(column))
		if err != nil && len(problems) < maxProblems {
			problems = append(problems, r.problem("the priority is not a whole number"))
		}
		numbers[row] = n
	}
	sortBy(rules, numbers)
	return problems
}

// sortBy sorts rules by a number each, and leaves those of equal numbers in their order.
func sortBy(rules *ruleSet, numbers []int) {
	if slices.IsSorted(numbers) {
		return
	}
	order := make([]uint32, len(numbers))
	for row := range order {
		order[row] = uint32(row)
	}
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(numbers[a], numbers[b]) })
	rules.permute(order)
}

// sortBySubject sorts rules so that those about deeper subjects come first; roots have depth 0.
func sortBySubject(m *casbinModel, rules, links *ruleSet) format.Problems {
	column := index(m.rule, "dom")
	problems := append(checkDomains(rules, column), checkDomains(links, 2)...)
	g := newLinkGraph(links, links.width > 2)
	depths, moreProblems := depthsBelowRoots(g, links)
	problems = append(problems, moreProblems...)
	numbers := make([]int, rules.len())
	for row := range numbers {
		cells := rules.row(uint32(row))
		// Casbin looks for the name in the domain of the rule; links without domains are in "", and so are rules.
		domain := rules.values.find("")
		if column >= 0 {
			domain = cells[column]
		}
		if links.width <= 2 {
			if rules.values.text(domain) != "" {
				continue
			}
			domain = 0
		}
		if node, found := g.nodes.find(domain, cells[0]); found {
			numbers[row] = -depths[node]
		}
	}
	sortBy(rules, numbers)
	return problems
}

// checkDomains refuses domains that Casbin could take for others: it knows a subject by its domain and name joined with "::".
func checkDomains(set *ruleSet, column int) format.Problems {
	if column < 0 || column >= set.width {
		return nil
	}
	var problems format.Problems
	for row := range set.lines {
		r := set.ref(uint32(row))
		if domain := r.text(column); strings.Contains(domain+":", "::") && len(problems) < maxProblems {
			problems = append(problems, r.fieldProblem(column, fmt.Sprintf("with subjectPriority the domain %q must not hold :: or end with a colon", printable(domain))))
		}
	}
	return problems
}

// depthsBelowRoots returns how far each name stands below the roles that have no role themselves. Where two ways up
// differ in length, Casbin's answer depends on the order of a map, so that is a problem.
func depthsBelowRoots(g *linkGraph, links *ruleSet) ([]int, format.Problems) {
	var problems format.Problems
	depths := make([]int, len(g.nodes.pairs))
	seen := newBitset(len(depths))
	topological(g.to, g.from, len(depths), func(row uint32) {
		member, role := g.from[row], g.to[row]
		if seen.has(member) && depths[member] != depths[role]+1 && len(problems) < maxProblems {
			problems = append(problems, links.ref(row).problem("with subjectPriority all ways from a subject up to its top roles must have one length"))
		}
		seen.set(member)
		depths[member] = depths[role] + 1
	})
	return depths, problems
}
