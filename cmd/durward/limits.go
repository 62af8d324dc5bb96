package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
)

// limitsCommand looks at the limits of a running server, and at what other limits would do.
type limitsCommand struct {
	List     limitsListCommand     `cmd:"" help:"List the limits of a running server, and how often they refused."`
	Top      limitsTopCommand      `cmd:"" help:"Print who is near a limit or over it, on one running server."`
	Peek     limitsPeekCommand     `cmd:"" help:"Print what one counter has left; charges nothing."`
	Unblock  limitsUnblockCommand  `cmd:"" help:"Clear one counter, so that whoever it stops may go on."`
	Simulate limitsSimulateCommand `cmd:"" help:"Count what the limits of a bundle would have refused of the requests in a decision log."`
}

// limitScope says which limits are meant.
type limitScope struct {
	Bundle  string `placeholder:"NAME" help:"Bundle of the limit."`
	Service string `placeholder:"NAME" help:"Service of the limit."`
	Domain  string `placeholder:"NAME" help:"Domain of rate limit descriptors."`
	Limit   string `placeholder:"NAME" help:"Name of the limit."`
}

// query is the scope as the API has it.
func (s *limitScope) query() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{"bundle": s.Bundle, "service": s.Service, "domain": s.Domain, "limit": s.Limit} {
		if value != "" {
			out.Set(name, value)
		}
	}
	return out
}

type limitsListCommand struct {
	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run lists limits.
func (c *limitsListCommand) Run(ctx context.Context, s streams) error {
	var list limitsapi.List
	if err := c.Admin.ask(ctx, http.MethodGet, limitsapi.ListPath, nil, nil, &list); err != nil {
		return err
	}
	return printed(s.out, c.Output, &list, func(p *page) { writeLimits(p, &list) })
}

type limitsTopCommand struct {
	Scope  limitScope `embed:""`
	N      int        `short:"n" default:"20" help:"How many keys, at most 1000."`
	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run prints keys.
func (c *limitsTopCommand) Run(ctx context.Context, s streams) error {
	query := c.Scope.query()
	query.Set("n", strconv.Itoa(c.N))
	var top limitsapi.Top
	if err := c.Admin.ask(ctx, http.MethodGet, limitsapi.TopPath, query, nil, &top); err != nil {
		return err
	}
	return printed(s.out, c.Output, &top, func(p *page) { writeTop(p, &top) })
}

// limitKey names one counter.
type limitKey struct {
	Scope limitScope `embed:""`
	Key   []string   `arg:"" optional:"" placeholder:"NAME=VALUE" help:"What the limit counts by: NAME=VALUE for each attribute, NAME alone where the request has none; for a domain the keys and values of a descriptor, in order."`
}

// Validate refuses what names no counter.
func (k *limitKey) Validate() error {
	if (k.Scope.Limit == "") == (k.Scope.Domain == "") {
		return fmt.Errorf("name a counter: --limit and what it counts by, or --domain and a descriptor")
	}
	return nil
}

func (k *limitKey) values() []limitsapi.Value {
	out := make([]limitsapi.Value, len(k.Key))
	for i, text := range k.Key {
		name, value, there := strings.Cut(text, "=")
		out[i] = limitsapi.Value{Name: name, Value: value, Missing: !there}
	}
	return out
}

type limitsPeekCommand struct {
	Counter limitKey   `embed:""`
	Class   string     `placeholder:"NAME" help:"Class of requests whose rate counts."`
	Admin   adminFlags `embed:""`
	Output  string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run looks at a counter.
func (c *limitsPeekCommand) Run(ctx context.Context, s streams) error {
	query := c.Counter.Scope.query()
	query["key"] = c.Counter.Key
	if c.Class != "" {
		query.Set("class", c.Class)
	}
	var peek limitsapi.Peek
	if err := c.Admin.ask(ctx, http.MethodGet, limitsapi.PeekPath, query, nil, &peek); err != nil {
		return err
	}
	return printed(s.out, c.Output, &peek, func(p *page) { writePeek(p, &peek) })
}

type limitsUnblockCommand struct {
	Counter limitKey   `embed:""`
	Admin   adminFlags `embed:""`
	Output  string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run clears a counter.
func (c *limitsUnblockCommand) Run(ctx context.Context, s streams) error {
	scope := &c.Counter.Scope
	target := limitsapi.Target{Bundle: scope.Bundle, Service: scope.Service, Domain: scope.Domain, Limit: scope.Limit, Key: c.Counter.values()}
	var unblock limitsapi.Unblock
	if err := c.Admin.ask(ctx, http.MethodPost, limitsapi.UnblockPath, nil, &target, &unblock); err != nil {
		return err
	}
	return printed(s.out, c.Output, &unblock, func(p *page) { writeUnblock(p, &unblock) })
}

// printed writes an answer in the form that was asked for.
func printed(out io.Writer, form string, document any, pretty func(*page)) error {
	if form == "json" {
		return writeJSON(out, document)
	}
	var p page
	pretty(&p)
	_, err := io.WriteString(out, p.String())
	return err
}

func writeLimits(p *page, list *limitsapi.List) {
	if len(list.Limits) == 0 && len(list.Domains) == 0 {
		p.WriteString("there are no limits in force\n")
	}
	for i := range list.Limits {
		l := &list.Limits[i]
		p.addf("%s\n", shown(placeName(l.Bundle, l.Service, "", l.Name)))
		p.row("rate", rateText(&l.Rate, l.Algorithm, l.Distinct))
		for _, c := range l.Classes {
			p.row("", fmt.Sprintf("%s where %s is %s", rateText(&c.Rate, l.Algorithm, l.Distinct), l.ClassOf, c.Name))
		}
		p.row("by", orEverybody(l.By))
		p.row("when", strings.Join(l.When, ", "))
		p.row("cost", l.CostOf)
		p.row("counts", countsText(l))
		if l.Service == "" {
			p.row("services", strings.Join(l.Routes, ", "))
		} else {
			p.row("routes", strings.Join(l.Routes, ", "))
		}
		p.row("so far", usageText(l.Usage))
	}
	for i := range list.Domains {
		d := &list.Domains[i]
		p.addf("%s\n", shown(placeName(d.Bundle, "", d.Name, "")))
		for _, r := range d.Rules {
			p.row("limit", ruleText(&r))
		}
		p.row("so far", usageText(d.Usage))
	}
	if list.LeftOut > 0 {
		p.addf("%d answers are counted nowhere: there are too many limits\n", list.LeftOut)
	}
}

func countsText(l *limitsapi.Limit) string {
	text := l.Counts + "; on error " + l.OnError
	if l.At != "" {
		text += "; at the " + l.At
	}
	if l.Shadow {
		text += "; a shadow, which never blocks"
	}
	if l.Lease > 0 {
		text += fmt.Sprintf("; %d in advance", l.Lease)
	}
	if l.WithoutRelease != "" {
		text += "; without release " + l.WithoutRelease
	}
	return text
}

func orEverybody(by []string) string {
	if len(by) == 0 {
		return "nothing: one counter for all"
	}
	return strings.Join(by, ", ")
}

func rateText(r *limitsapi.Rate, algorithm, distinct string) string {
	switch {
	case algorithm == "concurrency":
		return fmt.Sprintf("%d at a time, each for at most %s, %s", r.Count, millis(r.WindowMS), algorithm)
	case distinct != "":
		return fmt.Sprintf("%d different values of %s per %s, %s", r.Count, distinct, millis(r.WindowMS), algorithm)
	}
	text := fmt.Sprintf("%d per %s, %s", r.Count, millis(r.WindowMS), algorithm)
	if algorithm == "gcra" {
		text += fmt.Sprintf(", %d at once", r.Burst)
	}
	return text
}

func ruleText(r *limitsapi.Rule) string {
	text := r.Path + ": unlimited"
	if !r.Unlimited {
		text = fmt.Sprintf("%s: %d per %s", r.Path, r.RequestsPerUnit, r.Unit)
	}
	if r.Shadow {
		text += ", a shadow, which never blocks"
	}
	if r.Quota {
		text += ", a quota"
	}
	return text
}

func usageText(u *limitsapi.Usage) string {
	if u == nil {
		return "not met on this server"
	}
	return fmt.Sprintf("%d allowed, %d refused, since %s", u.Allowed, u.Refused, u.Since.UTC().Format(time.RFC3339))
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// placeName names a limit, or a domain.
func placeName(bundle, service, domain, limit string) string {
	switch {
	case domain != "" && limit != "":
		return bundle + " domain " + domain + " " + limit
	case domain != "":
		return bundle + " domain " + domain
	case service == "":
		return bundle + " " + limit
	}
	return bundle + "/" + service + " " + limit
}

func writeTop(p *page, top *limitsapi.Top) {
	if len(top.Keys) == 0 {
		p.addf("nobody was near a limit in the last %s\n", millis(top.WindowMS))
	}
	for i := range top.Keys {
		writeKey(p, &top.Keys[i])
	}
}

// writeKey writes one key. Its values come from clients.
func writeKey(p *page, k *limitsapi.Key) {
	p.addf("%s: %d refused, %d near, up to %d%% used", shown(placeName(k.Bundle, k.Service, k.Domain, k.Limit)), k.Refused, k.Near, k.Percent)
	if k.Missed > 0 {
		p.addf("; at most %d more before it was noticed", k.Missed)
	}
	p.WriteByte('\n')
	for _, v := range k.Values {
		if v.Missing {
			p.addf("  %s (missing)\n", shown(v.Name))
		} else {
			p.addf("  %s\n", shown(v.Name+"="+v.Value))
		}
	}
	if k.Hashed {
		p.addf("  values too long to be kept; counter %s\n", shown(k.Counter))
	}
}

func writePeek(p *page, peek *limitsapi.Peek) {
	p.addf("%s: %d of %d used, %d left", shown(placeName(peek.Bundle, peek.Service, peek.Domain, peek.Limit)), peek.Used, peek.Burst, peek.Remaining)
	if peek.Algorithm == "concurrency" && !peek.Room {
		p.WriteString("; the next one passes when one has ended or expires")
	} else if peek.RetryAfterMS > 0 {
		p.addf("; the next one passes in %s", millis(peek.RetryAfterMS))
	}
	p.WriteByte('\n')
	if peek.FullMS > 0 {
		p.row("whole in", millis(peek.FullMS).String())
	}
	if peek.Degraded {
		p.row("degraded", "the shared counters did not answer; this is the server's own share")
	}
	p.row("counter", peek.Counter)
}

func writeUnblock(p *page, u *limitsapi.Unblock) {
	what := "cleared"
	if !u.Cleared {
		what = "there was no counter: nothing was used of it"
	}
	p.addf("%s: %s\n", shown(placeName(u.Bundle, u.Service, u.Domain, u.Limit)), what)
	p.row("note", fmt.Sprintf("servers may refuse from memory for another %s", millis(u.StaleMS)))
	p.row("counter", u.Counter)
}
