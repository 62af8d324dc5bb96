package apikey

import (
	"os"
	"strings"
	"testing"
)

// TestPatternIsDocumented: the guide shows scanners the expression that keys are made by.
func TestPatternIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/guide/keys.md")
	if err != nil || !strings.Contains(string(page), Pattern) {
		t.Errorf("docs/guide/keys.md does not show %s: %v", Pattern, err)
	}
}
