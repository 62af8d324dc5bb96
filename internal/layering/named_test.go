package layering

import (
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"testing"
)

// testName finds names of tests, fuzz tests and benchmarks in prose: those behind a backquote.
var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z0-9][A-Za-z0-9_]*)(…?)")

// TestDocsNameTestsThatExist: documents prove what they say by naming tests, so a renamed test must not leave them behind. The tests
// of test/bench, a module of its own, are not named.
func TestDocsNameTestsThatExist(t *testing.T) {
	root := os.DirFS("../..")
	var documents []string
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skip(root, name)
		}
		if path.Ext(name) == ".md" {
			documents = append(documents, name)
		}
		return nil
	})
	if err != nil || len(documents) == 0 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	known := testsOf(sourceTree(t))
	for _, name := range documents {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		report(t, checkNamed(name, string(text), known))
	}
}

// testsOf returns the names of all tests, sorted.
func testsOf(t *tree) []string {
	var names []string
	for _, p := range t.packages {
		for _, s := range p.sources {
			for _, d := range s.ast.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
					names = append(names, f.Name.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// checkNamed wants each test that a document names to exist; one that ends in … stands for all that begin so.
func checkNamed(document, text string, known []string) []finding {
	var found []finding
	for _, m := range testName.FindAllStringSubmatch(text, -1) {
		at, exists := slices.BinarySearch(known, m[1])
		if m[2] != "" {
			exists = at < len(known) && len(known[at]) > len(m[1]) && known[at][:len(m[1])] == m[1]
		}
		if !exists {
			found = append(found, finding{document, fmt.Sprintf("there is no test %s", m[1])})
		}
	}
	return found
}

func TestCheckNamedCanFail(t *testing.T) {
	known := []string{"FuzzPath", "TestA", "TestEveryKeyIsRead"}
	for text, want := range map[string]int{
		"`TestA` and `FuzzPath` (`pdp/route`), `TestEveryKey…`": 0, "`TestB`, `TestA1`": 2, "`FuzzNothing…`": 1, "Testing is a word": 0,
	} {
		if got := checkNamed("a.md", text, known); len(got) != want {
			t.Errorf("%q: %v, want %d", text, got, want)
		}
	}
}
