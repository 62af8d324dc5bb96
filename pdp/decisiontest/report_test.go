package decisiontest

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
)

// sample is a report whose texts try to break out of every form.
func sample() *Report {
	return &Report{
		Bundle: "acme", Revision: "0123",
		Results: []Result{
			{Suite: "a", Case: "passes", Position: format.Position{File: "tests/a.yaml", Line: 3, Column: 5}},
			{Suite: "b", Case: `a <b> & "c", 100 %: ]]>`, Position: format.Position{File: "tests/b.yaml", Line: 4, Column: 5}, Failure: &Failure{
				Step: 2, Time: 7, Request: "GET https://a/<", Verdict: "deny 403 no_matching_rule",
				Explanation: []string{"policy main: deny", "  ::error::x"},
				Differences: []Difference{{Key: "decision", Line: 9, Column: 11, Want: "allow", Got: "deny"}, {Key: "status", Line: 9, Column: 20, Want: "200", Got: "403"}, {Key: "remaining.a\n::error::b", Line: 9, Column: 30, Want: "1", Got: "2"}},
			}},
		},
		Coverage: &Coverage{
			Routes: []CoveredRoute{{Service: "s", Route: "r", Position: format.Position{File: "services/s/service.yaml", Line: 7, Column: 9}, Allowed: true}, {Public: true, Allowed: true}},
			Rules:  []CoveredRule{{Position: format.Position{File: "shared/a.csv", Line: 2}}},
		},
	}
}

func written(t *testing.T, l Layout) string {
	t.Helper()
	var b strings.Builder
	if err := sample().Write(&b, l); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPretty(t *testing.T) {
	want := `a (dir/tests/a.yaml)
  ok    passes
b (dir/tests/b.yaml)
  FAIL  "a <b> & \"c\", 100 %: ]]>"
        dir/tests/b.yaml:9:11: decision: expected allow, got deny
        dir/tests/b.yaml:9:20: status: expected 200, got 403
        dir/tests/b.yaml:9:30: "remaining.a\n::error::b": expected 1, got 2
        step      2, request 7 of it
        request   GET https://a/<
        verdict   deny 403 no_matching_rule
        why       policy main: deny
                    ::error::x
acme, revision 0123: 2 cases, 1 failed
coverage: 50.0 % of 2 routes, 0.0 % of 1 rules
  dir/services/s/service.yaml:7:9: route r of s: no deny
  dir/shared/a.csv:2: the rule decided nothing
`
	if diff := cmp.Diff(want, written(t, Layout{Form: "pretty", Root: "dir", Coverage: true, Cases: true})); diff != "" {
		t.Error(diff)
	}
	if short := written(t, Layout{Form: "pretty"}); strings.Contains(short, "passes") || strings.Contains(short, "coverage") || !strings.Contains(short, "\nb (tests/b.yaml)") && !strings.HasPrefix(short, "b (tests/b.yaml)") {
		t.Error(short)
	}
}

func TestGitHub(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(written(t, Layout{Form: "github", Coverage: true}), "\n"), "\n")
	want := []string{
		"::error file=tests/b.yaml,line=9,col=11,title=b%3A a <b> & \"c\"%2C 100 %25%3A ]]>::tests/b.yaml:9:11: decision: expected allow, got deny%0A" +
			"tests/b.yaml:9:20: status: expected 200, got 403%0Atests/b.yaml:9:30: \"remaining.a\\n::error::b\": expected 1, got 2%0Astep      2, request 7 of it%0Arequest   GET https://a/<%0Averdict   deny 403 no_matching_rule%0A" +
			"why       policy main: deny%0A            ::error::x",
		"::notice title=coverage::services/s/service.yaml:7:9: route r of s: no deny",
		"::notice title=coverage::shared/a.csv:2: the rule decided nothing",
		"coverage: 50.0 % of 2 routes, 0.0 % of 1 rules",
		"acme, revision 0123: 2 cases, 1 failed",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestJUnit(t *testing.T) {
	text := written(t, Layout{Form: "junit"})
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict = true
	var got junitSuites
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 2 || got.Failures != 1 || len(got.Suites) != 2 || got.Suites[0].Failures != 0 || got.Suites[1].Tests != 1 {
		t.Errorf("got %+v", got)
	}
	failed := got.Suites[1].Cases[0]
	if failed.Name != sample().Results[1].Case || failed.Failure.Message != "decision: expected allow, got deny" || !strings.Contains(failed.Failure.Text, "\n            ::error::x") {
		t.Errorf("got %+v", failed)
	}
	if got.Suites[0].Cases[0].Failure != nil {
		t.Error("what passed has failed")
	}
}

func TestJSON(t *testing.T) {
	var got jsonReport
	if err := json.Unmarshal([]byte(written(t, Layout{Form: "json", Root: "dir", Coverage: true})), &got); err != nil {
		t.Fatal(err)
	}
	if got.Cases != 2 || got.Failed != 1 || !got.Results[0].Passed || got.Results[1].Passed || got.Results[1].File != "dir/tests/b.yaml" {
		t.Errorf("got %+v", got)
	}
	if got.Results[1].Differences[1] != jsonDifference(sample().Results[1].Failure.Differences[1]) || len(got.Coverage.Missing) != 2 || got.Coverage.RoutesPercent != 50 {
		t.Errorf("got %+v", got)
	}
}

// TestCompareIsBounded changes more cells than anybody reads.
func TestCompareIsBounded(t *testing.T) {
	old, current := &Table{Subjects: []string{"a"}}, &Table{Subjects: []string{"a"}}
	for i := range maxChanges + 7 {
		row := Row{Service: "s", Route: strconv.Itoa(i), Method: "GET", Cells: []string{"allow"}}
		old.Rows = append(old.Rows, row)
		row.Cells = []string{"deny no_matching_rule"}
		current.Rows = append(current.Rows, row)
	}
	got := current.Compare(old.CSV())
	if last := got[len(got)-1]; len(got) != maxChanges+1 || last.Got != "7 more changes" {
		t.Errorf("%d changes, the last %+v", len(got), last)
	}
}

func TestUnknownForm(t *testing.T) {
	if err := sample().Write(io.Discard, Layout{Form: "xml"}); !errors.Is(err, ErrForm) {
		t.Errorf("got %v", err)
	}
}

// TestEveryKeyIsRead looks for keys of a suite that load and mean nothing.
func TestEveryKeyIsRead(t *testing.T) {
	read := map[string]bool{}
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // build tags do not matter here
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(packages["decisiontest"], func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			read[s.Sel.Name] = true
		}
		return true
	})
	seen := 0
	var walk func(reflect.Type)
	walk = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(of.Elem())
		case reflect.Struct:
			for i := range of.NumField() {
				field := of.Field(i)
				if field.Tag.Get("yaml") == "" {
					continue
				}
				if seen++; !read[field.Name] {
					t.Errorf("%s.%s is never read", of.Name(), field.Name)
				}
				walk(field.Type)
			}
		default:
		}
	}
	walk(reflect.TypeFor[suite.Suite]())
	if seen < 90 {
		t.Errorf("%d keys; were they all walked?", seen)
	}
}
