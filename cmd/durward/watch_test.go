package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched is an output that may be read while it is written.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *watched) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(data)
}

// waitFor waits until the output holds the text so many times.
func (p *watched) waitFor(t *testing.T, text string, times int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		n := strings.Count(p.text.String(), text)
		p.mu.Unlock()
		if n >= times {
			return
		}
	}
	t.Fatalf("%q is not there %d times:\n%s", text, times, p.text.String())
}

// TestWatch changes a bundle, breaks it, mends it and goes away.
func TestWatch(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	suite := func(decision string) string {
		return "suite: a\ncases: [{name: a, request: {host: a.example.com, path: /health}, expect: {decision: " + decision + "}}]\n"
	}
	write("bundle.yaml", "format: 1\nrequires: \"1.0\"\nname: acme\n")
	write("services/a/service.yaml", "service: a\nmatch: [{host: a.example.com}]\nidentity: {mode: none}\nroutes: [{name: health, path: /health, methods: [GET], access: public}]\n")
	write("tests/a.yaml", suite("allow"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, problems watched
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"test", "--watch", directory}, streams{out: &out, err: &problems}) }()

	out.waitFor(t, "1 cases, 0 failed", 1)
	write("tests/a.yaml", suite("deny"))
	out.waitFor(t, "1 cases, 1 failed", 1)
	write("tests/a.yaml", suite("alow"))
	problems.waitFor(t, `a decision is allow or deny, not "alow"`, 1)
	if err := os.Rename(filepath.Join(directory, "bundle.yaml"), filepath.Join(directory, ".bundle.yaml")); err != nil {
		t.Fatal(err)
	}
	problems.waitFor(t, "a bundle needs this file", 1)
	write("bundle.yaml", "format: 1\nrequires: \"1.0\"\nname: acme\n")
	write("tests/a.yaml", suite("allow"))
	out.waitFor(t, "1 cases, 0 failed", 2)

	cancel()
	select {
	case code := <-done:
		if code != exitOK {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(patience):
		t.Error("the interrupt did not end it")
	}
}
