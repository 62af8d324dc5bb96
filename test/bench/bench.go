// Package bench compares Durward with other programs that answer the same question. It is a module of its own, so that what the
// contenders need never becomes a dependency of Durward. A contest runs its contenders alternately, round by round, so that a slow
// minute of the machine falls on all of them; it prints a table and writes build/bench/NAME.json.
//
// Nothing imports it but its own command, cmd/contest. It judges no figure: those are read by people, never asserted in a test. But a
// contender that answers wrongly, or not at all, has no figure.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Setup is how contests are run.
type Setup struct {
	// Rounds is how often each contender is measured.
	Rounds int
	// Load is one round of a contest whose contenders have many callers.
	Load Load
	// Span is the least length of one measurement of a contest that one caller runs.
	Span time.Duration
	// Sizes are the numbers of rules that the policy contest asks about; CasbinTime ends Casbin's part of a case.
	Sizes      []int
	CasbinTime time.Duration
	// Progress, if not nil, gets the rows of a long contest as they come.
	Progress io.Writer
	// Root is the checkout that Durward is built from. Dir is a folder for what contenders write.
	Root, Dir string
	// Null is the command line of a program that calls [ServeNull].
	Null []string
}

// Contest is a question that several contenders answer, in several cases.
type Contest struct {
	// Name names the file of the figures.
	Name string
	// Run asks all contenders, in all cases.
	Run func(context.Context, Setup) ([]Row, error)
}

// Contests are all contests, in the order in which they run.
func Contests() []Contest {
	return []Contest{
		{Name: "policy", Run: runPolicy},
		{Name: "token", Run: runToken},
		{Name: "identity", Run: runIdentity},
		{Name: "limits", Run: runLimits},
		{Name: "leases", Run: runLeases},
		{Name: "ext_authz_check", Run: runCheck},
	}
}

// Row is one line of the table and one element of the JSON array.
type Row struct {
	Case    string  `json:"case"`
	Subject string  `json:"subject"`
	Metric  string  `json:"metric"`
	Unit    string  `json:"unit"`
	Median  float64 `json:"median"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Rounds  int     `json:"rounds"`
}

// ErrEmpty is returned for a match that could measure nothing.
var ErrEmpty = errors.New("a match needs a round and a contender")

// metric names what was measured and in which unit.
type metric struct {
	name, unit string
}

// sample is what one contender measured in one round: a value per metric.
type sample map[metric]float64

// contender answers the question of a match. round runs one round of it and returns what it measured.
type contender struct {
	subject string // short name of the program: durward, null, casbin
	round   func(ctx context.Context) (sample, error)
}

// match is one case of a contest.
type match struct {
	name       string
	rounds     int
	contenders []contender
}

// run runs all rounds. Every contender runs once per round, in an order that moves by one from round to round, so that none is
// always the one that finds the machine warm.
func (m match) run(ctx context.Context) ([]Row, error) {
	if m.rounds < 1 || len(m.contenders) == 0 {
		return nil, fmt.Errorf("%s: %w", m.name, ErrEmpty)
	}
	samples := make([][]sample, len(m.contenders))
	for round := range m.rounds {
		for i := range m.contenders {
			at := (round + i) % len(m.contenders)
			measured, err := m.contenders[at].round(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: round %d of %s: %w", m.name, round+1, m.contenders[at].subject, err)
			}
			samples[at] = append(samples[at], measured)
		}
	}
	var rows []Row
	for i, c := range m.contenders {
		rows = append(rows, summarise(m.name, c.subject, samples[i])...)
	}
	return rows, nil
}

// runAll runs matches one after the other.
func runAll(ctx context.Context, matches []match) ([]Row, error) {
	var rows []Row
	for _, m := range matches {
		more, err := m.run(ctx)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// progress shows rows of a contest that goes on.
func (s Setup) progress(rows []Row) error {
	if s.Progress == nil {
		return nil
	}
	return Print(s.Progress, rows)
}

func summarise(name, subject string, samples []sample) []Row {
	values := map[metric][]float64{}
	for _, s := range samples {
		for m, value := range s {
			values[m] = append(values[m], value)
		}
	}
	rows := make([]Row, 0, len(values))
	for m, v := range values {
		slices.Sort(v)
		median := v[len(v)/2]
		if len(v)%2 == 0 {
			median = (v[len(v)/2-1] + v[len(v)/2]) / 2
		}
		rows = append(rows, Row{name, subject, m.name, m.unit, median, v[0], v[len(v)-1], len(v)})
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Metric, b.Metric) })
	return rows
}

// Print writes the rows as a table.
func Print(w io.Writer, rows []Row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "case\tsubject\tmetric\tmedian\tmin\tmax\tunit\trounds"); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n",
			r.Case, r.Subject, r.Metric, digits(r.Median), digits(r.Min), digits(r.Max), r.Unit, r.Rounds); err != nil {
			return fmt.Errorf("printing the table: %w", err)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	return nil
}

// digits writes a figure with about three digits that mean something.
func digits(value float64) string {
	precision := 0
	switch {
	case value < 10:
		precision = 2
	case value < 100:
		precision = 1
	}
	return strconv.FormatFloat(value, 'f', precision, 64)
}

// Write stores the rows as NAME.json in a directory, which it makes when it is missing.
func Write(dir, name string, rows []Row) error {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results of %s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder for results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the results of %s: %w", name, err)
	}
	return nil
}
