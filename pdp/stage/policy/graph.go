package policy

import (
	"fmt"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// linkGraph numbers the names that the links of a relation join, each in its domain: from and to are the nodes of the
// member and the role of each link.
type linkGraph struct {
	from, to []uint32
	nodes    nodeNumbers
}

// newLinkGraph reads the links of a set. Without domains all links are in one.
func newLinkGraph(set *ruleSet, domains bool) *linkGraph {
	g := &linkGraph{from: make([]uint32, set.len()), to: make([]uint32, set.len())}
	for row := range g.from {
		cells := set.row(uint32(row))
		domain := uint32(0)
		if domains {
			domain = cells[2]
		}
		g.from[row], g.to[row] = g.nodes.number(domain, cells[0]), g.nodes.number(domain, cells[1])
	}
	return g
}

// nodeNumbers numbers pairs of ids.
type nodeNumbers struct {
	pairs [][2]uint32
	slots []uint32 // numbers from 1
}

// find returns the number of a pair; false when it has none.
func (n *nodeNumbers) find(domain, name uint32) (uint32, bool) {
	if len(n.slots) == 0 {
		return 0, false
	}
	number := n.slots[n.place(domain, name)]
	return number - 1, number > 0
}

// number returns the number of a pair, a new one if it has none.
func (n *nodeNumbers) number(domain, name uint32) uint32 {
	if 2*len(n.pairs) >= len(n.slots) {
		n.slots = make([]uint32, max(64, 2*len(n.slots)))
		for i, pair := range n.pairs {
			n.slots[n.place(pair[0], pair[1])] = uint32(i) + 1
		}
	}
	at := n.place(domain, name)
	if n.slots[at] == 0 {
		n.pairs = append(n.pairs, [2]uint32{domain, name})
		n.slots[at] = uint32(len(n.pairs)) //nolint:gosec // at most two for each rule
	}
	return n.slots[at] - 1
}

func (n *nodeNumbers) place(domain, name uint32) uint32 {
	mask := uint32(len(n.slots) - 1) //nolint:gosec // at most eight for each rule
	at := mixIDs(domain, name) & mask
	for n.slots[at] != 0 && n.pairs[n.slots[at]-1] != [2]uint32{domain, name} {
		at = (at + 1) & mask
	}
	return at
}

// mixIDs hashes two ids. Ids are small and dense, so what it returns must differ in its lower bits.
func mixIDs(a, b uint32) uint32 {
	x := (uint64(a)<<32 | uint64(b)) * 0x9E3779B97F4A7C15
	x ^= x >> 32
	x *= 0xD6E8FEB86659FD93
	return uint32(x >> 32)
}

// topological calls visit with the links in an order in which all links to a node come before those from it. blocked
// holds for each node how many links to it were not visited: links between blocked nodes form cycles.
func topological(from, to []uint32, nodes int, visit func(row uint32)) (blocked []uint32) {
	first, rows := groupRows(from, nodes)
	blocked = make([]uint32, nodes)
	for _, node := range to {
		blocked[node]++
	}
	queue := make([]uint32, 0, nodes)
	for node, count := range blocked {
		if count == 0 {
			queue = append(queue, uint32(node))
		}
	}
	for i := 0; i < len(queue); i++ {
		node := queue[i]
		for _, row := range rows[first[node]:first[node+1]] {
			visit(row)
			if blocked[to[row]]--; blocked[to[row]] == 0 {
				queue = append(queue, to[row])
			}
		}
	}
	return blocked
}

// groupRows sorts rows by their nodes: those of node n are rows[first[n]:first[n+1]], in their own order.
func groupRows(nodeOf []uint32, nodes int) (first, rows []uint32) {
	first = make([]uint32, nodes+1)
	for _, node := range nodeOf {
		first[node+1]++
	}
	for node := range nodes {
		first[node+1] += first[node]
	}
	rows = make([]uint32, len(nodeOf))
	next := make([]uint32, nodes)
	copy(next, first)
	for row, node := range nodeOf {
		rows[next[node]] = uint32(row)
		next[node]++
	}
	return first, rows
}

// checkDepth refuses cycles, and chains of more than depth links.
func checkDepth(rel *relation, depth uint8) format.Problems {
	var problems format.Problems
	g := newLinkGraph(rel.links, rel.arity == 3 && rel.domains == nil) // patterns can join domains
	depths := make([]uint8, len(g.nodes.pairs))
	blocked := topological(g.from, g.to, len(depths), func(row uint32) {
		member, role := g.from[row], g.to[row]
		if depths[member] >= depths[role] {
			depths[role] = min(depths[member]+1, depth+1)
		}
		if depths[member] == depth && len(problems) < maxProblems {
			problems = append(problems, rel.links.ref(row).problem(fmt.Sprintf("the chain of roles is longer than %d links; Casbin does not look further", depth)))
		}
	})
	for row := range g.from {
		if blocked[g.from[row]] > 0 && blocked[g.to[row]] > 0 {
			link := rel.links.ref(uint32(row))
			return append(problems, link.problem(fmt.Sprintf("the roles that lead to %q form a cycle", printable(link.text(1)))))
		}
	}
	return problems
}
