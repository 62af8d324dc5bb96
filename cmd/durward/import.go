package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/cmd/durward/migrate"
	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
)

// importCommand takes the configuration of other programs over.
type importCommand struct {
	Ratelimit importRatelimitCommand `cmd:"" help:"Explain what the files of envoyproxy/ratelimit mean here, and make a bundle of them."`
}

type importRatelimitCommand struct {
	Directory string `arg:"" help:"Directory of its configuration: the *.yaml in it."`
	Out       string `short:"o" placeholder:"DIR" help:"Write a bundle here. Without it nothing is written."`
	Name      string `default:"ratelimits" help:"The bundle's name, which is part of every counter's key."`
}

// Run prints what each rule becomes, and writes the bundle where it is told to.
func (c *importRatelimitCommand) Run(s streams) error {
	contents, names, err := c.read()
	if err != nil {
		return err
	}
	if _, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents}); err != nil {
		return errors.Join(fmt.Errorf("%w configuration in %s", errInvalid, c.Directory), err)
	}
	files := format.NewFiles(contents)
	for _, name := range names {
		file, _ := files.Get("", name)
		decoded := &ratelimits.File{}
		if problems := format.Decode(file, decoded); len(problems) > 0 {
			return problems // cannot be: it was loaded
		}
		if err := migrate.RateLimit(s.out, strings.TrimPrefix(name, "ratelimits/"), decoded); err != nil {
			return err
		}
	}
	if err := migrate.Differences(s.out); err != nil {
		return err
	}
	if c.Out == "" {
		return nil
	}
	if err := c.write(contents); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "written: bundle %s in %s\n", c.Name, c.Out)
	return err
}

// read returns the files of a bundle that holds the directory's, and the paths of those.
func (c *importRatelimitCommand) read() (contents map[string][]byte, names []string, err error) {
	contents = map[string][]byte{"bundle.yaml": fmt.Appendf(nil, "format: 1\nname: %s\n", c.Name)}
	found, err := filepath.Glob(filepath.Join(c.Directory, "*.yaml"))
	if err != nil {
		return nil, nil, err
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("%w directory %s: no *.yaml in it", errInvalid, c.Directory)
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		name := "ratelimits/" + filepath.Base(path)
		contents[name] = data
		names = append(names, name)
	}
	slices.Sort(names)
	return contents, names, nil
}

// write makes the bundle's directory. It replaces no file.
func (c *importRatelimitCommand) write(contents map[string][]byte) error {
	if err := os.MkdirAll(filepath.Join(c.Out, "ratelimits"), 0o750); err != nil {
		return err
	}
	for name, data := range contents {
		file, err := os.OpenFile(filepath.Join(c.Out, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = file.Write(data)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}
