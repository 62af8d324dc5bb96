package bundle

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// sample returns the files of testdata/sample.txtar, a bundle without a fault, with edits: for each file a list of old
// and new texts in turn. A new file is an edit of "".
func sample(t testing.TB, edits map[string][]string) map[string][]byte {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/sample.txtar")
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	for _, f := range archive.Files {
		contents[f.Name] = f.Data
	}
	for name, pairs := range edits {
		text, ok := contents[name]
		if !ok {
			text = []byte{}
		}
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == "" {
				text = []byte(pairs[i+1])
				continue
			}
			if strings.Count(string(text), pairs[i]) != 1 {
				t.Fatalf("%s does not hold %q once", name, pairs[i])
			}
			text = []byte(strings.Replace(string(text), pairs[i], pairs[i+1], 1))
		}
		contents[name] = text
	}
	return contents
}

var instant = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func options(compilers ...Compiler) Options {
	return Options{Compilers: compilers, ClientAddress: true, Clock: func() time.Time { return instant }}
}

// echo is a stage's compiler: its part is the text of the service's policy file.
type echo struct{ refuse string }

func (echo) Name() string { return "echo" }

func (e echo) Compile(b *format.Bundle, s *format.Service) (any, format.Problems) {
	file, ok := b.Files.Get(s.Dir, "policy.csv")
	if !ok {
		return nil, format.Problems{s.File.Problem("$.policies", "no policy.csv")}
	}
	if e.refuse != "" && strings.Contains(string(file.Data), e.refuse) {
		return nil, format.Problems{file.ProblemAt(1, 1, "refused by the stage")}
	}
	if strings.Contains(string(file.Data), "panic") {
		panic("a fault of the compiler")
	}
	return string(file.Data), nil
}

func TestBuild(t *testing.T) {
	s, problems := Build(sample(t, nil), options(echo{}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if len(s.Bundles) != 1 || s.Bundles[0].Name != "acme" || s.Bundles[0].Sequence != 1 || len(s.Bundles[0].Revision) != 16 || !s.Bundles[0].Loaded.Equal(instant) {
		t.Errorf("bundles: %+v", s.Bundles)
	}
	m := s.Routes.Match(&request.Request{Method: "GET", Host: "orders.example.com", Target: "/orders/7"})
	if m.Route == nil || m.Route.Name != "read-order" {
		t.Fatalf("match: %+v", m)
	}
	service := s.Services[m.Service]
	if service == nil {
		t.Fatal("the snapshot does not hold the service of the match")
	}
	if part := service.Parts["echo"]; part != "p, reader, orders:read\n" {
		t.Errorf("part: %q", part)
	}
	if diff := cmp.Diff([]string{"id"}, service.Record.Params); diff != "" {
		t.Error(diff)
	}
	if r := service.Resources[m.Route.Index]; r == nil || r.Type != "order" || r.ID.Name() != "params.id" {
		t.Errorf("resource: %+v", r)
	}
	if service.Resources[0] != nil {
		t.Error("a route without a resource has a template")
	}
}

func TestBuildReportsTheStages(t *testing.T) {
	for edit, want := range map[string]string{
		"p, refused, x\n": "services/orders/policy.csv:1:1: refused by the stage",
		"p, panic, x\n":   "bundle.yaml: internal fault while the bundle was loaded: a fault of the compiler",
	} {
		s, problems := Build(sample(t, map[string][]string{"services/orders/policy.csv": {"", edit}}), options(echo{refuse: "refused"}))
		if s != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), want) {
			t.Errorf("%q: %v", edit, problems)
		}
	}
}

func TestRevision(t *testing.T) {
	base := Revision(map[string][]byte{"a": []byte("bc"), "d": nil})
	for name, other := range map[string]map[string][]byte{
		"moved border": {"ab": []byte("c"), "d": nil},
		"renamed":      {"a": []byte("bc"), "e": nil},
		"changed":      {"a": []byte("bd"), "d": nil},
		"without":      {"a": []byte("bc")},
	} {
		if Revision(other) == base {
			t.Errorf("%s: the same revision", name)
		}
	}
	if got := Revision(map[string][]byte{"d": {}, "a": []byte("bc")}); got != base || len(got) != 16 {
		t.Errorf("%q and %q for the same content", got, base)
	}
}

// TestProblems edits the sample in one way each and expects exactly the problems given, first lines only.
func TestProblems(t *testing.T) {
	const service = "services/orders/service.yaml"
	for _, test := range problemCases {
		t.Run(test.name, func(t *testing.T) {
			file := service
			if test.file != "" {
				file = test.file
			}
			o := options(echo{})
			o.ClientAddress = !test.noAddress
			edits := map[string][]string{}
			if test.edit != nil {
				edits[file] = test.edit
			}
			contents := sample(t, edits)
			if test.remove {
				delete(contents, file)
			}
			s, problems := Build(contents, o)
			if s != nil {
				t.Fatal("the bundle was loaded")
			}
			var got []string
			for _, p := range problems {
				p.Excerpt = ""
				got = append(got, strings.TrimPrefix(p.Error(), "services/orders/"))
			}
			if diff := cmp.Diff(strings.Split(test.want, "\n"), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestGolden shows problems as an author sees them.
func TestGolden(t *testing.T) {
	archives, err := os.ReadDir("testdata/problems")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range archives {
		t.Run(entry.Name(), func(t *testing.T) {
			archive, err := txtar.ParseFile("testdata/problems/" + entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			contents, want := sample(t, nil), ""
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				contents[f.Name] = f.Data
			}
			s, problems := Build(contents, options(echo{}))
			if s != nil {
				t.Error("the bundle was loaded")
			}
			if diff := cmp.Diff(want, problems.Error()+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
	if len(archives) < 3 {
		t.Errorf("only %d golden files", len(archives))
	}
}

// FuzzBundle loads whole small bundles of any content. Whatever is in them, loading ends with a snapshot or problems.
func FuzzBundle(f *testing.F) {
	contents := sample(f, nil)
	f.Add(string(contents["bundle.yaml"]), string(contents["services/orders/service.yaml"]), "keys/corp.json")
	f.Add("format: 1\n\tname: acme\n", "service: orders\n", "a.yaml")
	f.Add("format: 2\nrequires: \"3.4\"\n", "service: orders\n", "tests/a.yaml")
	f.Fuzz(func(t *testing.T, main, service, extra string) {
		fuzzed := maps.Clone(contents)
		fuzzed["bundle.yaml"], fuzzed["services/orders/service.yaml"] = []byte(main), []byte(service)
		fuzzed[extra] = []byte("{}")
		s, problems := Build(fuzzed, options(echo{}))
		if (s == nil) != (len(problems) > 0) {
			t.Fatalf("snapshot %v with the problems %v", s, problems)
		}
		for _, p := range problems {
			if p.Message == "" || p.File == "" || strings.Contains(p.Message, "internal fault") {
				t.Errorf("problem: %v", p)
			}
			if strings.ContainsFunc(p.Error(), func(r rune) bool { return r < 0x20 && r != '\n' }) {
				t.Errorf("not fit to be shown: %q", p.Error())
			}
		}
	})
}

func ExampleBuild() {
	_, problems := Build(map[string][]byte{"bundle.yaml": []byte("format: 1\nnme: acme\n")}, Options{})
	fmt.Println(problems)
	// Output:
	// bundle.yaml:2:1: unknown key "nme" (did you mean "name"?)
	//     2 | nme: acme
	//       | ^
}

// costs is a compiler that keeps the largest cost that the first policy may have.
type costs struct{ echo }

func (costs) Compile(_ *format.Bundle, s *format.Service) (any, format.Problems) {
	if s.Policies[0].MaxCost == nil {
		return nil, nil
	}
	return time.Duration(*s.Policies[0].MaxCost), nil
}

// TestMaxCostReachesTheStage tells a bound of nothing from none.
func TestMaxCostReachesTheStage(t *testing.T) {
	for text, want := range map[string]any{"": nil, "    max_cost: 3ms\n": 3 * time.Millisecond, "    max_cost: 0ms\n": time.Duration(0)} {
		s, problems := Build(sample(t, map[string][]string{"services/orders/service.yaml": {"    token_roles:", text + "    token_roles:"}}), options(costs{}))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, service := range s.Services {
			if diff := cmp.Diff(want, service.Parts["echo"]); diff != "" {
				t.Errorf("%q (-want +got):\n%s", text, diff)
			}
		}
	}
}

// TestProblemsAreBounded: what is reported has to fit a line of the log, however much is wrong.
func TestProblemsAreBounded(t *testing.T) {
	contents := sample(t, nil)
	const wrong = 5000
	for i := range wrong {
		contents[fmt.Sprintf("shared/%d.txt", i)] = nil
	}
	_, problems := Build(contents, options(echo{}))
	if len(problems) != maxProblems+1 || problems[maxProblems].Error() != fmt.Sprintf("and %d more", wrong-maxProblems) {
		t.Errorf("%d problems, the last one: %v", len(problems), problems[len(problems)-1])
	}
}
