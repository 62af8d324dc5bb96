package lint

import (
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// Severity says how bad a finding is.
type Severity string

// The severities. An error fails every run, a warning a strict one, a note none.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that is probably not meant. Its Problem says where and what, by a code that has a page in docs/lint.
type Finding struct {
	format.Problem
	// Severity is the code's.
	Severity Severity
	// Related is another place that belongs to the finding, such as the rule that covers this one.
	Related format.Position
	// Exception is what allows the finding for a while; nil for the findings of a report.
	Exception *Exception
}

// Exception is a comment in a file of the bundle that allows one code there until a day.
type Exception struct {
	// Code is what is allowed; Reason says why.
	Code, Reason string
	// Until is the last day on which the exception holds.
	Until time.Time
	// At is the comment's place.
	At format.Position
}

// Report is what a run found.
type Report struct {
	// Findings are sorted by file and place; Excepted are those that a comment of the bundle allows.
	Findings, Excepted []Finding
	// Omitted counts what was found and is not listed because there is too much of its code.
	Omitted map[string]int
}

// Count returns how many findings of a severity are listed.
func (r *Report) Count(s Severity) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Severity == s {
			n++
		}
	}
	return n
}

// Failed reports whether a run with these findings fails: for errors, and for warnings too if it is strict.
func (r *Report) Failed(strict bool) bool {
	return r.Count(Error) > 0 || strict && r.Count(Warning) > 0
}
