package rewrite

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFile(t *testing.T) {
	for _, tc := range []struct{ name, path, in, want string }{
		{"commas", "a.csv", "p,alice ,x", "!a.csv:1:3: the field begins or ends with a blank"},
		{"one blank behind commas", "a.csv", "p,alice,data1,read\n  p,  bob,\tdata2 \t\n", "p, alice, data1, read\np, bob, data2\n"},
		{"quotes where they are needed", "a.csv", `p, "alice", "a, b", "say ""hi""", "x y"`, "p, alice, \"a, b\", \"say \"\"hi\"\"\", x y\n"},
		{"blanks inside quotes", "a.csv", `p, " alice"`, "!a.csv:1:4: the field begins or ends"},
		{"an open quote", "a.csv", "p, x\np, \"alice", "!a.csv:2:4: a quoted field must end on its line"},
		{"text behind a quote", "a.csv", `p, "alice" x, y`, "!a.csv:1:4: a quoted field must end on its line"},
		{"a quote in a field", "a.csv", `p, al"ice`, "!a.csv:1:4: a field that holds a quote"},
		{"empty fields", "a.csv", "p,, x,\n", "p, , x,\n"},
		{"comments and empty lines stay where they are", "a.csv", "\n#  who \n\n\n  # and what\np,a\n\n\n", "\n#  who\n\n\n# and what\np, a\n"},
		{"a rule that would become a comment", "a.csv", `"#p", a`, "\"#p\", a\n"},
		{"line ends", "a.csv", "p,a\r\np,b\r\n", "p, a\np, b\n"},
		{"nothing", "a.csv", "", ""},
		{"only empty lines", "a.csv", "\n \n", ""},
		{"control characters", "a.csv", "p, a\x00b", "!a.csv:1:5: the control character"},
		{"a byte order mark", "a.csv", "\ufeffp, a", "!a.csv:1:1: a byte order mark"},
		{"characters are columns", "a.csv", "p, äöü, x ,y", "!a.csv:1:9: the field begins or ends"},

		{"a model", "m.conf",
			"# who\n\n\n[request_definition]\n\nr=sub,obj ,  act\n[policy_definition]\np = sub, obj, act # fields\n; effects\n[policy_effect]\ne=some(where (p.eft==allow))\n\n\n[matchers]\n m   = r.sub == p.sub&&r.obj == p.obj  \n\n",
			"# who\n\n[request_definition]\nr = sub, obj, act\n\n[policy_definition]\np = sub, obj, act # fields\n\n; effects\n[policy_effect]\ne = some(where (p.eft==allow))\n\n[matchers]\nm = r.sub == p.sub&&r.obj == p.obj\n"},
		{"a definition over lines", "m.conf", "[matchers]\nm = r.sub == p.sub  \\\n&& r.act == p.act\\\n   && true # all\n",
			"[matchers]\nm = r.sub == p.sub \\\n    && r.act == p.act \\\n    && true # all\n"},
		{"a list over lines stays", "m.conf", "[policy_definition]\np = sub,\\\nobj\n", "[policy_definition]\np = sub, \\\n    obj\n"},
		{"the commas of a matcher are its author's", "m.conf", "[matchers]\nm=g(r.sub,p.sub)  &&  r.act==p.act", "[matchers]\nm = g(r.sub,p.sub)  &&  r.act==p.act\n"},
		{"relations", "m.conf", "[role_definition]\ng=_,_\ng2 = _,_,_", "[role_definition]\ng = _, _\ng2 = _, _, _\n"},
		{"a comment in a literal", "m.conf", "[matchers]\nm = r.sub == 'a#b'", "!m.conf:2:16: Casbin cuts the line here"},
		{"a comment that goes on", "m.conf", "[matchers]\nm = a # b \\\n c", `!m.conf:2:7: a comment that ends in "\"`},
		{"nothing to go on with", "m.conf", "[matchers]\nm = a \\\n\nb = c", `!m.conf:3:1: a line that ends in "\" must be followed`},
		{"an end that goes on", "m.conf", "[matchers]\nm = a \\\n", `!m.conf:2:1: the file ends after`},
		{"no definition", "m.conf", "[matchers]\nwhat\n", "!m.conf:2:1: expected a section or KEY = VALUE"},

		{"yaml", "a.yaml", "a:   1  \n# x \n\nb: [1, 2]\n\n\n", "a:   1\n# x\n\nb: [1, 2]\n"},
		{"a tab", "a.yaml", "a: 1\nb:\t2\n", "!a.yaml:2:3: a tab"},
		{"no yaml", "a.yaml", "a: [", "!a.yaml: this is no YAML that a bundle can hold"},
		{"other files", "keys.json", "{ } ", "{ } "},
	} {
		got, problem := File(tc.path, []byte(tc.in))
		if want, refused := strings.CutPrefix(tc.want, "!"); refused {
			if problem == nil || !strings.HasPrefix(problem.Error(), want) {
				t.Errorf("%s: %q, %v; want the problem %q", tc.name, got, problem, want)
			}
			continue
		}
		if problem != nil {
			t.Errorf("%s: %v", tc.name, problem)
		} else if diff := cmp.Diff(tc.want, string(got)); diff != "" {
			t.Errorf("%s:\n%s", tc.name, diff)
		}
	}
}

// TestWhatWouldChangeIsRefused: the check behind the formatter is not for show.
func TestWhatWouldChangeIsRefused(t *testing.T) {
	if a, b := definitions([]byte("[matchers]\nm = a\n")), definitions([]byte("[matchers]\nm = b\n")); slices.Equal(a, b) {
		t.Error("two matchers read alike")
	}
	if a, b := definitions([]byte("[request_definition]\nr = a, b\n")), definitions([]byte("[policy_definition]\nr = a, b\n")); slices.Equal(a, b) {
		t.Error("two sections read alike")
	}
	for _, after := range []string{"p, b\n", "p, a\np, a\n", "", "\np, a\n", "p, a,\n", "p, \"a"} {
		if sameRules([]byte("p,a\n"), []byte(after)) {
			t.Errorf("p,a reads like %q", after)
		}
	}
	before, _ := contents(newFile("a.yaml", []byte("a: 1\n")))
	if after, ok := contents(newFile("a.yaml", []byte("a: 2\n"))); !ok || slices.Equal(before, after) {
		t.Error("two values read alike")
	}
}

// readAll reads a whole rule file with the standard library's reader.
func readAll(t *testing.T, data []byte) ([][]string, []int) {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord = '#', true, -1
	var records [][]string
	var lines []int
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return records, lines
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		line, _ := r.FieldPos(0)
		records, lines = append(records, record), append(lines, line)
	}
}

// FuzzRules: what comes out means the same, each rule in its line, and does not change again.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{"p,alice,data1,read\n", "# c\n\np, \"a, b\", \"\"\"\"\n", "p,,\n", "\"#\",a", "p, a\r\ng,b", " ,", "p, \u00a0a", "p, a\u0085"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		once, problem := File("a.csv", data)
		if problem != nil {
			return
		}
		twice, problem := File("a.csv", once)
		if problem != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q becomes %q becomes %q (%v)", data, once, twice, problem)
		}
		// Casbin trims each line before it reads it.
		var trimmed []string
		for line := range strings.SplitSeq(string(data), "\n") {
			trimmed = append(trimmed, strings.TrimSpace(line))
		}
		before, placesBefore := readAll(t, []byte(strings.Join(trimmed, "\n")))
		after, placesAfter := readAll(t, once)
		if diff := cmp.Diff(before, after); diff != "" || !slices.Equal(placesBefore, placesAfter) {
			t.Fatalf("%q becomes %q: lines %v and %v\n%s", data, once, placesBefore, placesAfter, diff)
		}
	})
}

// FuzzModel: what comes out does not change again, and has the same definitions and comments.
func FuzzModel(f *testing.F) {
	for _, seed := range []string{"[request_definition]\nr=a,b # c\n", "# x\n[a]\n\n\n[b]\nm = a \\\n b # c\n", "[m]\nx=\n", ";\n[\n]", "[a]\n#\n\n#\n[b]", "[a]\nx = 'a' #"} {
		f.Add([]byte(seed))
	}
	comments := func(data []byte) (out []string) {
		for line := range strings.SplitSeq(string(data), "\n") {
			if i := strings.IndexAny(line, "#;"); i >= 0 {
				out = append(out, strings.TrimSpace(line[i:]))
			}
		}
		return out
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		once, problem := File("m.conf", data)
		if problem != nil {
			return
		}
		twice, problem := File("m.conf", once)
		if problem != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q becomes %q becomes %q (%v)", data, once, twice, problem)
		}
		if diff := cmp.Diff(comments(data), comments(once)); diff != "" {
			t.Fatalf("%q becomes %q:\n%s", data, once, diff)
		}
	})
}

// FuzzYAML: what comes out does not change again.
func FuzzYAML(f *testing.F) {
	f.Add([]byte("a: 1 \nb: |\n  x  \n\n"))
	f.Add([]byte("a: 'x \n\n y'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		once, problem := File("a.yaml", data)
		if problem != nil {
			return
		}
		if twice, problem := File("a.yaml", once); problem != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q becomes %q becomes %q (%v)", data, once, twice, problem)
		}
	})
}

func TestDiff(t *testing.T) {
	for _, tc := range []struct{ name, before, after, want string }{
		{"line by line", "a\nb \nc\n", "a\nb\nc\n", "@@ line 2 @@\n-b·\n+b\n"},
		{"lines that go and come", "a\nb\nc\nd\n", "a\nc\nx\nd\ny\n", "@@ line 2 @@\n-b\n@@ line 4 @@\n+x\n@@ line 5 @@\n+y\n"},
		{"the last line end", "a", "a\n", "@@ line 1 @@\n-a (no newline)\n+a\n"},
		{"what a terminal would obey", "\x1b[2J\n", "b\n", "@@ line 1 @@\n-\\u001b[2J\n+b\n"},
		{"all of it", "a\nb\n", "", "@@ line 1 @@\n-a\n-b\n"},
	} {
		var out strings.Builder
		if err := Diff(&out, "m.conf", []byte(tc.before), []byte(tc.after)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("--- m.conf\n+++ m.conf (formatted)\n"+tc.want, out.String()); diff != "" {
			t.Errorf("%s:\n%s", tc.name, diff)
		}
	}
}
