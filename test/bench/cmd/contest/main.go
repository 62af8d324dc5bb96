// Command contest runs the benchmark contests, prints their tables and writes their figures. It is for people at a terminal, through
// `make bench`; nothing else calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/durward-pdp/durward/test/bench"
)

var errUsage = errors.New("bad flag")

// null is the first argument of the process that is the null server.
const null = "null"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Hour) // a contender that hangs ends the run, not the day
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "contest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	if len(args) == 1 && args[0] == null {
		return bench.ServeNull(ctx, out)
	}
	s, flags := bench.Setup{Progress: os.Stderr}, flag.NewFlagSet("contest", flag.ContinueOnError)
	flags.IntVar(&s.Rounds, "rounds", 5, "rounds of each contest")
	flags.IntVar(&s.Load.Requests, "requests", 20000, "requests in a round of a contest with many callers")
	flags.IntVar(&s.Load.Callers, "callers", 64, "callers, each with one request in flight")
	flags.DurationVar(&s.Span, "span", 200*time.Millisecond, "least length of a round of a contest with one caller")
	flags.StringVar(&s.Root, "root", "../..", "checkout to build Durward from")
	flags.DurationVar(&s.CasbinTime, "casbin", 20*time.Second, "time after which Casbin is asked no more in a case of the policy contest")
	sizes := flags.String("sizes", "1000,10000", "numbers of rules of the policy contest")
	only := flags.String("only", "", "regular expression of the contests to run; all without it")
	dir := flags.String("out", "build/bench", "folder of the JSON files")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("reading -only: %w", err)
	}
	for size := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 10 {
			return fmt.Errorf("%w: -sizes: %q", errUsage, size)
		}
		s.Sizes = append(s.Sizes, n)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for this program: %w", err)
	}
	s.Null = []string{self, null}
	if s.Dir, err = os.MkdirTemp("", "durward-bench-"); err != nil {
		return fmt.Errorf("making a folder for the contenders: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.Dir)) }()

	for _, contest := range bench.Contests() {
		if !chosen.MatchString(contest.Name) {
			continue
		}
		rows, err := contest.Run(ctx, s)
		if err != nil {
			return fmt.Errorf("contest %s: %w", contest.Name, err)
		}
		if err := bench.Print(out, rows); err != nil {
			return err
		}
		fmt.Fprintln(out)
		if err := bench.Write(*dir, contest.Name, rows); err != nil {
			return err
		}
	}
	return nil
}
