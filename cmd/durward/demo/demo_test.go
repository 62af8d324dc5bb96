package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart"
	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// expected is what a visit has to find.
type expected struct {
	title    string
	statuses string
	public   string
	reason   string
	rule     string
}

func takeTour(t *testing.T, o Options) (journey, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Where the demo stays until it is interrupted, the interrupt comes when it says so.
	out := &watched{text: "until you interrupt it", seen: cancel}
	o.Out, o.Binary, o.Clock = out, durward(t), time.Now
	j, err := run(ctx, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(j.stops) != len(tour) {
		t.Fatalf("%d stops of %d", len(j.stops), len(tour))
	}
	return j, out.String()
}

// watched is a buffer that calls seen when a text was written to it.
type watched struct {
	bytes.Buffer
	text string
	seen func()
}

func (w *watched) Write(data []byte) (int, error) {
	if bytes.Contains(data, []byte(w.text)) {
		w.seen()
	}
	return w.Buffer.Write(data)
}

func check(t *testing.T, stops []*stop, want []expected) {
	t.Helper()
	for i, w := range want {
		s := stops[i]
		got := expected{s.visit.title, sequence(s.statuses), s.public, s.record.Reason, s.record.Rule}
		if got != w {
			t.Errorf("visit %d\n got %+v\nwant %+v\nbody %s\nrecord %s", i+1, got, w, s.answer.Body, s.line)
		}
	}
}

func TestTour(t *testing.T) {
	t.Parallel()
	j, out := takeTour(t, Options{FreePorts: true})
	stops := j.stops
	const rules = "services/orders/policy.csv:"
	check(t, stops, []expected{
		{"a public route", "200", "", "allowed", ""},
		{"no credentials", "401", "credentials_required", "token_missing", ""},
		{"a reader reads", "200", "", "allowed", rules + "3"},
		{"a reader writes", "403", "access_denied", "no_matching_rule", ""},
		{"a writer writes", "200", "", "allowed", rules + "4"},
		{"a token without a signature", "401", "invalid_token", "token_algorithm", ""},
		{"a token signed with the public key", "401", "invalid_token", "token_algorithm", ""},
		{"an expired token", "401", "invalid_token", "token_expired", ""},
		{"a token for another API", "401", "invalid_token", "token_audience", ""},
		{"a forged identity header", "200", "", "allowed", rules + "3"},
		{"a path trick", "403", "access_denied", "no_route", ""},
		{"another path trick", "400", "invalid_request", "path_ambiguous", ""},
		{"a method that is not declared", "405", "method_not_allowed", "method_not_allowed", ""},
		{"a suspended account", "403", "access_denied", "guard_denied", "shared/suspended.csv:2"},
		{"a client certificate", "200", "", "allowed", rules + "3"},
	})
	for _, s := range stops {
		if s.line == nil {
			t.Errorf("%s: no record", s.visit.title)
		}
	}
	checkExplanation(t, find(t, stops, "a reader writes"))
	checkForgery(t, find(t, stops, "a forged identity header"))
	checkBurst(t, find(t, stops, "a burst"))
	checkEdit(t, find(t, stops, "the rules change"))
	checkDoors(t, stops)
	checkReplicas(t, stops)
	checkAsked(t, j)
	checkPrinted(t, stops, out)
}

func find(t *testing.T, stops []*stop, title string) *stop {
	t.Helper()
	for _, s := range stops {
		if s.visit.title == title {
			return s
		}
	}
	t.Fatalf("no visit %q", title)
	return nil
}

// checkExplanation looks for the nearest miss and the change that would allow.
func checkExplanation(t *testing.T, s *stop) {
	t.Helper()
	text := strings.Join(s.explanation, "\n")
	for _, want := range []string{"policy main: deny", "services/orders/policy.csv:4  p, writer, orders:write", "wanted member of writer, got member of reader",
		"would be allowed if roles contained writer"} {
		if !strings.Contains(text, want) {
			t.Errorf("the explanation lacks %q:\n%s", want, text)
		}
	}
}

// checkForgery looks at what the API says that it was told.
func checkForgery(t *testing.T, s *stop) {
	t.Helper()
	body := string(s.answer.Body)
	if !strings.Contains(body, `"x-durward-subject":["alice"]`) || strings.Contains(body, "root") || !strings.Contains(body, `"credentials_arrived":false`) {
		t.Errorf("the API was told %s", body)
	}
}

func checkBurst(t *testing.T, s *stop) {
	t.Helper()
	if s.answer.Status != 429 || s.public != "quota_exceeded" || s.record.Reason != "limit_exceeded" || s.record.Limit == "" {
		t.Errorf("burst: %v %s %+v", s.statuses, s.public, s.record)
	}
	// The bucket holds 5; on a slow machine some drops fall meanwhile.
	if n := len(s.statuses); n < 6 {
		t.Errorf("burst: refused at request %d", n)
	}
	if s.answer.Header.Get("Retry-After") == "" || s.answer.Header.Get("RateLimit") == "" {
		t.Errorf("burst: header %v", s.answer.Header)
	}
}

// checkReplicas wants both at work. Envoy draws lots, so only the whole tour is sure to meet both.
func checkReplicas(t *testing.T, stops []*stop) {
	t.Helper()
	decided := map[int]int{}
	for _, s := range stops {
		for i, n := range s.replicas {
			decided[i] += n
		}
	}
	if len(decided) != 2 {
		t.Errorf("decided by replicas: %v", decided)
	}
}

func checkEdit(t *testing.T, s *stop) {
	t.Helper()
	if s.before != 403 || s.answer.Status != 200 || s.record.Rule != s.added || s.rule != s.visit.rule {
		t.Errorf("edit: %d, then %d by %q %q, added at %q", s.before, s.answer.Status, s.record.Rule, s.rule, s.added)
	}
}

// checkDoors compares what both doors say to the same question.
func checkDoors(t *testing.T, stops []*stop) {
	t.Helper()
	own, other := find(t, stops, "a second door"), find(t, stops, "another tenant's report")
	if own.answer.Status != 200 || own.record.Rule != "services/reports/policy.csv:2" || own.record.Subject.Key != "user:corp:alice" {
		t.Errorf("second door: %d %+v", own.answer.Status, own.record)
	}
	if other.answer.Status != 403 || other.record.Reason != "no_matching_rule" {
		t.Errorf("another tenant: %d %+v", other.answer.Status, other.record)
	}
	first, second := find(t, stops, "an expired token"), find(t, stops, "an expired token at the second door")
	if first.answer.Status != second.answer.Status || first.public != second.public || first.record.Reason != second.record.Reason {
		t.Errorf("doors differ: %d %s %s, %d %s %s", first.answer.Status, first.public, first.record.Reason,
			second.answer.Status, second.public, second.record.Reason)
	}
}

// checkAsked wants Envoy to have got an answer to every question, and to have found it well formed.
func checkAsked(t *testing.T, j journey) {
	t.Helper()
	allowed, denied := int64(0), int64(0)
	for _, s := range j.stops {
		if s.visit.host != "" {
			continue // that door is not Envoy's
		}
		for _, status := range s.statuses {
			if status == 200 {
				allowed++
			} else {
				denied++
			}
		}
	}
	if j.asked["ok"] != allowed || j.asked["denied"] != denied || j.asked["error"] != 0 || j.asked["invalid"] != 0 {
		t.Errorf("Envoy counts %v; the tour saw %d allowed and %d denied", j.asked, allowed, denied)
	}
}

// checkPrinted wants all that was found on paper, and no credential.
func checkPrinted(t *testing.T, stops []*stop, out string) {
	t.Helper()
	for _, s := range stops {
		wanted := append([]string{s.visit.title, s.visit.why, s.record.Reason, s.record.Rule, s.rule, string(s.line), strings.TrimSpace(string(s.answer.Body))}, s.answer.Lines...)
		for _, l := range s.record.Limits {
			wanted = append(wanted, limitText(l))
		}
		for _, text := range wanted {
			if !strings.Contains(out, text) {
				t.Errorf("%s: not printed: %s", s.visit.title, text)
			}
		}
	}
	if strings.Contains(out, "eyJ") {
		t.Error("a token is printed")
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours without a terminal")
	}
}

// TestTourFollowsTheRules edits a rule: what the tour says must change with it. This run finds one of the quickstart's
// ports taken, and stays until it is interrupted.
func TestTourFollowsTheRules(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "127.0.0.1:8443"); err == nil { // else somebody else has it, which is as good
		defer l.Close()
	}
	const rules = "services/orders/policy.csv"
	data, err := quickstart.Files.ReadFile("bundle/" + rules)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace("# one line more\n"+string(data), "p, reader, orders:read\n", "p, writer, orders:read\n", 1)
	j, out := takeTour(t, Options{Bundle: map[string]string{rules: edited}, Stay: true})
	check(t, j.stops, []expected{
		{"a public route", "200", "", "allowed", ""},
		{"no credentials", "401", "credentials_required", "token_missing", ""},
		{"a reader reads", "403", "access_denied", "no_matching_rule", ""},
		{"a reader writes", "403", "access_denied", "no_matching_rule", ""},
		{"a writer writes", "200", "", "allowed", rules + ":5"},
	})
	for _, text := range []string{"Free ports are used", "127.0.0.1:8443", "curl -i --cacert tls/ca.crt", "$(cat tokens/alice)", "Stopping."} {
		if !strings.Contains(out, text) {
			t.Errorf("not printed: %s", text)
		}
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	empty := t.TempDir()
	t.Setenv("PATH", empty)
	t.Setenv("DURWARD_TOOLS", "")
	t.Chdir(empty)
	err := Run(t.Context(), Options{Out: io.Discard, Binary: os.Args[0], FreePorts: true, Clock: time.Now})
	if !errors.Is(err, stack.ErrNoProgram) || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("error %v", err)
	}
}
