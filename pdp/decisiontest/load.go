package decisiontest

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
)

const (
	directory = "tests/"
	// anonymous is the name of who shows no credentials.
	anonymous = subject.KindAnonymous
	// maxRepeat bounds the requests of a step.
	maxRepeat = 100_000
)

// Suite is a file of decision tests whose names all stand for something.
type Suite struct {
	written suite.Suite
	file    *format.File
	now     time.Time
	people  map[string]*person
}

// person is who makes a request.
type person struct {
	name        string
	raw         string        // a token as it is sent
	token       *tokenClaim   // a token to mint
	key         *token.Signer // what it is bound to; nil for nothing
	certificate *request.Certificate
	subject     *subject.Subject // asserted
	roles       []string         // asserted, of whatever authenticator a service accepts
	scopes      []string         // beside roles
}

// Load reads the decision tests of a bundle. The problems are those that a server does not look for: names that stand
// for nothing, requests that no gateway could report, expectations that no verdict can meet.
func Load(b *format.Bundle) ([]*Suite, format.Problems) {
	var suites []*Suite
	var problems format.Problems
	names := map[string]bool{}
	for _, name := range b.Files.Paths() {
		if !strings.HasPrefix(name, directory) || path.Ext(name) != ".yaml" {
			continue
		}
		file, _ := b.Files.Get("", name)
		l := &loader{bundle: b, suite: &Suite{file: file, people: map[string]*person{}}}
		if l.problems = format.Decode(file, &l.suite.written); len(l.problems) == 0 {
			l.load(names)
		}
		problems = append(problems, l.problems...)
		suites = append(suites, l.suite)
	}
	return suites, problems
}

// defaultNow is the instant of suites that do not say it.
func defaultNow() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// loader checks one suite.
type loader struct {
	bundle   *format.Bundle
	suite    *Suite
	problems format.Problems
}

func (l *loader) add(at, hint, message string, arguments ...any) {
	p := l.suite.file.Problem(at, fmt.Sprintf(message, arguments...))
	p.Hint = hint
	l.problems = append(l.problems, p)
}

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	// goldenForm are the places at which a bundle may hold a golden file: what --update writes must load again.
	goldenForm = regexp.MustCompile(`^tests/([A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,95}\.csv$`)
)

func (l *loader) load(names map[string]bool) {
	s := l.suite
	switch name := s.written.Suite; {
	case !nameForm.MatchString(name):
		l.add("$.suite", "", "a suite needs a name of letters, digits, dots, hyphens and underscores")
	case names[name]:
		l.add("$.suite", "", "a second suite named %q", name)
	}
	names[s.written.Suite] = true
	s.now = defaultNow()
	if m := s.written.Now; m != nil {
		if m.At.IsZero() {
			l.add("$.now", "", "now is a time such as 2026-01-01T12:00:00Z, not an offset")
		}
		s.now = m.At
	}
	l.loadPeople()
	if len(s.written.Cases) == 0 && s.written.Matrix == nil {
		l.add("$.suite", "", "the suite has neither cases nor a matrix")
	}
	cases := map[string]bool{matrixCase: s.written.Matrix != nil}
	for i := range s.written.Cases {
		l.loadCase(fmt.Sprintf("$.cases[%d]", i), &s.written.Cases[i], cases)
	}
	if s.written.Matrix != nil {
		l.loadMatrix()
	}
}

func (l *loader) loadPeople() {
	s := l.suite
	for _, name := range slices.Sorted(maps.Keys(s.written.Tokens)) {
		if at := "$.tokens." + name; l.named(at, name) {
			l.loadToken(at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.written.Certificates)) {
		if at := "$.certificates." + name; l.named(at, name) {
			l.loadCertificate(at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.written.Subjects)) {
		if at := "$.subjects." + name; l.named(at, name) {
			l.loadSubject(at, name)
		}
	}
	s.people[anonymous] = &person{name: anonymous}
}

// named checks a name that the suite gives to a token, a certificate or a subject.
func (l *loader) named(at, name string) bool {
	switch {
	case !nameForm.MatchString(name):
		l.add(at, "", "%q is no name; names are made of letters, digits, dots, hyphens and underscores", name)
	case name == anonymous:
		l.add(at, "", "%s is who shows no credentials; choose another name", name)
	case l.suite.people[name] != nil:
		l.add(at, "", "the name %q stands for two things; tokens, certificates and subjects share their names", name)
	default:
		return true
	}
	return false
}

func (l *loader) loadCase(at string, c *suite.Case, names map[string]bool) {
	switch {
	case strings.TrimSpace(c.Name) == "":
		l.add(at, "", "a case needs a name that says what must hold")
	case names[c.Name]:
		l.add(at+".name", "", "a second case named %q", c.Name)
	}
	names[c.Name] = true
	l.checkGiven(at+".given", &suite.Step{Given: c.Given})
	if len(c.Steps) == 0 {
		l.loadStep(at, &suite.Step{Request: c.Request, Expect: c.Expect})
		return
	}
	if c.Request != nil || c.Expect != nil {
		l.add(at, "", "a case has steps, or one request with what is expected of it, not both")
	}
	last := l.suite.now
	for i := range c.Steps {
		step, below := &c.Steps[i], fmt.Sprintf("%s.steps[%d]", at, i)
		if step.At != nil {
			when := step.At.After(l.suite.now)
			if when.Before(last) {
				l.add(below+".at", "", "the step happens before the one above it")
			}
			last = when
		}
		if n := step.Repeat; n != nil && (*n < 1 || *n > maxRepeat) {
			l.add(below+".repeat", "", "repeat is 1 to %d", maxRepeat)
		}
		l.checkGiven(below+".given", step)
		l.loadStep(below, step)
	}
}

func (l *loader) checkGiven(at string, step *suite.Step) {
	if g := step.Given; g != nil && g.Redis != "up" && g.Redis != "down" {
		l.add(at+".redis", "", "redis is up or down")
	}
}

func (l *loader) loadStep(at string, step *suite.Step) {
	if step.Request == nil || step.Expect == nil {
		l.add(at, "", "a request, and what is expected of it, is missing")
		return
	}
	l.checkRequest(at+".request", step.Request)
	l.checkExpect(at+".expect", step.Expect)
}

func (l *loader) checkRequest(at string, in *suite.Request) {
	for _, ref := range []struct{ key, kind, name string }{
		{"token", "tokens", in.Token}, {"certificate", "certificates", in.Certificate}, {"subject", "subjects", in.Subject},
	} {
		if ref.name != "" && !slices.Contains(l.namesOf(ref.kind), ref.name) {
			l.unknown(at+"."+ref.key, "the suite's "+ref.kind+" hold no %q", ref.name, l.namesOf(ref.kind))
		}
	}
	if in.Token != "" && in.Subject != "" {
		l.add(at+".subject", "", "a subject that is taken as established shows no token")
	}
	l.checkProof(at+".proof", in)
	if in.BodyFile != "" {
		if _, ok := l.beside(in.BodyFile); !ok {
			l.add(at+".body_file", "", "the bundle's tests hold no file %q", in.BodyFile)
		}
	}
	if _, err := NewRequest(in, Parts{Time: l.suite.now}); err != nil {
		l.add(at, "", "%v", err)
	} else if in.Domain != "" {
		l.checkDomain(at+".domain", in.Domain)
	}
}

// checkDomain refuses a domain that the bundle does not hold: nothing is limited there, whatever the test expects.
func (l *loader) checkDomain(at, name string) {
	var known []string
	for _, p := range l.bundle.Files.Paths() {
		if !strings.HasPrefix(p, "ratelimits/") || path.Ext(p) != ".yaml" {
			continue
		}
		file, _ := l.bundle.Files.Get("", p)
		var source ratelimits.File
		if problems := format.Decode(file, &source); len(problems) == 0 {
			known = append(known, string(source.Domain))
		}
	}
	if !slices.Contains(known, name) {
		l.unknown(at, "the bundle's ratelimits hold no domain %q, and nothing is limited there", name, known)
	}
}

func (l *loader) namesOf(kind string) []string {
	written := &l.suite.written
	switch kind {
	case "tokens":
		return slices.Collect(maps.Keys(written.Tokens))
	case "certificates":
		return slices.Collect(maps.Keys(written.Certificates))
	}
	return slices.Collect(maps.Keys(written.Subjects))
}

// unknown reports a name that stands for nothing, with the one that was probably meant.
func (l *loader) unknown(at, message, name string, known []string) {
	hint := ""
	if near := format.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	l.add(at, hint, message, name)
}

// beside returns the file of the bundle's tests that a suite names.
func (l *loader) beside(ref string) (*format.File, bool) {
	if path.IsAbs(ref) {
		return nil, false
	}
	file, ok := l.bundle.Files.Get(path.Dir(l.suite.file.Path), ref)
	return file, ok && strings.HasPrefix(file.Path, directory)
}

func (l *loader) loadMatrix() {
	m := l.suite.written.Matrix
	if len(m.Subjects) == 0 {
		l.add("$.matrix", "", "a matrix needs subjects: names of tokens, certificates and subjects, or %s", anonymous)
	}
	for i, name := range m.Subjects {
		if slices.Contains(m.Subjects[:i], name) {
			l.add(fmt.Sprintf("$.matrix.subjects[%d]", i), "", "%q stands twice", name)
		}
		if l.suite.people[name] == nil {
			l.unknown(fmt.Sprintf("$.matrix.subjects[%d]", i), "the suite has no token, certificate or subject named %q", name, slices.Collect(maps.Keys(l.suite.people)))
		}
	}
	if m.Golden == "" || !goldenForm.MatchString(goldenPath(l.suite)) {
		l.add("$.matrix.golden", "", "a matrix needs a golden file of the bundle's tests, such as %s.csv", cmp.Or(l.suite.written.Suite, "matrix"))
	}
	for _, s := range strangers(l.bundle, MatrixOptions{Services: m.Services, Routes: m.Routes, Params: m.Params}) {
		l.unknown("$.matrix."+s.key, s.message, s.name, s.known)
	}
}

// goldenPath is the path in the bundle of a suite's golden file.
func goldenPath(s *Suite) string {
	return path.Join(path.Dir(s.file.Path), s.written.Matrix.Golden)
}
