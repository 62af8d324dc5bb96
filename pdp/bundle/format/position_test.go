package format

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAt(t *testing.T) {
	f := &File{Path: "f", Data: []byte(serviceYAML)}
	for path, want := range map[string]string{
		"$":                                    "f:1:1",
		"$.service":                            "f:1:10",
		"$.match[0].host":                      "f:3:12",
		"$.match[1].prefix":                    "f:5:13",
		"$.match[1]":                           "f:4:5",
		"$.match[2].host":                      "f:2:1", // no such item
		"$.identity":                           "f:6:1",
		"$.identity.audiences[0]":              "f:6:56",
		"$.identity.missing":                   "f:6:1", // no such key
		"$.policies[0].request.sub":            "f:11:20",
		"$.limit_definitions.per-address.rate": "f:14:23",
		"$.limit_definitions.by.dots[0].rate":  "f:16:11",
		"$.limit_definitions.by.dots[0]":       "f:15:3",
		"$.routes[1].path":                     "f:22:11",
		"$.routes[1].methods[0]":               "f:24:9",
		"$.routes[9999999999999999999]":        "f:19:1",
		"$.routes[-1]":                         "f:19:1",
		"":                                     "f",
		"routes":                               "f",
	} {
		if got := f.At(path).String(); got != want {
			t.Errorf("At(%q) = %s, want %s", path, got, want)
		}
	}
	if got := (&File{Path: "f", Data: []byte("a: [")}).At("$.a").String(); got != "f" {
		t.Errorf("in a file that is no YAML: %s", got)
	}
}

func TestWalk(t *testing.T) {
	f := &File{Path: "f", Data: []byte("a: {b: 1, c: [{d: 2}, x]}\n\"e.f\": y\n")}
	var got []string
	f.Walk(func(path []string, at Position, text string) {
		got = append(got, strings.Join(path, " ")+" "+at.String()+" "+text)
	})
	want := []string{"a f:1:1 ", "a b f:1:5 1", "a c f:1:11 ", "a c [] d f:1:16 2", "a c [] f:1:23 x", "e.f f:2:1 y"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExcerpt(t *testing.T) {
	long := "key: " + strings.Repeat("x", 150) + "HERE" + strings.Repeat("y", 150)
	for _, test := range []struct {
		name, source string
		column       int
		want         string
	}{
		{"caret", "name: x", 7, "    1 | name: x\n      |       ^"},
		{"first column", "name: x", 1, "    1 | name: x\n      | ^"},
		{"beyond the end", "name:", 40, "    1 | name:\n      |      ^"},
		{"tabs", "a\tb\tc", 5, "    1 | a  b  c\n      |       ^"},
		{"wide letters count once", "é: ü", 4, "    1 | é: ü\n      |    ^"},
		{"escape sequences are shown", "\x1b[2Jx", 5, "    1 | \\u001b[2Jx\n      |          ^"},
		{"reordering is shown", "a\u202Eb", 3, "    1 | a\\u202eb\n      |        ^"},
		{"long lines are cut", long, 156, "    1 | …" + strings.Repeat("x", 60) + "HERE" + strings.Repeat("y", 36) + "…\n      |  " + strings.Repeat(" ", 60) + "^"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &File{Path: "f", Data: []byte(test.source)}
			if diff := cmp.Diff(test.want, f.ProblemAt(1, test.column, "x").Excerpt); diff != "" {
				t.Error(diff)
			}
		})
	}
	f := &File{Path: "f", Data: []byte("a\nb\n")}
	if got := f.ProblemAt(9, 1, "x").Error(); got != "f:9:1: x" {
		t.Errorf("a line that the file does not have: %q", got)
	}
	if got := f.Problem("", "x").Error(); got != "f: x" {
		t.Errorf("the file as a whole: %q", got)
	}
}

// TestNearestLooksOnlyAtWhatCanBeNear: for a file that a thousand services miss, all names are looked through.
func TestNearestLooksOnlyAtWhatCanBeNear(t *testing.T) {
	long := []string{"services/orders/policy.csv", "x"}
	if n := testing.AllocsPerRun(10, func() { Nearest("shared/model.conf", long) }); n != 0 {
		t.Errorf("%v allocations for names of other lengths", n)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"methods", "name", "path", "by", "at"}
	for name, want := range map[string]string{"method": "methods", "mehtods": "methods", "naem": "name", "pth": "path", "xyz": "", "bu": "", "a": "", "": "", "patsy": "path"} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	files := NewFiles(map[string][]byte{"shared/roles.csv": []byte("a"), "services/o/p.csv": []byte("b")})
	for _, test := range []struct {
		dir, ref, want string
	}{
		{"services/o", "p.csv", "services/o/p.csv"},
		{"services/o", "/shared/roles.csv", "shared/roles.csv"},
		{"services/o", "../.././shared/roles.csv", "shared/roles.csv"},
		{"services/o", "../../../.././shared/roles.csv", "shared/roles.csv"},
		{"", "shared/roles.csv", "shared/roles.csv"},
		{"services/o", "/etc/passwd", ""},
		{"services/o", "", ""},
	} {
		got := ""
		if f, ok := files.Get(test.dir, test.ref); ok {
			got = f.Path
		}
		if got != test.want {
			t.Errorf("Get(%q, %q) = %q, want %q", test.dir, test.ref, got, test.want)
		}
	}
	if diff := cmp.Diff([]string{"services/o/p.csv", "shared/roles.csv"}, files.Paths()); diff != "" {
		t.Error(diff)
	}
}
