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
	Directory string `arg:"" help:"Directory of its configuration: the *.yaml and *.yml in it."`
	Out       string `short:"o" placeholder:"DIR" help:"Write a bundle here. Without it nothing is written."`
	Name      string `default:"ratelimits" help:"The bundle's name, which is part of every counter's key."`
}

// Run prints what each rule becomes, and writes the bundle where it is told to.
func (c *importRatelimitCommand) Run(s streams) error {
	contents, names, unread, err := c.read()
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
	for _, name := range unread {
		if _, err := fmt.Fprintf(s.out, "not read: %s\n", name); err != nil {
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

// read returns the files of a bundle that holds the directory's, the paths of those, and what else stands in the directory:
// envoyproxy/ratelimit reads every file.
func (c *importRatelimitCommand) read() (contents map[string][]byte, names, unread []string, err error) {
	contents = map[string][]byte{"bundle.yaml": fmt.Appendf(nil, "format: 1\nname: %s\n", c.Name)}
	entries, err := os.ReadDir(c.Directory)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, entry := range entries {
		base, ok := strings.CutSuffix(strings.TrimSuffix(entry.Name(), ".yml"), ".yaml")
		ok = ok || strings.HasSuffix(entry.Name(), ".yml")
		if strings.HasPrefix(entry.Name(), ".") {
			continue // as the mounts of Kubernetes have them, behind links
		}
		if !ok || entry.IsDir() {
			unread = append(unread, entry.Name())
			continue
		}
		name := "ratelimits/" + base + ".yaml"
		if contents[name] != nil {
			return nil, nil, nil, fmt.Errorf("%w directory %s: %s would become %s, as another file does", errInvalid, c.Directory, entry.Name(), name)
		}
		if contents[name], err = os.ReadFile(filepath.Join(c.Directory, entry.Name())); err != nil {
			return nil, nil, nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, nil, nil, fmt.Errorf("%w directory %s: no *.yaml or *.yml in it", errInvalid, c.Directory)
	}
	slices.Sort(names)
	return contents, names, unread, nil
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
