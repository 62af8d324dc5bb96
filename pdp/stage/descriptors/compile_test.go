package descriptors

import (
	"testing"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
)

// compileFile decodes and compiles a file of ratelimits/.
func compileFile(t testing.TB, text string) (any, format.Problems) {
	t.Helper()
	file, source := &format.File{Path: "ratelimits/edge.yaml", Data: []byte(text)}, &ratelimits.File{}
	if problems := format.Decode(file, source); len(problems) > 0 {
		t.Fatal(problems)
	}
	return (&Stage{}).CompileDomain("acme", []*format.File{file}, []*ratelimits.File{source})
}

// TestProblemsHavePlaces: what envoyproxy/ratelimit rejects is reported where it stands.
func TestProblemsHavePlaces(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"empty domain":                    {"descriptors: []\n", "ratelimits/edge.yaml:1:1: a file of limits needs a domain"},
		"empty key":                       {"domain: a\ndescriptors:\n  - value: x\n", "ratelimits/edge.yaml:3:5: a descriptor needs a key"},
		"duplicate key":                   {"domain: a\ndescriptors:\n  - key: k\n    descriptors:\n      - {key: x, value: y}\n      - {key: x, value: y}\n", `ratelimits/edge.yaml:6:9: a second descriptor with the key "x" and the value "y" at this level; what it says would never hold`},
		"unknown unit":                    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit:\n      unit: foo\n", `ratelimits/edge.yaml:5:13: unit is second, minute, hour, day, week, month or year, not "foo"`},
		"unlimited with a unit":           {"domain: a\ndescriptors: [{key: k, rate_limit: {unlimited: true, unit: day}}]\n", "ratelimits/edge.yaml:2:60: an unlimited limit has no unit"},
		"replaces itself":                 {"domain: a\ndescriptors: [{key: k, rate_limit: {unit: day, name: n, replaces: [{name: n}]}}]\n", `ratelimits/edge.yaml:2:68: the limit "n" cannot replace itself`},
		"share_threshold without a value": {"domain: a\ndescriptors:\n  - key: k\n    share_threshold: true\n", "ratelimits/edge.yaml:4:22: share_threshold needs a value with a wildcard (*), and the descriptor has none"},
		"an unknown on_error":             {"domain: a\ncompat: {on_error: error}\n", `ratelimits/edge.yaml:2:20: on_error is local_share, allow or deny, not "error"`},
	} {
		t.Run(name, func(t *testing.T) {
			part, problems := compileFile(t, c.yaml)
			if part != nil || len(problems) != 1 {
				t.Fatalf("%v, %v", part, problems)
			}
			problems[0].Excerpt = ""
			if got := problems[0].Error(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
