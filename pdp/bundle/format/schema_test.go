package format

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"

	"github.com/durward-pdp/durward/pdp/bundle/format/apikeys"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
)

//go:generate go test -run ^TestSchemas$ -update .

// update rewrites the schemas; `go generate` sets it.
var update = flag.Bool("update", false, "write docs/schema instead of comparing with it")

// TestSchemas keeps docs/schema as the structs are.
func TestSchemas(t *testing.T) {
	for name, root := range map[string]struct {
		of     reflect.Type
		source string
	}{
		"bundle": {reflect.TypeFor[Bundle](), "bundle.go"}, "service": {reflect.TypeFor[Service](), "bundle.go"},
		"tests": {reflect.TypeFor[suite.Suite](), "suite/suite.go"}, "ratelimits": {reflect.TypeFor[ratelimits.File](), "ratelimits/ratelimits.go"},
		"keys": {reflect.TypeFor[apikeys.File](), "apikeys/apikeys.go"},
	} {
		t.Run(name, func(t *testing.T) {
			descriptions := fieldComments(t, root.source)
			schema := schemaOf(root.of, descriptions)
			if name == "ratelimits" {
				schema.Definitions = jsonschema.Definitions{recursive.Name(): objectSchema(recursive, descriptions)}
			}
			schema.Version = jsonschema.Version
			schema.ID = jsonschema.ID("https://raw.githubusercontent.com/durward-pdp/durward/main/docs/schema/" + name + ".schema.json")
			schema.Title = "Durward " + name + ".yaml, format 1"
			got, err := json.MarshalIndent(schema, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			path := filepath.Join("../../../docs/schema", name+".schema.json")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; run go generate ./pdp/bundle/format", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is stale; run go generate ./pdp/bundle/format\n%s", path, cmp.Diff(string(want), string(got)))
			}
		})
	}
}

// scalarSchemas are the types that are written as text of some form.
var scalarSchemas = map[reflect.Type]jsonschema.Schema{
	reflect.TypeFor[Duration](): {Type: "string", Pattern: `^(0|[1-9][0-9]*)(ms|s|m|min|h|d)$`},

	reflect.TypeFor[suite.Moment]():    {Type: "string", Pattern: `^([+-][0-9]+(ms|s|m|min|h|d)|[0-9]{4}-.*)$`},
	reflect.TypeFor[ratelimits.Text](): {OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "integer"}, {Type: "boolean"}}},
	reflect.TypeFor[Rate]():            {Type: "string", Pattern: `^[1-9][0-9]*/(([1-9][0-9]*)?(s|min|h|d)|month|year)$`},
	reflect.TypeFor[Size]():            {OneOf: []*jsonschema.Schema{{Type: "integer", Minimum: "0"}, {Type: "string", Pattern: `^(0|[1-9][0-9]*)(B|KiB|MiB|GiB)?$`}}},
}

// valueSchemas are the types of a value that a condition names.
func valueSchemas() []*jsonschema.Schema {
	return []*jsonschema.Schema{{Type: "string"}, {Type: "integer"}, {Type: "boolean"}}
}

// shorthandSchemas are what a struct may be written as instead of a mapping.
func shorthandSchemas(t reflect.Type) []*jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Attribute]():
		return []*jsonschema.Schema{{Type: "string"}}
	case reflect.TypeFor[classRate]():
		return []*jsonschema.Schema{schemaOf(reflect.TypeFor[Rate](), nil)}
	case reflect.TypeFor[condition]():
		return schemaOf(reflect.TypeFor[values](), nil).OneOf
	}
	return nil
}

// recursive is the one type that holds itself; schemas refer to it.
var recursive = reflect.TypeFor[ratelimits.Descriptor]()

// schemaOf describes a type as Decode reads it.
func schemaOf(t reflect.Type, comments map[string]string) *jsonschema.Schema {
	if scalar, ok := scalarSchemas[t]; ok {
		return &scalar
	}
	if t == reflect.TypeFor[values]() {
		list := &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{OneOf: valueSchemas()}}
		return &jsonschema.Schema{OneOf: append(valueSchemas(), list)}
	}
	if t == recursive {
		return &jsonschema.Schema{Ref: "#/$defs/" + t.Name()}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), comments)
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: schemaOf(t.Elem(), comments)}
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: schemaOf(t.Elem(), comments)}
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &jsonschema.Schema{Type: "integer"}
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	case reflect.Struct:
		object := objectSchema(t, comments)
		if short := shorthandSchemas(t); short != nil {
			return &jsonschema.Schema{OneOf: append(short, object)}
		}
		return object
	default:
		return &jsonschema.Schema{}
	}
}

func objectSchema(t reflect.Type, comments map[string]string) *jsonschema.Schema {
	object := &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema, Properties: jsonschema.NewProperties()}
	fields, names := keysOf(t)
	for _, name := range names {
		field := t.Field(fields[name])
		property := schemaOf(field.Type, comments)
		property.Description = comments[t.Name()+"."+field.Name]
		if rest, ok := strings.CutPrefix(property.Description, field.Name+" "); ok {
			property.Description = name + " " + rest // readers know the key
		}
		object.Properties.Set(name, property)
	}
	return object
}

// fieldComments returns the comments of struct fields, by "Type.Field".
func fieldComments(t *testing.T, name string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, ident := range field.Names {
					comments[spec.Name.Name+"."+ident.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
		}
		return false
	})
	return comments
}
