package policy

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/casbin/casbin/v2/util"
)

// applyFunc is a function of Casbin with its pattern compiled: value is the first argument, name the third.
type applyFunc func(value, name string) (any, error)

// function is one of Casbin's functions that take a pattern as their second argument.
type function struct {
	arguments int
	result    kind
	cost      int
	compile   func(pattern string) (applyFunc, error)
}

// functions are Casbin's, by name. Role relations and eval are not among them.
var functions = map[string]function{
	"keyMatch":   {2, kindBool, 10, compileKeyMatch},
	"keyMatch2":  {2, kindBool, 150, compileKeyMatch2},
	"keyMatch3":  {2, kindBool, 150, compileKeyMatch3},
	"keyMatch4":  {2, kindBool, 400, compileKeyMatch4},
	"keyMatch5":  {2, kindBool, 150, compileKeyMatch5},
	"keyGet":     {2, kindText, 50, compileKeyGet},
	"keyGet2":    {3, kindText, 400, compileKeyGet2},
	"keyGet3":    {3, kindText, 400, compileKeyGet3},
	"regexMatch": {2, kindBool, 200, compileRegex},
	"ipMatch":    {2, kindBool, 80, compileNetwork},
	"globMatch":  {2, kindBool, 100, compileGlob},
}

func compileKeyMatch(pattern string) (applyFunc, error) {
	return func(value, _ string) (any, error) { return util.KeyMatch(value, pattern), nil }, nil
}

func compileKeyGet(pattern string) (applyFunc, error) {
	return func(value, _ string) (any, error) { return util.KeyGet(value, pattern), nil }, nil
}

func compileRegex(pattern string) (applyFunc, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("compile regular expression: %w", err)
	}
	return bounded(stepsOf(re), func(value, _ string) (any, error) { return re.MatchString(value), nil }), nil
}

// maxWork bounds one match, in steps of the pattern times bytes of the value. Nothing can stop a match that has begun, and
// a step takes up to 20 ns: what comes within some milliseconds of the deadline would let a client make the answer late,
// which gateways that fail open let pass.
const maxWork = 1 << 18

// bounded refuses values for which a pattern of so many steps would take too long.
func bounded(steps int, apply applyFunc) applyFunc {
	longest := maxWork / max(steps, 1)
	return func(value, name string) (any, error) {
		if len(value) > longest {
			return nil, errArgument
		}
		return apply(value, name)
	}
}

// stepsOf returns the number of instructions of a pattern, each of which may have to be tried at each byte.
func stepsOf(re *regexp.Regexp) int {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return maxWork
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return maxWork
	}
	return len(program.Inst)
}

// compileNetwork compiles the second argument of ipMatch. Casbin panics on a first one that is no address.
func compileNetwork(pattern string) (applyFunc, error) {
	if _, network, err := net.ParseCIDR(pattern); err == nil {
		return func(value, _ string) (any, error) {
			address, err := parseAddress(value)
			return err == nil && network.Contains(address.AsSlice()), err
		}, nil
	}
	own, err := parseAddress(pattern)
	if err != nil {
		return nil, fmt.Errorf("%w: neither an IP address nor a network", errArgument)
	}
	return func(value, _ string) (any, error) {
		address, err := parseAddress(value)
		return address == own, err
	}, nil
}

// parseAddress reads an IP address without a zone; IPv4-mapped addresses are IPv4 addresses.
func parseAddress(s string) (netip.Addr, error) {
	address, err := netip.ParseAddr(s)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, errArgument
	}
	return address.Unmap(), nil
}

func compileGlob(pattern string) (applyFunc, error) {
	if _, err := util.GlobMatch("", pattern); err != nil {
		return nil, fmt.Errorf("compile glob: %w", err)
	}
	ways := alternatives(pattern)
	if ways > maxWays {
		return nil, fmt.Errorf("%w: more than %d ways to choose among the alternatives in { }", errArgument, maxWays)
	}
	return bounded(ways*len(pattern), func(value, _ string) (any, error) {
		matched, err := util.GlobMatch(value, pattern)
		if err != nil {
			return nil, errArgument
		}
		return matched, nil
	}), nil
}

// maxWays bounds the patterns without alternatives that a glob stands for: they are tried one by one.
const maxWays = 64

// alternatives returns how many patterns without alternatives a glob stands for at most, or more than maxWays. Groups in
// groups are counted as if they stood side by side.
func alternatives(glob string) int {
	ways, groups, open := 1, 0, []int{}
	for i := 0; i < len(glob) && ways <= maxWays; i++ {
		switch glob[i] {
		case '\\':
			i++
		case '{':
			open = append(open, 1)
			if groups++; groups > maxWays {
				return groups // deep ones are copied at each level
			}
		case ',':
			if len(open) > 0 {
				open[len(open)-1]++
			}
		case '}':
			if len(open) > 0 {
				ways *= open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
	}
	return ways
}

// The expressions that Casbin replaces in key patterns.
var (
	colonName       = regexp.MustCompile(`:[^/]+`)
	bracesName      = regexp.MustCompile(`\{[^/]+\}`)
	bracesShortName = regexp.MustCompile(`\{[^/]+?\}`)
)

// keyPattern compiles a key pattern into the regular expression that Casbin makes of it: "/*" is "/.*", and what
// names matches becomes replacement.
func keyPattern(pattern string, names *regexp.Regexp, replacement string) (*regexp.Regexp, error) {
	pattern = names.ReplaceAllLiteralString(strings.ReplaceAll(pattern, "/*", "/.*"), replacement)
	re, err := regexp.Compile("^" + pattern + "$")
	if err != nil {
		return nil, fmt.Errorf("compile key pattern: %w", err)
	}
	return re, nil
}

func compileKeyMatch2(pattern string) (applyFunc, error) {
	return compileKeyPattern(pattern, colonName)
}
func compileKeyMatch3(pattern string) (applyFunc, error) {
	return compileKeyPattern(pattern, bracesName)
}

func compileKeyPattern(pattern string, names *regexp.Regexp) (applyFunc, error) {
	if path, ok := parseSegments(pattern, names); ok {
		return func(value, _ string) (any, error) { return path.match(value), nil }, nil
	}
	re, err := keyPattern(pattern, names, `[^/]+`)
	if err != nil {
		return nil, err
	}
	return bounded(stepsOf(re), func(value, _ string) (any, error) { return re.MatchString(value), nil }), nil
}

// compileKeyMatch5 is keyMatch3 on the value without its query.
func compileKeyMatch5(pattern string) (applyFunc, error) {
	apply, err := compileKeyPattern(pattern, bracesName)
	if err != nil {
		return nil, err
	}
	return func(value, _ string) (any, error) {
		value, _, _ = strings.Cut(value, "?")
		return apply(value, "")
	}, nil
}

// compileKeyMatch4 wants equal values where names are equal. Casbin panics on groups of the pattern's own.
func compileKeyMatch4(pattern string) (applyFunc, error) {
	names := bracesName.FindAllString(strings.ReplaceAll(pattern, "/*", "/.*"), -1)
	re, err := keyPattern(pattern, bracesName, `([^/]+)`)
	if err != nil {
		return nil, err
	}
	if re.NumSubexp() != len(names) {
		return nil, fmt.Errorf("%w: a key pattern must not hold groups", errArgument)
	}
	return bounded(stepsOf(re), func(value, _ string) (any, error) {
		values := re.FindStringSubmatch(value)
		if values == nil {
			return false, nil
		}
		for i := range names {
			for j := range i {
				if names[i] == names[j] && values[i+1] != values[j+1] {
					return false, nil
				}
			}
		}
		return true, nil
	}), nil
}

func compileKeyGet2(pattern string) (applyFunc, error) {
	return compileKeyGetter(pattern, getter{colonName, `([^/]+)`, 1, 0})
}

func compileKeyGet3(pattern string) (applyFunc, error) {
	return compileKeyGetter(pattern, getter{bracesShortName, `([^/]+?)`, 1, 1})
}

// getter says how the names of a key pattern look: prefix and suffix are the bytes around a name.
type getter struct {
	names          *regexp.Regexp
	replacement    string
	prefix, suffix int
}

// compileKeyGetter returns the part of the value that a name of the pattern stands for, "" without one.
func compileKeyGetter(pattern string, g getter) (applyFunc, error) {
	names := g.names.FindAllString(strings.ReplaceAll(pattern, "/*", "/.*"), -1)
	re, err := keyPattern(pattern, g.names, g.replacement)
	if err != nil {
		return nil, err
	}
	return bounded(stepsOf(re), func(value, name string) (any, error) {
		values := re.FindStringSubmatch(value)
		if values == nil {
			return "", nil
		}
		for i, n := range names {
			if n[g.prefix:len(n)-g.suffix] == name && i+1 < len(values) {
				return values[i+1], nil
			}
		}
		return "", nil
	}), nil
}

// segments is a key pattern whose names each reach to the end of a segment, so that it needs no regular expression.
type segments struct {
	// literals are the texts between the names; a name stands after each but the last.
	literals []string
	// open is set when the pattern ends in "/*".
	open bool
}

// parseSegments takes a pattern apart; false when its meaning needs a regular expression.
func parseSegments(pattern string, names *regexp.Regexp) (segments, bool) {
	var s segments
	rest, open := strings.CutSuffix(pattern, "/*")
	if s.open = open; open {
		rest += "/"
	}
	at := 0
	for _, found := range names.FindAllStringIndex(rest, -1) {
		if found[1] < len(rest) && rest[found[1]] != '/' || names == colonName && strings.Contains(rest[found[0]:found[1]], "*") {
			return s, false
		}
		s.literals = append(s.literals, rest[at:found[0]])
		at = found[1]
	}
	s.literals = append(s.literals, rest[at:])
	for _, l := range s.literals {
		if strings.ContainsAny(l, `\.+*?()|[]{}^$`+"\uFFFD") {
			return s, false
		}
	}
	return s, true
}

func (s segments) match(value string) bool {
	for i, l := range s.literals {
		if !strings.HasPrefix(value, l) {
			return false
		}
		value = value[len(l):]
		if i == len(s.literals)-1 {
			break
		}
		end := strings.IndexByte(value, '/')
		if end < 0 {
			end = len(value)
		}
		if end == 0 {
			return false
		}
		value = value[end:]
	}
	if s.open {
		return !strings.Contains(value, "\n")
	}
	return value == ""
}
