package main

import (
	"errors"
	"fmt"

	"github.com/durward-pdp/durward/pdp/assembly"
)

type validateCommand struct {
	Bundle string `arg:"" help:"Directory of the bundle." type:"path"`
}

// Run checks the bundle. It loads it as a server would whose operator lets it observe and chose how clients' addresses are found.
func (c *validateCommand) Run(s streams) error {
	info, report, err := assembly.ValidateBundle(c.Bundle)
	if err != nil {
		return errors.Join(fmt.Errorf("%w bundle %s", errInvalid, c.Bundle), err)
	}
	if _, err = fmt.Fprintf(s.out, "bundle %s is valid, revision %s\n", info.Name, info.Revision); err != nil {
		return err
	}
	for _, line := range report {
		if _, err = fmt.Fprintln(s.out, line); err != nil {
			return err
		}
	}
	return nil
}
