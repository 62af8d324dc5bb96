package spiffe

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestIDs holds the standard's own examples, and what each of its sentences refuses (SPIFFE-ID, sections 2 to 2.3).
func TestIDs(t *testing.T) {
	longest := "spiffe://example.org/" + strings.Repeat("x", maxID-len("spiffe://example.org/"))
	for text, parts := range map[string][2]string{
		"spiffe://staging.example.com/payments/mysql":                        {"staging.example.com", "/payments/mysql"},
		"spiffe://k8s-west.example.com/ns/staging/sa/default":                {"k8s-west.example.com", "/ns/staging/sa/default"},
		"spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453":          {"example.com", "/9eebccd2-12bf-40a6-b262-65fe0487d453"},
		"spiffe://example.org":                                               {"example.org", ""},
		"spiffe://1.2.3.4/a":                                                 {"1.2.3.4", "/a"},
		"spiffe://a_b.c-d/A.b_c-D":                                           {"a_b.c-d", "/A.b_c-D"},
		"spiffe://example.org/.../..a/.b":                                    {"example.org", "/.../..a/.b"},
		"spiffe://" + strings.Repeat("a", 255) + "/x":                        {strings.Repeat("a", 255), "/x"},
		"spiffe://-./x":                                                      {"-.", "/x"},
		longest:                                                              {"example.org", longest[len("spiffe://example.org"):]},
		"spiffe://example.org/ns/prod/sa/" + strings.Repeat("long-name-", 9): {"example.org", "/ns/prod/sa/" + strings.Repeat("long-name-", 9)},
	} {
		id, err := ParseID(text)
		if err != nil || id.String() != text || id.TrustDomain() != parts[0] || id.Path() != parts[1] {
			t.Errorf("%s: %q %q, error %v", text, id.TrustDomain(), id.Path(), err)
		}
	}
	for text, want := range map[string]string{
		"":                                            "begin with spiffe://",
		"spiffe:":                                     "begin with spiffe://",
		"spiffe:/example.org/a":                       "begin with spiffe://",
		"http://example.org/a":                        "begin with spiffe://",
		"SPIFFE://example.org/a":                      "begin with spiffe://",
		"Spiffe://example.org/a":                      "begin with spiffe://",
		" spiffe://example.org/a":                     "begin with spiffe://",
		"urn:spiffe://example.org/a":                  "begin with spiffe://",
		"spiffe://":                                   "trust domain is empty",
		"spiffe:///a":                                 "trust domain is empty",
		"spiffe://Example.org/a":                      "trust domain holds",
		"spiffe://user@example.org/a":                 "trust domain holds",
		"spiffe://@example.org/a":                     "trust domain holds",
		"spiffe://example.org:443/a":                  "trust domain holds",
		"spiffe://example.org:/a":                     "trust domain holds",
		"spiffe://[::1]/a":                            "trust domain holds",
		"spiffe://ex%61mple.org/a":                    "trust domain holds",
		"spiffe://exam ple.org/a":                     "trust domain holds",
		"spiffe://ex\u00e4mple.org/a":                 "trust domain holds",
		"spiffe://example.org?x":                      "trust domain holds",
		"spiffe://example.org#":                       "trust domain holds",
		"spiffe://" + strings.Repeat("a", 256) + "/x": "longer than 255 bytes",
		"spiffe://example.org/":                       "empty segment",
		"spiffe://example.org//a":                     "empty segment",
		"spiffe://example.org/a/":                     "empty segment",
		"spiffe://example.org/a//b":                   "empty segment",
		"spiffe://example.org/.":                      "dot segment",
		"spiffe://example.org/a/../b":                 "dot segment",
		"spiffe://example.org/a/./b":                  "dot segment",
		"spiffe://example.org/a?":                     "a path holds",
		"spiffe://example.org/a?x=y":                  "a path holds",
		"spiffe://example.org/a#":                     "a path holds",
		"spiffe://example.org/a#b":                    "a path holds",
		"spiffe://example.org/a%2fb":                  "a path holds",
		"spiffe://example.org/%2e%2e":                 "a path holds",
		"spiffe://example.org/a;b":                    "a path holds",
		"spiffe://example.org/a,b":                    "a path holds",
		"spiffe://example.org/a\x00":                  "a path holds",
		"spiffe://example.org/a\n":                    "a path holds",
		"spiffe://example.org/\u00e4":                 "a path holds",
		"spiffe://example.org/a:b":                    "a path holds",
		`spiffe://example.org/a\b`:                    "a path holds",
		longest + "x":                                 "longer than 2048 bytes",
	} {
		id, err := ParseID(text)
		if !errors.Is(err, ErrID) || !strings.Contains(err.Error(), want) || id != (ID{}) {
			t.Errorf("%q: %q, error %v, want %q", text, id, err, want)
		}
	}
}

// TestCharacters goes through all bytes, in a trust domain and in a path (SPIFFE-ID, sections 2.1 and 2.2).
func TestCharacters(t *testing.T) {
	const lower, others = "abcdefghijklmnopqrstuvwxyz0123456789.-_", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		b := string([]byte{byte(c)})
		if _, err := ParseID("spiffe://example" + b + "org/x"); (err == nil) != strings.Contains(lower+"/", b) {
			t.Errorf("%q in a trust domain: %v", b, err)
		}
		if _, err := ParseID("spiffe://example.org/a" + b + "x"); (err == nil) != strings.Contains(lower+others+"/", b) {
			t.Errorf("%q in a path: %v", b, err)
		}
		if _, err := ParsePattern("example.org", "/a"+b+"x"); (err == nil) != strings.Contains(lower+others+"/", b) {
			t.Errorf("%q in a pattern: %v", b, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, row := range []struct {
		path, id string
		params   []Param // nil where it does not fit
	}{
		{"/a", "spiffe://example.org/a", []Param{}},
		{"/a", "spiffe://example.org/a/b", nil},
		{"/a", "spiffe://example.org", nil},
		{"/a", "spiffe://example.org/A", nil},
		{"/a", "spiffe://example.org.evil.example/a", nil},
		{"/a", "spiffe://sub.example.org/a", nil},
		{"/ns/{ns}/sa/{sa}", "spiffe://example.org/ns/shop/sa/batch", []Param{{"ns", "shop"}, {"sa", "batch"}}},
		{"/ns/{ns}/sa/{sa}", "spiffe://example.org/ns/shop/sa", nil},
		{"/ns/{ns}/sa/{sa}", "spiffe://example.org/ns/shop/sa/batch/x", nil},
		{"/ns/{ns}/sa/{sa}", "spiffe://example.org/ns/shop/xx/batch", nil},
		{"/ns/shop/*", "spiffe://example.org/ns/shop/a", []Param{}},
		{"/ns/shop/*", "spiffe://example.org/ns/shop/a/b", []Param{}},
		{"/ns/shop/*", "spiffe://example.org/ns/shop", nil},
		{"/ns/shop/*", "spiffe://example.org/ns/shopping/a", nil},
		{"/{ns}/*", "spiffe://example.org/shop/a/b", []Param{{"ns", "shop"}}},
		{"/*", "spiffe://example.org/a", []Param{}},
		{"/*", "spiffe://example.org", nil},
	} {
		p, err := ParsePattern("example.org", row.path)
		if err != nil {
			t.Fatal(err)
		}
		id, err := ParseID(row.id)
		if err != nil {
			t.Fatal(err)
		}
		params, ok := p.Match(id)
		if ok != (row.params != nil) || !slices.Equal(params, row.params) {
			t.Errorf("%s against %s: %v, %v", row.path, row.id, params, ok)
		}
		if _, ok := p.Match(ID{}); ok {
			t.Errorf("%s fits no id", row.path)
		}
	}
	for path, want := range map[string]string{
		"": "begins with /", "a": "begins with /", "/": "empty segment", "/a/": "empty segment", "/a/../b": "dot segment",
		"/*/a": "is no segment", "/a*": "is no segment", "/{a": "is no segment", "/{}": "is no segment", "/{A}": "is no segment", "/x{a}": "is no segment",
		"/{a}/{a}": "stands twice", "/%61": "is no segment", strings.Repeat("/a", 65): "longer than 64 segments",
	} {
		if _, err := ParsePattern("example.org", path); !errors.Is(err, ErrPattern) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
	if _, err := ParsePattern("Example.org", "/a"); !errors.Is(err, ErrPattern) || !errors.Is(err, ErrID) {
		t.Errorf("a trust domain in upper case: %v", err)
	}
	if _, ok := (Pattern{}).Match(ID{}); ok {
		t.Error("the zero pattern fits the zero id")
	}
}

func TestOverlaps(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"/a", "/a", true}, {"/a", "/b", false}, {"/a", "/{x}", true}, {"/{x}", "/{y}", true}, {"/a", "/a/b", false},
		{"/a/*", "/a", false}, {"/a/*", "/a/b", true}, {"/a/*", "/a/b/c", true}, {"/a/*", "/b/*", false}, {"/*", "/{x}/b", true},
		{"/ns/{ns}/sa/{sa}", "/ns/shop/*", true}, {"/ns/{ns}/sa/{sa}", "/ns/shop/vm/{vm}", false}, {"/{a}/b", "/a/{b}", true},
	} {
		a, errA := ParsePattern("example.org", row.a)
		b, errB := ParsePattern("example.org", row.b)
		c, errC := ParsePattern("example.net", row.b)
		if err := errors.Join(errA, errB, errC); err != nil {
			t.Fatal(err)
		}
		if a.Overlaps(b) != row.want || b.Overlaps(a) != row.want {
			t.Errorf("%s and %s: %v", row.a, row.b, a.Overlaps(b))
		}
		if a.Overlaps(c) {
			t.Errorf("%s and %s of another trust domain overlap", row.a, row.b)
		}
	}
}

// FuzzID: what is an id has one spelling, made of its parts alone; what is none is told without its text.
func FuzzID(f *testing.F) {
	for _, seed := range []string{"spiffe://example.org/ns/prod/sa/web", "spiffe://a", "spiffe://a/", "spiffe://A/b", "spiffe://a/../b", "spiffe://a:1/b?c#d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err != nil {
			if id != (ID{}) || len(err.Error()) > 120 {
				t.Errorf("%q: %v, %v", text, id, err)
			}
			return
		}
		if id.String() != text || "spiffe://"+id.TrustDomain()+id.Path() != text || len(text) > 2048 || len(id.TrustDomain()) > 255 || id.TrustDomain() == "" {
			t.Errorf("%q became %q %q", text, id.TrustDomain(), id.Path())
		}
		for i, c := range []byte(text[len("spiffe://"):]) {
			if !isPathByte(c) && c != '/' {
				t.Errorf("%q holds byte %d %q", text, i, c)
			}
		}
		if strings.Contains(id.Path(), "//") || strings.HasSuffix(id.Path(), "/") || strings.Contains(id.Path()+"/", "/../") || strings.Contains(id.Path()+"/", "/./") {
			t.Errorf("path %q", id.Path())
		}
	})
}

// FuzzPattern: a pattern that fits two ids with the same parameters fits one id, unless it ends in *; patterns that fit one id
// overlap.
func FuzzPattern(f *testing.F) {
	f.Add("/ns/{ns}/sa/{sa}", "/ns/shop/*", "spiffe://example.org/ns/shop/sa/a", "spiffe://example.org/ns/shop/sa/b")
	f.Add("/a", "/{x}", "spiffe://example.org/a", "spiffe://example.org/b")
	f.Fuzz(func(t *testing.T, first, second, one, other string) {
		p, err := ParsePattern("example.org", first)
		if err != nil {
			return
		}
		a, errA := ParseID(one)
		b, errB := ParseID(other)
		if errA != nil || errB != nil {
			return
		}
		paramsA, okA := p.Match(a)
		paramsB, okB := p.Match(b)
		if okA && okB && slices.Equal(paramsA, paramsB) && !strings.HasSuffix(first, "*") && a != b {
			t.Errorf("%q reads %q and %q as one", first, one, other)
		}
		if q, err := ParsePattern("example.org", second); err == nil {
			if _, ok := q.Match(a); ok && okA && !p.Overlaps(q) {
				t.Errorf("%q and %q both fit %q and do not overlap", first, second, one)
			}
		}
	})
}
