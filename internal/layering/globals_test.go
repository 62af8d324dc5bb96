package layering

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

func TestGlobals(t *testing.T) { report(t, checkGlobals(sourceTree(t))) }

// checkGlobals allows sentinel errors, assertions to the blank name, embedded files and tables made of constants that nothing
// writes to. All else is state, and state has an owner that is passed.
func checkGlobals(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		d := declarationsOf(p)
		for _, g := range d.variables {
			if reason := d.mutable(g); reason != "" {
				found = append(found, finding{t.at(g.spec), fmt.Sprintf("global %s %s", g.spec.Names[0].Name, reason)})
			}
		}
		for _, s := range p.code() {
			found = append(found, d.writes(t, s)...)
		}
	}
	return found
}

// global is one package variable; its comments are those of the spec and of the group around it.
type global struct {
	spec *ast.ValueSpec
	docs []*ast.CommentGroup
}

// declarations are what the code of a package declares at the top of its files.
type declarations struct {
	variables []global
	names     map[string]bool         // of variables
	specs     map[*ast.ValueSpec]bool // of variables
	types     map[string]bool
	functions map[string]bool
}

func declarationsOf(p *goPackage) declarations {
	all := declarations{names: map[string]bool{}, specs: map[*ast.ValueSpec]bool{}, types: map[string]bool{}, functions: map[string]bool{}}
	for _, s := range p.code() {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				all.functions[f.Name.Name] = true
			}
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					all.types[spec.Name.Name] = true
				case *ast.ValueSpec:
					if g.Tok == token.VAR {
						all.add(global{spec, []*ast.CommentGroup{g.Doc, spec.Doc}})
					}
				}
			}
		}
	}
	return all
}

func (d *declarations) add(g global) {
	d.variables = append(d.variables, g)
	d.specs[g.spec] = true
	for _, id := range g.spec.Names {
		d.names[id.Name] = id.Name != "_"
	}
}

// mutable says why a package variable is no table, or nothing when it is one.
func (d declarations) mutable(g global) string {
	name := g.spec.Names[0].Name
	if name == "_" {
		return ""
	}
	for _, doc := range g.docs {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return ""
		}
	}
	if len(g.spec.Values) == 0 {
		return "has no value: it is state; pass it"
	}
	for _, value := range g.spec.Values {
		if reason := d.notConstant(value); reason != "" {
			return reason
		}
		if call, ok := value.(*ast.CallExpr); ok && slices.Contains([]string{"errors.New", "fmt.Errorf"}, text(call.Fun)) &&
			!strings.HasPrefix(name, "Err") && !strings.HasPrefix(name, "err") {
			return "is an error: its name begins with Err"
		}
	}
	return ""
}

// notConstant says what in an initialiser is not fixed when the program is compiled, or nothing. The rows of a slice or map may be
// made by functions of the same package; a variable that is itself the result of one may not.
func (d declarations) notConstant(e ast.Expr) string {
	table, isLiteral := e.(*ast.CompositeLit)
	rows := isLiteral && isTable(table.Type)
	reason := ""
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.UnaryExpr:
			if n.Op == token.AND || n.Op == token.ARROW {
				reason = "holds a pointer: it is state; pass it"
			}
		case *ast.CallExpr:
			id, plain := n.Fun.(*ast.Ident)
			if rows && plain && d.functions[id.Name] {
				return true
			}
			if name := text(n.Fun); !slices.Contains(pureCalls, name) && !d.isConversion(n.Fun) {
				reason = fmt.Sprintf("calls %s: not in the list of pure calls", name)
			}
		case *ast.CompositeLit:
			if name := text(n.Type); strings.HasPrefix(name, "sync.") || strings.HasPrefix(name, "atomic.") {
				reason = fmt.Sprintf("is a %s: it is state; pass it", name)
			}
		}
		return reason == ""
	})
	return reason
}

func (d declarations) isConversion(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr, *ast.ArrayType, *ast.MapType, *ast.InterfaceType:
		return true
	case *ast.Ident:
		return d.types[e.Name]
	}
	return false
}

// text renders a name such as pkg.Func; other expressions are shown by their kind.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case nil:
		return ""
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return text(e.Fun)
	case *ast.IndexExpr:
		return text(e.X)
	}
	return fmt.Sprintf("%T", e)
}

// writes finds assignments to package variables, to their elements and fields too, and deletions from them.
func (d declarations) writes(t *tree, s *source) []finding {
	var found []finding
	note := func(e ast.Expr) {
		if id := root(e); id != nil && d.names[id.Name] && !d.shadowed(id) {
			found = append(found, finding{t.at(e), fmt.Sprintf("global %s is written: a table is fixed when the program is compiled", id.Name)})
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, left := range n.Lhs {
					note(left)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				note(n.X)
			}
		case *ast.CallExpr:
			if name := text(n.Fun); len(n.Args) > 0 && (name == "delete" || name == "clear") {
				note(n.Args[0])
			}
		}
		return true
	})
	return found
}

// root is the variable at the beginning of an expression such as x.f[1].
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// shadowed tells whether a name means something declared nearer than the package's variable. The parser resolves a name to that, to
// the variable in the same file, or not at all when the variable stands in another file.
func (d declarations) shadowed(id *ast.Ident) bool {
	if id.Obj == nil {
		return false
	}
	spec, ok := id.Obj.Decl.(*ast.ValueSpec)
	return !ok || !d.specs[spec]
}

func TestGlobalsCanFail(t *testing.T) {
	in := func(text string) map[string]string { return map[string]string{"a/a.go": "package a\n\n" + text + "\n"} }
	two := func(variable, code string) map[string]string {
		return map[string]string{"a/a.go": "package a\n\n" + variable + "\n", "a/b.go": "package a\n\n" + code + "\n"}
	}
	selfTest(t, checkGlobals, []broken{
		{"no value", in("var count int"), []string{"a/a.go:3:5: global count has no value"}},
		{"a pointer", in("var engine = &Engine{}"), []string{"holds a pointer"}},
		{"a pointer in a table", in("var engines = []*Engine{&Engine{}}"), []string{"holds a pointer"}},
		{"a call", in("var started = time.Now()"), []string{"calls time.Now: not in the list"}},
		{"a function of the package", in("var table = build()\nfunc build() int { return 1 }"), []string{"calls build"}},
		{"a clock in a table", in("var table = []any{time.Now()}"), []string{"calls time.Now"}},
		{"rows of a table", in("var table = []row{{x: named(\"a\")}}\nfunc named(s string) string { return s }"), nil},
		{"a lock", in("var mu = sync.Mutex{}"), []string{"is a sync.Mutex"}},
		{"an atomic", in("var current = atomic.Pointer[T]{}"), []string{"is a atomic.Pointer"}},
		{"an error by another name", in("var Broken = errors.New(\"x\")"), []string{"its name begins with Err"}},
		{"a sentinel", in("var ErrBroken = errors.New(\"x\")\nvar errInside = fmt.Errorf(\"y\")"), nil},
		{"an assertion", in("var _ fmt.Stringer = (*T)(nil)"), nil},
		{"an embedded file", in("//go:embed x.lua\nvar script string"), nil},
		{"a table", in("type kind string\nvar table = map[string]kind{\"a\": kind(\"b\")}"), nil},
		{"a table of functions", in("var table = map[string]func() error{\"a\": func() error { return run() }}"), nil},
		{"a conversion to a type of another file", two("var first = kind(1)", "type kind int"), nil},
		{"a regular expression", in("var name = regexp.MustCompile(`^a$`)"), nil},
		{"assigned", two("var table = []int{1}", "func f() { table = nil }"), []string{"a/b.go:3:12: global table is written"}},
		{"assigned in its file", in("var table = []int{1}\nfunc f() { table = nil }"), []string{"is written"}},
		{"an element", two("var table = []int{1}", "func f() { table[0] = 2 }"), []string{"is written"}},
		{"deleted", two("var table = map[int]int{1: 1}", "func f() { delete(table, 1) }"), []string{"is written"}},
		{"counted", two("var n = 1", "func f() { n++ }"), []string{"is written"}},
		{"its address", two("var n = 1", "func f() *int { return &n }"), []string{"is written"}},
		{"shadowed", two("var n = 1", "func f() { n := 2; n = 3; var m int; m = n; _ = m }"), nil},
		{"shadowed by a parameter", in("var n = 1\nfunc f(n int) { n = 3 }"), nil},
		{"tests may", map[string]string{"a/a_test.go": "package a\n\nvar update bool\n"}, nil},
	})
}
