package lint

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/policy"
)

// cover says which values of a field match how much, by the condition about it.
type cover struct {
	// by are for each value others for which the condition holds at least as often.
	by map[uint32][]uint32
	// same are the values for which it holds just as often as for another, the first of them.
	same map[uint32]uint32
}

// of returns the value that stands for all with which the condition holds just as often.
func (c *cover) of(value uint32) uint32 {
	if first, ok := c.same[value]; ok {
		return first
	}
	return value
}

func (c *cover) add(value uint32, by uint32) {
	if value != by && len(c.by[value]) < maxCovers && !slices.Contains(c.by[value], by) {
		c.by[value] = append(c.by[value], by)
	}
}

// covers compares the values of a condition's field.
func (v *policyView) covers(c *policy.Condition) cover {
	out := cover{by: map[uint32][]uint32{}, same: map[uint32]uint32{}}
	values := v.distinct(c.Column)
	switch c.Kind {
	case policy.Any:
		v.anyCovers(c, values, &out)
	case policy.Role:
		v.roleCovers(c, values, &out)
	case policy.Pattern:
		v.patternCovers(c, values, &out)
	default: // only equal values match the same
	}
	return out
}

// anyCovers: with a constant all members hold. Else a value covers another if it does so for each member that can hold.
func (v *policyView) anyCovers(c *policy.Condition, values []uint32, out *cover) {
	var constants []uint32
	var members []cover
	for i := range c.Any {
		switch m := &c.Any[i]; {
		case m.Kind == policy.Constant:
			if by := v.Rules.Find(m.Text); slices.Contains(values, by) {
				constants = append(constants, by)
			}
		case m.Kind == policy.Equal && slices.ContainsFunc(c.Any, func(other policy.Condition) bool { return impliedBy(m, &other) }):
		default:
			members = append(members, v.covers(m))
		}
	}
	for _, by := range constants {
		for _, value := range values {
			out.add(value, by)
		}
	}
	for _, value := range values {
		if slices.Contains(constants, value) || len(members) == 0 {
			continue // only another constant covers a constant
		}
		if first, ok := members[0].same[value]; ok && len(members) == 1 && !slices.Contains(constants, first) {
			out.same[value] = first
		}
		for _, by := range members[0].by[value] {
			if !slices.ContainsFunc(members[1:], func(m cover) bool { return !slices.Contains(m.by[value], by) }) {
				out.add(value, by)
			}
		}
	}
}

// impliedBy reports whether another member holds wherever a member that compares for equality does: everybody has the role
// that they are, and a key pattern matches itself.
func impliedBy(equal, other *policy.Condition) bool {
	return equal.Attribute != "" && equal.Attribute == other.Attribute &&
		(other.Kind == policy.Role || other.Kind == policy.Pattern && strings.HasPrefix(other.Function, "keyMatch"))
}

// roleCovers: whoever has a role has the roles above it.
func (v *policyView) roleCovers(c *policy.Condition, values []uint32, out *cover) {
	if c.Domain != "" || c.DomainColumn >= 0 || v.DomainPatterns(c.Relation) || v.NameFunction(c.Relation) != "" {
		return
	}
	above := upwards(v.Links(c.Relation))
	present := make([]bool, v.Rules.Values()+1)
	for _, value := range values {
		present[value] = true
	}
	for _, value := range values {
		queue, seen := []uint32{value}, map[uint32]bool{value: true}
		for len(queue) > 0 {
			for _, role := range above[queue[0]] {
				if len(seen) >= 4*maxCovers {
					break
				}
				if !seen[role] {
					seen[role] = true
					queue = append(queue, role)
					if present[role] {
						out.add(value, role)
					}
				}
			}
			queue = queue[1:]
		}
	}
}

// upwards maps members to their roles, whatever the domain.
func upwards(links policy.Table) map[uint32][]uint32 {
	above := make(map[uint32][]uint32, links.Len())
	for row := range links.Len() {
		member := links.Value(row, 0)
		above[member] = append(above[member], links.Value(row, 1))
	}
	return above
}

// patternCovers compares patterns by samples of what they match: a pattern that matches them all covers it.
func (v *policyView) patternCovers(c *policy.Condition, values []uint32, out *cover) {
	function := c.Function
	for _, by := range values {
		if function == "regexMatch" && slices.Contains(everything, v.Rules.Text(by)) {
			for _, value := range values {
				out.add(value, by)
			}
		}
	}
	plain, open := v.differing(function, values, out)
	match, err := c.Matcher(v.texts(plain))
	if err != nil {
		return
	}
	work := 0
	for _, value := range plain {
		counts, needed := map[uint32]int{}, 0
		for _, sample := range samples(function, v.Rules.Text(value)) {
			found := match(sample)
			for _, id := range found {
				counts[id]++
			}
			needed++
			if work += 1 + open + len(found); work > maxWork {
				return
			}
		}
		for _, id := range slices.Sorted(maps.Keys(counts)) {
			if counts[id] == needed {
				out.add(value, plain[id])
			}
		}
	}
}

// differing returns the patterns that can be judged, and of those that match the same the first: all of them would match
// each other's samples. open is how many expressions among them may have to be tried one by one.
func (v *policyView) differing(function string, values []uint32, out *cover) (plain []uint32, open int) {
	firsts := map[string]uint32{} // by the samples
	for _, value := range values {
		text := v.Rules.Text(value)
		if !judged(function, text) {
			continue
		}
		all := samples(function, text)
		if all == nil {
			open++
			plain = append(plain, value)
			continue
		}
		key := strings.Join(all, "\n")
		if first, ok := firsts[key]; ok {
			out.same[value] = first
			continue
		}
		firsts[key] = value
		plain = append(plain, value)
	}
	return plain, open
}

var (
	// everything are the expressions that match every text, those of several lines too.
	everything = []string{"", "^", "$", ".*", "^.*", ".*$", "(.*)", "^(.*)", "(.*)$"}

	// The texts of key patterns without characters of regular expressions, which {2} is one of where it is no name.
	keyText    = regexp.MustCompile(`^[A-Za-z0-9/_~%@:-]*(/\*)?$`)
	bracedText = regexp.MustCompile(`^[A-Za-z0-9/_~%@:{}-]*(/\*)?$`)

	choice   = regexp.MustCompile(`^\^\(?([A-Za-z0-9_:/-]+(?:\|[A-Za-z0-9_:/-]+)*)\)?\$$`)
	ungroup  = regexp.MustCompile(`^\^[A-Za-z0-9_:/-]+\$$`)
	colons   = regexp.MustCompile(`:[^/]+`)
	bracedIn = regexp.MustCompile(`\{[^/]+\}`)
)

// judged reports whether a pattern is simple enough to be judged by samples.
func judged(function, pattern string) bool {
	switch function {
	case "keyMatch", "ipMatch":
		return true
	case "keyMatch2":
		return keyText.MatchString(pattern)
	case "keyMatch3", "keyMatch4", "keyMatch5":
		return bracedText.MatchString(pattern)
	case "regexMatch":
		return strings.HasPrefix(pattern, "^") && strings.HasSuffix(pattern, "$")
	}
	return false
}

// fillers are what stands in samples for the open parts of a pattern, around the number of its name. They begin and end
// differently, so that only a pattern that leaves these parts open altogether matches the samples with both.
var fillers = [][2]string{{"zq", "9"}, {"~w", "k"}}

// samples returns values that a pattern matches, such that a pattern that matches all of them covers it; none if it is not
// simple enough.
func samples(function, pattern string) []string {
	if !judged(function, pattern) {
		return nil
	}
	switch function {
	case "regexMatch":
		if !ungroup.MatchString(pattern) && !strings.HasPrefix(pattern, "^(") {
			return nil
		}
		if parts := choice.FindStringSubmatch(pattern); parts != nil {
			all := strings.Split(parts[1], "|")
			slices.Sort(all)
			return slices.Compact(all)
		}
		return nil
	case "ipMatch":
		if prefix, err := netip.ParsePrefix(pattern); err == nil {
			return []string{prefix.Masked().Addr().String(), last(prefix).String()}
		}
		return []string{pattern}
	}
	before, star := pattern, false
	if function == "keyMatch" {
		before, _, star = strings.Cut(pattern, "*")
	} else if strings.HasSuffix(pattern, "/*") {
		before, star = strings.TrimSuffix(pattern, "*"), true
	}
	var all []string
	for _, filler := range fillers {
		text := filled(function, before, filler)
		if all = append(all, text); star {
			open := filler[0] + filler[1]
			all = append(all, text+open+"/"+open)
		}
	}
	return slices.Compact(all)
}

// filled puts a filler for each name of a key pattern. Equal names of keyMatch4 stand for equal texts.
func filled(function, pattern string, filler [2]string) string {
	switch function {
	case "keyMatch2":
		return colons.ReplaceAllString(pattern, filler[0]+filler[1])
	case "keyMatch3", "keyMatch4", "keyMatch5":
		numbers := map[string]int{}
		return bracedIn.ReplaceAllStringFunc(pattern, func(name string) string {
			number, known := numbers[name]
			if !known && function == "keyMatch4" {
				number = len(numbers)
				numbers[name] = number
			}
			return fmt.Sprint(filler[0], number, filler[1])
		})
	}
	return pattern
}

// last returns the last address of a network.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
