package lint_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/lint"
)

// odd is a report with what each form must escape.
func odd(t *testing.T) *lint.Report {
	t.Helper()
	files := change(t, example(t), "+++ services/orders/policy.csv\n p, writer, order, write\n+p, writer, order, read\n+p, \"aud,100%:x\", order, read\n"+
		"+# lint:allow role-unused until 2026-12-31: she joins in spring\n+g, user:corp:erin, auditor\n")
	return look(t, files)
}

func written(t *testing.T, r *lint.Report, form string) string {
	t.Helper()
	var b bytes.Buffer
	if err := lint.Write(&b, r, lint.Output{Form: form, Root: "policies/my bundle", Version: "1.2.3"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPretty(t *testing.T) {
	want := `services/orders/policy.csv:3:1: warning rule-shadowed: the rule at services/orders/policy.csv:1 matches whenever this one does, so that this one changes nothing
    3 | p, writer, order, read
      | ^
services/orders/policy.csv:4:4: warning role-unassigned: nobody has the role "aud,100%:x": no link of g gives it, and no accepted authenticator may assert it
    4 | p, "aud,100%:x", order, read
      |    ^
0 errors, 2 warnings, 0 notes; 1 excepted
`
	if diff := cmp.Diff(want, written(t, odd(t), "pretty")); diff != "" {
		t.Error(diff)
	}
}

func TestGitHub(t *testing.T) {
	got := written(t, odd(t), "github")
	want := `::warning file=policies/my bundle/services/orders/policy.csv,line=4,col=4,title=durward role-unassigned::nobody has the role "aud,100%25:x": no link`
	if !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	r := &lint.Report{Findings: []lint.Finding{{Severity: lint.Note, Problem: format.Problem{Code: "roles-any", Position: format.Position{File: "a,b:c%d"}, Message: "one\ntwo\r"}}}}
	if got := written(t, r, "github"); got != "::notice file=policies/my bundle/a%2Cb%3Ac%25d,title=durward roles-any::one%0Atwo%0D\n" {
		t.Errorf("got %q", got)
	}
}

func TestJSON(t *testing.T) {
	var got struct {
		Version  int
		Counts   map[string]int
		Findings []map[string]any
		Excepted []map[string]any
	}
	if err := json.Unmarshal([]byte(written(t, odd(t), "json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != 1 || got.Counts["warning"] != 2 || len(got.Findings) != 2 || len(got.Excepted) != 1 {
		t.Fatalf("got %+v", got)
	}
	want := map[string]any{"code": "rule-shadowed", "severity": "warning", "file": "services/orders/policy.csv", "line": 3.0, "column": 1.0,
		"message": "the rule at services/orders/policy.csv:1 matches whenever this one does, so that this one changes nothing",
		"help":    "https://github.com/durward-pdp/durward/blob/main/docs/lint/rule-shadowed.md",
		"related": map[string]any{"file": "services/orders/policy.csv", "line": 1.0}}
	if diff := cmp.Diff(want, got.Findings[0]); diff != "" {
		t.Error(diff)
	}
	if e := got.Excepted[0]; e["reason"] != "she joins in spring" || e["until"] != "2026-12-31" {
		t.Errorf("got %v", e)
	}
	page := read(t, pages+"README.md")
	for _, report := range append(got.Findings, got.Excepted...) {
		for member := range report {
			if !strings.Contains(page, "`"+member+"`") {
				t.Errorf("the README does not mention %q", member)
			}
		}
	}
}

// TestSARIF holds the output against what SARIF 2.1.0 demands of the members that are there.
func TestSARIF(t *testing.T) {
	type location struct {
		PhysicalLocation struct {
			ArtifactLocation struct{ URI string }
			Region           *struct{ StartLine, StartColumn int }
		}
	}
	var got struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			ColumnKind string
			Tool       struct {
				Driver struct {
					Name, Version string
					Rules         []struct {
						ID, HelpURI          string
						ShortDescription     struct{ Text string }
						DefaultConfiguration struct{ Level string }
					}
				}
			}
			Results []struct {
				RuleID       string
				RuleIndex    int
				Level        string
				Message      struct{ Text string }
				Locations    []location
				Related      []location `json:"relatedLocations"`
				Suppressions []struct{ Kind, Justification string }
			}
		}
	}
	if err := json.Unmarshal([]byte(written(t, odd(t), "sarif")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "2.1.0" || !strings.HasSuffix(got.Schema, "sarif-2.1.0.json") || len(got.Runs) != 1 {
		t.Fatalf("got %+v", got)
	}
	run := got.Runs[0]
	if run.Tool.Driver.Name != "durward" || run.Tool.Driver.Version != "1.2.3" || len(run.Tool.Driver.Rules) != len(lint.Codes()) || run.ColumnKind == "" {
		t.Errorf("the driver is %+v", run.Tool.Driver)
	}
	for _, rule := range run.Tool.Driver.Rules {
		if rule.HelpURI != "https://github.com/durward-pdp/durward/blob/main/docs/lint/"+rule.ID+".md" || rule.ShortDescription.Text == "" || rule.DefaultConfiguration.Level == "" {
			t.Errorf("an incomplete rule: %+v", rule)
		}
	}
	if len(run.Results) != 3 {
		t.Fatalf("%d results", len(run.Results))
	}
	for _, r := range run.Results {
		at := r.Locations[0].PhysicalLocation
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.Level != "warning" || r.Message.Text == "" || at.Region == nil || at.Region.StartLine < 3 || at.Region.StartColumn < 1 ||
			at.ArtifactLocation.URI != "policies/my%20bundle/services/orders/policy.csv" {
			t.Errorf("an incomplete result: %+v", r)
		}
	}
	if len(run.Results[0].Related) != 1 || run.Results[0].Related[0].PhysicalLocation.Region.StartLine != 1 {
		t.Errorf("the related place is %+v", run.Results[0].Related)
	}
	if s := run.Results[2].Suppressions; len(s) != 1 || s[0].Kind != "inSource" || s[0].Justification != "she joins in spring" {
		t.Errorf("the suppressions are %+v", s)
	}
}

// TestSARIFFingerprints: a finding keeps its fingerprint where its line moves, and shares it with no other.
func TestSARIFFingerprints(t *testing.T) {
	fingerprints := func(r *lint.Report) (all []string) {
		var got struct {
			Runs []struct {
				Results []struct {
					PartialFingerprints map[string]string
				}
			}
		}
		if err := json.Unmarshal([]byte(written(t, r, "sarif")), &got); err != nil {
			t.Fatal(err)
		}
		for _, result := range got.Runs[0].Results {
			all = append(all, result.PartialFingerprints["durwardLine/v1"])
		}
		return all
	}
	const more = "p, \"aud,100%:x\", order, read\np, nobody, order, read\np, writer, order, read\n"
	files := example(t)
	files["services/orders/policy.csv"] += more
	before := fingerprints(look(t, files))
	files["services/orders/policy.csv"] = "p, user:corp:erin, order, read\n# moved\n" + files["services/orders/policy.csv"]
	if diff := cmp.Diff(before, fingerprints(look(t, files))); diff != "" {
		t.Error(diff)
	}
	if slices.Sort(before); len(before) != 3 || len(slices.Compact(before)) != 3 || before[0] == "" {
		t.Errorf("the fingerprints are %q", before)
	}
}

// TestSARIFPlaces: a path is a reference without a scheme, whatever the directory is called.
func TestSARIFPlaces(t *testing.T) {
	for root, want := range map[string]string{"a:b": "./a:b/bundle.yaml", "..": "../bundle.yaml", "/x y": "/x%20y/bundle.yaml", "": "bundle.yaml"} {
		var b bytes.Buffer
		r := &lint.Report{Findings: []lint.Finding{{Severity: lint.Error, Problem: format.Problem{Code: "bundle-invalid", Message: "m"}}}}
		if err := lint.Write(&b, r, lint.Output{Form: "sarif", Root: root}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), fmt.Sprintf(`"uri": %q`, want)) {
			t.Errorf("%q: no %s in\n%s", root, want, b.String())
		}
	}
}

func TestUnknownForm(t *testing.T) {
	if err := lint.Write(&bytes.Buffer{}, &lint.Report{}, lint.Output{Form: "xml"}); err == nil {
		t.Errorf("got %v", err)
	}
}

// TestBounded: however much is wrong, a report stays short and says how much it left out.
func TestBounded(t *testing.T) {
	files := example(t)
	var b strings.Builder
	b.WriteString(files["services/orders/policy.csv"])
	for i := range 5000 {
		b.WriteString("p, role" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + ", order, read\n")
	}
	files["services/orders/policy.csv"] = b.String()
	report := look(t, files)
	if n := len(report.Findings); n != 100 || report.Omitted["role-unassigned"] != 4900 {
		t.Errorf("%d findings, omitted %v", n, report.Omitted)
	}
	if !strings.Contains(written(t, report, "pretty"), "and 4900 more role-unassigned\n") {
		t.Error("the omission is not told")
	}
}
