package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/decisiontest"
)

// watchEvery is how often --watch looks for changed files.
const watchEvery = 500 * time.Millisecond

type testCommand struct {
	Bundle    string  `arg:"" help:"Directory of the bundle."`
	Filter    string  `name:"run" placeholder:"REGEXP" help:"Run the cases whose SUITE/CASE matches."`
	Watch     bool    `short:"w" help:"Run again whenever a file of the bundle changes, until interrupted."`
	Coverage  bool    `help:"Print which routes and rules no case has seen."`
	Threshold float64 `placeholder:"PERCENT" help:"Fail when less of the routes is covered."`
	Output    string  `short:"o" enum:"pretty,json,junit,github" default:"pretty" help:"Form of the report: pretty, json, junit or github."`
	Update    bool    `help:"Write the golden files of matrices anew."`
	Verbose   bool    `short:"v" help:"List the cases that passed too."`
}

// Validate refuses flags that mean nothing, before anything is done.
func (c *testCommand) Validate() error {
	if _, err := regexp.Compile(c.Filter); err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	if math.IsNaN(c.Threshold) || c.Threshold < 0 || c.Threshold > 100 { // nothing is below NaN: it would always be reached
		return errors.New("--threshold is 0 to 100")
	}
	return nil
}

// Run runs the decision tests of the bundle.
func (c *testCommand) Run(ctx context.Context, s streams) error {
	filter, err := regexp.Compile(c.Filter)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	if c.Watch {
		return c.watch(ctx, s, filter)
	}
	contents, err := readBundle(c.Bundle)
	if err != nil {
		return err
	}
	return c.once(ctx, s, filter, contents)
}

// watch runs the tests whenever the files change, until ctx ends.
func (c *testCommand) watch(ctx context.Context, s streams, filter *regexp.Regexp) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last, failure := "", ""
	for {
		contents, err := readBundle(c.Bundle)
		switch revision := bundle.Revision(contents); {
		case err != nil && failure != err.Error():
			failure, last = err.Error(), ""
			fmt.Fprintln(s.err, "durward:", err)
		case err == nil && revision != last:
			failure, last = "", revision
			if err := c.once(ctx, s, filter, contents); err != nil && ctx.Err() == nil {
				fmt.Fprintln(s.err, "durward:", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once runs the tests on the files.
func (c *testCommand) once(ctx context.Context, s streams, filter *regexp.Regexp, contents map[string][]byte) error {
	report, err := c.report(ctx, filter, contents)
	if err != nil {
		return err
	}
	if c.Update && len(report.Goldens) > 0 {
		for name, data := range report.Goldens {
			if err := writeInside(c.Bundle, name, data); err != nil {
				return err
			}
			contents[name] = data
		}
		if report, err = c.report(ctx, filter, contents); err != nil {
			return err
		}
	}
	layout := decisiontest.Layout{Form: c.Output, Root: filepath.ToSlash(c.Bundle), Coverage: c.Coverage || c.Threshold > 0, Cases: c.Verbose}
	if err := report.Write(s.out, layout); err != nil {
		return err
	}
	if n := report.Failed(); n > 0 {
		return fmt.Errorf("decision tests %w: %d of %d cases", errFailed, n, len(report.Results))
	}
	if routes, _ := report.Coverage.Percent(); routes < c.Threshold {
		return fmt.Errorf("coverage %w: %.1f %% of the routes, %g %% are wanted", errFailed, routes, c.Threshold)
	}
	return nil
}

func (c *testCommand) report(ctx context.Context, filter *regexp.Regexp, contents map[string][]byte) (*decisiontest.Report, error) {
	options, off, err := openTests(c.Bundle, contents)
	if err != nil {
		return nil, err
	}
	options.Filter = filter
	report, err := decisiontest.Run(ctx, options)
	switch {
	case errors.Is(err, decisiontest.ErrNothingRun):
		return nil, fmt.Errorf("decision tests %w: %w", errFailed, err)
	case errors.Is(err, context.Canceled):
		return nil, err
	case err != nil:
		return nil, invalidBundle(c.Bundle, err)
	}
	info := off.Info()
	report.Bundle, report.Revision = info.Name, info.Revision
	return report, nil
}

// writeInside replaces a file below a directory as a whole. A link that leads out of the directory is not followed.
func writeInside(directory, name string, data []byte) error {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { _ = root.Close() }()
	// Names that begin with a dot are no files of a bundle: a server that watches it never sees half of one.
	temporary := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text())
	err = root.WriteFile(filepath.FromSlash(temporary), data, 0o644)
	if err == nil {
		err = root.Rename(filepath.FromSlash(temporary), filepath.FromSlash(name))
	}
	if err != nil {
		_ = root.Remove(filepath.FromSlash(temporary))
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
