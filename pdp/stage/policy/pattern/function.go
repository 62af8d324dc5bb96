package pattern

import (
	"errors"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"

	"github.com/casbin/casbin/v2/util"
)

// ErrArgument is the error of a pattern or a value that a function cannot take, and of a value too long for its pattern.
var ErrArgument = errors.New("argument of a function")

// Apply is a function with its pattern compiled: value is the function's first argument, name its third, which only
// keyGet2 and keyGet3 have. The result is a string where the function's Text is set, and a bool elsewhere.
type Apply func(value, name string) (any, error)

// Function is one of Casbin's functions that take a pattern as their second argument.
type Function struct {
	// Arguments is how many the function takes, the pattern among them.
	Arguments int
	// Text is set where the result is a string.
	Text bool
	// Cost is a rough time of one application, in nanoseconds.
	Cost int
	// Compile compiles a pattern. Its error says what is wrong with the pattern.
	Compile func(pattern string) (Apply, error)
}

// functions are Casbin's, by name. Role relations and eval are not among them.
var functions = map[string]Function{
	"keyMatch":   {Arguments: 2, Cost: 10, Compile: compileKeyMatch},
	"keyMatch2":  {Arguments: 2, Cost: 150, Compile: compileKeyMatch2},
	"keyMatch3":  {Arguments: 2, Cost: 150, Compile: compileKeyMatch3},
	"keyMatch4":  {Arguments: 2, Cost: 400, Compile: compileKeyMatch4},
	"keyMatch5":  {Arguments: 2, Cost: 150, Compile: compileKeyMatch5},
	"keyGet":     {Arguments: 2, Text: true, Cost: 50, Compile: compileKeyGet},
	"keyGet2":    {Arguments: 3, Text: true, Cost: 400, Compile: compileKeyGet2},
	"keyGet3":    {Arguments: 3, Text: true, Cost: 400, Compile: compileKeyGet3},
	"regexMatch": {Arguments: 2, Cost: 200, Compile: compileRegex},
	"ipMatch":    {Arguments: 2, Cost: 80, Compile: compileNetwork},
	"globMatch":  {Arguments: 2, Cost: 100, Compile: compileGlob},
}

// Find returns a function by the name that matchers call it.
func Find(name string) (Function, bool) {
	f, found := functions[name]
	return f, found
}

// Names returns the names of all functions, sorted.
func Names() []string {
	return slices.Sorted(maps.Keys(functions))
}

// Regexp applies an expression that was compiled elsewhere, under the same bound of work as a pattern of regexMatch.
func Regexp(re *regexp.Regexp) Apply {
	t := boundedTest(stepsOf(re), func(value string) (bool, error) { return re.MatchString(value), nil })
	return func(value, _ string) (any, error) { return answer(t(value)) }
}

func compileKeyMatch(pattern string) (Apply, error) {
	return func(value, _ string) (any, error) { return util.KeyMatch(value, pattern), nil }, nil
}

func compileKeyGet(pattern string) (Apply, error) {
	return func(value, _ string) (any, error) { return util.KeyGet(value, pattern), nil }, nil
}

// maxWork bounds one match, in steps of the pattern times bytes of the value. Nothing can stop a match that has begun, and
// a step takes up to 20 ns: what comes within some milliseconds of the deadline would let a client make the answer late,
// which gateways that fail open let pass.
const maxWork = 1 << 18

// bounded refuses values for which a pattern of so many steps would take too long.
func bounded(steps int, apply Apply) Apply {
	longest := longestFor(steps)
	return func(value, name string) (any, error) {
		if len(value) > longest {
			return nil, ErrArgument
		}
		return apply(value, name)
	}
}

// boundedTest is bounded for tests.
func boundedTest(steps int, t test) test {
	longest := longestFor(steps)
	return func(value string) (bool, error) {
		if len(value) > longest {
			return false, ErrArgument
		}
		return t(value)
	}
}

// longestFor returns how long a value may be for a pattern of so many steps.
func longestFor(steps int) int {
	return maxWork / max(steps, 1)
}

// stepsOf returns the number of instructions of an expression, each of which may have to be tried at each byte.
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
