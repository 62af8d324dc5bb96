package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/cmd/durward/replay"
	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	maxLogs    = 64 // read together
	firstShown = 3  // refusals of each limit
	topShown   = 5  // keys of each limit
)

type limitsSimulateCommand struct {
	Bundle string   `arg:"" help:"Directory of the bundle whose limits are tried."`
	Log    []string `arg:"" help:"Files with records of the decision log, those of several servers together; - is standard input."`
	Output string   `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Validate bounds what is read at once.
func (c *limitsSimulateCommand) Validate() error {
	if len(c.Log) > maxLogs {
		return fmt.Errorf("at most %d logs are read together", maxLogs)
	}
	return nil
}

// simulation is what the command prints; docs/guide/limits.md describes the JSON form.
type simulation struct {
	Bundle   string    `json:"bundle"`
	Revision string    `json:"revision"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	// Records were read, Simulated had their limits taken, RefusedThen were refused by a limit and RefusedNow would be.
	Records     int `json:"records"`
	Simulated   int `json:"simulated"`
	RefusedThen int `json:"refused_then"`
	RefusedNow  int `json:"refused_now"`
	// Skipped counts the records that were not simulated, by why.
	Skipped map[string]int `json:"skipped,omitempty"`
	// Limits are those of the bundle; Gone counts refusals by limits that it does not have on those routes.
	Limits []simulatedLimit `json:"limits"`
	Gone   map[string]int   `json:"gone,omitempty"`
	// Forgotten is how many counters did not fit into memory.
	Forgotten uint64 `json:"forgotten,omitempty"`

	at map[assembly.LimitID]int // places in Limits
}

// simulatedLimit is what became of one limit.
type simulatedLimit struct {
	Service  string `json:"service,omitempty"`
	Name     string `json:"name"`
	Shadow   bool   `json:"shadow,omitempty"`
	Requests int    `json:"requests"`
	// RefusedNow and RefusedThen count requests without room; of a shadow they were not refused.
	RefusedNow  int `json:"refused_now"`
	RefusedThen int `json:"refused_then"`
	// LeftOut counts the requests that did not count, by what is not known of them; Assumed those whose value was taken for
	// absent; Uncountable those that would be denied for another reason than a refusal.
	LeftOut     map[string]int  `json:"left_out,omitempty"`
	Assumed     map[string]int  `json:"assumed,omitempty"`
	Uncountable map[string]int  `json:"uncountable,omitempty"`
	First       []firstRefusal  `json:"first,omitempty"`
	Top         []limitsapi.Key `json:"top,omitempty"`
}

// firstRefusal names a decision that would be another one.
type firstRefusal struct {
	DecisionID string    `json:"decision_id"`
	Time       time.Time `json:"time"`
}

// Run simulates.
func (c *limitsSimulateCommand) Run(ctx context.Context, s streams) error {
	contents, err := readBundle(c.Bundle)
	if err != nil {
		return err
	}
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents})
	if err != nil {
		return invalidBundle(c.Bundle, err)
	}
	sim := off.Simulate()
	defer func() { _ = sim.Close() }()
	logs, closeLogs, err := c.open(s)
	if err != nil {
		return err
	}
	defer closeLogs()
	out := newSimulation(off, sim)
	for {
		record, err := logs.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%w log: %w", errInvalid, err)
		}
		if err := out.add(ctx, off, sim, record); err != nil {
			return err
		}
	}
	out.finish(sim)
	return printed(s.out, c.Output, out, out.writeTo)
}

// open opens the logs.
func (c *limitsSimulateCommand) open(s streams) (*replay.Merge, func(), error) {
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			_ = f.Close()
		}
	}
	var logs []*replay.Log
	for _, name := range c.Log {
		if name == "-" {
			logs = append(logs, replay.NewLog("standard input", s.in))
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("%w log: %w", errInvalid, err)
		}
		files = append(files, f)
		logs = append(logs, replay.NewLog(name, f))
	}
	return replay.NewMerge(logs...), closeAll, nil
}

func newSimulation(off *assembly.Offline, sim *assembly.Simulation) *simulation {
	out := &simulation{
		Bundle: off.Info().Name, Revision: off.Info().Revision, Skipped: map[string]int{}, Gone: map[string]int{},
		Limits: []simulatedLimit{}, at: map[assembly.LimitID]int{},
	}
	for _, l := range sim.Limits() {
		out.at[assembly.LimitID{Service: l.Service, Name: l.Name}] = len(out.Limits)
		out.Limits = append(out.Limits, simulatedLimit{Service: l.Service, Name: l.Name, Shadow: l.Shadow})
	}
	return out
}

// add takes the limits of one record.
func (x *simulation) add(ctx context.Context, off *assembly.Offline, sim *assembly.Simulation, r *replay.Record) error {
	x.Records++
	if x.From.IsZero() {
		x.From = r.Time
	}
	x.To = r.Time
	denied, obstacle := r.Denied()
	if r.Bundle != "" && r.Bundle != x.Bundle {
		obstacle = "requests of another bundle"
	}
	if obstacle != "" {
		x.Skipped[obstacle]++
		return nil
	}
	question := r.Question(off.Bundle())
	question.Mode = request.Enforce
	assumed := map[string]bool{}
	answer, err := sim.Take(ctx, &assembly.SimulatedRequest{
		Request: question, Time: r.Time, Subject: r.Who(), Denied: denied,
		Unknown: func(name string) bool {
			knowledge := r.Of(off.Bundle(), name)
			assumed[name] = knowledge == replay.Assumed
			return knowledge == replay.Unknown
		},
	})
	if err != nil {
		return fmt.Errorf("taking the limits of %s: %w", r.DecisionID, err)
	}
	x.then(r, &answer)
	if !answer.Routed {
		x.Skipped["requests for which this bundle has no route"]++
		return nil
	}
	x.Simulated++
	x.now(r, &answer, sim, assumed)
	return nil
}

// then counts what limits refused when the decision was made.
func (x *simulation) then(r *replay.Record, a *assembly.SimulatedAnswer) {
	if r.ByLimit() {
		x.RefusedThen++
	}
	for _, name := range r.RefusedBy() {
		i := slices.IndexFunc(a.Limits, func(id assembly.LimitID) bool { return id.Name == name })
		if i < 0 {
			x.Gone[name]++
			continue
		}
		x.of(a.Limits[i]).RefusedThen++
	}
}

// now counts what the bundle's limits say.
func (x *simulation) now(r *replay.Record, a *assembly.SimulatedAnswer, sim *assembly.Simulation, assumed map[string]bool) {
	for _, id := range a.Limits {
		l := x.of(id)
		l.Requests++
		if unknown := a.LeftOut[id]; len(unknown) > 0 {
			count(&l.LeftOut, strings.Join(unknown, ", "))
			continue
		}
		for _, name := range sim.Reads(id) {
			if assumed[name] {
				count(&l.Assumed, name)
			}
		}
	}
	for _, id := range a.Refused {
		l := x.of(id)
		if l.RefusedNow++; len(l.First) < firstShown {
			l.First = append(l.First, firstRefusal{DecisionID: r.DecisionID, Time: r.Time})
		}
	}
	switch a.Reason {
	case "":
	case verdict.LimitExceeded:
		x.RefusedNow++
	default:
		count(&x.of(a.By).Uncountable, string(a.Reason))
	}
}

func (x *simulation) of(id assembly.LimitID) *simulatedLimit { return &x.Limits[x.at[id]] }

func count(into *map[string]int, what string) {
	if *into == nil {
		*into = map[string]int{}
	}
	(*into)[what]++
}

func (x *simulation) finish(sim *assembly.Simulation) {
	x.Forgotten = sim.Forgotten()
	for i := range x.Limits {
		l := &x.Limits[i]
		if l.RefusedNow > 0 {
			l.Top = sim.Top(assembly.LimitID{Service: l.Service, Name: l.Name}, topShown)
		}
	}
}

// writeTo writes it for people. Names of attributes come from the bundle, values of keys from clients.
func (x *simulation) writeTo(p *page) {
	p.addf("%d records", x.Records)
	if x.Records > 0 {
		p.addf(" from %s to %s", x.From.UTC().Format(time.RFC3339), x.To.UTC().Format(time.RFC3339))
	}
	p.addf(", %d simulated on %s: limits would have refused %d, and did refuse %d\n", x.Simulated, shown(x.Bundle+" "+x.Revision), x.RefusedNow, x.RefusedThen)
	for _, why := range slices.Sorted(maps.Keys(x.Skipped)) {
		p.addf("not simulated: %d %s\n", x.Skipped[why], why)
	}
	for i := range x.Limits {
		x.Limits[i].writeTo(p, x.Bundle)
	}
	for _, name := range slices.Sorted(maps.Keys(x.Gone)) {
		p.addf("%s: refused %d then, and this bundle has no such limit there\n", shown(name), x.Gone[name])
	}
	if x.RefusedThen > 0 {
		p.WriteString("what a limit refused then is taken for allowed by all that would have come after\n")
	}
	if x.Forgotten > 0 {
		p.addf("%d counters did not fit into memory: there are more refusals than are counted here\n", x.Forgotten)
	}
}

func (l *simulatedLimit) writeTo(p *page, bundle string) {
	would, did := "would have refused", "refused"
	if l.Shadow {
		would, did = "would have had no room for", "had no room for"
	}
	p.addf("%s: %d requests; %s %d, %s %d then\n", shown(placeName(bundle, l.Service, "", l.Name)), l.Requests, would, l.RefusedNow, did, l.RefusedThen)
	for _, what := range slices.Sorted(maps.Keys(l.LeftOut)) {
		p.addf("  left out  %d requests, of which nobody knows %s\n", l.LeftOut[what], shown(what))
	}
	for _, what := range slices.Sorted(maps.Keys(l.Assumed)) {
		p.addf("  assumed   %d requests had no %s, for their records show none\n", l.Assumed[what], shown(what))
	}
	for _, what := range slices.Sorted(maps.Keys(l.Uncountable)) {
		p.addf("  denies    %d requests for %s\n", l.Uncountable[what], shown(what))
	}
	for _, f := range l.First {
		p.addf("  first     %s at %s\n", shown(f.DecisionID), f.Time.UTC().Format(time.RFC3339Nano))
	}
	for i := range l.Top {
		k := &l.Top[i]
		var values []string
		for _, v := range k.Values {
			if v.Missing {
				values = append(values, v.Name+" missing")
			} else {
				values = append(values, v.Name+"="+v.Value)
			}
		}
		if k.Hashed {
			values = []string{"counter " + k.Counter}
		}
		text := strings.Join(values, ", ")
		if text == "" {
			text = "everybody"
		}
		p.addf("  top       %s: %d refused", shown(text), k.Refused)
		if k.Missed > 0 {
			p.addf(", or at most %d more", k.Missed)
		}
		p.WriteByte('\n')
	}
}
