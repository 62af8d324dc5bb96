package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormattedNames: a file's name cannot command the terminal.
func TestFormattedNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a\x1b[2J.csv")
	for content, want := range map[string]string{"p,a\n": `a\x1b[2J.csv"`, "p,\"a\n": `a\x1b[2J.csv":1:3: a quoted field`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []fmtCommand{{Check: true}, {Diff: true}} {
			c.Paths = []string{path}
			var out bytes.Buffer
			err := c.Run(streams{out: &out, err: &out})
			if err == nil {
				t.Fatal("nothing to change")
			}
			if got := out.String() + err.Error(); strings.Contains(got, "\x1b") || !strings.Contains(got, want) {
				t.Errorf("%q: %q, want %q", content, got, want)
			}
		}
	}
}
