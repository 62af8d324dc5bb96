package descriptor

import (
	"fmt"
	"maps"
	"strings"

	"github.com/durward-pdp/durward/ratelimiter"
)

// definition keeps the counters of domains apart from those of a scope's other limits: it is no name of a service.
const definition = "ratelimit:"

// Domain is a compiled Config, immutable and safe for concurrent use. Use Compile.
type Domain struct {
	name string
	keys ratelimiter.KeySpace
	root level

	quotaMode bool
	limits    map[*Limit]string
}

// level are the descriptors of one level, by key.
type level map[string]*branch

// branch are the descriptors of one key at one level.
type branch struct {
	exact map[string]*node
	wild  []*node // in file order
	any   *node   // without a value
}

// node is a compiled Node.
type node struct {
	key, value string
	pattern    pattern // nil without a wildcard
	limit      *Limit
	unlimited  bool
	replaces   []string

	shadow, quota, detailed, valueToMetric, share bool

	metadata map[string]any
	next     level

	// name is the rule's name by the configuration alone. valuesInPath is set where value_to_metric, here or above, puts
	// values of requests into it.
	name         string
	valuesInPath bool
}

// Compile checks a domain and compiles it, or says everything that is wrong with it. Counters of equal scopes and
// domains are the same. A domain in several parts, with one name and one mode, is as if their descriptors stood in one list.
func Compile(scope string, first Config, more ...Config) (*Domain, []Problem) {
	d := &Domain{
		name: first.Domain, keys: ratelimiter.NewKeySpace(scope, definition, first.Domain).For(ratelimiter.FixedWindow),
		root: level{}, quotaMode: first.QuotaMode, limits: map[*Limit]string{},
	}
	k := &compiler{limits: d.limits}
	if d.name == "" {
		k.add("$.domain", "a file of limits needs a domain")
	}
	top := &node{name: d.name}
	for i, c := range append([]Config{first}, more...) {
		k.part = i
		k.fill(d.root, "$", top, c.Descriptors)
	}
	if len(k.problems) > 0 {
		return nil, k.problems
	}
	return d, nil
}

// Name returns the domain's name.
func (d *Domain) Name() string { return d.name }

// Limits returns the limits that Match finds in the configuration, with the names of their rules without values of
// requests, so that a caller can prepare for each. It must not be changed.
func (d *Domain) Limits() map[*Limit]string { return d.limits }

// Keys are the counters of all rules of the domain. Their first value is the unit; then come the keys and values of the
// descriptor, in turn, where a missing value marks that the next one is a wildcard whose values share a counter.
func (d *Domain) Keys() ratelimiter.KeySpace { return d.keys }

type compiler struct {
	part     int
	problems []Problem
	limits   map[*Limit]string
}

func (k *compiler) add(path, message string, args ...any) {
	k.problems = append(k.problems, Problem{Part: k.part, Path: path, Message: fmt.Sprintf(message, args...)})
}

// fill compiles the descriptors below a place of the file, and below another descriptor, into a level.
func (k *compiler) fill(l level, path string, above *node, nodes []Node) {
	for i := range nodes {
		at := fmt.Sprintf("%s.descriptors[%d]", path, i)
		n := k.node(at, above, &nodes[i])
		if !l.put(n) {
			k.add(at, "a second descriptor %s at this level; what it says would never hold", n)
		}
	}
}

// put reports false for a descriptor that is there already. Keys and values are compared apart: for envoyproxy/ratelimit,
// which joins them with "_", {key: a, value: b_c} and {key: a_b, value: c} are the same one.
func (l level) put(n *node) bool {
	b := l[n.key]
	if b == nil {
		b = &branch{exact: map[string]*node{}}
		l[n.key] = b
	}
	if n.value == "" {
		first := b.any == nil
		b.any = n
		return first
	}
	_, twice := b.exact[n.value]
	b.exact[n.value] = n // a wildcard too: it matches its own text before any other wildcard
	if n.pattern != nil {
		b.wild = append(b.wild, n)
	}
	return !twice
}

// String names the descriptor in messages.
func (n *node) String() string {
	if n.value == "" {
		return fmt.Sprintf("with the key %q and no value", n.key)
	}
	return fmt.Sprintf("with the key %q and the value %q", n.key, n.value)
}

func (k *compiler) node(path string, above *node, in *Node) *node {
	n := &node{
		key: in.Key, value: in.Value, shadow: in.Shadow, quota: in.Quota, detailed: in.DetailedMetric,
		valueToMetric: in.ValueToMetric, share: in.ShareThreshold, metadata: maps.Clone(in.Metadata),
		name: above.name + "." + joined(in.Key, in.Value),
	}
	n.valuesInPath = above.valuesInPath || in.ValueToMetric
	switch {
	case in.Key == "":
		k.add(path, "a descriptor needs a key")
	case strings.Contains(in.Key, "*"):
		// envoyproxy/ratelimit takes it for a wildcard over key and value joined.
		k.add(path+".key", "a key cannot hold *: wildcards stand in values")
	}
	if strings.Contains(in.Value, "*") {
		n.pattern = newPattern(in.Value)
	} else if in.ShareThreshold {
		k.add(path+".share_threshold", "share_threshold needs a value with a wildcard (*), and the descriptor has none")
	}
	if in.Limit != nil {
		k.limit(path+".rate_limit", in.Limit, n)
	}
	n.next = make(level, len(in.Descriptors))
	k.fill(n.next, path, n, in.Descriptors)
	return n
}

// limit compiles the rate_limit of a descriptor.
func (k *compiler) limit(path string, in *RateLimit, n *node) {
	unit, known := ParseUnit(in.Unit)
	switch {
	case in.Unlimited && known:
		k.add(path+".unit", "an unlimited limit has no unit")
	case in.Unlimited && in.Unit != "" && !strings.EqualFold(in.Unit, "unknown"):
		k.add(path+".unit", "an unlimited limit has no unit, and %q is none", in.Unit)
	case !in.Unlimited && in.Unit == "":
		k.add(path, "a rate_limit needs a unit: second, minute, hour, day, week, month or year")
	case !in.Unlimited && !known:
		k.add(path+".unit", "unit is second, minute, hour, day, week, month or year, not %q", in.Unit)
	}
	if in.RequestsPerUnit < 0 || in.RequestsPerUnit > MaxRequests {
		k.add(path+".requests_per_unit", "requests_per_unit is from 0 to %d; where there is to be no limit write unlimited: true", MaxRequests)
	}
	for i, name := range in.Replaces {
		switch at := fmt.Sprintf("%s.replaces[%d]", path, i); name {
		case "":
			k.add(at, "an entry of replaces needs the name of a limit")
		case in.Name:
			k.add(at, "the limit %q cannot replace itself", name)
		}
	}
	n.limit = &Limit{Name: in.Name, RequestsPerUnit: in.RequestsPerUnit, Unit: unit}
	n.unlimited, n.replaces = in.Unlimited, in.Replaces
	if !in.Unlimited {
		k.limits[n.limit] = n.name
	}
}
