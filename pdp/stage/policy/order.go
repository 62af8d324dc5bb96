package policy

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// sortRules puts rules into the order in which Casbin tries them: by the depth of their subjects for subjectPriority,
// then by a column that is named priority, whatever the effect is.
func sortRules(m *casbinModel, rules, links []*rule) format.Problems {
	var problems format.Problems
	if m.effect == subjectPriority {
		problems = sortBySubject(m, rules, links)
	}
	column := index(m.rule, "priority")
	if column < 0 {
		return problems
	}
	numbers := make(map[*rule]int, len(rules))
	for _, r := range rules {
		n, err := strconv.Atoi(r.text(column))
		if err != nil && len(problems) < maxProblems {
			problems = append(problems, r.problem("the priority is not a whole number"))
		}
		numbers[r] = n
	}
	slices.SortStableFunc(rules, func(a, b *rule) int { return cmp.Compare(numbers[a], numbers[b]) })
	return problems
}

// node is a name in a domain.
type node struct{ domain, name string }

// sortBySubject sorts rules so that those about deeper subjects come first; roots have depth 0.
func sortBySubject(m *casbinModel, rules, links []*rule) format.Problems {
	depths, problems := depthsBelowRoots(links)
	domain := index(m.rule, "dom")
	depth := func(r *rule) int {
		at := node{name: r.text(0)}
		if domain >= 0 {
			at.domain = r.text(domain)
		}
		return depths[at]
	}
	slices.SortStableFunc(rules, func(a, b *rule) int { return cmp.Compare(depth(b), depth(a)) })
	return problems
}

// depthsBelowRoots returns how far each name stands below the roles that have no role themselves. Where two ways up
// differ in length, Casbin's answer depends on the order of a map, so that is a problem.
func depthsBelowRoots(links []*rule) (map[node]int, format.Problems) {
	var problems format.Problems
	members := map[node][]*rule{}
	waiting := map[node]int{}
	ends := func(r *rule) (member, role node) {
		domain := ""
		if len(r.values) > 2 {
			domain = r.text(2)
		}
		return node{domain, r.text(0)}, node{domain, r.text(1)}
	}
	for _, link := range links {
		member, role := ends(link)
		members[role] = append(members[role], link)
		waiting[member]++
		waiting[role] += 0
	}
	depths := map[node]int{}
	var queue []node
	for n, count := range waiting {
		if count == 0 {
			queue = append(queue, n)
			depths[n] = 0
		}
	}
	for len(queue) > 0 {
		role := queue[0]
		queue = queue[1:]
		for _, link := range members[role] {
			member, _ := ends(link)
			if depth, seen := depths[member]; seen && depth != depths[role]+1 && len(problems) < maxProblems {
				problems = append(problems, link.problem("with subjectPriority all ways from a subject up to its top roles must have one length"))
			}
			depths[member] = depths[role] + 1
			if waiting[member]--; waiting[member] == 0 {
				queue = append(queue, member)
			}
		}
	}
	return depths, problems
}
