package pattern

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2/util"
)

// casbinFunctions are Casbin's own.
var casbinFunctions = map[string]func(value, pattern string) (bool, error){
	"keyMatch":   func(v, p string) (bool, error) { return util.KeyMatch(v, p), nil },
	"keyMatch2":  func(v, p string) (bool, error) { return util.KeyMatch2(v, p), nil },
	"keyMatch3":  func(v, p string) (bool, error) { return util.KeyMatch3(v, p), nil },
	"keyMatch4":  func(v, p string) (bool, error) { return util.KeyMatch4(v, p), nil },
	"keyMatch5":  func(v, p string) (bool, error) { return util.KeyMatch5(v, p), nil },
	"regexMatch": func(v, p string) (bool, error) { return util.RegexMatch(v, p), nil },
	"globMatch":  util.GlobMatch,
	"ipMatch":    func(v, p string) (bool, error) { return util.IPMatch(v, p), nil },
}

// casbin asks Casbin's own function; a panic is an error.
func casbin(function, value, pattern string) (matched bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			matched, err = false, fmt.Errorf("%v", r)
		}
	}()
	return casbinFunctions[function](value, pattern)
}

// parts are what random patterns and values are made of.
type parts struct {
	patterns, values []string
	// most is how many are joined at most, size how many patterns a set has at most.
	most, size int
}

var (
	keyParts = parts{
		patterns: []string{"/", "/", "/", "/a", "/ab", "/b", "a", "b", "é", ".", "/v1.0", "/*", "*", ":id", "/:id", "/:x", "/{id}", "/{id}", "/{x}", "{x}.json", "{a}-{b}", "{}", ":", "{", "}", "|", "?", "/?b", "+", "(a)", "[ab]", "\\.", "^", "$", "//", "\xff", "\uFFFD", "\n", ""},
		values:   []string{"/", "/", "/a", "/ab", "/b", "a", "b", "é", ".", "/v1.0", "/v1x0", "/v1/0", "//", "?", "?q=1", "\n", "\xff", "\uFFFD", ".json", "-", "..", "%2e", ":id", "{id}", "*", "\xc3", ""},
		most:     5, size: 60,
	}
	// denseParts make many patterns that share long ways.
	denseParts = parts{
		patterns: []string{"/", "/", "a", "a", "b", "/a", "/b", "/:x", "/{x}", "/{y}", ".", "/*", "/ab/a"},
		values:   []string{"/", "/", "a", "a", "b", "/a", "/b", "/:x", "/{x}", "/ab/a", "\n", "é"},
		most:     9, size: 400,
	}
	globParts = parts{
		patterns: []string{"/", "/a", "/ab", "b", "/*", "*", "/**", "**", "**/", "?", "[a-b]", "[!a]", "[", "{a,b}", "{/**,b}", "{,/a}", "\\", "\\*", "é", "\xff", "\uFFFD", ""},
		values:   []string{"/", "/a", "/ab", "a", "b", "é", "//", "*", "\\", "\n", "\xff", "\uFFFD", "{a,b}", ""},
		most:     5, size: 60,
	}
	regexParts = parts{
		patterns: []string{"^", "^", "^", "$", "$", "GET", "POST", "PUT", "(GET|POST)", "(?:a|ab)", "|", "/api", "/v1.0", "\\.", ".", ".*", "[ab]", "[^/]+", "[A-Z]", "a?", "(b)?", "\\d", "(?i)", "(?s)", "(?m)", "é", "[\\x{FFFD}]", "\uFFFD", "\\b", "\\z", "\\A", "(", "*", "+", "{2}", "\xff", ""},
		values:   []string{"GET", "POST", "PUT", "get", "a", "ab", "b", "/api", "/v1.0", "/v1/0", "/", "é", "1", "\n", "\xff", "\uFFFD", ""},
		most:     5, size: 60,
	}
)

// random joins a few parts.
func random(r *rand.Rand, from []string, most int) string {
	var b strings.Builder
	for range 1 + r.IntN(most) {
		b.WriteString(from[r.IntN(len(from))])
	}
	return b.String()
}

// compareSets compares a set of random patterns with Casbin and with each pattern alone, and returns how many answers
// were compared.
func compareSets(t *testing.T, function string, p parts, seed uint64) int {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var patterns []string
	var alone []Apply
	for range 1 + r.IntN(p.size) {
		pattern := random(r, p.patterns, p.most)
		apply, err := functions[function].Compile(pattern)
		_, theirs := casbin(function, "/", pattern)
		if (err == nil) != (theirs == nil) && function != "keyMatch4" && function != "globMatch" {
			t.Fatalf("%s does not compile %q: %v, Casbin: %v", function, pattern, err, theirs)
		}
		if err == nil {
			patterns, alone = append(patterns, pattern), append(alone, apply)
		} else if _, err := NewSet(function, []string{"/", pattern}); err == nil || !strings.HasPrefix(err.Error(), "pattern 1: ") {
			t.Fatalf("a set of %s with %q: %v", function, pattern, err)
		}
	}
	s, err := NewSet(function, patterns)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for range 60 {
		compared += compareValue(t, s, function, patterns, alone, random(r, p.values, p.most))
	}
	return compared
}

// compareValue compares the answers for one value.
func compareValue(t *testing.T, s *Set, function string, patterns []string, alone []Apply, value string) int {
	t.Helper()
	ids, uncertain, err := s.Match(value, []uint32{7})
	if err != nil || uncertain || ids[0] != 7 {
		t.Fatalf("%s, %q: got %v, uncertain %v, %v", function, value, ids, uncertain, err)
	}
	found := slices.Sorted(slices.Values(ids[1:]))
	if len(slices.Compact(slices.Clone(found))) != len(found) {
		t.Errorf("%s, %q: twice: %v", function, value, found)
	}
	for i, pattern := range patterns {
		_, got := slices.BinarySearch(found, uint32(i))
		want, err := casbin(function, value, pattern)
		single, singleErr := alone[i](value, "")
		tested, testErr := s.Test(uint32(i), value)
		if err != nil || singleErr != nil || testErr != nil || got != want || single != any(want) || tested != want {
			t.Errorf("%s(%q, %q): the set says %v, alone %v (%v), Test %v (%v), Casbin %v (%v); set %q", function, value, pattern, got, single, singleErr, tested, testErr, want, err, patterns)
		}
	}
	return len(patterns)
}

// TestDifferential: a set gives Casbin's answer for each of its patterns, and so does each pattern alone.
func TestDifferential(t *testing.T) {
	total := 0
	for function, of := range map[string][]parts{
		"keyMatch": {keyParts, denseParts}, "keyMatch2": {keyParts, denseParts}, "keyMatch3": {keyParts, denseParts}, "keyMatch4": {keyParts, denseParts},
		"keyMatch5": {keyParts, denseParts}, "globMatch": {globParts, denseParts}, "regexMatch": {regexParts},
	} {
		compared := 0
		for _, p := range of {
			for seed := range uint64(6000 / p.size / len(of)) {
				compared += compareSets(t, function, p, seed)
			}
		}
		if compared < 20000 {
			t.Errorf("%s: only %d answers were compared", function, compared)
		}
		total += compared
	}
	t.Logf("%d answers compared", total)
}

func FuzzSets(f *testing.F) {
	for i, p := range keyParts.patterns {
		f.Add("/a"+p, p+"/b", keyParts.values[i%len(keyParts.values)], uint8(i))
	}
	names := []string{"keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5", "globMatch", "regexMatch", "ipMatch"}
	f.Fuzz(func(t *testing.T, first, second, value string, function uint8) {
		name := names[int(function)%len(names)]
		var patterns []string
		var alone []Apply
		for _, p := range []string{first, second, first + second, second + first, first + "/" + second, first + "/a", second + "/b"} {
			if apply, err := functions[name].Compile(p); err == nil {
				patterns, alone = append(patterns, p), append(alone, apply)
			}
		}
		s, err := NewSet(name, patterns)
		if err != nil {
			t.Fatal(err)
		}
		if _, uncertain, err := s.Match(value, nil); err == nil && !uncertain {
			compareValue(t, s, name, patterns, alone, value)
		}
	})
}
