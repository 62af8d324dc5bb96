package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/cmd/durward/rewrite"
)

// maxFormatted bounds a file that is formatted; servers take no larger one.
const maxFormatted = 64 << 20

type fmtCommand struct {
	Paths []string `arg:"" help:"Directories of bundles, and files of rules (.csv), models (.conf) and YAML." type:"path"`
	Check bool     `help:"Change nothing, list the files that would change; exit code 4 says that there are some." xor:"fmt"`
	Diff  bool     `help:"Change nothing, show what would change; exit code 4 says that there is something." xor:"fmt"`
}

// Run brings the files into their canonical form.
func (c *fmtCommand) Run(s streams) error {
	var files []string
	for _, path := range c.Paths {
		found, err := formattable(path)
		if err != nil {
			return fmt.Errorf("%w path: %w", errInvalid, err)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	different := 0
	var problems []error
	for _, path := range files {
		changes, err := c.file(s, path)
		if err != nil {
			problems = append(problems, err)
		}
		if changes {
			different++
		}
	}
	switch {
	case len(problems) > 0:
		return errors.Join(append([]error{fmt.Errorf("%w: %d of %d files stay as they are", errInvalid, len(problems), len(files))}, problems...)...)
	case different > 0 && (c.Check || c.Diff):
		return fmt.Errorf("%w: %d of %d files are not in canonical form; durward fmt changes them", errFailed, different, len(files))
	}
	return nil
}

// formattable returns the files below a path. A file that is named is taken whatever it is called, so that its kind is
// complained about; in a directory only what can be formatted counts.
func formattable(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if kind := filepath.Ext(path); kind != ".csv" && kind != ".conf" && kind != ".yaml" {
			return nil, fmt.Errorf("%s is none of .csv, .conf and .yaml", path)
		}
		if isGolden(path) {
			return nil, nil
		}
		return []string{path}, nil
	}
	var out []string
	root := path + string(filepath.Separator) + "." // the bundle may be a link to a directory
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != root && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !entry.Type().IsRegular():
			return nil // what a link leads to has its own name
		}
		if kind := filepath.Ext(name); !isGolden(name) && (kind == ".csv" || kind == ".conf" || kind == ".yaml") {
			out = append(out, name)
		}
		return nil
	})
	return out, err
}

// isGolden reports whether a file is a golden table of decision tests, which holds no rules: tests/*.csv of a bundle, not
// what a service of the name "tests" has.
func isGolden(path string) bool {
	directory, name := filepath.Split(path)
	above, tests := filepath.Split(filepath.Clean(directory))
	if tests != "tests" || filepath.Ext(name) != ".csv" {
		return false
	}
	_, err := os.Stat(filepath.Join(above, "bundle.yaml"))
	return err == nil || filepath.Base(above) != "services"
}

// file formats one file and says whether it was in another form.
func (c *fmtCommand) file(s streams, path string) (changes bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s: not a regular file", path)
	case info.Size() > maxFormatted:
		return false, fmt.Errorf("%s: larger than %d MiB", path, maxFormatted>>20)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	after, problem := rewrite.File(filepath.ToSlash(filepath.Base(path)), before)
	if problem != nil {
		problem.File = shown(path)
		return false, problem
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	if c.Diff {
		return true, rewrite.Diff(s.out, shown(path), before, after)
	}
	if !c.Check {
		if err := replace(path, after, info.Mode().Perm()); err != nil {
			return true, fmt.Errorf("writing %s: %w", path, err)
		}
	}
	_, err = fmt.Fprintln(s.out, shown(path))
	return true, err
}

// replace writes a file beside the old one and renames it: who reads the bundle meanwhile sees one or the other. The
// name begins with a dot, which servers leave alone.
func replace(path string, data []byte, mode fs.FileMode) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".durward-fmt-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
