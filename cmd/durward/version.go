package main

import (
	"encoding/json"
	"fmt"

	"github.com/durward-pdp/durward/pdp/assembly"
)

type versionCommand struct {
	Output string `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

// Run prints the version.
func (c *versionCommand) Run(s streams) error {
	v := assembly.ReadVersion()
	if c.Output == "json" {
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	_, err := fmt.Fprintf(s.out, "durward %s (%s, %s, %s), bundle format %s\n", v.Version, v.Revision, v.Go, v.Platform, v.Format)
	return err
}
