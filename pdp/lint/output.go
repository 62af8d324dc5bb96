package lint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// errForm is returned for a form of output that does not exist.
var errForm = errors.New("unknown form of output")

// helpBase is where the pages of the codes are.
const helpBase = "https://github.com/durward-pdp/durward/blob/main/docs/lint/"

// Output says how a report is written.
type Output struct {
	// Form is pretty, json, sarif or github.
	Form string
	// Root is put before the files' paths in sarif and github, where they are relative to a repository.
	Root string
	// Version is the program's, for sarif.
	Version string
}

// Write writes a report.
func Write(w io.Writer, r *Report, o Output) error {
	var b bytes.Buffer
	var err error
	switch o.Form {
	case "pretty":
		pretty(&b, r)
	case "json":
		err = asJSON(&b, newJSONReport(r))
	case "sarif":
		err = asJSON(&b, newSARIF(r, o))
	case "github":
		annotations(&b, r, o)
	default:
		err = fmt.Errorf("%w: %q", errForm, o.Form)
	}
	if err == nil {
		_, err = w.Write(b.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func asJSON(b *bytes.Buffer, v any) error {
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// pretty is for people: place, severity, code, message, hint, and the line with a caret.
func pretty(b *bytes.Buffer, r *Report) {
	for i := range r.Findings {
		f := &r.Findings[i]
		p := f.Problem
		p.Position.File, p.Message = "", fmt.Sprintf("%s %s: %s", f.Severity, f.Code, p.Message)
		p.Position.Line = 0
		fmt.Fprintf(b, "%s: %s\n", cmp.Or(f.Position.String(), "bundle"), p.Error())
	}
	for _, code := range slices.Sorted(maps.Keys(r.Omitted)) {
		fmt.Fprintf(b, "and %d more %s\n", r.Omitted[code], code)
	}
	fmt.Fprintf(b, "%s, %s, %s", counted(r.Count(Error), "error"), counted(r.Count(Warning), "warning"), counted(r.Count(Note), "note"))
	if len(r.Excepted) > 0 {
		fmt.Fprintf(b, "; %d excepted", len(r.Excepted))
	}
	b.WriteString("\n")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type jsonReport struct {
	Version  int            `json:"version"`
	Counts   map[string]int `json:"counts"`
	Findings []jsonFinding  `json:"findings"`
	Excepted []jsonFinding  `json:"excepted"`
	Omitted  map[string]int `json:"omitted"`
}

type jsonFinding struct {
	Code     string     `json:"code"`
	Severity Severity   `json:"severity"`
	File     string     `json:"file"`
	Line     int        `json:"line"`
	Column   int        `json:"column"`
	Message  string     `json:"message"`
	Hint     string     `json:"hint,omitempty"`
	Help     string     `json:"help"`
	Related  *jsonPlace `json:"related,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Until    string     `json:"until,omitempty"`
}

type jsonPlace struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func newJSONReport(r *Report) jsonReport {
	out := jsonReport{Version: 1, Findings: []jsonFinding{}, Excepted: []jsonFinding{}, Omitted: r.Omitted,
		Counts: map[string]int{"error": r.Count(Error), "warning": r.Count(Warning), "note": r.Count(Note)}}
	for i := range r.Findings {
		out.Findings = append(out.Findings, newJSONFinding(&r.Findings[i]))
	}
	for i := range r.Excepted {
		out.Excepted = append(out.Excepted, newJSONFinding(&r.Excepted[i]))
	}
	return out
}

func newJSONFinding(f *Finding) jsonFinding {
	out := jsonFinding{Code: f.Code, Severity: f.Severity, File: f.File, Line: f.Line, Column: f.Column, Message: f.Message, Hint: f.Hint, Help: helpOf(f.Code)}
	if f.Related.File != "" {
		out.Related = &jsonPlace{f.Related.File, f.Related.Line}
	}
	if e := f.Exception; e != nil {
		out.Reason, out.Until = e.Reason, e.Until.Format(time.DateOnly)
	}
	return out
}

func helpOf(code string) string { return helpBase + code + ".md" }

// annotations are the workflow commands of GitHub Actions.
func annotations(b *bytes.Buffer, r *Report, o Output) {
	// https://docs.github.com/actions/reference/workflow-commands-for-github-actions; values of properties escape more.
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for i := range r.Findings {
		f := &r.Findings[i]
		command := string(f.Severity)
		if f.Severity == Note {
			command = "notice"
		}
		text := f.Message
		if f.Hint != "" {
			text += " (" + f.Hint + ")"
		}
		fmt.Fprintf(b, "::%s file=%s", command, property.Replace(path.Join(o.Root, cmp.Or(f.File, "bundle.yaml"))))
		if f.Line > 0 {
			fmt.Fprintf(b, ",line=%d", f.Line)
		}
		if f.Column > 0 {
			fmt.Fprintf(b, ",col=%d", f.Column)
		}
		fmt.Fprintf(b, ",title=%s::%s\n", property.Replace("durward "+f.Code), message.Replace(text))
	}
}
