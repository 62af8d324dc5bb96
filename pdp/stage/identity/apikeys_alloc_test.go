//go:build !race

// The race detector empties pools.

package identity

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestAPIKeyAllocations: an API key costs what its subject does, and a bad one what every refusal does.
func TestAPIKeyAllocations(t *testing.T) {
	w := newKeyWorld(t)
	good, _ := w.issue(t, nil)
	unknown, _ := issueKey(t, w.hasher, "machines", "dwk_live_", nil)
	for _, row := range []struct {
		name, raw string
		limit     float64
	}{{"good", good, 2}, {"unknown", unknown, 3}, {"malformed", good[1:], 3}, {"long", good + strings.Repeat("x", 10<<10), 1}} {
		c := w.bearer(routeRead, row.raw)
		if got := testing.AllocsPerRun(100, func() {
			c.Verdict = verdict.Verdict{}
			if _, err := w.stage.Evaluate(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}); got > row.limit {
			t.Errorf("%s: %v allocations, want at most %v", row.name, got, row.limit)
		}
	}
}
