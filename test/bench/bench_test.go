package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// nullProcess is the argument with which the test binary is the null server.
const nullProcess = "null"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == nullProcess {
		if err := ServeNull(context.Background(), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func small(t *testing.T) Setup {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Setup{Rounds: 1, Load: Load{Requests: 100, Callers: 8}, Span: time.Millisecond, Sizes: []int{20, 100}, CasbinTime: time.Second, Root: "../..", Dir: t.TempDir(), Null: []string{self, nullProcess}}
}

// counting returns a contender that notes its turns and measures the given values in order.
func counting(subject string, turns *[]string, values ...float64) contender {
	round := 0
	return contender{subject: subject, round: func(context.Context) (sample, error) {
		*turns = append(*turns, subject)
		round++
		return sample{{"m", "us"}: values[(round-1)%len(values)]}, nil
	}}
}

func TestMatchRunsAlternately(t *testing.T) {
	var turns []string
	m := match{name: "c", rounds: 3, contenders: []contender{
		counting("a", &turns, 3, 1, 2),
		counting("b", &turns, 10, 40, 20),
	}}
	rows, err := m.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(turns, want) {
		t.Errorf("turns %v, want %v", turns, want)
	}
	want := []Row{
		{"c", "a", "m", "us", 2, 1, 3, 3},
		{"c", "b", "m", "us", 20, 10, 40, 3},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
}

func TestMedianOfEvenRounds(t *testing.T) {
	var turns []string
	rows, err := match{name: "c", rounds: 2, contenders: []contender{counting("a", &turns, 4, 1)}}.run(t.Context())
	if err != nil || len(rows) != 1 || rows[0].Median != 2.5 {
		t.Errorf("rows %v, error %v; want a median of 2.5", rows, err)
	}
}

func TestMatchFails(t *testing.T) {
	if _, err := (match{name: "c", rounds: 1}).run(t.Context()); !errors.Is(err, ErrEmpty) {
		t.Errorf("without contenders: %v", err)
	}
	broken := errors.New("broken")
	m := match{name: "c", rounds: 1, contenders: []contender{{subject: "x", round: func(context.Context) (sample, error) { return nil, broken }}}}
	if _, err := runAll(t.Context(), []match{m}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "c: round 1 of x") {
		t.Errorf("a broken round: %v", err)
	}
}

// figures are what each contest must measure: every subject in every case, in all of the metrics.
var figures = map[string]struct{ cases, subjects, metrics []string }{
	"policy": {
		[]string{"rbac/20", "domains/20", "rest/20", "abac/20", "abac_eval/20", "rbac/100", "domains/100", "rest/100", "abac/100", "abac_eval/100"},
		[]string{"durward", "casbin"},
		[]string{"allocs", "load", "memory_per_rule", "time"},
	},
	"token": {
		[]string{"ES256", "RS256"},
		[]string{"durward", "golang-jwt"},
		[]string{"allocs", "time"},
	},
	"identity": {
		[]string{"jwt_ES256", "jwt_RS256", "opaque", "api_key", "dpop", "mtls"},
		[]string{"durward", "durward_again", "golang-jwt"},
		[]string{"allocs", "time"},
	},
	"limits": {
		[]string{"take_1", "take_1_alone", "take_3", "take_3_alone", "take_3_shared", "take_3_shared_alone"},
		[]string{"durward_memory", "durward_redis", "durward_unbatched", "incrby_expire", "redis_rate"},
		[]string{"client_processor_time", "decisions", "redis_processor_time", "wall_per_decision"},
	},
	"leases": {
		[]string{"steady", "busy", "over"},
		[]string{"exact", "lease_25", "lease_250"},
		[]string{"calls_per_decision", "client_processor_time", "decisions", "passed_of_cap", "redis_processor_time", "wall_per_decision"},
	},
	"ext_authz_check": {
		[]string{"allow_with_token", "deny_without_token", "public_route"},
		[]string{"durward", "null"},
		[]string{"client_processor_time", "server_processor_time", "wall_per_request"},
	},
}

// TestContests runs all contests once, small, against the real programs, and reads their results back.
func TestContests(t *testing.T) {
	contests := Contests()
	if len(contests) != len(figures) {
		t.Errorf("%d contests, want %d", len(contests), len(figures))
	}
	for _, contest := range contests {
		t.Run(contest.Name, func(t *testing.T) {
			rows, err := contest.Run(t.Context(), small(t))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, c := range figures[contest.Name].cases {
				for _, s := range figures[contest.Name].subjects {
					for _, m := range figures[contest.Name].metrics {
						if s != "durward_memory" || m != "redis_processor_time" {
							if contest.Name != "policy" { // whose cases have names with a size
								c = contest.Name + "/" + strings.TrimPrefix(c, contest.Name+"/")
							}
							want[c+" "+s+" "+m] = true
						}
					}
				}
			}
			for _, row := range readBack(t, contest.Name, rows) {
				name := fmt.Sprint(row["case"], " ", row["subject"], " ", row["metric"])
				if !want[name] {
					t.Errorf("row %q is not wanted, or there twice", name)
				}
				delete(want, name)
				// Where processor time is counted in hundredths of a second, a small round has used none.
				// What few rules take of the heap is less than what the heap breathes.
				if value, ok := row["median"].(float64); !ok || !strings.HasSuffix(name, "memory_per_rule") && (value < 0 || value == 0 && !strings.HasSuffix(name, "processor_time")) {
					t.Errorf("%s: median %v", name, row["median"])
				}
			}
			for name := range want {
				t.Errorf("no row %q", name)
			}
		})
	}
}

// readBack writes the rows and reads them as JSON.
func readBack(t *testing.T, name string, rows []Row) []map[string]any {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "build")
	if err := Write(dir, name, rows); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var back []map[string]any
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	for _, row := range back {
		for _, key := range []string{"case", "subject", "metric", "unit", "median", "min", "max", "rounds"} {
			if _, ok := row[key]; !ok || len(row) != 8 {
				t.Errorf("row %v lacks %q or has more than the eight keys", row, key)
			}
		}
	}
	return back
}

func TestPrint(t *testing.T) {
	var table bytes.Buffer
	if err := Print(&table, []Row{{"c", "durward", "wall", "us", 1234.56, 0.126, 98.76, 5}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(table.String(), "\n")
	if want := []string{"c", "durward", "wall", "1235", "0.13", "98.8", "us", "5"}; len(lines) != 3 || !slices.Equal(strings.Fields(lines[1]), want) {
		t.Errorf("the table is\n%s\nwant a heading and %v", &table, want)
	}
}
