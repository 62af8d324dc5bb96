package limits

import (
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// maxClasses bounds the classes of a limit.
const maxClasses = 16

// class is a class of requests with a limit of its own. All classes of a definition share its counters.
type class struct {
	name  set // of one text
	limit *ratelimiter.Limit
}

// choose returns the limit of a request: that of the first class, in the order in which they are written, that the
// attribute is or holds, else the one for everybody else.
func (b *binding) choose(f *attribute.Facts) (*ratelimiter.Limit, fault) {
	if !b.classOf.Valid() {
		return b.limit, fault{}
	}
	if b.classOf.IsList() {
		members := b.classOf.Members(f)
		for i := range b.classes {
			if b.classes[i].name.meetsText(members) == yes {
				return b.classes[i].limit, fault{}
			}
		}
		return b.limit, fault{}
	}
	v, presence := b.classOf.Get(f)
	switch presence {
	case attribute.Missing:
		return b.limit, fault{}
	case attribute.Ambiguous:
		return nil, b.fault(verdict.AttributeMany, "%s has no single value", b.classOf)
	case attribute.Present:
	}
	for i := range b.classes {
		if b.classes[i].name.meets(v) == yes {
			return b.classes[i].limit, fault{}
		}
	}
	return b.limit, fault{}
}

// byClass compiles a definition's by_class on the base of what the classes have in common. It returns the limit of everybody
// else, nil where something is wrong.
func (c *compiler) byClass(d *definition, common ratelimiter.Definition) *ratelimiter.Limit {
	said := d.source.ByClass
	before := len(c.problems)
	if common.Algorithm != ratelimiter.GCRA {
		c.add(d, ".algorithm", "by_class is for gcra, whose classes can share a bucket; with %v write a limit for each, under when", common.Algorithm)
		return nil
	}
	if common.Lease != 0 {
		c.add(d, ".lease", "lease and by_class exclude each other: classes share a bucket, and a unit taken in advance is no longer the same part of it in another class")
		return nil
	}
	if d.source.Rate.Count != 0 {
		c.add(d, ".rate", "rate and by_class exclude each other: by_class says what the rate is")
	}
	if d.source.Burst != 0 {
		c.add(d, ".burst", "each class has a burst of its own: {gold: {rate: 1000/min, burst: 50}}")
	}
	if a, ok := c.single(d, ".by_class.of", said.Of); ok {
		if k := kindOf(a); k != textKind && k != listKind && k != claimKind {
			c.add(d, ".by_class.of", "%s is no text: a class is told by a text, or by a list that holds it", said.Of)
		}
	}
	common.Count, common.Window, common.Burst = said.Otherwise.Rate.Count, said.Otherwise.Rate.Window, said.Otherwise.Burst
	otherwise, err := ratelimiter.NewLimit(common)
	switch {
	case common.Count == 0:
		c.add(d, ".by_class", "by_class needs otherwise: the rate of everybody else")
	case said.Otherwise.Rate.Calendar != "":
		c.add(d, ".by_class.otherwise", "windows of a %s are for algorithm: quota", said.Otherwise.Rate.Calendar)
	case err != nil:
		c.add(d, ".by_class.otherwise", "%v", err)
	}
	if len(said.FirstOf) == 0 || len(said.FirstOf) > maxClasses {
		c.add(d, ".by_class", "by_class needs first_of: a list of 1 to %d classes", maxClasses)
	} else {
		c.classes(d, common, otherwise)
	}
	if len(c.problems) > before {
		return nil
	}
	return otherwise
}

// classes compiles the classes of a definition and holds them against the limit of everybody else, nil where that is wrong.
func (c *compiler) classes(d *definition, common ratelimiter.Definition, otherwise *ratelimiter.Limit) {
	seen := map[string]bool{}
	for i, item := range d.source.ByClass.FirstOf {
		at := fmt.Sprintf(".by_class.first_of[%d]", i)
		if len(item) != 1 {
			c.add(d, at, "an item of first_of is one class: the first that fits counts, so their order must show")
			continue
		}
		for name, said := range item {
			common.Count, common.Window, common.Burst = said.Rate.Count, said.Rate.Window, said.Burst
			if seen[name] {
				c.add(d, at+"."+name, "a second class %q", name)
			}
			if said.Rate.Calendar != "" {
				c.add(d, at+"."+name, "windows of a %s are for algorithm: quota", said.Rate.Calendar)
				continue
			}
			seen[name] = true
			c.class(d, at+"."+name, name, common, otherwise)
		}
	}
}

// class compiles one class.
func (c *compiler) class(d *definition, at, name string, of ratelimiter.Definition, otherwise *ratelimiter.Limit) {
	limit, err := ratelimiter.NewLimit(of)
	why := unknownWord(d.source.ByClass.Of, []string{name})
	switch {
	case name == "" || of.Count == 0:
		c.add(d, at, "a class needs a name and a rate, as in gold: 1000/min")
		return
	case why != "":
		c.add(d, at, "%s", why)
		return
	case err != nil:
		c.add(d, at, "%v", err)
		return
	case otherwise != nil && !fillAlike(limit, otherwise):
		c.add(d, at, "a bucket of the class %q fills in %v, and otherwise in %v. Classes share a counter, so that nobody gains by changing between them: "+
			"choose bursts, or windows, so that burst × window ÷ count is the same for all", name, fill(limit), fill(otherwise))
	}
	text, _ := newSet([]any{name})
	d.classes = append(d.classes, class{name: text, limit: limit})
}

// fillAlike reports whether two limits fill an empty bucket in exactly the same time. Only then does a counter say the same
// under both: what part of its bucket a client has left.
func fillAlike(a, b *ratelimiter.Limit) bool {
	s, t := a.Rate().Span(), b.Rate().Span()
	return s.Micros == t.Micros && s.Part*b.Rate().Count() == t.Part*a.Rate().Count() // parts and counts are below 2^30
}

func fill(l *ratelimiter.Limit) time.Duration {
	return time.Duration(l.Rate().Span().Micros) * time.Microsecond
}
