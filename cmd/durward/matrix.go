package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/durward-pdp/durward/pdp/decisiontest"
)

// maxGolden bounds a golden file.
const maxGolden = 64 << 20

type matrixCommand struct {
	Bundle  string            `arg:"" help:"Directory of the bundle."`
	Subject []string          `placeholder:"NAME" help:"Tokens, certificates and subjects of the bundle's tests, NAME or SUITE/NAME, and anonymous. Without any: all."`
	Roles   []string          `placeholder:"ROLE" help:"Roles, each for a subject that has it."`
	Scopes  []string          `placeholder:"SCOPE" help:"Scopes of the subjects of --roles."`
	Tenant  string            `help:"Tenant of the subjects of --roles."`
	Service []string          `placeholder:"NAME" help:"Services to look at. Without any: all."`
	Route   []string          `placeholder:"NAME" help:"Routes to look at. Without any: all."`
	Params  map[string]string `placeholder:"NAME=VALUE" help:"Example values of path parameters."`
	Output  string            `short:"o" enum:"table,csv" default:"table" help:"Form of the table: table or csv."`
	Golden  string            `placeholder:"FILE" help:"CSV file to compare with."`
	Update  bool              `help:"Write the golden file anew."`
}

// Validate refuses flags that mean nothing without another.
func (c *matrixCommand) Validate() error {
	switch {
	case c.Update && c.Golden == "":
		return errors.New("--update needs --golden")
	case len(c.Roles) == 0 && (len(c.Scopes) > 0 || c.Tenant != ""):
		return errors.New("--scopes and --tenant describe the subjects of --roles")
	}
	return nil
}

// Run prints who can do what, or compares it with a golden file.
func (c *matrixCommand) Run(ctx context.Context, s streams) error {
	contents, err := readBundle(c.Bundle)
	if err != nil {
		return err
	}
	options, _, err := openTests(c.Bundle, contents)
	if err != nil {
		return err
	}
	table, err := decisiontest.Matrix(ctx, options, decisiontest.MatrixOptions{
		Subjects: c.Subject, Roles: c.Roles, Scopes: c.Scopes, Tenant: c.Tenant, Services: c.Service, Routes: c.Route, Params: c.Params,
	})
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	switch {
	case c.Update:
		return writeInside(filepath.Dir(c.Golden), filepath.Base(c.Golden), table.CSV())
	case c.Golden != "":
		return c.compare(s, table)
	case c.Output == "csv":
		_, err = s.out.Write(table.CSV())
	default:
		_, err = io.WriteString(s.out, table.Text())
	}
	return err
}

// compare prints the cells that changed.
func (c *matrixCommand) compare(s streams, table *decisiontest.Table) error {
	golden, err := readGolden(c.Golden)
	if err != nil {
		return fmt.Errorf("%w: read the golden file: %w", errInvalid, err)
	}
	changes := table.Compare(golden)
	for _, d := range changes {
		if _, err := fmt.Fprintf(s.out, "%s: expected %s, got %s\n", d.Key, d.Want, d.Got); err != nil {
			return err
		}
	}
	if len(changes) > 0 {
		return fmt.Errorf("matrix %w: it differs from %s", errFailed, c.Golden)
	}
	_, err = fmt.Fprintf(s.out, "the matrix equals %s\n", c.Golden)
	return err
}

// readGolden returns the golden file; nil when there is none yet.
func readGolden(name string) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxGolden+1))
	if err == nil && len(data) > maxGolden {
		err = errors.New("larger than 64 MiB")
	}
	return data, err
}
