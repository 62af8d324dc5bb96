package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/lint"
)

type lintCommand struct {
	Bundle string `arg:"" help:"Directory of the bundle."`
	Output string `short:"o" enum:"pretty,json,sarif,github" default:"pretty" help:"Form of the report: pretty, json, sarif or github."`
	Strict bool   `help:"Fail for warnings too."`
	Now    string `placeholder:"YYYY-MM-DD" help:"The day for which exceptions are judged, today without it."`
}

// Run looks at the bundle and prints what is probably not meant.
func (c *lintCommand) Run(s streams) error {
	today := time.Now().UTC()
	if c.Now != "" {
		var err error
		if today, err = time.Parse(time.DateOnly, c.Now); err != nil {
			return fmt.Errorf("%w --now: %q is no day; write YYYY-MM-DD", errInvalid, c.Now)
		}
	}
	contents, err := readBundle(c.Bundle)
	if err != nil {
		return err
	}
	load := func(contents map[string][]byte) error {
		_, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents})
		return err
	}
	report := lint.Run(lint.Options{Contents: contents, Load: load, Today: today})
	if err := lint.Write(s.out, report, lint.Output{Form: c.Output, Root: fromHere(c.Bundle), Version: assembly.ReadVersion().Version}); err != nil {
		return err
	}
	if report.Failed(c.Strict) {
		return fmt.Errorf("lint %w: %d errors and %d warnings", errFailed, report.Count(lint.Error), report.Count(lint.Warning))
	}
	return nil
}

// fromHere returns a directory relative to the one that the command runs in, as tools that read reports expect, where
// it is below that.
func fromHere(directory string) string {
	here, err := os.Getwd()
	if err != nil {
		return filepath.ToSlash(directory)
	}
	whole, err := filepath.Abs(directory)
	if err != nil {
		return filepath.ToSlash(directory)
	}
	if below, err := filepath.Rel(here, whole); err == nil && below != ".." && !strings.HasPrefix(below, ".."+string(filepath.Separator)) {
		return filepath.ToSlash(below)
	}
	return filepath.ToSlash(directory)
}
