package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

const (
	// recordTime bounds the wait for a record, editTime the wait until a changed rule is in force.
	recordTime, editTime = 5 * time.Second, 15 * time.Second
	// between is the pause between two requests that wait for a changed rule.
	between = 100 * time.Millisecond
)

// guide goes through the tour.
type guide struct {
	stack  *stack.Stack
	tokens map[string]string
	// binary is the durward program.
	binary string
}

// stop is what a visit found.
type stop struct {
	visit visit
	// message is what was sent, the last time.
	message stack.Message
	// statuses are those of every time it was sent; before is the status before a rule was added.
	statuses []int
	before   int
	// added is where the new rule stands.
	added string
	// replicas counts the decisions of each replica.
	replicas map[int]int
	// answer is the last response, public its reason for the client.
	answer *stack.Answer
	public string
	// line is the last response's record, as it stands in the file; nil when there is none.
	line []byte
	// record is the same, decoded; rule is the text of its rule.
	record record
	rule   string
	// explanation is what `durward explain` says of the record, where the visit asks for it.
	explanation []string
}

// record is what the tour reads of a record.
type record struct {
	DecisionID    string `json:"decision_id"`
	CorrelationID string `json:"correlation_id"`
	Service       string `json:"service"`
	Route         string `json:"route"`
	Action        string `json:"action"`
	Effect        string `json:"effect"`
	Reason        string `json:"reason"`
	Stage         string `json:"stage"`
	Policy        string `json:"policy"`
	Rule          string `json:"rule"`
	Limit         string `json:"limit"`
	Revision      string `json:"revision"`
	Subject       struct {
		Key string `json:"key"`
	} `json:"subject"`
	Limits []limit `json:"limits"`
}

// limit is what a limit had left.
type limit struct {
	Name         string `json:"name"`
	Quota        int64  `json:"quota"`
	Remaining    int64  `json:"remaining"`
	WindowMs     int64  `json:"window_ms"`
	RetryAfterMs int64  `json:"retry_after_ms"`
	Refused      bool   `json:"refused"`
}

// visit makes one visit of the tour.
func (g *guide) visit(ctx context.Context, v visit) (*stop, error) {
	out := &stop{visit: v, replicas: map[int]int{}}
	if err := g.prepare(out); err != nil {
		return nil, err
	}
	if err := g.ask(ctx, out); err != nil {
		return nil, err
	}
	if v.rule != "" {
		if err := g.change(ctx, out); err != nil {
			return nil, err
		}
	}
	for len(out.statuses) < v.burst && out.answer.Status == out.statuses[0] {
		if err := g.ask(ctx, out); err != nil {
			return nil, err
		}
	}
	out.rule = g.ruleText(out.record)
	if v.explain && out.line != nil {
		return out, g.explain(ctx, out)
	}
	return out, nil
}

// prepare writes the request.
func (g *guide) prepare(out *stop) error {
	v := out.visit
	out.message = stack.Message{Method: v.method, Host: v.host, Target: v.target}
	if v.host == "" {
		out.message.Host = ordersHost
	}
	if v.token != "" {
		out.message.Header = append(out.message.Header, stack.Field{Name: "authorization", Value: "Bearer " + g.tokens[v.token]})
	}
	if v.body != "" {
		out.message.Body = []byte(v.body)
		out.message.Header = append(out.message.Header, stack.Field{Name: "content-type", Value: "application/json"})
	}
	out.message.Header = append(out.message.Header, v.header...)
	if v.certificate != "" {
		pair, err := g.stack.Certificate(v.certificate)
		if err != nil {
			return err
		}
		out.message.Certificate = &pair
	}
	return nil
}

// ask sends the request once more and finds the record of its decision.
func (g *guide) ask(ctx context.Context, out *stop) error {
	answer, err := g.stack.Send(ctx, out.message)
	if err != nil {
		return err
	}
	out.answer, out.public = answer, publicReason(answer)
	out.statuses = append(out.statuses, answer.Status)
	out.line, out.record = nil, record{}
	return g.findRecord(ctx, out)
}

// findRecord finds the record by the decision's id, which denials carry, or by the gateway's name of the request,
// which the API repeats. A response with neither was not Durward's.
func (g *guide) findRecord(ctx context.Context, out *stop) error {
	decision, correlation := out.answer.Header.Get("x-durward-decision-id"), out.answer.Header.Get("x-request-id")
	if decision == "" && correlation == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	found, err := g.stack.Await(ctx, func(r stack.Record) bool {
		if decision != "" {
			return r.Fields["decision_id"] == decision
		}
		return r.Fields["correlation_id"] == correlation
	})
	if err != nil {
		return fmt.Errorf("looking for decision %s%s: %w", decision, correlation, err)
	}
	if err := json.Unmarshal(found.Line, &out.record); err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	out.line = bytes.Clone(found.Line)
	out.replicas[found.Replica]++
	return nil
}

// change adds the visit's rule to the running bundle and asks until the answer is another, or it takes too long.
func (g *guide) change(ctx context.Context, out *stop) error {
	out.before = out.answer.Status
	path := filepath.Join(g.stack.Dir, "bundle", filepath.FromSlash(ordersRules))
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the rules: %w", err)
	}
	text := strings.TrimRight(string(data), "\n") + "\n" + out.visit.rule + "\n"
	if err := g.stack.Edit(ordersRules, text); err != nil {
		return err
	}
	out.added = ordersRules + ":" + strconv.Itoa(strings.Count(text, "\n"))
	limited, cancel := context.WithTimeout(ctx, editTime)
	defer cancel()
	ticker := time.NewTicker(between)
	defer ticker.Stop()
	for out.answer.Status == out.before {
		select {
		case <-limited.Done():
			return ctx.Err() // an answer that stays the same is shown as it is
		case <-ticker.C:
		}
		if err := g.ask(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// publicReason is what the client of a denial is told.
func publicReason(a *stack.Answer) string {
	var problem struct {
		Code string `json:"code"`
	}
	if a.Header.Get("content-type") != "application/problem+json" || json.Unmarshal(a.Body, &problem) != nil {
		return ""
	}
	return problem.Code
}

// ruleText is the line of the bundle that the record names, "" when it names none.
func (g *guide) ruleText(r record) string {
	file, number, ok := cutLast(r.Rule, ":")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || !filepath.IsLocal(file) {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(g.stack.Dir, "bundle", filepath.FromSlash(file)))
	if err != nil {
		return ""
	}
	lines := strings.Split(string(data), "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimSpace(lines[n-1])
}

func cutLast(s, separator string) (before, after string, found bool) {
	at := strings.LastIndex(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(separator):], true
}
