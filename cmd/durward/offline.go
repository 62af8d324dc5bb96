package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/decisiontest"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
)

// lab is the offline engine as decision tests see it.
type lab struct{ *assembly.Offline }

// Open implements decisiontest.Lab.
func (l lab) Open(now time.Time) (decisiontest.Session, error) {
	s, err := l.Offline.Open(now)
	if err != nil {
		return nil, err
	}
	return labSession{s}, nil
}

// labSession is one session of it.
type labSession struct{ *assembly.Session }

// Decide implements decisiontest.Session.
func (s labSession) Decide(ctx context.Context, r *request.Request, as *subject.Subject) decisiontest.Answer {
	var a decisiontest.Answer
	a.Service, a.Route = s.Place(r)
	if as != nil {
		a.Verdict = s.DecideAs(ctx, r, *as)
	} else {
		a.Verdict = s.Session.Decide(ctx, r)
	}
	return a
}

// Set implements decisiontest.Session.
func (s labSession) Set(now time.Time, redisDown bool) {
	s.SetTime(now)
	s.SetOutage(redisDown)
}

// openTests compiles the files of a bundle for decision tests and reads the suites in it.
func openTests(directory string, contents map[string][]byte) (decisiontest.Options, *assembly.Offline, error) {
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents, TestKeys: true})
	if err != nil {
		return decisiontest.Options{}, nil, invalidBundle(directory, err)
	}
	suites, problems := decisiontest.Load(off.Bundle())
	if len(problems) > 0 {
		return decisiontest.Options{}, nil, invalidBundle(directory, problems)
	}
	return decisiontest.Options{Lab: lab{off}, Bundle: off.Bundle(), Suites: suites}, off, nil
}

// readBundle reads the files of a bundle.
func readBundle(directory string) (map[string][]byte, error) {
	contents, err := bundle.ReadDirectory(directory)
	if err != nil {
		return nil, invalidBundle(directory, err)
	}
	return contents, nil
}

// invalidBundle marks what is wrong with a bundle as the user's to mend.
func invalidBundle(directory string, err error) error {
	return errors.Join(fmt.Errorf("%w bundle %s", errInvalid, directory), err)
}
