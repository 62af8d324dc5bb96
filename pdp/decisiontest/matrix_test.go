package decisiontest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/decisiontest"
)

const golden = `service,route,method,alice,bob,stale,carol,batch,anonymous
orders,health,GET,allow,allow,allow,allow,allow,allow
orders,log-in,POST,allow,allow,allow,allow,allow,allow
orders,read,GET,allow,allow,deny token_expired,allow,allow,deny token_missing
orders,read,HEAD,allow,allow,deny token_expired,allow,allow,deny token_missing
orders,write,PUT,deny no_matching_rule,allow,deny token_expired,allow,deny insufficient_scope,deny token_missing
`

const matrixSuite = people + "matrix: {subjects: [alice, bob, stale, carol, batch, anonymous], params: {id: \"7\", rest: a b/c}, golden: s.csv}\n"

func runMatrix(t *testing.T, file string) *decisiontest.Report {
	t.Helper()
	files := map[string]string{"tests/s.yaml": matrixSuite}
	if file != "" {
		files["tests/s.csv"] = file
	}
	options, problems := open(t, with(files))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	report, err := decisiontest.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestMatrixOfASuite(t *testing.T) {
	if report := runMatrix(t, golden); report.Failed() != 0 || len(report.Goldens) != 0 || len(report.Results) != 1 {
		t.Errorf("%+v", report.Results[0].Failure)
	}
	changed := strings.Replace(golden, "deny insufficient_scope", "allow", 1)
	for name, c := range map[string]struct {
		file string
		want decisiontest.Difference
	}{
		"a cell":        {changed, decisiontest.Difference{Key: "orders/write PUT batch", Want: "allow", Got: "deny insufficient_scope"}},
		"a row less":    {strings.Replace(golden, "orders,health,GET,allow,allow,allow,allow,allow,allow\n", "", 1), decisiontest.Difference{Key: "orders/health GET alice", Want: "no such cell", Got: "allow"}},
		"a row more":    {golden + "orders,gone,GET,allow,allow,allow,allow,allow,allow\n", decisiontest.Difference{Key: "orders/gone GET alice", Want: "allow", Got: "no such cell"}},
		"another order": {strings.Replace(strings.Replace(golden, "orders,health,GET,allow,allow,allow,allow,allow,allow\n", "", 1)+"orders,health,GET,allow,allow,allow,allow,allow,allow\n", "\r", "", 1), decisiontest.Difference{Key: "golden", Want: "the rows in the bundle's order", Got: "the same cells in another form; write it with --update"}},
		"none":          {"", decisiontest.Difference{Key: "golden", Want: "a golden file", Got: "none; write it with --update"}},
		"no table":      {"a\n", decisiontest.Difference{Key: "golden", Want: "a table in CSV", Got: "a file that is none; write it with --update"}},
		"ragged":        {"a,b,c,d\na\n", decisiontest.Difference{Key: "golden", Want: "a table in CSV", Got: "a file that is none; write it with --update"}},
	} {
		t.Run(name, func(t *testing.T) {
			report := runMatrix(t, c.file)
			if report.Failed() != 1 {
				t.Fatalf("passed: %+v", report.Results)
			}
			got := report.Results[0].Failure.Differences[0]
			if got.Line == 0 {
				t.Error("the failure stands nowhere")
			}
			got.Line, got.Column = 0, 0
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if diff := cmp.Diff(golden, string(report.Goldens["tests/s.csv"])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMatrix(t *testing.T) {
	options, problems := open(t, with(map[string]string{"tests/s.yaml": people + "cases: [{name: a, request: {path: /}, expect: {status: 200}}]\n"}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		name string
		in   decisiontest.MatrixOptions
		want string
	}{
		{"chosen", decisiontest.MatrixOptions{Subjects: []string{"s/bob", "anonymous"}, Routes: []string{"write"}},
			"service  route  method  bob    anonymous\norders   write  PUT     allow  deny token_missing\n"},
		{"roles", decisiontest.MatrixOptions{Roles: []string{"reader", "writer"}, Scopes: []string{"orders"}, Services: []string{"orders"}, Routes: []string{"write", "health"}},
			"service  route   method  reader                 writer\norders   health  GET     allow                  allow\norders   write   PUT     deny no_matching_rule  allow\n"},
		{"all", decisiontest.MatrixOptions{Routes: []string{"write"}}, ""}, // counted
	} {
		table, err := decisiontest.Matrix(t.Context(), options, c.in)
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "all" {
			if got := len(table.Subjects); got != 14 || len(table.Rows) != 1 || len(table.Rows[0].Cells) != 14 {
				t.Errorf("%d subjects: %v", got, table.Subjects)
			}
			continue
		}
		if diff := cmp.Diff(c.want, table.Text()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	for _, c := range []struct {
		in   decisiontest.MatrixOptions
		want string
	}{
		{decisiontest.MatrixOptions{Subjects: []string{"bop"}}, `did you mean "bob"?`},
		{decisiontest.MatrixOptions{Routes: []string{"write", "nothing"}}, `the bundle has no route "nothing"`},
		{decisiontest.MatrixOptions{Routes: []string{"raed"}}, `did you mean "read"?`},
		{decisiontest.MatrixOptions{Services: []string{"orders", "order"}}, `the bundle has no service "order"; did you mean "orders"?`},
		{decisiontest.MatrixOptions{Params: map[string]string{"id": "7", "idd": "8"}}, `no route has a parameter "idd"`},
		{decisiontest.MatrixOptions{Subjects: []string{"bob", "s/bob"}}, `two columns would be named "bob"`},
		{decisiontest.MatrixOptions{Roles: []string{"reader", "reader"}}, `two columns would be named "reader"`},
	} {
		if _, err := decisiontest.Matrix(t.Context(), options, c.in); !errors.Is(err, decisiontest.ErrMatrix) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.in, err)
		}
	}
}

// TestMatrixOfTwoSuites tells people of one name apart.
func TestMatrixOfTwoSuites(t *testing.T) {
	second := strings.Replace(people, "suite: s", "suite: z", 1)
	one := "cases: [{name: a, request: {path: /}, expect: {status: 200}}]\n"
	options, problems := open(t, with(map[string]string{"tests/s.yaml": people + one, "tests/z.yaml": second + one}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	table, err := decisiontest.Matrix(t.Context(), options, decisiontest.MatrixOptions{Routes: []string{"health"}})
	if err != nil || len(table.Subjects) != 27 || table.Subjects[0] != "s/alice" || table.Subjects[26] != "anonymous" {
		t.Errorf("%v, %v", table, err)
	}
	table, err = decisiontest.Matrix(t.Context(), options, decisiontest.MatrixOptions{Subjects: []string{"s/alice", "z/alice", "anonymous"}, Routes: []string{"health"}})
	if err != nil || !slices.Equal(table.Subjects, []string{"s/alice", "z/alice", "anonymous"}) {
		t.Errorf("%v, %v", table, err)
	}
	_, err = decisiontest.Matrix(t.Context(), options, decisiontest.MatrixOptions{Subjects: []string{"alice"}})
	if err == nil || !strings.Contains(err.Error(), "write SUITE/alice") {
		t.Errorf("got %v", err)
	}
}
