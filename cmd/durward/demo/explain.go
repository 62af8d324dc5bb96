package demo

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// explainTime bounds a run of durward explain.
const explainTime = 10 * time.Second

// explain asks `durward explain` why the last record says what it says: it decides the request again on the bundle as it
// stands, and tells of each policy what it looked at.
func (g *guide) explain(ctx context.Context, out *stop) error {
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	command := exec.CommandContext(ctx, g.binary, "explain", "-", "--bundle", filepath.Join(g.stack.Dir, "bundle")) //nolint:gosec // the program that runs this tour
	command.Stdin = bytes.NewReader(out.line)
	var failed bytes.Buffer
	command.Stderr = &failed
	text, err := command.Output()
	if err != nil {
		return fmt.Errorf("explaining decision %s: %w: %s", out.record.DecisionID, err, clean(failed.String()))
	}
	out.explanation = policyLines(string(text))
	return nil
}

// policyLines returns what an explanation says of policies; guards, which let the request pass, and what the record says
// itself are left out.
func policyLines(text string) []string {
	var lines []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, " ") {
			inside = strings.HasPrefix(line, "policy ")
		}
		if inside {
			lines = append(lines, line)
		}
	}
	return lines
}
