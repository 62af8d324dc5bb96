package main

import (
	"context"
	"fmt"

	"github.com/durward-pdp/durward/cmd/durward/migrate"
	"github.com/durward-pdp/durward/cmd/durward/replay"
	"github.com/durward-pdp/durward/pdp/assembly"
)

// metRule is a limit of a recorded rate limit request, and the rules of the bundle that bear its name.
type metRule struct {
	Limit string         `json:"limit"`
	Rules []migrate.Rule `json:"rules,omitempty"`
	// Remark says what the record and the rules leave open.
	Remark string `json:"remark,omitempty"`
}

// explainLimits names the rules that a recorded rate limit request met. It is not decided again: counters decided, and records hold
// no values of descriptors.
func (c *explainCommand) explainLimits(_ context.Context, x *explained) error {
	directory, contents, err := c.choose(x)
	if err != nil {
		return err
	}
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents})
	if err != nil {
		return invalidBundle(directory, err)
	}
	known := migrate.Rules(off.Bundle(), x.Record.Service)
	x.Rules = []metRule{}
	for i := range x.Record.Limits {
		x.Rules = append(x.Rules, met(&x.Record.Limits[i], known))
	}
	return nil
}

// met finds the rules of one limit.
func met(limit *replay.Limit, known []migrate.Rule) metRule {
	m := metRule{Limit: limit.Name}
	numbers := false
	for _, rule := range known {
		if rule.Name == limit.Name {
			m.Rules = append(m.Rules, rule)
			numbers = numbers || rule.RequestsPerUnit == limit.Quota
		}
	}
	switch {
	case len(m.Rules) == 0:
		m.Remark = "no rule has this name: values of the request stand in it (detailed_metric, value_to_metric), or the request brought a limit of its own"
	case !numbers:
		m.Remark = fmt.Sprintf("the record says %d: the request brought a limit of its own", limit.Quota)
	}
	return m
}

// writeRules writes the rules that were met, for people.
func (x *explained) writeRules(p *page) {
	if !x.SameRevision {
		p.WriteString("the rules are of another revision than the recorded one:\n")
	}
	for i := range x.Rules {
		m := &x.Rules[i]
		for _, rule := range m.Rules {
			p.addf("rule %s: %s  %s\n", shown(rule.Name), shown(rule.Place), shown(rule.Says))
		}
		if m.Remark != "" {
			p.addf("rule %s: %s\n", shown(m.Limit), m.Remark)
		}
	}
	if len(x.Rules) == 0 {
		p.WriteString("no limit was met\n")
	}
	p.WriteString("not replayed: counters decided, and no record holds values of descriptors; durward test asks again\n")
}
