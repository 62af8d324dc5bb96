package ratelimit

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// trimmed are the lines of a text without their indentation.
func trimmed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// TestGuide: the Envoy settings of the guide are those that the tests run, and its other files load.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide/ratelimit.md")
	if err != nil {
		t.Fatal(err)
	}
	ran, envoy, limits := trimmed(chainConfig), 0, 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(guide), -1) {
		text := block[1]
		switch {
		case strings.HasPrefix(text, "domain:"):
			limits++
			contents := map[string][]byte{"bundle.yaml": []byte("format: 1\nname: acme\n"), "ratelimits/edge.yaml": []byte(text)}
			if _, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents}); err != nil {
				t.Errorf("%v in\n%s", err, text)
			}
		case strings.HasPrefix(text, "bundles:"):
			path := filepath.Join(t.TempDir(), "durward.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := settings.Load(path, nil, settings.Overrides{}); err != nil {
				t.Errorf("%v in\n%s", err, text)
			}
		default:
			envoy++
			if !strings.Contains(ran, trimmed(text)) {
				t.Errorf("no test runs this:\n%s", text)
			}
		}
	}
	if envoy != 4 || limits != 1 {
		t.Errorf("%d parts of Envoy's configuration and %d files of limits", envoy, limits)
	}
}
