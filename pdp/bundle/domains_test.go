package bundle

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
)

// keysOf is a compiler of domains whose part is the keys of the outermost level; the key "refused" is refused.
type keysOf struct{}

func (keysOf) Name() string { return "keys" }

func (keysOf) CompileDomain(bundle string, files []*format.File, sources []*ratelimits.File) (any, format.Problems) {
	keys := []string{bundle}
	for i, source := range sources {
		for _, d := range source.Descriptors {
			if d.Key == "refused" {
				return nil, format.Problems{files[i].Problem("$.descriptors[0].key", "refused")}
			}
			keys = append(keys, string(d.Key))
		}
	}
	return keys, nil
}

func domainOptions() Options {
	o := options(echo{})
	o.Domains = keysOf{}
	return o
}

// TestDomains: the files of ratelimits/ stand in the snapshot beside the services.
func TestDomains(t *testing.T) {
	contents := sample(t, map[string][]string{
		"ratelimits/a.yaml": {"", "domain: edge\ndescriptors: [{key: one}, {key: two}]\n"},
		"ratelimits/b.yaml": {"", "domain: 7\n"},
	})
	s, problems := Build(contents, domainOptions())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if names := slices.Sorted(maps.Keys(s.Domains)); !slices.Equal(names, []string{"7", "edge"}) || len(s.Services) == 0 {
		t.Fatalf("domains %q beside %d services", names, len(s.Services))
	}
	edge := s.Domains["edge"]
	if diff := cmp.Diff([]string{"acme", "one", "two"}, edge.Parts["keys"]); diff != "" {
		t.Error(diff)
	}
	r := edge.Route
	if r.Bundle != "acme" || r.Name != "edge" || r.Revision != s.Bundles[0].Revision || len(r.Routes) != 1 || !r.Routes[0].Public || r.Routes[0].Service != r {
		t.Errorf("the domain's route: %+v", r)
	}
}

// TestDomainInSeveralFiles: files that say so hold one domain together, in the order of their names.
func TestDomainInSeveralFiles(t *testing.T) {
	s, problems := Build(sample(t, map[string][]string{
		"ratelimits/b.yaml": {"", "domain: edge\ndescriptors: [{key: two}]\ncompat: {merge_domain: true}\n"},
		"ratelimits/a.yaml": {"", "domain: edge\ndescriptors: [{key: one}]\ncompat: {merge_domain: true}\n"},
		"ratelimits/c.yaml": {"", "domain: edge\ndescriptors: [{key: three}]\ncompat: {merge_domain: true}\n"},
		"ratelimits/d.yaml": {"", "domain: other\ncompat: {merge_domain: true}\n"},
	}), domainOptions())
	if len(problems) > 0 || len(s.Domains) != 2 {
		t.Fatalf("%v, %v", s, problems)
	}
	if diff := cmp.Diff([]string{"acme", "one", "two", "three"}, s.Domains["edge"].Parts["keys"]); diff != "" {
		t.Error(diff)
	}
}

// TestDomainsAlone: a bundle may hold limits and no services.
func TestDomainsAlone(t *testing.T) {
	contents := map[string][]byte{"bundle.yaml": []byte("format: 1\nname: acme\n"), "ratelimits/a.yaml": []byte("domain: edge\n")}
	s, problems := Build(contents, domainOptions())
	if len(problems) > 0 || len(s.Domains) != 1 {
		t.Errorf("%+v, %v", s, problems)
	}
	delete(contents, "ratelimits/a.yaml")
	if _, problems := Build(contents, domainOptions()); len(problems) != 1 || problems[0].Message != "the bundle has no services" {
		t.Errorf("without both: %v", problems)
	}
}

func TestDomainsRefused(t *testing.T) {
	for name, c := range map[string]struct{ a, b, want string }{
		"a domain in two files":    {"domain: edge\n", "# edge\ndomain: edge\n", `ratelimits/b.yaml:2:9: the domain "edge" stands in ratelimits/a.yaml already; a domain has one file, unless all its files say compat: {merge_domain: true}`},
		"only one of two says so":  {"domain: edge\ncompat: {merge_domain: true}\n", "domain: edge\n", `ratelimits/b.yaml:1:9: the domain "edge" stands in ratelimits/a.yaml already; a domain has one file, unless all its files say compat: {merge_domain: true}`},
		"only the other says so":   {"domain: edge\n", "domain: edge\ncompat: {merge_domain: true}\n", `ratelimits/b.yaml:1:9: the domain "edge" stands in ratelimits/a.yaml already; a domain has one file, unless all its files say compat: {merge_domain: true}`},
		"two files that differ":    {"domain: edge\ncompat: {merge_domain: true}\n", "domain: edge\ncompat: {merge_domain: true, shadow_mode: true}\n", `ratelimits/b.yaml:2:1: compat differs from that of ratelimits/a.yaml; it is the same in all files of the domain "edge"`},
		"the second of two merged": {"domain: edge\ncompat: {merge_domain: true}\n", "domain: edge\ndescriptors: [{key: refused}]\ncompat: {merge_domain: true}\n", `ratelimits/b.yaml:2:21: refused`},
		"what the stage says":      {"domain: edge\ndescriptors:\n  - key: refused\n", "domain: x\n", `ratelimits/a.yaml:3:10: refused`},
		"an unknown key":           {"domain: edge\n", "domains: x\n", `ratelimits/b.yaml:1:1: unknown key "domains" (did you mean "domain"?)`},
	} {
		t.Run(name, func(t *testing.T) {
			s, problems := Build(sample(t, map[string][]string{"ratelimits/a.yaml": {"", c.a}, "ratelimits/b.yaml": {"", c.b}}), domainOptions())
			if s != nil || len(problems) != 1 {
				t.Fatalf("%v, %v", s, problems)
			}
			problems[0].Excerpt = ""
			if got := problems[0].Error(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestDomainsOfTwoBundles: a domain belongs to one bundle.
func TestDomainsOfTwoBundles(t *testing.T) {
	o := domainOptions()
	var both []*compiled
	for _, name := range []string{"one", "two"} {
		c, problems := compile(format.NewFiles(map[string][]byte{"bundle.yaml": []byte("format: 1\nname: " + name + "\n"), "ratelimits/a.yaml": []byte("domain: edge\n")}), nil, &o)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		both = append(both, c)
	}
	const want = `bundle conflicts with another: the bundles "one" and "two" both hold the rate limit domain "edge"`
	if _, err := snapshot(both); !errors.Is(err, ErrConflict) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
