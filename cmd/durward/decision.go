package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// decision is a verdict as commands print it; docs/guide/check.md describes the JSON form.
type decision struct {
	Decision     string           `json:"decision"`
	Status       int              `json:"status"`
	Reason       string           `json:"reason"`
	PublicReason string           `json:"public_reason,omitempty"`
	DecisionID   string           `json:"decision_id,omitempty"`
	Stage        string           `json:"stage,omitempty"`
	Degraded     bool             `json:"degraded,omitempty"`
	RetryAfterMS int64            `json:"retry_after_ms,omitempty"`
	Bundle       string           `json:"bundle,omitempty"`
	Revision     string           `json:"revision,omitempty"`
	Service      string           `json:"service,omitempty"`
	Route        string           `json:"route,omitempty"`
	Policy       string           `json:"policy,omitempty"`
	Rule         string           `json:"rule,omitempty"`
	RuleID       string           `json:"rule_id,omitempty"`
	Observed     string           `json:"observed,omitempty"`
	Detail       string           `json:"detail,omitempty"`
	Limit        string           `json:"limit,omitempty"`
	Limits       []limitState     `json:"limits,omitempty"`
	Upstream     upstreamChanges  `json:"upstream"`
	Response     []headerLine     `json:"response,omitempty"`
	Policies     []policyAnswer   `json:"policies,omitempty"`
	Candidate    *candidateAnswer `json:"candidate,omitempty"`

	reasonText string
}

type limitState struct {
	Name         string `json:"name"`
	Quota        int64  `json:"quota"`
	Remaining    int64  `json:"remaining"`
	WindowMS     int64  `json:"window_ms"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	Refused      bool   `json:"refused,omitempty"`
	Shadow       bool   `json:"shadow,omitempty"`
	Degraded     bool   `json:"degraded,omitempty"`
	Leased       bool   `json:"leased,omitempty"`
}

type headerLine struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type upstreamChanges struct {
	Set    []headerLine `json:"set,omitempty"`
	Remove []string     `json:"remove,omitempty"`
}

type candidateAnswer struct {
	Policy    string `json:"policy"`
	Decision  string `json:"decision"`
	Reason    string `json:"reason,omitempty"`
	Rule      string `json:"rule,omitempty"`
	Disagrees bool   `json:"disagrees"`
}

// newDecision reads a verdict.
func newDecision(v *verdict.Verdict, service, route string) *decision {
	why := &v.Explanation
	d := &decision{
		Decision: v.Effect.String(), Status: v.HTTPStatus(), Reason: string(v.Reason), reasonText: v.Reason.Info().Text, DecisionID: v.DecisionID,
		Stage: v.Stage, Degraded: v.Degraded, RetryAfterMS: v.RetryAfter.Milliseconds(),
		Bundle: why.Bundle, Revision: why.Revision, Service: service, Route: route, Policy: why.Policy, Rule: why.Rule, RuleID: why.RuleID,
		Observed: string(why.Observed), Detail: why.Detail, Limit: why.Limit,
		Upstream: upstreamChanges{Set: headerLines(v.Obligations.SetUpstream), Remove: v.Obligations.RemoveUpstream},
		Response: headerLines(v.Obligations.SetResponse), Policies: policyAnswers(why.Policies),
	}
	if !v.Allowed() {
		d.PublicReason = string(v.Reason.Public())
	}
	for i := range why.Limits {
		l := &why.Limits[i]
		d.Limits = append(d.Limits, limitState{
			Name: l.Name, Quota: l.Quota, WindowMS: l.Window.Milliseconds(), Remaining: l.Remaining, RetryAfterMS: l.RetryAfter.Milliseconds(),
			Refused: l.Refused, Shadow: l.Shadow, Degraded: l.Degraded, Leased: l.Leased,
		})
	}
	if next := why.Candidate; next != nil {
		d.Candidate = &candidateAnswer{Policy: next.Policy, Decision: next.Effect.String(), Reason: string(next.Reason), Rule: next.Rule, Disagrees: next.Disagrees}
	}
	return d
}

func headerLines(fields []verdict.Field) []headerLine {
	var out []headerLine
	for _, f := range fields {
		out = append(out, headerLine(f))
	}
	return out
}

// writeJSON writes one JSON document. What a terminal would obey is escaped: no more than ASCII has meaning outside of strings.
func writeJSON(w io.Writer, document any) error {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		return err
	}
	var out []byte
	for _, r := range text.String() {
		if r == '\n' || unicode.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, half := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, half)
		}
	}
	_, err := w.Write(out)
	return err
}

// page collects lines for people. What a terminal would obey is escaped.
type page struct{ strings.Builder }

func (p *page) addf(format string, arguments ...any) {
	p.WriteString(fmt.Sprintf(format, arguments...))
}

// row writes a name and a value, if there is one.
func (p *page) row(name, value string) {
	if value != "" {
		p.addf("  %-9s %s\n", name, shown(value))
	}
}

// rows writes values under one name.
func (p *page) rows(name string, values []string) {
	for _, v := range values {
		p.row(name, v)
		name = ""
	}
}

// writeTo writes a decision for people.
func (d *decision) writeTo(p *page) {
	p.addf("%s %d %s", d.Decision, d.Status, shown(d.Reason))
	if d.reasonText != "" {
		p.addf(": %s", d.reasonText)
	}
	p.WriteByte('\n')
	if d.PublicReason != "" {
		p.row("client", "is told "+d.PublicReason)
	}
	p.row("stage", d.Stage)
	p.row("where", d.place())
	p.row("bundle", strings.TrimSpace(d.Bundle+" "+d.Revision))
	p.row("policy", d.Policy)
	if d.Rule != "" {
		p.row("rule", fmt.Sprintf("%s (%s)", d.Rule, d.RuleID))
	}
	p.row("detail", d.Detail)
	if d.Observed != "" {
		p.row("observed", "a policy denies for "+d.Observed+", which is only an alarm here")
	}
	if next := d.Candidate; next != nil {
		p.row("candidate", strings.TrimSpace(fmt.Sprintf("%s: %s %s %s", next.Policy, next.Decision, next.Reason, next.Rule)))
	}
	if d.Degraded {
		p.row("degraded", "something that the decision needs has failed, and its failure mode decided")
	}
	if d.RetryAfterMS > 0 {
		p.row("retry", "after "+(time.Duration(d.RetryAfterMS)*time.Millisecond).String())
	}
	var limits, set []string
	for i := range d.Limits {
		limits = append(limits, d.Limits[i].String())
	}
	p.rows("limits", limits)
	for _, h := range d.Upstream.Set {
		set = append(set, h.Name+": "+h.Value)
	}
	if d.Decision == "allow" {
		p.rows("upstream", set)
		p.row("removes", strings.Join(d.Upstream.Remove, ", "))
	}
	var response []string
	for _, h := range d.Response {
		response = append(response, h.Name+": "+h.Value)
	}
	p.rows("response", response)
	for i := range d.Policies {
		d.Policies[i].writeTo(p)
	}
}

func (d *decision) place() string {
	switch {
	case d.Service == "":
		return ""
	case d.Route == "":
		return "service " + d.Service + ", no route"
	}
	return "service " + d.Service + ", route " + d.Route
}

// String says what a limit has left.
func (l *limitState) String() string {
	text := fmt.Sprintf("%s: %d left of %d per %s", l.Name, l.Remaining, l.Quota, time.Duration(l.WindowMS)*time.Millisecond)
	for _, flag := range []struct {
		set  bool
		text string
	}{{l.Refused, "refused"}, {l.Shadow, "a shadow, which never blocks"}, {l.Degraded, "not asked of the shared counters"}, {l.Leased, "paid with units taken in advance"}} {
		if flag.set {
			text += ", " + flag.text
		}
	}
	return text
}

// shown returns text as it can stand on a terminal.
func shown(text string) string {
	if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != strings.ReplaceAll(text, `"`, `\"`) {
		return quoted
	}
	return text
}
