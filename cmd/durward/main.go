// Command durward is a policy decision service: it tells Envoy and Go services whether a request may pass.
//
// main only parses and hands over; each command is a file of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// streams are where commands read and write.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// run parses the arguments, runs the command and returns the exit code.
func run(ctx context.Context, args []string, s streams) (code int) {
	var c cli
	asked := false // for help, which is no error
	parser, err := kong.New(&c, kong.Name("durward"),
		kong.Description("Durward decides whether requests may pass: tokens, input, Casbin rules and limits in one check."),
		kong.Writers(s.out, s.err), kong.Exit(func(int) { asked = true }), kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s))
	if err != nil {
		fmt.Fprintln(s.err, "durward:", err)
		return exitInternal
	}
	parsed, err := parser.Parse(args)
	if asked {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(s.err, "durward: %v (see durward --help)\n", err)
		return exitUsage
	}
	if err = parsed.Run(); err == nil {
		return exitOK
	}
	fmt.Fprintln(s.err, "durward:", err)
	return codeOf(err)
}
