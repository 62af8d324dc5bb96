package decisiontest

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// Report is what a run found.
type Report struct {
	// Bundle and Revision name what was tested.
	Bundle, Revision string
	// Results are the cases in the order of their files.
	Results []Result
	// Coverage is what the cases have seen of the bundle.
	Coverage *Coverage
	// Goldens are new contents of golden files that differ, by path in the bundle.
	Goldens map[string][]byte
}

// Result is one case.
type Result struct {
	// Suite and Case are its names; Position is where it stands.
	Suite, Case string
	Position    format.Position
	// Failure says what was not as expected; nil for a case that passed.
	Failure *Failure
}

// Failure is the first request of a case whose verdict was not as expected.
type Failure struct {
	// Step and Time count from 1; 0 for a case without steps, or a step that is made once.
	Step, Time int
	// Request and Verdict are a line each, and Explanation says why, where the engine knows.
	Request, Verdict string
	Explanation      []string
	// Differences are what was not as expected.
	Differences []Difference
}

// Layout says how a report is written.
type Layout struct {
	// Form is pretty, json, junit or github.
	Form string
	// Root is the bundle's directory, which stands before paths of files; "" for paths inside the bundle.
	Root string
	// Coverage is whether what was not seen is listed; Cases whether cases that passed are.
	Coverage, Cases bool
}

// ErrForm is returned for a form of reports that does not exist.
var ErrForm = errors.New("a report is pretty, json, junit or github")

// Failed returns how many cases failed.
func (r *Report) Failed() int {
	n := 0
	for i := range r.Results {
		if r.Results[i].Failure != nil {
			n++
		}
	}
	return n
}

// Write writes the report.
func (r *Report) Write(w io.Writer, l Layout) error {
	var err error
	switch l.Form {
	case "pretty":
		_, err = io.WriteString(w, r.pretty(l))
	case "json":
		err = r.json(w, l)
	case "junit":
		err = r.junit(w, l)
	case "github":
		_, err = io.WriteString(w, r.github(l))
	default:
		return ErrForm
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// file returns a path of the bundle as readers of the report find it.
func (l *Layout) file(name string) string {
	if l.Root == "" {
		return name
	}
	return path.Join(l.Root, name)
}

// at returns the place of a difference.
func (d *Difference) at(file string) string {
	return format.Position{File: file, Line: d.Line, Column: d.Column}.String()
}

// details are the lines that say how a case failed.
func (f *Failure) details(file string) []string {
	var out []string
	for i := range f.Differences {
		d := &f.Differences[i]
		out = append(out, fmt.Sprintf("%s: %s: expected %s, got %s", d.at(file), shown(d.Key), d.Want, d.Got))
	}
	switch {
	case f.Step > 0 && f.Time > 0:
		out = append(out, fmt.Sprintf("step      %d, request %d of it", f.Step, f.Time))
	case f.Step > 0:
		out = append(out, fmt.Sprintf("step      %d", f.Step))
	}
	out = append(out, "request   "+f.Request, "verdict   "+f.Verdict)
	for i, line := range f.Explanation {
		label := "          "
		if i == 0 {
			label = "why       "
		}
		out = append(out, label+line)
	}
	return out
}

func (r *Report) pretty(l Layout) string {
	var b strings.Builder
	suite := ""
	for i := range r.Results {
		result := &r.Results[i]
		if result.Failure == nil && !l.Cases {
			continue
		}
		if suite != result.Suite {
			suite = result.Suite
			fmt.Fprintf(&b, "%s (%s)\n", suite, l.file(result.Position.File))
		}
		if result.Failure == nil {
			fmt.Fprintf(&b, "  ok    %s\n", shown(result.Case))
			continue
		}
		fmt.Fprintf(&b, "  FAIL  %s\n", shown(result.Case))
		for _, line := range result.Failure.details(l.file(result.Position.File)) {
			fmt.Fprintf(&b, "        %s\n", line)
		}
	}
	fmt.Fprintf(&b, "%s, revision %s: %d cases, %d failed\n", r.Bundle, r.Revision, len(r.Results), r.Failed())
	if l.Coverage {
		b.WriteString(r.Coverage.summary() + "\n")
		for _, line := range r.Coverage.Missing() {
			fmt.Fprintf(&b, "  %s\n", l.file(line))
		}
	}
	return b.String()
}

func (c *Coverage) summary() string {
	routes, rules := c.Percent()
	return fmt.Sprintf("coverage: %.1f %% of %d routes, %.1f %% of %d rules", routes, len(c.Routes), rules, len(c.Rules))
}

// The JSON form. Its names are stable.
type (
	jsonReport struct {
		Bundle   string        `json:"bundle"`
		Revision string        `json:"revision"`
		Cases    int           `json:"cases"`
		Failed   int           `json:"failed"`
		Results  []jsonResult  `json:"results"`
		Coverage *jsonCoverage `json:"coverage,omitempty"`
	}
	jsonResult struct {
		Suite       string           `json:"suite"`
		Case        string           `json:"case"`
		File        string           `json:"file"`
		Line        int              `json:"line"`
		Passed      bool             `json:"passed"`
		Step        int              `json:"step,omitempty"`
		Time        int              `json:"time,omitempty"`
		Request     string           `json:"request,omitempty"`
		Verdict     string           `json:"verdict,omitempty"`
		Explanation []string         `json:"explanation,omitempty"`
		Differences []jsonDifference `json:"differences,omitempty"`
	}
	jsonDifference struct {
		Key    string `json:"key"`
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Want   string `json:"want"`
		Got    string `json:"got"`
	}
	jsonCoverage struct {
		RoutesPercent float64  `json:"routes_percent"`
		RulesPercent  float64  `json:"rules_percent"`
		Missing       []string `json:"missing"`
	}
)

func (r *Report) json(w io.Writer, l Layout) error {
	out := jsonReport{Bundle: r.Bundle, Revision: r.Revision, Cases: len(r.Results), Failed: r.Failed(), Results: []jsonResult{}}
	for i := range r.Results {
		result := &r.Results[i]
		written := jsonResult{Suite: result.Suite, Case: result.Case, File: l.file(result.Position.File), Line: result.Position.Line, Passed: result.Failure == nil}
		if f := result.Failure; f != nil {
			written.Step, written.Time, written.Request, written.Verdict, written.Explanation = f.Step, f.Time, f.Request, f.Verdict, f.Explanation
			for _, d := range f.Differences {
				written.Differences = append(written.Differences, jsonDifference(d))
			}
		}
		out.Results = append(out.Results, written)
	}
	if l.Coverage {
		out.Coverage = &jsonCoverage{Missing: []string{}}
		out.Coverage.RoutesPercent, out.Coverage.RulesPercent = r.Coverage.Percent()
		for _, line := range r.Coverage.Missing() {
			out.Coverage.Missing = append(out.Coverage.Missing, l.file(line))
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// The JUnit form, as far as its readers agree about it.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func (r *Report) junit(w io.Writer, l Layout) error {
	out := junitSuites{Name: r.Bundle, Tests: len(r.Results), Failures: r.Failed()}
	for i := range r.Results {
		result := &r.Results[i]
		if n := len(out.Suites); n == 0 || out.Suites[n-1].Name != result.Suite {
			out.Suites = append(out.Suites, junitSuite{Name: result.Suite})
		}
		s := &out.Suites[len(out.Suites)-1]
		file := l.file(result.Position.File)
		written := junitCase{Class: r.Bundle + "." + result.Suite, Name: result.Case, File: file, Line: result.Position.Line}
		if f := result.Failure; f != nil {
			s.Failures++
			written.Failure = &junitFailure{Message: f.message(), Text: strings.Join(f.details(file), "\n")}
		}
		s.Tests++
		s.Cases = append(s.Cases, written)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// message says the first difference.
func (f *Failure) message() string {
	d := &f.Differences[0]
	return fmt.Sprintf("%s: expected %s, got %s", shown(d.Key), d.Want, d.Got)
}

// github writes workflow commands, which show failures beside the lines of the suites.
func (r *Report) github(l Layout) string {
	var b strings.Builder
	for i := range r.Results {
		result := &r.Results[i]
		if result.Failure == nil {
			continue
		}
		file := l.file(result.Position.File)
		d := &result.Failure.Differences[0]
		fmt.Fprintf(&b, "::error file=%s,line=%d,col=%d,title=%s::%s\n", property(file), d.Line, d.Column,
			property(result.Suite+": "+result.Case), command(strings.Join(result.Failure.details(file), "\n")))
	}
	if l.Coverage {
		for _, line := range r.Coverage.Missing() {
			fmt.Fprintf(&b, "::notice title=coverage::%s\n", command(l.file(line)))
		}
		b.WriteString(r.Coverage.summary() + "\n")
	}
	fmt.Fprintf(&b, "%s, revision %s: %d cases, %d failed\n", r.Bundle, r.Revision, len(r.Results), r.Failed())
	return b.String()
}

// command escapes the text of a workflow command, property one of its properties.
func command(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text)
}

func property(text string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(command(text))
}
