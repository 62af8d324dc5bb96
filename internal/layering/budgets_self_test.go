package layering

import (
	"fmt"
	"strings"
	"testing"
)

func lines(n int) string { return strings.Repeat("\n", n) }

func TestFileLengthsCanFail(t *testing.T) {
	nine := map[string]string{"a/long.go": "package a" + lines(451)}
	for i := range 9 {
		nine[fmt.Sprintf("a/%d.go", i)] = "package a\n"
	}
	selfTest(t, checkFiles, []broken{
		{"over the cap", map[string]string{"a/a.go": "package a" + lines(801)}, []string{"a/a.go: file: 801 lines, the cap is 800", "90th percentile is 801"}},
		{"over the aim", map[string]string{"a/a.go": "package a" + lines(451)}, []string{"90th percentile is 451 lines"}},
		{"a test over the cap", map[string]string{"a/a_test.go": "package a" + lines(900)}, []string{"the cap is 800", "90th percentile"}},
		{"a tenth over the aim", nine, []string{}[:0]},
		{"at the aim", map[string]string{"a/a.go": "package a" + lines(450)}, nil},
	})
}

func TestFunctionLengthsCanFail(t *testing.T) {
	function := func(n int) string { return "func f() {" + lines(n) + "}\n" }
	table := func(kind, inside string) string {
		return "func f() {\n\t_ = " + kind + "{" + lines(100) + inside + "}\n}\n"
	}
	in := func(text string) map[string]string { return map[string]string{"a/a.go": "package a\n\n" + text} }
	selfTest(t, checkFunctions, []broken{
		{"over the cap", in(function(80)), []string{"a/a.go:3:1: function f: 81 lines, the cap is 80", "90th percentile is 81"}},
		{"over the aim", in(function(40)), []string{"90th percentile is 41 lines"}},
		{"at the aim", in(function(39)), nil},
		{"a test", map[string]string{"a/a_test.go": "package a\n\n" + function(200)}, nil},
		{"a slice is a table", in(table("[]int", "")), nil},
		{"a map is a table", in(table("map[string]int", "")), nil},
		{"a struct is no table", in(table("T", "")), []string{"the cap is 80", "90th percentile"}},
		{"code in a table counts", in(table("[]func()", "func() {"+lines(90)+"},")), []string{"the cap is 80", "90th percentile"}},
		{"a literal at the top", in("var f = func() {" + lines(90) + "}\n"), []string{"function literal: 91 lines, the cap is 80", "90th percentile"}},
	})
}

func TestInterfaceSizesCanFail(t *testing.T) {
	in := func(text string) map[string]string { return map[string]string{"a/a.go": "package a\n\n" + text + "\n"} }
	selfTest(t, checkInterfaces, []broken{
		{"four methods", in("type I interface { A(); B(); C(); D() }"), []string{"a/a.go:3:8: interface with 4 methods, at most 3"}},
		{"three methods", in("type I interface { A(); B(); C() }"), nil},
		{"embedded", in("type I interface { J; B(); C() }\ntype J interface { X(); Y() }"), []string{"interface with 4 methods"}},
		{"embedded from elsewhere", in("type I interface { io.Reader; A(); B(); C() }"), []string{"interface with 4 methods"}},
		{"anonymous", in("func f(x interface { A(); B(); C(); D() }) {}"), []string{"interface with 4 methods"}},
		{"a constraint", in("type I interface { ~int | ~string }"), nil},
	})
}

func TestExportedNamesCanFail(t *testing.T) {
	names := func(n int, format string) string {
		var b strings.Builder
		b.WriteString("package a\n")
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i)
		}
		return b.String()
	}
	enumeration := "type Reason int\nconst (\n\tA Reason = iota\n" + strings.TrimPrefix(names(40, "\tB%d"), "package a\n") + ")\n"
	selfTest(t, checkExported, []broken{
		{"over the cap", map[string]string{"a/a.go": names(31, "func F%d() {}")}, []string{"a: 31 exported names, the cap is 30: F0 F1", "median"}},
		{"over the median", map[string]string{"a/a.go": names(9, "type T%d int")}, []string{"the median of exported names per package is 9"}},
		{"at the median", map[string]string{"a/a.go": names(8, "var V%d int")}, nil},
		{"methods do not count", map[string]string{"a/a.go": "package a\ntype T int\n" + strings.TrimPrefix(names(20, "func (T) M%d() {}"), "package a\n")}, nil},
		{"an enumeration counts once", map[string]string{"a/a.go": "package a\n" + enumeration}, nil},
		{"untyped constants count", map[string]string{"a/a.go": names(9, "const C%d = 1")}, []string{"median"}},
		{"constants of a basic type count", map[string]string{"a/a.go": names(9, "const C%d int = 1")}, []string{"median"}},
		{"the client is excepted", map[string]string{"clients/authz/a.go": names(60, "type T%d int")}, nil},
		{"tests do not count", map[string]string{"a/a_test.go": names(60, "type T%d int")}, nil},
	})
}

func TestImportDepthCanFail(t *testing.T) {
	chain := func(n int, suffix string) map[string]string {
		files := map[string]string{fmt.Sprintf("p%d/a.go", n): fmt.Sprintf("package p%d\n", n)}
		for i := range n {
			files[fmt.Sprintf("p%d/a%s.go", i, suffix)] = fmt.Sprintf("package p%d\n\nimport _ %q\n", i, fmt.Sprintf("%s/p%d", module, i+1))
		}
		return files
	}
	selfTest(t, checkDepth, []broken{
		{"seven", chain(7, ""), []string{"p0: a chain of 7 imports, at most 6: p0 > p1 > p2 > p3 > p4 > p5 > p6 > p7"}},
		{"six", chain(6, ""), nil},
		{"imports of tests do not count", chain(7, "_test"), nil},
	})
}

func TestMainOnlyHandsOverCanFail(t *testing.T) {
	selfTest(t, checkMain, []broken{
		{"long", map[string]string{"cmd/durward/main.go": "package main" + lines(81)}, []string{"cmd/durward/main.go: 81 lines, at most 80"}},
		{"short", map[string]string{"cmd/durward/main.go": "package main" + lines(80), "cmd/durward/serve.go": "package main" + lines(200)}, nil},
	})
}
