package quickstart

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestGuideShowsTheFiles holds the YAML of the guide against the files that it is cut from: whole lines in one piece,
// indented by the place where they stand.
func TestGuideShowsTheFiles(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	files := ""
	for _, name := range []string{"envoy.yaml", "durward.yaml"} {
		text, err := fs.ReadFile(Files, name)
		if err != nil {
			t.Fatal(err)
		}
		files += "\n" + string(text)
	}
	parts := strings.Split(string(guide), "```yaml\n")[1:]
	if len(parts) != 6 {
		t.Errorf("the guide shows %d parts of the files, and 6 were known", len(parts))
	}
	for _, part := range parts {
		part, _, _ = strings.Cut(part, "```")
		if !holds(files, part) {
			t.Errorf("the guide shows what no file holds:\n%s", part)
		}
	}
}

// holds reports whether a text holds lines, all of them indented by as many more spaces.
func holds(text, lines string) bool {
	for indent := range 40 {
		space := strings.Repeat(" ", indent)
		if strings.Contains(text, "\n"+space+strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n"+space)+"\n") {
			return true
		}
	}
	return false
}
