package decisiontest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// absent is what a header that is not there looks like in a report.
const absent = "absent"

// Difference is an expectation that a verdict does not meet.
type Difference struct {
	// Key is the expectation's YAML path below expect, Line and Column its place in the suite.
	Key          string
	Line, Column int
	// Want is what was expected, Got what came.
	Want, Got string
}

func (l *loader) checkExpect(at string, e *suite.Expect) {
	if reflect.ValueOf(*e).IsZero() {
		l.add(at, "", "nothing is expected: a test that cannot fail")
	}
	for field, value := range reflect.ValueOf(*e).Fields() {
		if kind := value.Kind(); (kind == reflect.Map || kind == reflect.Slice) && !value.IsNil() && value.Len() == 0 {
			l.add(at+"."+field.Tag.Get("yaml"), "", "an empty list expects nothing; remove it, or name what is expected")
		}
	}
	if len(e.UpstreamAbsent) > 0 && len(e.Upstream) == 0 && e.Decision != "allow" && e.Status != 200 {
		l.add(at+".upstream_absent", "expect decision: allow too", "a denied request reaches no API, so that every denial fulfils this")
	}
	if e.Decision != "" && e.Decision != "allow" && e.Decision != "deny" {
		l.add(at+".decision", "", "a decision is allow or deny, not %q", e.Decision)
	}
	if e.Status != 0 && e.Status != 200 && (e.Status < 300 || e.Status > 599) {
		l.add(at+".status", "", "a status is 200, or 300 to 599 for a denial")
	}
	if e.Reason != "" && !verdict.Reason(e.Reason).Known() {
		l.unknown(at+".reason", "there is no reason %q", e.Reason, reasons())
	}
	if e.PublicReason != "" && !slices.Contains(publicReasons(), e.PublicReason) {
		l.unknown(at+".public_reason", "no client is told the reason %q", e.PublicReason, publicReasons())
	}
	if e.RetryAfter != nil && *e.RetryAfter < 0 {
		l.add(at+".retry_after", "", "seconds to wait, 0 or more")
	}
	if e.Rule != "" {
		l.checkRule(at+".rule", e.Rule)
	}
	for _, headers := range []struct {
		key    string
		set    map[string]string
		absent []string
	}{{"upstream", e.Upstream, e.UpstreamAbsent}, {"response", e.Response, e.ResponseAbsent}} {
		for _, name := range slices.Sorted(maps.Keys(headers.set)) {
			if !request.ValidName(name) || name != strings.ToLower(name) {
				l.add(at+"."+headers.key+"."+name, "", "%q is no header name in lower case", name)
			}
		}
		for i, name := range headers.absent {
			if !request.ValidName(name) || name != strings.ToLower(name) {
				l.add(fmt.Sprintf("%s.%s_absent[%d]", at, headers.key, i), "", "%q is no header name in lower case", name)
			}
		}
	}
}

// checkRule refuses places where no rule stands.
func (l *loader) checkRule(at, rule string) {
	i := strings.LastIndexByte(rule, ':')
	line, err := strconv.Atoi(rule[i+1:])
	if i < 1 || err != nil || line < 1 {
		l.add(at, "", "a rule is named by its place, as in services/orders/policy.csv:3")
		return
	}
	file, ok := l.bundle.Files.Get("", rule[:i])
	if !ok || file.Path != rule[:i] {
		l.unknown(at, "the bundle has no file %q", rule[:i], l.bundle.Files.Paths())
		return
	}
	if lines := strings.Split(string(file.Data), "\n"); line > len(lines) || !isRule(lines[line-1]) {
		l.add(at, "", "no rule stands there")
	}
}

func reasons() []string {
	var out []string
	for _, r := range verdict.Reasons() {
		out = append(out, string(r))
	}
	return out
}

func publicReasons() []string {
	var out []string
	for _, r := range verdict.Reasons() {
		out = append(out, string(r.Public()))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// comparison holds a verdict against what is expected of it.
type comparison struct {
	request *request.Request
	verdict *verdict.Verdict
	found   []Difference
}

func (c *comparison) add(key, want, got string) {
	c.found = append(c.found, Difference{Key: key, Want: want, Got: got})
}

// text compares a text that is expected unless it is empty.
func (c *comparison) text(key, want, got string) {
	if want == "" || want == got {
		return
	}
	if got != "" {
		got = shown(got)
	}
	c.add(key, shown(want), orDefault(got, "nothing"))
}

// compare returns how a verdict differs from what is expected.
func compare(e *suite.Expect, r *request.Request, v *verdict.Verdict) []Difference {
	c := &comparison{request: r, verdict: v}
	c.text("decision", e.Decision, v.Effect.String())
	if e.Status != 0 && e.Status != v.HTTPStatus() {
		c.add("status", strconv.Itoa(e.Status), strconv.Itoa(v.HTTPStatus()))
	}
	public := string(v.Reason.Public())
	if v.Allowed() {
		public = ""
	}
	why := &v.Explanation
	c.text("reason", e.Reason, string(v.Reason))
	c.text("public_reason", e.PublicReason, public)
	c.text("rule", e.Rule, why.Rule)
	c.text("rule_id", e.RuleID, why.RuleID)
	c.text("policy", e.Policy, why.Policy)
	c.text("stage", e.Stage, v.Stage)
	c.text("limit", e.Limit, why.Limit)
	c.remaining(e.Remaining)
	c.headers("upstream", e.Upstream, e.UpstreamAbsent, c.upstream)
	c.upstreamToken(e.UpstreamToken)
	c.headers("response", e.Response, e.ResponseAbsent, c.response)
	if e.RetryAfter != nil {
		c.retryAfter(*e.RetryAfter)
	}
	if e.Degraded != nil && *e.Degraded != v.Degraded {
		c.add("degraded", strconv.FormatBool(*e.Degraded), strconv.FormatBool(v.Degraded))
	}
	if e.Change != "" {
		c.change(e.Change)
	}
	return c.found
}

func (c *comparison) remaining(want map[string]int64) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got := "no such limit"
		for _, state := range c.verdict.Explanation.Limits {
			if state.Name == name {
				got = strconv.FormatInt(state.Remaining, 10)
			}
		}
		c.text("remaining."+name, strconv.FormatInt(want[name], 10), got)
	}
}

// headers compares headers by what find returns for a name.
func (c *comparison) headers(key string, set map[string]string, gone []string, find func(string) (string, bool)) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if got, ok := find(name); !ok {
			c.add(key+"."+name, shown(set[name]), absent)
		} else if got != set[name] {
			c.add(key+"."+name, shown(set[name]), shown(got))
		}
	}
	for i, name := range gone {
		if got, ok := find(name); ok {
			c.add(fmt.Sprintf("%s_absent[%d]", key, i), name+" "+absent, name+" "+shown(got))
		}
	}
}

// upstream returns the header that the API behind receives: what the engine sets, else what the client sent and the
// engine does not remove. A denied request reaches no API.
func (c *comparison) upstream(name string) (string, bool) {
	if !c.verdict.Allowed() {
		return "", false
	}
	if value, ok := fieldOf(c.verdict.Obligations.SetUpstream, name); ok {
		return value, true
	}
	if slices.Contains(c.verdict.Obligations.RemoveUpstream, name) {
		return "", false
	}
	value, n := c.request.Header.Get(name)
	return value, n > 0
}

func (c *comparison) response(name string) (string, bool) {
	return fieldOf(c.verdict.Obligations.SetResponse, name)
}

// fieldOf returns the values of a header, joined as one.
func fieldOf(fields []verdict.Field, name string) (string, bool) {
	var values []string
	for _, f := range fields {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	return strings.Join(values, ", "), len(values) > 0
}

// retryAfter compares what the client is told: whole seconds, rounded up.
func (c *comparison) retryAfter(want int64) {
	if got := int64((c.verdict.RetryAfter + time.Second - 1) / time.Second); got != want {
		c.add("retry_after", strconv.FormatInt(want, 10), strconv.FormatInt(got, 10))
	}
}

func (c *comparison) change(want string) {
	var changes []string
	for _, p := range c.verdict.Explanation.Policies {
		if strings.Contains(p.Change, want) {
			return
		}
		if p.Change != "" {
			changes = append(changes, p.Change)
		}
	}
	c.add("change", "text that holds "+shown(want), orDefault(strings.Join(changes, "; "), "no change is known"))
}

// shown returns a text as it can stand in a report.
func shown(text string) string {
	if quoted := strconv.Quote(text); text == "" || quoted[1:len(quoted)-1] != text || strings.TrimSpace(text) != text {
		return quoted
	}
	return text
}
