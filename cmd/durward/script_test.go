package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/durward-pdp/durward/clients/authz"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"durward": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
	}})
}

// TestScripts runs the commands as a user types them; each file under testdata/script is one story.
func TestScripts(t *testing.T) {
	bundle, err := filepath.Abs("../../deploy/quickstart/bundle")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("QUICKSTART", bundle)
			return nil
		},
		Cmds: scriptCommands(),
	})
}

// scriptCommands are what scripts may write beside testscript's own.
func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	out := map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "ask": ask, "ready": ready, "alive": alive}
	maps.Copy(out, keyCommands)
	return out
}

// exits CODE COMMAND…: runs the command and expects the exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	ts.Setenv("WANT_CODE", args[0])
	err := ts.Exec("sh", append([]string{"-c", `"$@"; code=$?; [ "$code" = "$WANT_CODE" ] || { echo "exit code $code, want $WANT_CODE" >&2; exit 1; }; exit 0`, "sh"}, args[1:]...)...)
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

// patience bounds how long a script waits for a server.
const patience = 20 * time.Second

// ask ADDRESS METHOD URL: asks a server and prints the verdict's status and reason.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: ask ADDRESS METHOD URL")
	}
	u, err := url.Parse(args[2])
	ts.Check(err)
	client, err := authz.New(args[0], authz.WithInsecure(), authz.WithTimeout(5*time.Second))
	ts.Check(err)
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Every denial is an error too; the decision says which.
	d, _ := client.Check(ctx, authz.Request{HTTP: &authz.HTTP{
		Method: args[1], Scheme: u.Scheme, Host: u.Host, Target: u.RequestURI(), Protocol: "HTTP/1.1", PeerAddress: "198.51.100.7:4242",
	}})
	_, err = fmt.Fprintf(ts.Stdout(), "%d %s\n", d.Status, d.Reason)
	ts.Check(err)
}

// ready ADDRESS: waits until the admin listener says that the server is ready.
func ready(ts *testscript.TestScript, neg bool, args []string) { probe(ts, neg, args, nil) }

// alive ADDRESS: waits until the admin listener answers at all.
func alive(ts *testscript.TestScript, neg bool, args []string) { probe(ts, neg, args, errNotReady) }

// probe asks for readiness until the answer is the wanted one.
func probe(ts *testscript.TestScript, neg bool, args []string, want error) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready|alive ADDRESS")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := (&healthcheckCommand{Admin: args[0], Timeout: time.Second}).Run(ctx, streams{out: io.Discard, err: io.Discard})
		if errors.Is(err, want) {
			return
		}
		if ctx.Err() != nil {
			ts.Fatalf("%s: %v, want %v", args[0], err, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestFlagsAreDocumented holds the reference's table of flags against the command's.
func TestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	command := reflect.TypeFor[serveCommand]()
	for i := range command.NumField() {
		field := command.Field(i)
		name := strings.ToLower(regexp.MustCompile("([a-z])([A-Z])").ReplaceAllString(field.Name, "$1-$2"))
		variable := field.Tag.Get("env")
		row := regexp.MustCompile("`--" + name + "[^|]*\\| `" + variable + "` \\|")
		if name == "config" {
			row = regexp.MustCompile("`--config`, `" + variable + "`")
		}
		if variable == "" || !row.MatchString(strings.ReplaceAll(string(page), "\n", " ")) {
			t.Errorf("docs/reference/settings.md does not show --%s with %q", name, variable)
		}
	}
}
