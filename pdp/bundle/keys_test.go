package bundle

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/apikeys"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
)

// structKey is a key that the format's structs have.
type structKey struct {
	path  []string
	field string       // of the struct
	value reflect.Type // of the field
}

// structKeys returns every key of a struct of the format, the author's names as "*" and items as "[]".
func structKeys(t reflect.Type, path []string) []structKey {
	var keys []structKey
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		keys = append(keys, below(structKey{append(slices.Clone(path), name), field.Name, field.Type})...)
	}
	return keys
}

func below(k structKey) []structKey {
	keys := []structKey{}
	if k.path[len(k.path)-1] != "[]" {
		keys = append(keys, k)
	}
	t := k.value
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[format.Rate]():
	case t.Kind() == reflect.Struct:
		keys = append(keys, structKeys(t, k.path)...)
	case t.Kind() == reflect.Slice:
		keys = append(keys, below(structKey{append(slices.Clone(k.path), "[]"), k.field, t.Elem()})...)
	case t.Kind() == reflect.Map:
		keys = append(keys, below(structKey{append(slices.Clone(k.path), "*"), k.field, t.Elem()})...)
	}
	return keys
}

// files are the two kinds of files with keys.
var keyedFiles = []struct {
	name string
	root reflect.Type
	keys map[string]key
}{
	{"bundle.yaml", reflect.TypeFor[format.Bundle](), bundleKeys},
	{"services/orders/service.yaml", reflect.TypeFor[format.Service](), serviceKeys},
}

// TestEveryKeyIsEnforcedOrRefused walks the keys of the structs that read the files.
func TestEveryKeyIsEnforcedOrRefused(t *testing.T) {
	read := map[string]map[string]bool{}
	refused, enforced := 0, 0
	for _, file := range keyedFiles {
		for _, k := range structKeys(file.root, nil) {
			name := strings.Join(k.path, ".")
			found, ok := find(file.keys, k.path)
			switch {
			case !ok:
				t.Errorf("%s: %s stands in no table of keys", file.name, name)
			case found.by == notYet:
				refused++
				if !refuses(t, file.name, k) {
					t.Errorf("%s: %s is not enforced, and a bundle that holds it is not refused with that message", file.name, name)
				}
			default:
				enforced++
				if len(found.later) > 0 && len(found.values) == len(found.later)+1 {
					continue // all values but the one that needs no telling are refused
				}
				if read[found.by] == nil {
					read[found.by] = selectors(t, found.by)
				}
				if !read[found.by][k.field] {
					t.Errorf("%s: %s is to be enforced by %s, which never reads %s", file.name, name, found.by, k.field)
				}
			}
		}
	}
	if refused < 5 || enforced < 170 {
		t.Errorf("%d refused and %d enforced keys; were they all walked?", refused, enforced)
	}
}

// TestEveryKeyOfRateLimitsIsEnforced: the stage reads every field of the files that only it understands, but for the one
// by which files are joined.
func TestEveryKeyOfRateLimitsIsEnforced(t *testing.T) {
	read, joins, walked := selectors(t, "pdp/stage/descriptors"), selectors(t, "pdp/bundle"), 0
	for _, root := range []reflect.Type{reflect.TypeFor[ratelimits.File](), reflect.TypeFor[ratelimits.Descriptor](), reflect.TypeFor[ratelimits.RateLimit](), reflect.TypeFor[ratelimits.Compat]()} {
		for i := range root.NumField() {
			name := root.Field(i).Name
			if walked++; !read[name] && (name != "MergeDomain" || !joins[name]) {
				t.Errorf("nobody reads %s.%s", root, root.Field(i).Name)
			}
		}
	}
	if walked < 23 {
		t.Errorf("walked %d fields", walked)
	}
}

// TestEveryKeyOfAPIKeysIsEnforced: the reader of API keys reads every field of their files.
func TestEveryKeyOfAPIKeysIsEnforced(t *testing.T) {
	read, walked := selectors(t, "pdp/stage/identity/apikey"), 0
	for _, root := range []reflect.Type{reflect.TypeFor[apikeys.File](), reflect.TypeFor[apikeys.Key]()} {
		for i := range root.NumField() {
			if walked++; !read[root.Field(i).Name] {
				t.Errorf("nobody reads %s.%s", root, root.Field(i).Name)
			}
		}
	}
	if walked < 14 {
		t.Errorf("walked %d fields", walked)
	}
}

// refuses builds a bundle that holds the key, with a value of its type.
func refuses(t *testing.T, file string, k structKey) bool {
	t.Helper()
	text := valueOf(k.value)
	for _, name := range slices.Backward(k.path) {
		switch name {
		case "[]":
			text = "[" + text + "]"
		case "*":
			text = "{gold: " + text + "}"
		default:
			text = "{" + name + ": " + text + "}"
		}
	}
	_, problems := Build(sample(t, map[string][]string{file: {"", text + "\n"}}), options(echo{}))
	for _, p := range problems {
		if p.File == file && strings.Contains(p.Message, "this version does not enforce it") && slices.ContainsFunc(k.path, func(name string) bool { return p.Message == notEnforced(name) }) {
			return true
		}
	}
	t.Log(problems)
	return false
}

// valueOf returns YAML of a type.
func valueOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[format.Rate]():
		return "1/s"
	case t == reflect.TypeFor[format.Duration]():
		return "1s"
	case t.Kind() == reflect.Pointer:
		return valueOf(t.Elem())
	case t.Kind() == reflect.Slice:
		return "[]"
	case t.Kind() == reflect.Map, t.Kind() == reflect.Struct:
		return "{}"
	case t.Kind() == reflect.Bool:
		return "true"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "1"
	}
	return "text"
}

// selectors returns the names that a package's code, without its tests, selects.
func selectors(t *testing.T, directory string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("../..", directory, "*.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("no code in %s: %v", directory, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				names[s.Sel.Name] = true
			}
			return true
		})
	}
	return names
}

// TestTablesHoldNothingElse keeps keys that no struct reads out of the tables.
func TestTablesHoldNothingElse(t *testing.T) {
	known := map[string]bool{}
	for _, file := range keyedFiles {
		for _, k := range structKeys(file.root, nil) {
			name := strings.Join(k.path, ".")
			for _, prefix := range []string{"guards.[].", "policies.[].", "limit_definitions.*."} {
				if rest, ok := strings.CutPrefix(name, prefix); ok {
					known[prefix+rest], known[rest] = true, true
				}
			}
			known[name] = true
		}
	}
	for _, table := range []map[string]key{bundleKeys, serviceKeys, policyKeys, limitKeys} {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			if !known[name] {
				t.Errorf("%s stands in a table, and no struct reads it", name)
			}
		}
	}
}

// TestEveryKeyOfTheDesign walks the YAML examples of the format's description.
func TestEveryKeyOfTheDesign(t *testing.T) {
	text, err := os.ReadFile("../../docs/design/bundle.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		if _, after, ok := strings.Cut(body, "```yaml\n"); ok {
			examples[title], _, _ = strings.Cut(after, "```")
		}
	}
	walked := 0
	for title, keys := range map[string]map[string]key{"bundle.yaml": bundleKeys, "services/NAME/service.yaml": serviceKeys, "Limits": serviceKeys} {
		file := &format.File{Path: title, Data: []byte(examples[title])}
		file.Walk(func(path []string, at format.Position, _ string) {
			walked++
			if path[len(path)-1] == "[]" {
				return
			}
			if _, ok := find(keys, path); !ok {
				t.Errorf("%v: the example's key %v stands in no table", at, path)
			}
		})
		delete(examples, title)
	}
	if walked < 120 {
		t.Errorf("walked %d keys; has the form of the document changed?", walked)
	}
	suiteFile := &format.File{Path: "tests/a.yaml", Data: []byte(examples["tests/*.yaml"])}
	if problems := format.Decode(suiteFile, new(suite.Suite)); len(problems) > 0 {
		t.Error(problems)
	}
	delete(examples, "tests/*.yaml")
	limitsFile := &format.File{Path: "ratelimits/a.yaml", Data: []byte(examples["ratelimits/*.yaml"])}
	if problems := format.Decode(limitsFile, new(ratelimits.File)); len(problems) > 0 {
		t.Error(problems)
	}
	delete(examples, "ratelimits/*.yaml")
	// The other examples are of files that are refused as a whole.
	for title := range examples {
		if placeOf(strings.ReplaceAll(title, "*", "a")) != laterPlace {
			t.Errorf("the example of %s is of a file that is neither read nor refused", title)
		}
	}
}
