package lint_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/lint"
)

const pages = "../../docs/lint/"

// today is the day on which all tests look at bundles.
var today = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func load(contents map[string][]byte) error {
	_, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents})
	return err
}

// look runs lint over files.
func look(t *testing.T, files map[string]string) *lint.Report {
	t.Helper()
	contents := map[string][]byte{}
	for name, text := range files {
		contents[name] = []byte(text)
	}
	return lint.Run(lint.Options{Contents: contents, Load: load, Today: today})
}

func codesOf(found []lint.Finding) []string {
	var all []string
	for i := range found {
		all = append(all, found[i].Code)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// example returns the example bundle of the README.
func example(t *testing.T) map[string]string {
	t.Helper()
	_, after, ok := strings.Cut(read(t, pages+"README.md"), "```txtar\n")
	block, _, closed := strings.Cut(after, "```\n")
	if !ok || !closed {
		t.Fatal("the README has no example bundle")
	}
	files := map[string]string{"keys/corp.jwks.json": read(t, "../../deploy/quickstart/bundle/keys/corp.jwks.json")}
	for _, f := range txtar.Parse([]byte(block)).Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

// change makes the changes of a page: files begin with "+++ NAME", lines of the file that stay with a blank, those that
// go with "-", new ones with "+"; lines that are left out stay.
func change(t *testing.T, files map[string]string, changes string) map[string]string {
	t.Helper()
	out := maps.Clone(files)
	name, at := "", 0
	var lines []string
	store := func() {
		if name != "" {
			out[name] = strings.Join(lines, "\n") + "\n"
		}
	}
	for _, line := range strings.Split(strings.TrimSuffix(changes, "\n"), "\n") {
		if next, ok := strings.CutPrefix(line, "+++ "); ok {
			store()
			name, at = next, -1
			lines = strings.Split(strings.TrimSuffix(out[name], "\n"), "\n")
			continue
		}
		if line[0] == '+' {
			if at < 0 {
				at = len(lines)
			}
			lines = slices.Insert(lines, at, line[1:])
			at++
			continue
		}
		from := max(at, 0)
		found := slices.Index(lines[from:], line[1:])
		if found < 0 {
			t.Fatalf("%s has no line %q after line %d", name, line[1:], from)
		}
		at = from + found
		if line[0] == '-' {
			lines = slices.Delete(lines, at, at+1)
		} else {
			at++
		}
	}
	store()
	return out
}

var diffs = regexp.MustCompile("(?s)```diff\n(.*?)```\n")

// TestPages holds the table of codes, the pages and the index against each other, and runs each page's examples: the first
// has the finding, the second has not, and an exception allows it.
func TestPages(t *testing.T) {
	index, base := read(t, pages+"README.md"), example(t)
	if found := look(t, base); len(found.Findings) > 0 {
		t.Fatalf("the example bundle has findings: %v", found.Findings)
	}
	names, err := filepath.Glob(pages + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := lint.Codes()
	if len(names) != len(listed)+1 {
		t.Errorf("%d pages and the index for %d codes", len(names)-1, len(listed))
	}
	for _, c := range listed {
		t.Run(c.Name, func(t *testing.T) {
			if row := fmt.Sprintf("| [%s](%[1]s.md) | %s | %s |\n", c.Name, c.Severity, c.Title); !strings.Contains(index, row) {
				t.Errorf("the index lacks the row %s", row)
			}
			page := read(t, pages+c.Name+".md")
			if !strings.HasPrefix(page, fmt.Sprintf("# `%s`: %s\n\n%s", c.Name, c.Title, strings.ToUpper(string(c.Severity[:1]))+string(c.Severity[1:]))) {
				t.Error("the page begins with another title or severity")
			}
			for _, part := range []string{"**Why.** ", "**Found** ", "**Mend.** ", "**Exception.** "} {
				if !strings.Contains(page, part) {
					t.Errorf("the page has no part %s", part)
				}
			}
			examples := diffs.FindAllStringSubmatch(page, -1)
			if len(examples) == 0 {
				t.Fatal("the page has no example")
			}
			bad := change(t, base, examples[0][1])
			report := look(t, bad)
			at := slices.IndexFunc(report.Findings, func(f lint.Finding) bool { return f.Code == c.Name })
			if at < 0 {
				t.Fatalf("not found in the first example: %v", report.Findings)
			}
			if f := report.Findings[at]; f.Severity != c.Severity || f.File == "" || f.Message == "" {
				t.Errorf("an incomplete finding: %+v", f)
			}
			if len(examples) > 1 {
				mended := look(t, change(t, base, examples[1][1]))
				if slices.Contains(codesOf(mended.Findings), c.Name) || mended.Count(lint.Error) > 0 {
					t.Errorf("the second example has findings: %v", mended.Findings)
				}
			}
			if c.Excusable != strings.Contains(page, "# lint:allow "+c.Name+" until") {
				t.Errorf("the page on exceptions is wrong: an exception is possible: %t", c.Excusable)
			}
			if c.Excusable {
				excuse(t, bad, report, c.Name)
			}
		})
	}
}

// excuse writes an exception above each finding of a code, and wants them gone.
func excuse(t *testing.T, files map[string]string, report *lint.Report, code string) {
	t.Helper()
	files = maps.Clone(files)
	for _, f := range slices.Backward(report.Findings) {
		if f.Code != code {
			continue
		}
		lines := strings.Split(files[f.File], "\n")
		files[f.File] = strings.Join(slices.Insert(lines, f.Line-1, "# lint:allow "+code+" until 2026-01-15: shown by a test"), "\n")
	}
	after := look(t, files)
	if slices.Contains(codesOf(after.Findings), code) || !slices.Contains(codesOf(after.Excepted), code) || slices.Contains(codesOf(after.Findings), "exception-unused") {
		t.Errorf("with exceptions: findings %v, excepted %v", after.Findings, after.Excepted)
	}
	for i := range after.Excepted {
		if after.Excepted[i].Exception.Reason != "shown by a test" {
			t.Errorf("the reason is lost: %+v", after.Excepted[i])
		}
	}
}

// TestQuickstart: the shipped bundle is clean but for notes.
func TestQuickstart(t *testing.T) {
	contents := map[string][]byte{}
	for _, name := range []string{"*", "*/*", "*/*/*"} {
		matches, err := filepath.Glob("../../deploy/quickstart/bundle/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range matches {
			if data, err := os.ReadFile(path); err == nil {
				short, _ := filepath.Rel("../../deploy/quickstart/bundle", path)
				contents[filepath.ToSlash(short)] = data
			}
		}
	}
	report := lint.Run(lint.Options{Contents: contents, Load: load, Today: today})
	if report.Failed(true) {
		var b bytes.Buffer
		_ = lint.Write(&b, report, lint.Output{Form: "pretty"})
		t.Error(b.String())
	}
}
