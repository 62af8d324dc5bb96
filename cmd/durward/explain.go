package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/durward-pdp/durward/cmd/durward/replay"
	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/request"
)

type explainCommand struct {
	Record      string   `arg:"" help:"File with records of the decision log, one JSON object a line; - is standard input."`
	Bundle      []string `required:"" placeholder:"DIR" sep:"none" help:"Directory of a bundle; may be repeated. The one whose revision the record names is taken."`
	ID          string   `name:"id" placeholder:"ID" help:"Decision to take, where the file holds several."`
	AnyRevision bool     `help:"Decide on another revision where none is the recorded one."`
	All         bool     `help:"List every matching rule."`
	Output      string   `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// explained is what the command prints; docs/guide/check.md describes the JSON form.
type explained struct {
	Record       *replay.Record      `json:"record"`
	Obstacle     string              `json:"obstacle,omitempty"`
	SameRevision bool                `json:"same_revision"`
	NotRecorded  []string            `json:"not_recorded,omitempty"`
	ByLimit      bool                `json:"by_limit,omitempty"`
	Replayed     *decision           `json:"replayed,omitempty"`
	Differences  []replay.Difference `json:"differences"`
	// Rules are what a rate limit request met; it is not decided again.
	Rules []metRule `json:"rules,omitempty"`
}

// Run decides a recorded request again and says why it is answered so.
func (c *explainCommand) Run(ctx context.Context, s streams) error {
	record, err := c.find(s)
	if err != nil {
		return err
	}
	x := &explained{Record: record, Obstacle: record.Obstacle(), ByLimit: record.ByLimit(), Differences: []replay.Difference{}}
	again := c.replay
	if record.ForDescriptors() {
		again = c.explainLimits
	}
	if x.Obstacle == "" {
		if err := again(ctx, x); err != nil {
			return err
		}
	}
	if c.Output == "json" {
		err = writeJSON(s.out, x)
	} else {
		var p page
		x.writeTo(&p)
		_, err = io.WriteString(s.out, p.String())
	}
	switch {
	case err != nil:
		return err
	case x.Obstacle != "":
		return fmt.Errorf("%w for a replay: %s", errInvalid, x.Obstacle)
	case len(x.Differences) > 0:
		return fmt.Errorf("replay %w: the answer is another one", errFailed)
	}
	return nil
}

// find reads the record.
func (c *explainCommand) find(s streams) (*replay.Record, error) {
	log := s.in
	if c.Record != "-" {
		f, err := os.Open(c.Record)
		if err != nil {
			return nil, fmt.Errorf("%w record: %w", errInvalid, err)
		}
		defer func() { _ = f.Close() }()
		log = f
	}
	record, err := replay.Find(log, c.ID)
	if err != nil {
		return nil, fmt.Errorf("%w %w", errInvalid, err)
	}
	return record, nil
}

// replay decides again, with fresh counters of which none is charged.
func (c *explainCommand) replay(ctx context.Context, x *explained) error {
	directory, contents, err := c.choose(x)
	if err != nil {
		return err
	}
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents})
	if err != nil {
		return invalidBundle(directory, err)
	}
	if name := off.Info().Name; x.Record.Bundle != "" && name != x.Record.Bundle {
		return fmt.Errorf("%w --bundle: the record is of the bundle %q, and %s holds %q", errInvalid, x.Record.Bundle, directory, name)
	}
	session, err := off.Open(x.Record.Time)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	question := x.Record.Question(off.Bundle())
	question.Explain = request.ExplainDecision
	if c.All {
		question.Explain = request.ExplainAll
	}
	v := session.DecideAs(ctx, question, x.Record.Who())
	if err := ctx.Err(); err != nil { // then the answer is a denial that no policy gave
		return fmt.Errorf("replay: %w", err)
	}
	service, route := session.Place(question)
	x.NotRecorded = x.Record.Gaps(off.Bundle())
	x.Differences = append(x.Differences, x.Record.Compare(&v, service, route)...)
	x.Replayed = newDecision(&v, service, route)
	return nil
}

// choose returns the bundle of the recorded revision, or the first one where any will do.
func (c *explainCommand) choose(x *explained) (directory string, contents map[string][]byte, err error) {
	var seen []string
	for _, candidate := range c.Bundle {
		files, err := readBundle(candidate)
		if err != nil {
			return "", nil, err
		}
		revision := bundle.Revision(files)
		if x.SameRevision = revision == x.Record.Revision; x.SameRevision {
			return candidate, files, nil
		}
		if contents == nil {
			directory, contents = candidate, files
		}
		seen = append(seen, candidate+" is "+revision)
	}
	if !c.AnyRevision {
		recorded := x.Record.Revision
		if recorded == "" {
			recorded = "no revision, since no service answered"
		}
		return "", nil, fmt.Errorf("%w --bundle: the record names %s, and %s; give the files of that revision, or --any-revision",
			errInvalid, recorded, strings.Join(seen, ", "))
	}
	if contents == nil {
		err = errors.New("no bundle")
	}
	return directory, contents, err
}

// writeTo writes what was recorded and what came now, for people.
func (x *explained) writeTo(p *page) {
	r := x.Record
	p.addf("recorded: %s %d %s\n", r.Effect, r.Status, shown(r.Reason))
	p.row("decision", fmt.Sprintf("%s of %s", r.DecisionID, r.Time.Format(time.RFC3339Nano)))
	p.row("asked by", strings.TrimSpace(r.Caller+" over "+r.Adapter))
	path := r.Request.Path
	if path == "" {
		path = r.Template
	}
	p.row("request", strings.Join(strings.Fields(r.Request.Method+" "+r.Request.Host+path), " "))
	if r.ForDescriptors() {
		p.row("domain", r.Service)
	} else {
		p.row("subject", r.Subject.Key)
	}
	p.row("stage", r.Stage)
	p.row("bundle", strings.TrimSpace(r.Bundle+" "+r.Revision))
	if r.Rule != "" {
		p.row("rule", fmt.Sprintf("%s (%s)", r.Rule, r.RuleID))
	}
	p.row("detail", r.Detail)
	var limits []string
	for _, l := range r.Limits {
		state := limitState(l)
		limits = append(limits, state.String())
	}
	p.rows("limits", limits)
	if x.Obstacle != "" {
		p.addf("not replayed: %s\n", x.Obstacle)
		return
	}
	if r.ForDescriptors() {
		x.writeRules(p)
		return
	}
	p.WriteString("replayed: ")
	if !x.SameRevision {
		p.addf("on revision %s, which is not the recorded one: ", shown(x.Replayed.Revision))
	}
	x.Replayed.writeTo(p)
	for _, gap := range x.NotRecorded {
		p.addf("not recorded, so that the answer may differ: %s\n", shown(gap))
	}
	switch {
	case len(x.Differences) > 0:
		for _, d := range x.Differences {
			p.addf("differs: %s was %s, is %s\n", d.Key, orNothing(d.Recorded), orNothing(d.Replayed))
		}
	case x.ByLimit:
		p.addf("the limit %s refused; limits are not replayed, and what came before it is the same\n", shown(r.Limit))
	default:
		p.WriteString("the answer is the same; limits are not replayed\n")
	}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return shown(text)
}
