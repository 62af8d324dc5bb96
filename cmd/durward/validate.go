package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
)

type validateCommand struct {
	Bundle string `arg:"" help:"Directory of the bundle." type:"path"`
}

// Run checks the bundle. It loads it exactly as a server would.
func (c *validateCommand) Run(s streams) error {
	info, err := assembly.ValidateBundle(c.Bundle, time.Now)
	if err != nil {
		return errors.Join(fmt.Errorf("%w bundle %s", errInvalid, c.Bundle), err)
	}
	_, err = fmt.Fprintf(s.out, "bundle %s is valid, revision %s\n", info.Name, info.Revision)
	return err
}
