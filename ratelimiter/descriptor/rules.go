package descriptor

import (
	"cmp"
	"slices"
)

// Rules returns what a domain's configuration limits, in the order of their paths. Hits and keys are those of no request:
// they are zero, as is the limit of what is unlimited.
func (d *Domain) Rules() []Rule {
	rules := d.root.rules(d.name, nil)
	for i := range rules {
		rules[i].Quota = rules[i].Quota || d.quotaMode
	}
	slices.SortFunc(rules, func(a, b Rule) int { return cmp.Compare(a.Path, b.Path) })
	return rules
}

// rules appends the rules of a level and below. Files bound its depth.
func (l level) rules(above string, out []Rule) []Rule {
	for _, b := range l {
		nodes := make([]*node, 0, len(b.exact)+1)
		for _, n := range b.exact { // wildcards are among them
			nodes = append(nodes, n)
		}
		if b.any != nil {
			nodes = append(nodes, b.any)
		}
		for _, n := range nodes {
			path := above + "." + joined(n.key, n.value)
			if n.limit != nil {
				r := Rule{Path: path, Shadow: n.shadow, Quota: n.quota, Unlimited: n.unlimited}
				if !n.unlimited {
					r.Limit = n.limit
				}
				out = append(out, r)
			}
			out = n.next.rules(path, out)
		}
	}
	return out
}
