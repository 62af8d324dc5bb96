package lint

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy"
)

// Options say what a run looks at.
type Options struct {
	// Contents are the files of the bundle by slash-separated path.
	Contents map[string][]byte
	// Load says why a server would refuse them, with format.Problems in the error; nil when it would not.
	Load func(contents map[string][]byte) error
	// Today decides which exceptions have ended.
	Today time.Time
}

const (
	maxKept   = 1000 // findings of one code that are looked at, which bounds the memory
	maxListed = 100  // findings of one code that are listed
)

// run is one look at a bundle.
type run struct {
	bundle *format.Bundle
	today  time.Time
	// policies are all policies, guards first.
	policies []policyView
	// loaded counts in how many policies a rule file is; shared findings wait until all of these agree.
	loaded map[string]int
	// first is the first policy with each rule file: what it does not find there, not all find.
	first  map[string]*policyView
	shared map[sharedKey]*sharedFinding

	found   []Finding
	kept    map[string]int
	omitted map[string]int
}

// policyView is a policy with the service that it belongs to; nil for guards.
type policyView struct {
	*policy.Analysis
	service *format.Service
	source  *format.Policy
	// values are those of each field of p, once they were asked for.
	values map[int][]uint32
}

type sharedKey struct {
	code, file string
	line       int
}

type sharedFinding struct {
	make func() Finding
	// times is how many policies found it, last the last of them: one may come upon it more than once.
	times int
	last  *policyView
}

// Run looks at a bundle. One that does not load is looked at no further than that.
func Run(o Options) *Report {
	r := &run{today: o.Today, loaded: map[string]int{}, first: map[string]*policyView{}, shared: map[sharedKey]*sharedFinding{}, kept: map[string]int{}, omitted: map[string]int{}}
	problems := problemsOf(o.Load(o.Contents))
	if len(problems) == 0 {
		r.bundle, problems = bundle.Parse(o.Contents)
	}
	if len(problems) == 0 {
		problems = r.analyse()
	}
	if len(problems) > 0 {
		for i := range problems {
			r.add(loadCode(&problems[i]), problems[i])
		}
		return r.report(nil)
	}
	for _, check := range checks {
		check(r)
	}
	r.agree()
	found := r.found
	r.found, r.kept = nil, map[string]int{}
	kept, excepted := r.except(found)
	r.found = append(r.found, kept...)
	return r.report(excepted)
}

// problemsOf returns the problems of an error.
func problemsOf(err error) format.Problems {
	var problems format.Problems
	if err != nil && !errors.As(err, &problems) {
		problems = format.Problems{{Position: format.Position{File: "bundle.yaml"}, Message: err.Error()}}
	}
	return problems
}

// checks are the passes over a bundle.
var checks = []func(*run){
	(*run).services, (*run).limits, (*run).authenticators,
	(*run).plans, (*run).ineffective, (*run).shadows, (*run).reach, (*run).subjects, (*run).roles, (*run).grants, (*run).patterns, (*run).paths,
}

// analyse takes the policies apart.
func (r *run) analyse() format.Problems {
	guards, problems := policy.Analyse(r.bundle, nil)
	for i := range guards {
		r.policies = append(r.policies, policyView{Analysis: &guards[i], source: &r.bundle.Guards[i]})
	}
	for _, s := range r.bundle.Services {
		all, more := policy.Analyse(r.bundle, s)
		problems = append(problems, more...)
		for i := range all {
			at := slices.IndexFunc(s.Policies, func(p format.Policy) bool { return p.Name == all[i].Name })
			r.policies = append(r.policies, policyView{Analysis: &all[i], service: s, source: &s.Policies[at]})
		}
	}
	for i := range r.policies {
		v := &r.policies[i]
		dir := ""
		if v.service != nil {
			dir = v.service.Dir
		}
		for _, ref := range v.source.Rules {
			if file, ok := r.bundle.Files.Get(dir, ref); ok {
				if r.loaded[file.Path]++; r.first[file.Path] == nil {
					r.first[file.Path] = v
				}
			}
		}
	}
	return problems
}

// add keeps a finding of a code, unless there are too many of it already.
func (r *run) add(name string, p format.Problem) { r.keep(name, Finding{Problem: p}) }

func (r *run) keep(name string, f Finding) {
	if r.full(name) {
		return
	}
	c, _ := codeOf(name)
	f.Code, f.Severity = name, c.severity
	r.kept[name]++
	r.found = append(r.found, f)
}

// full counts a finding of a code of which there are too many, so that it need not be made.
func (r *run) full(name string) bool {
	if r.kept[name] < maxKept {
		return false
	}
	r.omitted[name]++
	return true
}

// everywhere keeps a finding of a policy about a line of a rule file, if every policy with the file has it. at is the
// line, make makes the finding.
func (r *run) everywhere(v *policyView, name string, at format.Position, make func() Finding) {
	if r.loaded[at.File] < 2 {
		if !r.full(name) {
			r.keep(name, make())
		}
		return
	}
	key := sharedKey{name, at.File, at.Line}
	switch s := r.shared[key]; {
	case s == nil && r.first[at.File] == v:
		r.shared[key] = &sharedFinding{make, 1, v}
	case s != nil && s.last != v:
		s.times, s.last = s.times+1, v
	}
}

// agree keeps the shared findings that all policies with the file have.
func (r *run) agree() {
	keys := slices.SortedFunc(maps.Keys(r.shared), func(a, b sharedKey) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line), strings.Compare(a.code, b.code))
	})
	for _, key := range keys {
		if s := r.shared[key]; s.times == r.loaded[key.file] && !r.full(key.code) {
			r.keep(key.code, s.make())
		}
	}
}

// report sorts what was found and bounds it.
func (r *run) report(excepted []Finding) *Report {
	order := func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Code, b.Code),
			strings.Compare(a.Message, b.Message))
	}
	same := func(a, b Finding) bool { return a.Position == b.Position && a.Code == b.Code && a.Message == b.Message }
	slices.SortFunc(r.found, order)
	slices.SortFunc(excepted, order)
	out := &Report{Excepted: slices.CompactFunc(excepted, same), Omitted: r.omitted}
	listed := map[string]int{}
	for _, f := range slices.CompactFunc(r.found, same) {
		if listed[f.Code]++; listed[f.Code] > maxListed {
			r.omitted[f.Code]++
			continue
		}
		out.Findings = append(out.Findings, f)
	}
	return out
}
