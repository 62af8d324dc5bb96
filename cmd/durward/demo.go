package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/durward-pdp/durward/cmd/durward/demo"
)

type demoCommand struct {
	Dir   string `help:"Empty directory to run in; it stays. Without it a temporary one is made and removed." type:"path" placeholder:"DIR"`
	Tools string `help:"Directory with envoy and redis-server; else PATH and .tools/bin." type:"path" env:"DURWARD_TOOLS" placeholder:"DIR"`
}

// Run makes the tour. It stays until it is interrupted where somebody sits in front of it.
func (c *demoCommand) Run(ctx context.Context, s streams) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the own program: %w", err)
	}
	return demo.Run(ctx, demo.Options{
		Out: s.out, Colour: os.Getenv("NO_COLOR") == "" && terminal(s.out),
		Binary: binary, Dir: c.Dir, Tools: c.Tools, Stay: terminalInput(s.in), Clock: time.Now,
	})
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}

func terminalInput(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isTerminal(f)
}

// isTerminal reports whether f is a character device other than the one that swallows everything.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
