package descriptor

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/durward-pdp/durward/ratelimiter"
)

// ErrOverride is wrapped by the errors of Match.
var ErrOverride = errors.New("invalid override of a limit")

// Match returns what each descriptor of a request meets, in order. The error is ErrOverride, for a limit in the request
// that cannot be counted by; it holds no text of the request. envoyproxy/ratelimit ends its process for an unknown unit.
func (d *Domain) Match(r Request) ([]Rule, error) {
	rules := make([]Rule, len(r.Descriptors))
	var replaced map[string]bool // most requests have none
	var room [usualDepth]step
	for i := range r.Descriptors {
		asked := &r.Descriptors[i]
		if asked.Override != nil {
			if err := asked.Override.check(); err != nil {
				return nil, fmt.Errorf("descriptor %d: %w", i, err)
			}
			rules[i] = d.overridden(asked)
		} else if walked := d.walk(room[:0], asked.Entries); walked.found != nil {
			rules[i] = walked.rule(d, asked.Entries)
			for _, name := range walked.found.replaces {
				if replaced == nil {
					replaced = map[string]bool{}
				}
				replaced[name] = true
			}
		}
		rules[i].Hits = asked.hits(r.Hits)
	}
	for i := range rules {
		if l := rules[i].Limit; l != nil && l.Name != "" && replaced[l.Name] {
			rules[i] = Rule{Hits: rules[i].Hits}
		}
		// What is unlimited is asked of nobody, and keeps no quota from refusing.
		rules[i].Quota = rules[i].Quota || d.quotaMode && !rules[i].Unlimited
	}
	return rules, nil
}

// hits returns what a descriptor costs: its own hits, which may be 0, else the request's, of which 0 is 1.
func (a *Descriptor) hits(ofRequest uint32) uint64 {
	if a.Hits != nil {
		return *a.Hits
	}
	return uint64(max(1, ofRequest))
}

func (o *Override) check() error {
	switch {
	case o.Unit < Second || o.Unit > Year:
		return fmt.Errorf("%w: its unit is not second, minute, hour, day, week, month or year", ErrOverride)
	case int64(o.RequestsPerUnit) > MaxRequests:
		return fmt.Errorf("%w: requests_per_unit is above %d", ErrOverride, MaxRequests)
	}
	return nil
}

// overridden is the rule of a descriptor that brings its own limit: nothing that the configuration says holds for it. It
// is named by its keys alone; envoyproxy/ratelimit makes a metric of all values that clients come up with.
func (d *Domain) overridden(asked *Descriptor) Rule {
	w := walk{steps: make([]step, len(asked.Entries))}
	name := []string{d.name}
	for _, e := range asked.Entries {
		name = append(name, e.Key)
	}
	limit := &Limit{RequestsPerUnit: int64(asked.Override.RequestsPerUnit), Unit: asked.Override.Unit}
	return Rule{Limit: limit, Key: w.key(d, asked.Entries, limit.Unit), Path: cut(strings.Join(name, ".")), PathByRequest: true}
}

// walk is the way of a descriptor through the levels.
type walk struct {
	steps []step
	found *node // where the last entry led, if that has a limit
}

// step is what one entry of a descriptor led to.
type step struct {
	node     *node
	wildcard bool // matched as one
}

// usualDepth are the levels for which a request's way, and its counter's values, need no memory of their own.
const usualDepth = 6

// walk goes from level to level without ever going back: where the better match leads nowhere, the default is not
// tried. Only a limit at the depth of the last entry counts.
func (d *Domain) walk(steps []step, entries []Entry) walk {
	w := walk{steps: steps}
	at := d.root
	for i := range entries {
		next := at.find(&entries[i])
		if next.node == nil {
			return walk{}
		}
		w.steps = append(w.steps, next)
		at = next.node.next
	}
	if len(w.steps) > 0 {
		if last := w.steps[len(w.steps)-1].node; last.limit != nil {
			w.found = last
		}
	}
	return w
}

// find returns the descriptor of a level that an entry matches best: its value, the first wildcard in file order, the
// default of the key.
func (l level) find(e *Entry) step {
	b := l[e.Key]
	if b == nil {
		return step{}
	}
	if n := b.exact[e.Value]; n != nil {
		return step{node: n, wildcard: n.pattern != nil}
	}
	for _, n := range b.wild {
		if n.pattern.matches(e.Value) {
			return step{node: n, wildcard: true}
		}
	}
	return step{node: b.any}
}

// rule is what the end of a walk says.
func (w *walk) rule(d *Domain, entries []Entry) Rule {
	n := w.found
	r := Rule{Path: w.path(d, entries), PathByRequest: n.detailed || n.valuesInPath}
	if n.unlimited {
		r.Unlimited = true
		return r
	}
	r.Shadow, r.Quota, r.Limit, r.Metadata = n.shadow, n.quota, n.limit, n.metadata
	r.Key = w.key(d, entries, n.limit.Unit)
	return r
}

// shares reports whether the values that the step matches share a counter.
func (s step) shares() bool { return s.wildcard && s.node.share }

// key returns the counter of the entries. A value that stands for all that a wildcard matches is marked by a missing
// value in front, so that it is never the counter of a value that only looks like the wildcard.
func (w *walk) key(d *Domain, entries []Entry, unit Unit) ratelimiter.Key {
	var room [3*usualDepth + 1]ratelimiter.Value
	values := append(room[:0], ratelimiter.Value{Text: unit.String()})
	for i, e := range entries {
		values = append(values, ratelimiter.Value{Text: e.Key})
		if w.steps[i].shares() {
			values = append(values, ratelimiter.Value{Missing: true}, ratelimiter.Value{Text: w.steps[i].node.value})
			continue
		}
		values = append(values, ratelimiter.Value{Text: e.Value})
	}
	return d.keys.Key(values...)
}

// path names the rule as envoyproxy/ratelimit names its metrics (GetLimit in src/config/config_impl.go): by the keys
// and values of the configuration; a descriptor with value_to_metric by the request's value instead of its default or
// wildcard; one that ends in detailed_metric by all values of the request. A shared counter is named by its wildcard.
func (w *walk) path(d *Domain, entries []Entry) string {
	if !w.found.detailed && !w.found.valuesInPath {
		return w.found.name
	}
	name := []string{d.name}
	for i, s := range w.steps {
		value := s.node.value
		if (w.found.detailed || s.node.valueToMetric) && !s.shares() {
			value = entries[i].Value
		}
		name = append(name, joined(entries[i].Key, value))
	}
	return cut(strings.Join(name, "."))
}

// longestPath bounds the bytes of a name that a request has a part in: names end in records and metrics.
const longestPath = 256

// cut shortens a name at the end of a character.
func cut(name string) string {
	if len(name) <= longestPath {
		return name
	}
	end := longestPath
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…"
}

func joined(key, value string) string {
	if value == "" {
		return key
	}
	return key + "_" + value
}
