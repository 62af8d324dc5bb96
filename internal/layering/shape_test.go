package layering

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestPackageNames(t *testing.T) { report(t, checkNames(sourceTree(t))) }
func TestGroups(t *testing.T)       { report(t, checkGroups(sourceTree(t))) }
func TestParsersAreFuzzed(t *testing.T) {
	loaded := sourceTree(t)
	report(t, append(checkFuzzed(loaded), checkMustFuzz(loaded, mustFuzz)...))
}
func TestNoInit(t *testing.T) { report(t, checkInit(sourceTree(t))) }

// checkNames looks at every element of a package's directory and at the name in its package clause.
func checkNames(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		names := strings.Split(p.dir, "/")
		for _, s := range p.sources {
			names = append(names, strings.TrimSuffix(s.ast.Name.Name, "_test"))
		}
		for _, banned := range bannedNames {
			if slices.Contains(names, banned) {
				found = append(found, finding{p.dir, fmt.Sprintf("%q is no name for a package: name it after what it provides", banned)})
			}
		}
	}
	return found
}

// checkGroups keeps code out of the grouping directories, and wants each package directly below them wired.
func checkGroups(t *tree) []finding {
	wired := map[string]bool{}
	if p := t.find(wiredIn); p != nil {
		for _, s := range p.code() {
			for _, i := range t.imports(s) {
				wired[i.dir] = true
			}
		}
	}
	var found []finding
	for _, p := range t.packages {
		for _, group := range groups {
			if p.dir == group {
				found = append(found, finding{p.dir, "holds Go files; it only groups siblings"})
			}
			if path.Dir(p.dir) == group && !wired[p.dir] {
				found = append(found, finding{p.dir, fmt.Sprintf("is not wired: nothing in %s imports it", wiredIn)})
			}
		}
	}
	return found
}

// checkFuzzed finds parsers by the names that they export.
func checkFuzzed(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		if len(p.code()) == 0 || matchesAny(notProduct, p.dir) {
			continue
		}
		for _, name := range exported(p) {
			if slices.ContainsFunc(parserPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) && !fuzzed(p) {
				found = append(found, finding{p.dir, fmt.Sprintf("exports the parser %s and has no fuzz test", name)})
			}
		}
	}
	return found
}

// checkMustFuzz wants a fuzz test in each package of the list.
func checkMustFuzz(t *tree, list []string) []finding {
	var found []finding
	for _, dir := range list {
		if p := t.find(dir); p == nil {
			found = append(found, finding{dir, "is in the list of fuzzed packages and does not exist"})
		} else if !fuzzed(p) {
			found = append(found, finding{dir, "parses what others wrote and has no fuzz test"})
		}
	}
	return found
}

func fuzzed(p *goPackage) bool {
	for _, s := range p.sources {
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && s.test && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") && len(f.Type.Params.List) == 1 {
				return true
			}
		}
	}
	return false
}

func checkInit(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		for _, s := range p.sources {
			for _, d := range s.ast.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					found = append(found, finding{t.at(f), "init(): what happens at start stands in a visible order, in the function that starts it"})
				}
			}
		}
	}
	return found
}

func TestPackageNamesCanFail(t *testing.T) {
	selfTest(t, checkNames, []broken{
		{"the package", map[string]string{"pdp/x/a.go": "package util\n"}, []string{`pdp/x: "util" is no name for a package`}},
		{"its tests", map[string]string{"pdp/x/a_test.go": "package helpers_test\n"}, []string{`"helpers"`}},
		{"a directory above", map[string]string{"common/x/a.go": "package x\n"}, []string{`"common"`}},
		{"part of a word", map[string]string{"pdp/utility/a.go": "package utility\n"}, nil},
	})
}

func TestGroupsCanFail(t *testing.T) {
	assembly := "package assembly\n\nimport _ \"" + module + "/pdp/stage/policy\"\n"
	selfTest(t, checkGroups, []broken{
		{"code in a group", map[string]string{"pdp/stage/a.go": "package stage\n"}, []string{"pdp/stage: holds Go files"}},
		{"not wired", map[string]string{"pdp/adapter/smtp/a.go": "package smtp\n"}, []string{"pdp/adapter/smtp: is not wired: nothing in pdp/assembly imports it"}},
		{"wired in a test only", map[string]string{"pdp/stage/policy/a.go": "package policy\n", "pdp/assembly/a_test.go": assembly}, []string{"not wired"}},
		{"wired", map[string]string{"pdp/stage/policy/a.go": "package policy\n", "pdp/assembly/a.go": assembly}, nil},
	})
}

func TestParsersAreFuzzedCanFail(t *testing.T) {
	parser := "package a\n\nfunc ParseKey(s string) {}\n"
	fuzz := "package a\n\nimport \"testing\"\n\nfunc FuzzKey(f *testing.F) {}\n"
	selfTest(t, checkFuzzed, []broken{
		{"no fuzz test", map[string]string{"a/a.go": parser}, []string{"a: exports the parser ParseKey"}},
		{"a fuzz function that is no test", map[string]string{"a/a.go": parser, "a/b.go": fuzz}, []string{"a: exports the parser ParseKey"}},
		{"a fuzz test", map[string]string{"a/a.go": parser, "a/a_test.go": fuzz}, nil},
		{"unexported", map[string]string{"a/a.go": "package a\n\nfunc parseKey() {}\n"}, nil},
	})
	selfTest(t, func(t *tree) []finding { return checkMustFuzz(t, []string{"a", "gone"}) }, []broken{
		{"listed", map[string]string{"a/a.go": "package a\n"}, []string{"a: parses what others wrote", "gone: is in the list"}},
		{"listed and fuzzed", map[string]string{"a/a_test.go": fuzz, "gone/a_test.go": fuzz}, nil},
	})
}

func TestNoInitCanFail(t *testing.T) {
	selfTest(t, checkInit, []broken{
		{"init", map[string]string{"a/a.go": "package a\n\nfunc init() {}\n"}, []string{"a/a.go:3:1: init()"}},
		{"init of a test", map[string]string{"a/a_test.go": "package a\n\nfunc init() {}\n"}, []string{"init()"}},
		{"a method", map[string]string{"a/a.go": "package a\n\nfunc (t) init() {}\n"}, nil},
	})
}
