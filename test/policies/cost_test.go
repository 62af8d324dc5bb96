package policies

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// linear replaces the matcher by one that no index can take.
const linear = "m = r.act == p.act ? (keyMatch2(r.path, p.path) && g(r.sub, p.sub)) : false"

// manyRules are the sample's and thousands that nobody fits.
func manyRules(contents map[string][]byte, n int) string {
	var text strings.Builder
	text.Write(contents[rulesPath])
	for i := range n {
		fmt.Fprintf(&text, "p, team-%d, /teams/%d/*, orders:read\n", i, i)
	}
	return text.String()
}

// TestSlowMatcher: an index makes any number of rules cheap. A matcher that it cannot take is told of; where it would be
// too slow the bundle is refused, and the server goes on with the last good one.
func TestSlowMatcher(t *testing.T) {
	t.Parallel()
	plain := sample(t)
	const matcher = "m = g(r.sub, p.sub) && keyMatch2(r.path, p.path) && r.act == p.act"
	large := with(plain, rulesPath, manyRules(plain, 20000))
	small := edited(t, plain, modelPath, matcher, linear)
	slow := edited(t, large, modelPath, matcher, linear)

	s := run(t, large, options{})
	client := s.client(t, "open", "")
	q := question("GET", "/orders/7", bearer(t, "alice", []string{"reader"}))
	before := ask(t, client, q)
	if !before.Allowed || len(s.lines("bundle report")) != 0 {
		t.Errorf("%+v, remarks %v", before, s.lines("bundle report"))
	}
	why := s.refuses(t, slow)
	for _, want := range []string{servicePath + ":5:", "max_cost", "is not made of conditions that are joined", strings.TrimPrefix(linear, "m = "), "tries all 20003 rules", "ms a decision", "1ms is allowed"} {
		if !strings.Contains(why, want) {
			t.Errorf("the refusal does not say %q: %s", want, why)
		}
	}
	if d := ask(t, client, q); d.Explanation.Revision != before.Explanation.Revision || !d.Allowed {
		t.Errorf("after the refusal: %+v", d)
	}
	if got := s.family(t, "durward_bundle_refused"); len(got) != 1 || got[`durward_bundle_refused{directory="bundle"}`] != 1 {
		t.Errorf("durward_bundle_refused: %v", got)
	}

	// The owner may allow it. It is told of all the same.
	allowed := edited(t, slow, servicePath, "    token_roles:", "    max_cost: 1h\n    token_roles:")
	s.reload(t, allowed)
	if d := ask(t, client, q); !d.Allowed || d.Explanation.Rule != before.Explanation.Rule || d.Explanation.Revision == before.Explanation.Revision {
		t.Errorf("with max_cost: 1h: %+v", d)
	}
	remarks := s.lines("bundle report")
	if len(remarks) != 1 || !strings.Contains(text(remarks[0]["remark"]), "orders: policy main: ") || !strings.Contains(text(remarks[0]["remark"]), "tries all 20003 rules") {
		t.Errorf("remarks: %v", remarks)
	}

	for _, x := range []struct {
		name     string
		contents map[string][]byte
		code     int
		wants    []string
	}{
		{"indexed", large, 0, []string{"bundle shop is valid, revision "}},
		{"linear and small", small, 0, []string{"bundle shop is valid, revision ", "\norders: policy main: the matcher ", "tries all 3 rules, about 0.0"}},
		{"linear and large", slow, 3, []string{"tries all 20003 rules", "max_cost"}},
	} {
		code, out := s.validate(t, x.contents)
		for _, want := range x.wants {
			if code != x.code || !strings.Contains(out, want) {
				t.Errorf("validate, %s: exit code %d, want %d; %s, want %q", x.name, code, x.code, out, want)
			}
		}
		if x.name == "indexed" && strings.Count(out, "\n") != 1 {
			t.Errorf("validate, %s: %s", x.name, out)
		}
	}
}

// validate runs the command on a bundle.
func (s *server) validate(t *testing.T, contents map[string][]byte) (code int, out string) {
	t.Helper()
	dir := filepath.Join(s.dir, "validated")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, data := range contents {
		put(t, filepath.Join(dir, name), string(data))
	}
	command := exec.CommandContext(t.Context(), program, "validate", dir)
	text, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}
