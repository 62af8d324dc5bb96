// Package faults runs Durward's real programs and takes parts of them away: replicas, Redis, bundles, the audit sink.
//
// It holds tests alone. What passes through Envoy is checked three times: in what the client got, in what the replicas
// recorded, and in Envoy's own statistics, which must not know a single failed or invalid answer of Durward.
package faults

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// built is where the durward program is built, once for all tests.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "durward-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built = filepath.Join(dir, "durward")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	command := exec.Command("go", "build", "-o", built, "../../cmd/durward")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building durward: %w\n%s", err, output)
	}
	return nil
})

// durward returns the path of the program.
func durward(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return built
}

// within bounds a wait for something that must come; how long it takes is not tested.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually asks until the answer is yes, and fails the test with what was waited for when it never is.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for !yes() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain waited for: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
