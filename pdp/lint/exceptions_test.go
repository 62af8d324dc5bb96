package lint_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/lint"
)

// TestExceptionScope: what an exception is about.
func TestExceptionScope(t *testing.T) {
	const allow = "# lint:allow rule-shadowed until 2026-12-31: shown here\n"
	const tls = "# lint:allow public-write until 2026-12-31: shown here\n"
	const csv, yaml = "services/orders/policy.csv", "services/orders/service.yaml"
	write := "  - name: feedback\n    path: /feedback\n    methods: [POST]\n    access: public\n"
	cases := map[string]struct {
		file, from, to string
		want           []string // codes that are left
		excepted       int
	}{
		"the next line":           {csv, "g, writer", allow + "p, writer, order, read\ng, writer", nil, 1},
		"not the line after that": {csv, "g, writer", allow + "p, user:corp:carol, order, read\np, writer, order, read\ng, writer", []string{"exception-unused", "rule-shadowed"}, 0},
		"past other comments":     {csv, "g, writer", allow + "# more words\n\np, writer, order, read\ng, writer", nil, 1},
		"the whole file":          {csv, "p, reader", "# Rules.\n" + allow + "\np, writer, order, read\np, reader", nil, 1},
		"the first line alone":    {csv, "p, reader", allow + "p, user:corp:x, order, read\np, writer, order, read\np, reader", []string{"exception-unused", "rule-shadowed"}, 0},
		"a mapping below":         {yaml, "  - {name: change-order", tls + write + "  - {name: change-order", nil, 1},
		"not the next mapping":    {yaml, "  - {name: change-order", tls + write + strings.ReplaceAll(write, "feedback", "more") + "  - {name: change-order", []string{"public-write"}, 1},
		"a key of the mapping":    {yaml, "  - {name: change-order", strings.Replace(write, "    path", tls+"    path", 1) + "  - {name: change-order", []string{"exception-unused", "public-write"}, 0},
		"nothing":                 {csv, "p, reader", allow + "p, reader", []string{"exception-unused"}, 0},
		"the end of a file":       {csv, "g, writer, reader\n", "g, writer, reader\n" + allow, []string{"exception-unused"}, 0},
		"no reason":               {csv, "p, reader", "# lint:allow rule-shadowed until 2026-12-31\np, reader", []string{"exception-malformed"}, 0},
		"no such day":             {csv, "p, reader", "# lint:allow rule-shadowed until 2026-02-30: words\np, reader", []string{"exception-malformed"}, 0},
		"no such code":            {csv, "p, reader", "# lint:allow rule-shadow until 2026-12-31: words\np, reader", []string{"exception-malformed"}, 0},
		"a code of the load":      {csv, "p, reader", "# lint:allow rule-duplicate until 2026-12-31: words\np, reader", []string{"exception-malformed"}, 0},
		"another code":            {csv, "g, writer", "# lint:allow role-unused until 2026-12-31: words\np, writer, order, read\ng, writer", []string{"exception-unused", "rule-shadowed"}, 0},
		"in a model":              {"services/orders/model.conf", "e = ", "# lint:allow matcher-linear until 2026-12-31: words\ne = ", []string{"exception-unused"}, 0},
		"yesterday":               {csv, "g, writer", "# lint:allow rule-shadowed until 2026-01-14: words\np, writer, order, read\ng, writer", []string{"exception-expired", "rule-shadowed"}, 0},
		"today":                   {csv, "g, writer", "# lint:allow rule-shadowed until 2026-01-15: words\np, writer, order, read\ng, writer", nil, 1},
	}
	base := example(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(base)
			files[c.file] = strings.Replace(files[c.file], c.from, c.to, 1)
			report := look(t, files)
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Code)
			}
			slices.Sort(got)
			if !slices.Equal(slices.Compact(got), slices.Compact(slices.Clone(c.want))) || len(report.Excepted) != c.excepted {
				t.Errorf("left %v, want %v; excepted %v, want %d", report.Findings, c.want, report.Excepted, c.excepted)
			}
		})
	}
}

// TestExceptionsAreNoneForTheLoad: a bundle that does not load is reported as that, whatever its comments say.
func TestExceptionsAreNoneForTheLoad(t *testing.T) {
	files := example(t)
	files["services/orders/policy.csv"] = "# lint:allow bundle-invalid until 2026-12-31: words\n\np, reader, order\n"
	if got := codesOf(look(t, files).Findings); !slices.Equal(got, []string{"rule-width"}) {
		t.Errorf("got %v", got)
	}
}

// FuzzExceptions: no comment ends in a panic, and an exception never hides an error.
func FuzzExceptions(f *testing.F) {
	f.Add("# lint:allow rule-shadowed until 2026-12-31: words", "p, writer, order, read")
	f.Add("\n#lint:allow x\n\n  # lint:allow deny-ignored until 0000-00-00: a", "")
	files := map[string]string{}
	f.Fuzz(func(t *testing.T, comment, line string) {
		if len(files) == 0 {
			maps.Copy(files, example(t))
		}
		changed := maps.Clone(files)
		changed["services/orders/policy.csv"] = comment + "\n" + line + "\n" + files["services/orders/policy.csv"]
		report := look(t, changed)
		for _, e := range report.Excepted {
			if e.Exception == nil || e.Exception.Until.Before(today.Truncate(24*time.Hour)) {
				t.Errorf("excepted without a valid exception: %+v", e)
			}
		}
		contents := map[string][]byte{}
		for name, text := range changed {
			contents[name] = []byte(text)
		}
		if (load(contents) != nil) != slices.ContainsFunc(report.Findings, func(f lint.Finding) bool { return isLoadCode(f.Code) }) {
			t.Errorf("the load and the report disagree: %v", report.Findings)
		}
	})
}

// isLoadCode reports whether a code is of what a server refuses.
func isLoadCode(name string) bool {
	for _, c := range lint.Codes() {
		if c.Name == name {
			return !c.Excusable && !strings.HasPrefix(name, "exception-")
		}
	}
	return false
}
