package layering

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestFileLengths(t *testing.T)       { report(t, checkFiles(sourceTree(t))) }
func TestFunctionLengths(t *testing.T)   { report(t, checkFunctions(sourceTree(t))) }
func TestInterfaceSizes(t *testing.T)    { report(t, checkInterfaces(sourceTree(t))) }
func TestExportedNames(t *testing.T)     { report(t, checkExported(sourceTree(t))) }
func TestImportDepth(t *testing.T)       { report(t, checkDepth(sourceTree(t))) }
func TestMainOnlyHandsOver(t *testing.T) { report(t, checkMain(sourceTree(t))) }

// measured is a thing with a size, where it stands.
type measured struct {
	at   string
	name string
	size int
}

// overBudget reports what is over the cap, and the largest of all when more than a tenth is over the aim.
func overBudget(all []measured, unit string, limit, p90 int) []finding {
	slices.SortStableFunc(all, func(a, b measured) int { return b.size - a.size })
	var found []finding
	for _, m := range all {
		if m.size > limit {
			found = append(found, finding{m.at, fmt.Sprintf("%s: %d %s, the cap is %d", m.name, m.size, unit, limit)})
		}
	}
	if len(all) == 0 {
		return found
	}
	// all is sorted from the largest down, so a tenth of the way in stands the 90th percentile.
	if at := all[len(all)/10]; at.size > p90 {
		found = append(found, finding{all[0].at, fmt.Sprintf("the 90th percentile is %d %s (%s %s), the budget is %d; the largest is %s", at.size, unit, at.at, at.name, p90, all[0].name)})
	}
	return found
}

func checkFiles(t *tree) []finding {
	var all []measured
	for _, p := range t.packages {
		for _, s := range p.sources {
			all = append(all, measured{s.path, "file", s.lines})
		}
	}
	return overBudget(all, "lines", budgets.fileCap, budgets.fileP90)
}

func checkFunctions(t *tree) []finding {
	var all []measured
	for _, p := range t.packages {
		for _, s := range p.code() {
			for _, d := range s.ast.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
					all = append(all, measured{t.at(f), "function " + f.Name.Name, t.height(f) - tableLines(t, f.Body)})
				} else {
					all = append(all, literals(t, d)...)
				}
			}
		}
	}
	return overBudget(all, "lines", budgets.functionCap, budgets.functionP90)
}

// tableLines counts the lines of slice and map literals in a function. What functions inside such a table do counts as code.
func tableLines(t *tree, body ast.Node) int {
	lines := 0
	ast.Inspect(body, func(n ast.Node) bool {
		table, ok := n.(*ast.CompositeLit)
		if !ok || !isTable(table.Type) {
			return true
		}
		lines += t.height(table) - 1
		for _, f := range literals(t, table) {
			lines -= f.size
		}
		return false
	})
	return lines
}

func isTable(e ast.Expr) bool {
	switch e.(type) {
	case *ast.ArrayType, *ast.MapType:
		return true
	}
	return false
}

// literals are the outermost function literals below a node.
func literals(t *tree, n ast.Node) []measured {
	var all []measured
	ast.Inspect(n, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncLit); ok {
			all = append(all, measured{t.at(f), "function literal", t.height(f)})
			return false
		}
		return true
	})
	return all
}

// checkInterfaces counts methods, those of embedded interfaces of the same package too; an interface of another package counts
// as one. Type constraints have none.
func checkInterfaces(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		declared := map[string]*ast.InterfaceType{}
		for _, s := range p.sources {
			ast.Inspect(s.ast, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					if it, ok := spec.Type.(*ast.InterfaceType); ok {
						declared[spec.Name.Name] = it
					}
				}
				return true
			})
		}
		for _, s := range p.sources {
			ast.Inspect(s.ast, func(n ast.Node) bool {
				if it, ok := n.(*ast.InterfaceType); ok {
					if n := methods(it, declared, 0); n > budgets.interfaceMethods {
						found = append(found, finding{t.at(it), fmt.Sprintf("interface with %d methods, at most %d: ask for what this package uses", n, budgets.interfaceMethods)})
					}
				}
				return true
			})
		}
	}
	return found
}

func methods(it *ast.InterfaceType, declared map[string]*ast.InterfaceType, depth int) int {
	count := 0
	for _, field := range it.Methods.List {
		switch typ := field.Type.(type) {
		case *ast.FuncType:
			count += len(field.Names)
		case *ast.SelectorExpr:
			count++
		case *ast.Ident:
			if embedded := declared[typ.Name]; embedded != nil && depth < 10 {
				count += methods(embedded, declared, depth+1)
			} else if typ.Name == "error" {
				count++
			}
		}
	}
	return count
}

func checkExported(t *tree) []finding {
	var found []finding
	var counts []int
	for _, p := range t.packages {
		if len(p.code()) == 0 || matches(sdk, p.dir) || matchesAny(notProduct, p.dir) {
			continue
		}
		names := exported(p)
		counts = append(counts, len(names))
		if len(names) > budgets.exportedCap {
			found = append(found, finding{p.dir, fmt.Sprintf("%d exported names, the cap is %d: %s", len(names), budgets.exportedCap, strings.Join(names, " "))})
		}
	}
	slices.Sort(counts)
	if len(counts) > 0 && counts[(len(counts)-1)/2] > budgets.exportedMedian {
		found = append(found, finding{"all packages", fmt.Sprintf("the median of exported names per package is %d, the budget is %d", counts[(len(counts)-1)/2], budgets.exportedMedian)})
	}
	return found
}

// exported lists a package's exported names. The constants of an exported type are its values: they count with the type.
func exported(p *goPackage) []string {
	var names []string
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, s := range p.code() {
		for _, d := range s.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(d.Name)
				}
			case *ast.GenDecl:
				enumeration := false // an iota group names the type in its first line only
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Name)
					case *ast.ValueSpec:
						if spec.Type != nil || len(spec.Values) > 0 {
							id, ok := spec.Type.(*ast.Ident)
							enumeration = d.Tok == token.CONST && ok && id.IsExported()
						}
						if enumeration {
							continue
						}
						for _, id := range spec.Names {
							add(id)
						}
					}
				}
			}
		}
	}
	return names
}

// checkDepth follows the imports of code inside the module. A cycle cannot be: it would not compile.
func checkDepth(t *tree) []finding {
	longest := map[string][]string{}
	var chain func(dir string) []string
	chain = func(dir string) []string {
		if known, ok := longest[dir]; ok {
			return known
		}
		longest[dir] = []string{dir}
		best := []string{dir}
		if p := t.find(dir); p != nil {
			for _, s := range p.code() {
				for _, i := range t.imports(s) {
					if i.dir == "" || i.dir == dir {
						continue
					}
					if below := chain(i.dir); len(below)+1 > len(best) {
						best = append([]string{dir}, below...)
					}
				}
			}
		}
		longest[dir] = best
		return best
	}
	var found []finding
	for _, p := range t.packages {
		if matchesAny([]string{"internal/...", "test/..."}, p.dir) {
			continue
		}
		if c := chain(p.dir); len(c)-1 > budgets.importDepth {
			found = append(found, finding{p.dir, fmt.Sprintf("a chain of %d imports, at most %d: %s", len(c)-1, budgets.importDepth, strings.Join(c, " > "))})
		}
	}
	return found
}

func checkMain(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		for _, s := range p.sources {
			if path.Base(s.path) == "main.go" && s.lines > budgets.mainLines {
				found = append(found, finding{s.path, fmt.Sprintf("%d lines, at most %d: main parses and hands over", s.lines, budgets.mainLines)})
			}
		}
	}
	return found
}
