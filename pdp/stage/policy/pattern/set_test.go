package pattern

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFunctions: the answers that Casbin's documentation and users rely on, and its traps.
func TestFunctions(t *testing.T) {
	for _, x := range []struct {
		function, value, pattern string
		want                     bool
	}{
		{"keyMatch", "/foo", "/foo", true},
		{"keyMatch", "/foo", "/foo*", true},
		{"keyMatch", "/foo", "/foo/*", false},
		{"keyMatch", "/foo/bar", "/foo", false},
		{"keyMatch", "/foobar", "/foo/*", false},
		{"keyMatch", "/foo/bar", "/foo*", true},
		{"keyMatch", "/a/x/zzz", "/a/*/b", true},
		{"keyMatch", "/a/\n", "/a/*", true},
		{"keyMatch2", "/", "/:resource", false},
		{"keyMatch2", "/resource1", "/:resource", true},
		{"keyMatch2", "/myid/using/resid", "/:id/using/:resId", true},
		{"keyMatch2", "/proxy/myid/res/res2/res3", "/proxy/:id/*", true},
		{"keyMatch2", "/proxy/", "/proxy/:id/*", false},
		{"keyMatch2", "/foo", "/foo/*", false},
		{"keyMatch2", "/foo/", "/foo/*", true},
		{"keyMatch2", "/foo/\n", "/foo/*", false},
		{"keyMatch2", "/v1x0/a", "/v1.0/:id", true},
		{"keyMatch2", "/v1/0/a", "/v1.0/:id", true},
		{"keyMatch2", "/v1\n0/a", "/v1.0/:id", false},
		{"keyMatch2", "/a.json", "/:id.json", true},
		{"keyMatch2", "/a", "/:id.json", true},
		{"keyMatch2", "/..", "/:id", true},
		{"keyMatch2", "/ab", "/a/?b", true},
		{"keyMatch2", "/zzz", "/a|zzz", true},
		{"keyMatch2", "/é/1", "/./:id", true},
		{"keyMatch2", "/\xff/1", "/./:id", true},
		{"keyMatch2", "/\xff", "/\uFFFD", true},
		{"keyMatch2", "/a/x/y/b", "/a/*/b", true},
		{"keyMatch2", "/a/b", "/a/*/b", false},
		{"keyMatch3", "/myid/using/resid", "/{id}/using/{resId}", true},
		{"keyMatch3", "/a-b", "/{a}-{b}", true},
		{"keyMatch3", "/ab", "/{a}-{b}", true},
		{"keyMatch3", "/a.json", "/{id}.json", true},
		{"keyMatch3", "/.json", "/{id}.json", false},
		{"keyMatch4", "/parent/123/child/123", "/parent/{id}/child/{id}", true},
		{"keyMatch4", "/parent/123/child/456", "/parent/{id}/child/{id}", false},
		{"keyMatch4", "/parent/123/child/456", "/parent/{id}/child/{another_id}", true},
		{"keyMatch4", "/parent/123/child/123/book/4", "/parent/{id}/child/{id}/book/{id}", false},
		{"keyMatch4", "/a/b/a", "/{id}/{other}/{id}", true},
		{"keyMatch4", "/a/b/b", "/{id}/{other}/{id}", false},
		{"keyMatch5", "/parent/child1?status=1", "/parent/*", true},
		{"keyMatch5", "/parent/child?a=/b", "/parent/{x}", true},
		{"keyMatch5", "?q", "", true},
		{"regexMatch", "/topic/create/123", "/topic/create", true},
		{"regexMatch", "/topic/edit/abc", "^/topic/edit/[0-9]+$", false},
		{"regexMatch", "GETX", "^(GET|POST)$", false},
		{"regexMatch", "POST", "^(GET|POST)$", true},
		{"globMatch", "/foo/bar", "/foo/*", true},
		{"globMatch", "/foo/bar/x", "/foo/*", false},
		{"globMatch", "/foo", "/foo/**", true},
		{"globMatch", "/foo/bar/x", "/foo/**", true},
		{"ipMatch", "192.168.2.123", "192.168.2.0/24", true},
		{"ipMatch", "192.168.2.123", "192.168.2.123", true},
		{"ipMatch", "192.168.3.1", "192.168.2.0/24", false},
		{"ipMatch", "::ffff:192.168.2.1", "192.168.2.0/24", true},
		{"ipMatch", "10.1.1.1", "::ffff:10.0.0.0/104", true},
		{"ipMatch", "10.1.1.1", "::/0", false},
		{"ipMatch", "2001:db8::1", "2001:db8::/32", true},
		{"ipMatch", "2001:db8::1", "0.0.0.0/0", false},
	} {
		s, err := NewSet(x.function, []string{x.pattern})
		if err != nil {
			t.Fatal(err)
		}
		apply, err := functions[x.function].Compile(x.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := casbin(x.function, x.value, x.pattern); theirs != x.want || err != nil {
			t.Errorf("%s(%q, %q): Casbin says %v, %v", x.function, x.value, x.pattern, theirs, err)
		}
		compareValue(t, s, x.function, []string{x.pattern}, []Apply{apply}, x.value)
	}
}

// TestGetters: the functions whose result is a text.
func TestGetters(t *testing.T) {
	for _, x := range []struct{ function, value, pattern, name, want string }{
		{"keyGet", "/foo/bar/foo", "/foo/*", "", "bar/foo"},
		{"keyGet", "/foo", "/foo/*", "", ""},
		{"keyGet2", "/resource1/x", "/:resource/:other", "other", "x"},
		{"keyGet2", "/resource1", "/:resource", "nobody", ""},
		{"keyGet3", "project/proj_project1_admin/", "project/proj_{project}_admin/", "project", "project1"},
	} {
		apply, err := functions[x.function].Compile(x.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := apply(x.value, x.name); got != x.want || err != nil {
			t.Errorf("%s(%q, %q, %q): got %q, %v, want %q", x.function, x.value, x.pattern, x.name, got, err, x.want)
		}
	}
}

// TestNames: all functions are found by their names, with what they are.
func TestNames(t *testing.T) {
	want := []string{"globMatch", "ipMatch", "keyGet", "keyGet2", "keyGet3", "keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5", "regexMatch"}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Error(diff)
	}
	for _, name := range want {
		f, found := Find(name)
		_, err := NewSet(name, nil)
		if !found || f.Text != strings.HasPrefix(name, "keyGet") || (err != nil) != f.Text {
			t.Errorf("%s: %+v, found %v, a set: %v", name, f, found, err)
		}
	}
	if _, found := Find("eval"); found {
		t.Error("eval is no function of patterns")
	}
	if _, err := NewSet("eval", nil); !errors.Is(err, ErrArgument) {
		t.Errorf("got %v", err)
	}
}

// TestBadPatterns: what casbin panics on is an error when it is compiled.
func TestBadPatterns(t *testing.T) {
	for function, patterns := range map[string][]string{
		"keyMatch2":  {"/a(", "/**", "/[", "/\xff"},
		"keyMatch3":  {"/{x}(", "/{x}**"},
		"keyMatch4":  {"/(a)/{x}", "/(", "/(a){x}/{x}"},
		"keyMatch5":  {"/a)"},
		"keyGet2":    {"/("},
		"keyGet3":    {"/("},
		"regexMatch": {"(", "^a{1001}", "\xff"},
		"globMatch":  {"[", "{a", "\\", strings.Repeat("{a,aa}", 7), "{a,b,{c,d,{e,f,g,h}}}{a,b,c,d}", strings.Repeat("{", 65) + "a" + strings.Repeat("}", 65)},
		"ipMatch":    {"", "10.0.0.0/33", "host", "fe80::1%eth0", "10.0.0.0/8/8"},
	} {
		for _, p := range patterns {
			if _, err := functions[function].Compile(p); err == nil {
				t.Errorf("%s compiles %q", function, p)
			}
			if _, err := NewSet(function, []string{p}); err == nil {
				t.Errorf("a set of %s takes %q", function, p)
			}
		}
	}
	if _, err := functions["globMatch"].Compile(`/\{a,b\}/{a,b,[,]}{a,b}{a,b}`); err != nil {
		t.Error(err)
	}
}

// TestAddresses: a value that is no address fails for every network.
func TestAddresses(t *testing.T) {
	s, err := NewSet("ipMatch", []string{"0.0.0.0/0", "::/0", "10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", "host", "10.0.0.0/8", "fe80::1%eth0", "1.2.3", "01.2.3.4"} {
		if ids, uncertain, err := s.Match(value, nil); !errors.Is(err, ErrArgument) || uncertain || len(ids) > 0 {
			t.Errorf("%q: got %v, %v, %v", value, ids, uncertain, err)
		}
		if holds, err := s.Test(0, value); holds || !errors.Is(err, ErrArgument) {
			t.Errorf("Test of %q: got %v, %v", value, holds, err)
		}
	}
}

// TestNetworks compares sets of networks, of IPv4, IPv6 and what is written in between, with Casbin.
func TestNetworks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		b := [4]byte{10, byte(r.IntN(2)), byte(r.IntN(2)), byte(r.IntN(4))}
		v4 := netip.AddrFrom4(b)
		six := v4.As16()
		switch r.IntN(4) {
		case 0:
			return netip.AddrFrom16(six)
		case 1:
			six[11] = byte(0xc0 | r.IntN(2)<<5)
			return netip.AddrFrom16(six)
		case 2:
			six[0], six[1] = 0x20, 0x01
			return netip.AddrFrom16(six)
		}
		return v4
	}
	compared := 0
	for range 100 {
		var patterns []string
		var alone []Apply
		for range 50 {
			a := address()
			p := fmt.Sprintf("%s/%d", a, r.IntN(a.BitLen()+1))
			switch {
			case r.IntN(4) == 0:
				p = a.String()
			case r.IntN(2) == 0:
				p = fmt.Sprintf("%s/%d", a, a.BitLen()-r.IntN(40)%a.BitLen())
			}
			apply, err := functions["ipMatch"].Compile(p)
			if err != nil {
				t.Fatal(err)
			}
			patterns, alone = append(patterns, p), append(alone, apply)
		}
		s, err := NewSet("ipMatch", patterns)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			compared += compareValue(t, s, "ipMatch", patterns, alone, address().String())
		}
	}
	if compared < 100_000 {
		t.Errorf("only %d answers were compared", compared)
	}
}

// TestWorkIsBounded: nothing can stop a match that has begun, so a value that would take long is refused before.
func TestWorkIsBounded(t *testing.T) {
	long := "/" + strings.Repeat("a", 8190)
	for _, x := range []struct {
		function, pattern string
		longest           int // of the lengths that are tried
	}{
		{"regexMatch", "^/a+/[0-9]{1,9}$", 8191},
		{"regexMatch", "(a?){500}(a?){499}b", 64},
		{"regexMatch", "((a{0,10}){0,10}){0,10}b", 64},
		{"keyMatch", "/b/*", 8191},
		{"keyMatch2", "/:x/:y", 8191},
		{"keyMatch2", "/v1.0" + strings.Repeat("/:x", 60), 8191},
		{"keyMatch2", strings.Repeat("/a?", 199) + strings.Repeat("/:x", 60), 256},
		{"keyMatch2", strings.Repeat("/*", 120), 512},
		{"keyMatch3", "/{x}" + strings.Repeat("/{x}.json", 60), 512},
		{"keyMatch3", strings.Repeat("/{x}-", 50), 512},
		{"keyMatch3", strings.Repeat("/{x}-", 9), 8191},
		{"keyMatch4", "/{a}-/{b}-/{c}-/{d}-/{e}-/{f}-/{g}-/{h}-/{i}-", 8191},
		{"keyMatch4", "/{x}" + strings.Repeat("/{x}", 15), 8191},
		{"keyMatch4", "/{x}" + strings.Repeat("/{x}", 60), 512},
		{"keyMatch5", "/{x}" + strings.Repeat("/{x}.json", 60), 512},
		{"keyGet2", strings.Repeat("/:x", 60), 512},
		{"keyGet3", strings.Repeat("/{x}", 60), 512},
		{"globMatch", "/b/**/c*", 8191},
		{"globMatch", "/{a,aa}{a,aa}{a,aa}{a,aa}{a,aa}{a,aa}b", 64},
		{"globMatch", "/" + strings.Repeat("*a", 1000) + "b", 64},
	} {
		apply, err := functions[x.function].Compile(x.pattern)
		if err != nil {
			t.Fatal(err)
		}
		longest := 0
		for _, length := range []int{64, 256, 512, 8191} {
			if _, err := apply(long[:length], "x"); err == nil {
				longest = length
			} else if !errors.Is(err, ErrArgument) {
				t.Errorf("%s(%.40s): %v", x.function, x.pattern, err)
			}
		}
		if longest != x.longest {
			t.Errorf("%s(%.40s) takes values of %d bytes, want %d", x.function, x.pattern, longest, x.longest)
		}
	}
	if _, err := Regexp(regexp.MustCompile("(a?){500}(a?){499}b"))(long, ""); !errors.Is(err, ErrArgument) {
		t.Errorf("an expression compiled elsewhere: %v", err)
	}
}

// TestUncertain: a value that is too long for some patterns is told apart by Test, and other patterns answer as always.
func TestUncertain(t *testing.T) {
	long := "/api/" + strings.Repeat("a", 8000)
	costly := "(a?){500}(a?){499}b"
	for function, patterns := range map[string][]string{
		"regexMatch": {"^/api/", "^/api/" + costly, "^/web/" + costly, costly, "^/api$"},
		"keyMatch2":  {"/api/*", "/api/" + costly, "/web/" + costly, costly + "|a", "/api"},
		"globMatch":  {"/api/**", "/api/" + strings.Repeat("*a", 1000), "/web/" + strings.Repeat("*a", 1000), strings.Repeat("*a", 1000), "/api"},
	} {
		s, err := NewSet(function, patterns)
		if err != nil {
			t.Fatal(err)
		}
		ids, uncertain, err := s.Match(long, nil)
		slices.Sort(ids)
		if !slices.Equal(ids, []uint32{0, 1, 3}) || !uncertain || err != nil {
			t.Errorf("%s: got %v, %v, %v", function, ids, uncertain, err)
		}
		for id, want := range []error{nil, ErrArgument, ErrArgument, ErrArgument, nil} {
			if holds, err := s.Test(uint32(id), long); !errors.Is(err, want) || holds != (id == 0) {
				t.Errorf("%s, %.20s: got %v, %v", function, patterns[id], holds, err)
			}
		}
		if ids, uncertain, err = s.Match("/api/x", nil); !slices.Equal(ids, []uint32{0}) || uncertain || err != nil {
			t.Errorf("%s, a short value: got %v, %v, %v", function, ids, uncertain, err)
		}
	}
}

// TestWork pins how much of a set a match looks at: hardly more in large sets than in small ones.
func TestWork(t *testing.T) {
	const n = 50_000
	for _, x := range benchmarks {
		if x.function == "ipMatch" {
			continue
		}
		patterns := make([]string, n)
		for i := range patterns {
			patterns[i] = x.pattern(i)
		}
		s, err := NewSet(x.function, patterns)
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		for i := 0; i < n; i += 7 {
			for _, value := range []string{x.value(i), x.value(i) + "/no", strings.ToUpper(x.value(i)), x.value(n + i), x.value(i)[1:], ""} {
				w := s.walk(value, nil)
				most = max(most, w.work)
			}
		}
		if most > 12 || most < 3 {
			t.Errorf("%s: a match looks at %d nodes and patterns", x.name, most)
		}
		if want := x.value(n / 2); s.walk(want, nil).ids == nil {
			t.Errorf("%s: %q is not found", x.name, want)
		}
	}
}

// TestTests: how many patterns a match tries is known before, and no match tries more.
func TestTests(t *testing.T) {
	for _, x := range []struct {
		function string
		patterns []string
		want     int
	}{
		{"keyMatch2", nil, 0},
		{"keyMatch2", []string{"/a", "/a/:id", "/a/*", "/v1.0/:id"}, 0},
		{"keyMatch2", []string{"/a?", "/b?", "/c?", "/d?", "/e?", "/f?"}, 6},
		{"keyMatch2", []string{"/a[a]", "/b[a]", "/c[a]", "/d[a]", "/e[a]", "/f[a]"}, 1},
		{"keyMatch2", []string{"/a[a]", "/a[b]", "/a[c]", "/ab[a]", "/ac[a]", "/f[a]"}, 4},
		{"keyMatch2", []string{"/:x/a", "/:x/[a]", "/.b/[a]", "/ab/[a]", "/ab/[b]", "/ac/[b]", "/:x/[b]"}, 6},
		{"keyMatch3", []string{"/{a}-{b}", "/{a}.json"}, 1},
		{"keyMatch4", []string{"/{a}/{b}", "/{a}/{a}"}, 1},
		{"regexMatch", []string{"a", "b", "^c", "^d$", "^(e|f)$", "^(g|h)"}, 4},
		{"globMatch", []string{"/a/*", "/b/*", "/c/*", "/d/*", "/e/*"}, 1},
		{"ipMatch", []string{"10.0.0.0/8"}, 0},
	} {
		s, err := NewSet(x.function, x.patterns)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Tests(); got != x.want {
			t.Errorf("%s, %q: %d, want %d", x.function, x.patterns, got, x.want)
		}
	}
	r, met := rand.New(rand.NewPCG(1, 1)), 0
	for range 300 {
		var patterns []string
		for range 1 + r.IntN(200) {
			if p := random(r, keyParts.patterns, 5); functions["keyMatch2"].accepts(p) {
				patterns = append(patterns, p)
			}
		}
		s, err := NewSet("keyMatch2", patterns)
		if err != nil {
			t.Fatal(err)
		}
		tried := 0
		for i := range s.tree.tests {
			inner := s.tree.tests[i].test
			s.tree.tests[i].test = func(value string) (bool, error) { tried++; return inner(value) }
		}
		for range 100 {
			tried = 0
			value := random(r, keyParts.values, 5)
			if _, _, err := s.Match(value, nil); err != nil {
				t.Fatal(err)
			}
			if tried > s.Tests() {
				t.Fatalf("%q tries %d of %d patterns: %q", value, tried, s.Tests(), patterns)
			}
			met += tried
		}
	}
	if met == 0 {
		t.Error("no pattern was tried")
	}
}

// accepts reports whether a function takes a pattern.
func (f Function) accepts(pattern string) bool {
	_, err := f.Compile(pattern)
	return err == nil
}

// TestSize pins how many nodes sets of large shapes have: patterns that share a way share its nodes.
func TestSize(t *testing.T) {
	const n = 50_000
	for _, x := range benchmarks {
		if x.function == "ipMatch" {
			continue
		}
		tree := newTree(braceNames, n)
		for i := range n {
			tree.add(shape{text: x.pattern(i)})
		}
		if got := len(tree.nodes) + tree.edges.used; got > 2*n {
			t.Errorf("%s: %d nodes and %d ways for %d patterns", x.name, len(tree.nodes), tree.edges.used, n)
		}
	}
}

// TestAllocations: a match allocates nothing where there is room for the ids.
func TestAllocations(t *testing.T) {
	ids := make([]uint32, 0, 8)
	for _, x := range benchmarks {
		patterns := make([]string, 100)
		for i := range patterns {
			patterns[i] = x.pattern(i)
		}
		s, err := NewSet(x.function, patterns)
		if err != nil {
			t.Fatal(err)
		}
		value := x.value(50)
		if got := testing.AllocsPerRun(100, func() { _, _, _ = s.Match(value, ids) }); got > 0 {
			t.Errorf("%s: %v allocations", x.name, got)
		}
	}
}

// TestExpressionTexts: what is known of expressions without running them.
func TestExpressionTexts(t *testing.T) {
	for _, x := range []struct {
		pattern string
		texts   []string
		exact   bool
	}{
		{"^GET$", []string{"GET"}, true},
		{"^(GET|POST|PUT)$", []string{"GET", "POST", "PUT"}, true},
		{"^(?:read|write)?$", []string{"", "read", "write"}, true},
		{"^[ab]c?$", []string{"a", "ac", "b", "bc"}, true},
		{"^(a|a)(b|)$", []string{"a", "ab"}, true},
		{"^a?a?$", []string{"", "a", "aa"}, true},
		{"^$", []string{""}, true},
		{"^/api/", []string{"/api/"}, false},
		{"^/api/v[12]/.*$", []string{"/api/v"}, false},
		{"^a$b", []string{"a"}, false},
		{"GET|POST", []string{""}, false},
		{"^GET|^POST$", []string{""}, false},
		{"(?i)^get$", []string{""}, false},
		{"(?m)^get$", []string{""}, false},
		{"^[a-z]$", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z"}, true},
		{"^[a-z][a-z]$", nil, false},
		{"^a\uFFFD$", []string{""}, false},
		{"^[\\x{D800}a]$", []string{""}, false},
		{"(", []string{""}, false},
	} {
		texts, exact := parseRegex(x.pattern)
		if x.texts == nil {
			x.texts = []string{""}
		}
		if !slices.Equal(texts, x.texts) || exact != x.exact {
			t.Errorf("%s: got %q, %v, want %q, %v", x.pattern, texts, exact, x.texts, x.exact)
		}
	}
}
