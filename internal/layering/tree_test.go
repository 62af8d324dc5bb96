package layering

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// source is one parsed Go file that no generator wrote.
type source struct {
	path  string
	ast   *ast.File
	lines int
	test  bool
}

// goPackage is a directory with Go files. Generated files are counted and otherwise left out.
type goPackage struct {
	dir       string
	sources   []*source
	generated int
}

// tree is the whole module.
type tree struct {
	fset     *token.FileSet
	packages []*goPackage // sorted by dir
}

// finding is one breach of a rule, at a place that an editor can open.
type finding struct {
	at   string
	what string
}

func (f finding) String() string { return f.at + ": " + f.what }

// load parses every Go file below root. Left out are what the go tool leaves out (testdata, names that begin with a dot or an
// underscore, directories with a go.mod of their own) and, for all rules but the one on package rows, generated files.
func load(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	byDir := map[string]*goPackage{}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skip(root, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			byDir[dir] = &goPackage{dir: dir}
			t.packages = append(t.packages, byDir[dir])
		}
		return t.add(root, byDir[dir], name)
	})
	slices.SortFunc(t.packages, func(a, b *goPackage) int { return strings.Compare(a.dir, b.dir) })
	return t, err
}

func skip(root fs.FS, dir string) error {
	base := path.Base(dir)
	if dir == "." {
		return nil
	}
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (t *tree) add(root fs.FS, p *goPackage, name string) error {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(t.fset, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	if ast.IsGenerated(file) {
		p.generated++
		return nil
	}
	p.sources = append(p.sources, &source{
		path:  name,
		ast:   file,
		lines: bytes.Count(text, []byte("\n")),
		test:  strings.HasSuffix(name, "_test.go"),
	})
	return nil
}

// code are the sources that are built into the program.
func (p *goPackage) code() []*source {
	var code []*source
	for _, s := range p.sources {
		if !s.test {
			code = append(code, s)
		}
	}
	return code
}

func (t *tree) find(dir string) *goPackage {
	for _, p := range t.packages {
		if p.dir == dir {
			return p
		}
	}
	return nil
}

func (t *tree) at(n ast.Node) string { return t.fset.Position(n.Pos()).String() }

// height is how many lines a node spans.
func (t *tree) height(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1
}

// imported is one import of a file: dir is the package inside the module, or empty for another module's or the standard library's.
type imported struct {
	path string
	dir  string
	at   string
}

func (t *tree) imports(s *source) []imported {
	var all []imported
	for _, spec := range s.ast.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it already
		}
		i := imported{path: name, at: t.at(spec)}
		if name == module {
			i.dir = "."
		} else if rest, ok := strings.CutPrefix(name, module+"/"); ok {
			i.dir = rest
		}
		all = append(all, i)
	}
	return all
}

// matches tells whether a package directory fits a pattern of the tables.
func matches(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	prefix, deep := strings.CutSuffix(pattern, "/...")
	want, got := strings.Split(prefix, "/"), strings.Split(dir, "/")
	if len(got) < len(want) || (!deep && len(got) > len(want)) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return true
}

func matchesAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, dir) })
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, dir string
		want         bool
	}{
		{"pdp/token", "pdp/token", true},
		{"pdp/token", "pdp/token/x", false},
		{"pdp/token", "pdp", false},
		{"pdp/token", "pdp/tokens", false},
		{"pdp/state/...", "pdp/state", true},
		{"pdp/state/...", "pdp/state/redis", true},
		{"pdp/state/...", "pdp/statement", false},
		{"pdp/adapter/*", "pdp/adapter/native", true},
		{"pdp/adapter/*", "pdp/adapter", false},
		{"pdp/adapter/*", "pdp/adapter/native/codec", false},
		{"...", "anything/at/all", true},
	} {
		if got := matches(c.pattern, c.dir); got != c.want {
			t.Errorf("matches(%q, %q) = %v, want %v", c.pattern, c.dir, got, c.want)
		}
	}
}

// TestLoad shows what the rules never see.
func TestLoad(t *testing.T) {
	got := synthetic(t, map[string]string{
		"a/a.go":            "package a\n",
		"a/a.pb.go":         "// Code generated by protoc-gen-go. DO NOT EDIT.\n\npackage a\n",
		"a/testdata/x.go":   "package x\n",
		".tools/y.go":       "package y\n",
		"test/bench/go.mod": "module bench\n",
		"test/bench/z.go":   "package z\n",
	})
	if len(got.packages) != 1 || got.packages[0].dir != "a" || len(got.packages[0].sources) != 1 || got.packages[0].generated != 1 {
		t.Errorf("loaded %+v, want package a with one source and one generated file", got.packages)
	}
	if _, err := load(fstest.MapFS{"a/a.go": {Data: []byte("package")}}); err == nil {
		t.Error("a file that does not parse was loaded")
	}
}

// synthetic loads a tree made of the given files.
func synthetic(t *testing.T, files map[string]string) *tree {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	loaded, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// sourceTree loads the tree that this package stands in.
func sourceTree(t *testing.T) *tree {
	t.Helper()
	loaded, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if loaded.find("internal/layering") == nil {
		t.Fatal("this package is not in the tree that was loaded: wrong root")
	}
	return loaded
}

// report fails the test with every finding.
func report(t *testing.T, findings []finding) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}

// broken is a synthetic tree and the findings that a rule must have for it; none means that it must pass.
type broken struct {
	name  string
	files map[string]string
	want  []string // a part of each finding, in order
}

// selfTest shows that a rule can fail, and that it does not fail for what it allows.
func selfTest(t *testing.T, check func(*tree) []finding, cases []broken) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := check(synthetic(t, c.files))
			ok := len(got) == len(c.want)
			for i := 0; ok && i < len(got); i++ {
				ok = strings.Contains(got[i].String(), c.want[i])
			}
			if !ok {
				t.Errorf("findings:\n%s\nwant %d with these parts:\n%s", join(got), len(c.want), strings.Join(c.want, "\n"))
			}
		})
	}
}

func join(findings []finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
