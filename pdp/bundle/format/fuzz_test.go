package format

import (
	"bytes"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
)

// FuzzDecode reads any bytes as each of the files of a bundle. Whatever is in them, reading ends with a value or
// with problems that can be shown, at a place that the file has.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{bundleYAML, serviceYAML, limitsYAML, suiteYAML, ratelimitsYAML, "{a: [b, {c: d}], \"e\\x41\": 'f''g'}", "a: |\n  b\n- c\r\n", "&a *a !!b <<: ? --- ..."} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(Bundle), new(Service), new(suite.Suite), new(ratelimits.File)} {
			file := &File{Path: "fuzz.yaml", Data: data}
			problems := Decode(file, into)
			if len(problems) > maxProblems+1 {
				t.Errorf("%d problems", len(problems))
			}
			for _, p := range problems {
				checkShown(t, p, data)
			}
			file.Walk(func(path []string, at Position, _ string) {
				if got := file.At("$." + strings.ReplaceAll(strings.Join(path, "."), ".[]", "[0]")); got.File != file.Path {
					t.Errorf("At(%q) = %v", path, got)
				}
				if at.Line < 1 || at.Column < 1 {
					t.Errorf("the key %q stands nowhere: %v", path, at)
				}
			})
		}
	})
}

func checkShown(t *testing.T, p Problem, data []byte) {
	t.Helper()
	shown := p.Error()
	if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return r != '\n' && unsafeRune(r, 0) != "" }) {
		t.Errorf("not fit to be shown: %q", shown)
	}
	if lines := bytes.Count(data, []byte("\n")) + 1; p.Line > lines {
		t.Errorf("line %d of %d: %s", p.Line, lines, shown)
	}
}

// FuzzRate: what is read as a rate is within its bounds, and what the schema of the files calls one.
func FuzzRate(f *testing.F) {
	for _, seed := range []string{"100/min", "5/30s", "1000000/30d", "5000/month", "1/year", "1/1month", "01/s", "1/", "/s"} {
		f.Add(seed)
	}
	pattern := regexp.MustCompile(scalarSchemas[reflect.TypeFor[Rate]()].Pattern)
	f.Fuzz(func(t *testing.T, text string) {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil {
			if r != (Rate{}) {
				t.Fatalf("%q is no rate, and became %+v", text, r)
			}
			return
		}
		if r.Count < 1 || r.Count > maxCount || r.Window <= 0 || r.Window > maxWindow || r.Calendar != "" && r.Calendar != "month" && r.Calendar != "year" {
			t.Fatalf("%q became %+v", text, r)
		}
		if !pattern.MatchString(text) {
			t.Fatalf("%q is a rate, and the schema takes it for none", text)
		}
	})
}
