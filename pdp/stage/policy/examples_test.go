package policy

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2"
)

// exampleEnding is how a pair of a model and rules ends here.
type exampleEnding string

const (
	endsIndexed exampleEnding = "indexed"
	endsLinear  exampleEnding = "linear"
	endsApart   exampleEnding = "indexed, each context as a policy of its own"
	endsRefused exampleEnding = "refused"
	endsNowhere exampleEnding = "does not load in casbin either"
)

// examplePair is a model and rules that casbin's own tests name together.
type examplePair struct {
	model, rules string
	ending       exampleEnding
	// why is the reason for which it is refused, or what a context's number is: "" or "2".
	why string
	// objects is set when fields of r hold objects.
	objects bool
}

// examplePairs are all pairs of casbin's tests.
var examplePairs = []examplePair{
	{"basic_model", "basic_policy", endsIndexed, "", false},
	{"basic_model", "basic_inverse_policy", endsIndexed, "", false},
	{"basic_model", "error/error_policy", endsNowhere, "", false},
	{"error/error_model", "error/error_policy", endsNowhere, "", false},
	{"basic_model_without_spaces", "basic_policy", endsIndexed, "", false},
	{"basic_with_root_model", "basic_policy", endsIndexed, "", false},
	{"basic_without_users_model", "basic_without_users_policy", endsIndexed, "", false},
	{"basic_without_resources_model", "basic_without_resources_policy", endsIndexed, "", false},
	{"comment_model", "basic_policy", endsIndexed, "", false},
	{"rbac_model", "rbac_policy", endsIndexed, "", false},
	{"rbac_model", "rbac_with_hierarchy_policy", endsIndexed, "", false},
	{"rbac_model_in_multi_line", "rbac_policy", endsIndexed, "", false},
	{"rbac_with_resource_roles_model", "rbac_with_resource_roles_policy", endsIndexed, "", false},
	{"rbac_with_domains_model", "rbac_with_domains_policy", endsIndexed, "", false},
	{"rbac_with_domains_model", "rbac_with_domains_policy2", endsIndexed, "", false},
	{"rbac_with_domains_model", "rbac_with_hierarchy_with_domains_policy", endsIndexed, "", false},
	{"rbac_with_deny_model", "rbac_with_deny_policy", endsIndexed, "", false},
	{"rbac_with_not_deny_model", "rbac_with_deny_policy", endsIndexed, "", false},
	{"rbac_with_pattern_model", "rbac_with_pattern_policy", endsIndexed, "", false},
	{"rbac_with_all_pattern_model", "rbac_with_all_pattern_policy", endsIndexed, "", false},
	{"rbac_with_domain_pattern_model", "rbac_with_domain_pattern_policy", endsIndexed, "", false},
	{"performance/rbac_with_pattern_large_scale_model", "performance/rbac_with_pattern_large_scale_policy", endsIndexed, "", false},
	{"keymatch_model", "keymatch_policy", endsIndexed, "", false},
	{"keymatch2_model", "keymatch2_policy", endsIndexed, "", false},
	{"keymatch_custom_model", "keymatch2_policy", endsRefused, "unknown function", false},
	{"keymatch_with_rbac_in_domain", "keymatch_with_rbac_in_domain", endsIndexed, "", false},
	{"glob_model", "glob_policy", endsIndexed, "", false},
	{"ipmatch_model", "ipmatch_policy", endsIndexed, "", false},
	{"priority_model", "priority_policy", endsIndexed, "", false},
	{"priority_model", "priority_indeterminate_policy", endsIndexed, "", false},
	{"priority_model_explicit", "priority_policy_explicit", endsIndexed, "", false},
	{"priority_model_explicit_customized", "priority_policy_explicit_customized", endsIndexed, "", false},
	{"priority_model_enforce_context", "priority_policy_enforce_context", endsApart, "r2 is not enforced", false},
	{"subject_priority_model", "subject_priority_policy", endsIndexed, "", false},
	{"subject_priority_model_with_domain", "subject_priority_policy_with_domain", endsIndexed, "", false},
	{"rebac_model", "rebac_policy", endsIndexed, "", false},
	{"orbac_model", "orbac_policy", endsIndexed, "", false},
	{"abac_rule_model", "abac_rule_policy", endsIndexed, "", true},
	{"eval_operator_model", "eval_operator_policy", endsIndexed, "", true},
	{"pbac_model", "pbac_policy", endsIndexed, "", true},
	{"object_conditions_model", "object_conditions_policy", endsRefused, "cannot be read", true},
	{"abac_not_using_policy_model", "abac_rule_effect_policy", endsRefused, "does not read p", true},
	{"multiple_policy_definitions_model", "multiple_policy_definitions_policy", endsApart, "r2 is not enforced", true},
	{"rbac_with_multiple_policy_model", "rbac_with_multiple_policy_policy", endsApart, "p2 is not enforced", false},
	{"rbac_with_different_types_of_roles_model", "rbac_with_different_types_of_roles_policy", endsRefused, "conditional roles", false},
	{"rbac_with_temporal_roles_model", "rbac_with_temporal_roles_policy", endsRefused, "conditional roles", false},
	{"rbac_with_domain_temporal_roles_model", "rbac_with_domain_temporal_roles_policy", endsRefused, "conditional roles", false},
	{"rbac_with_domains_conditional_model", "rbac_with_domains_conditional_policy", endsRefused, "conditional roles", false},
}

// otherPairs are models that casbin's tests use without a file of rules, or with functions other than those of pairs,
// with rules that suit them.
var otherPairs = []examplePair{
	{"rbac_model_matcher_using_in_op", "rbac_policy", endsIndexed, "", false},
	{"rbac_model_matcher_using_in_op_bracket", "rbac_policy", endsIndexed, "", false},
	{"keyget_model", "keymatch_policy", endsIndexed, "", false},
	{"keyget2_model", "keymatch2_policy", endsIndexed, "", false},
	{"abac_model", "basic_policy", endsRefused, "does not read p", true},
	{"biba_model", "basic_policy", endsRefused, "does not read p", false},
	{"blp_model", "basic_policy", endsRefused, "does not read p", false},
	{"lbac_model", "basic_policy", endsRefused, "does not read p", false},
	{"syntax_matcher_model", "basic_policy", endsRefused, "does not read p", false},
}

func casbinDirectory(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/casbin/casbin/v2").Output()
	if err != nil {
		t.Fatalf("find casbin's examples: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// TestExamplePairs: the table holds the pairs that casbin's tests name, all and no others.
func TestExamplePairs(t *testing.T) {
	named := map[string]bool{}
	pair := regexp.MustCompile(`"examples/([^"]+)\.conf",\s*"examples/([^"]+)\.csv"`)
	files, err := filepath.Glob(filepath.Join(casbinDirectory(t), "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("casbin's tests: %v", err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range pair.FindAllSubmatch(source, -1) {
			named[string(found[1])+" "+string(found[2])] = true
		}
	}
	listed := map[string]bool{}
	for _, p := range examplePairs {
		listed[p.model+" "+p.rules] = true
		if !named[p.model+" "+p.rules] {
			t.Errorf("casbin's tests do not name %s with %s", p.model, p.rules)
		}
	}
	for name := range named {
		if !listed[name] {
			t.Errorf("casbin's tests name %s, which is not listed", name)
		}
	}
	if len(listed) != 48 || len(examplePairs) != 48 {
		t.Errorf("%d pairs of %d", len(listed), len(examplePairs))
	}
}

// TestCasbinExamples compares casbin's own examples for every combination of the values that they name.
func TestCasbinExamples(t *testing.T) {
	dir := filepath.Join(casbinDirectory(t), "examples")
	counts, endings := outcomeCounts{}, outcomeCounts{}
	for _, pair := range examplePairs {
		t.Run(pair.model+"/"+pair.rules, func(t *testing.T) {
			endings[string(pair.run(t, dir, counts))]++
		})
	}
	t.Logf("%d pairs:%v\nrequests:%v", len(examplePairs), endings, counts)
	if counts[outcomeAgreed] < 100_000 {
		t.Errorf("too little was compared: %v", counts)
	}
}

// TestCasbinOtherExamples does the same for models that have no rules of their own.
func TestCasbinOtherExamples(t *testing.T) {
	dir := filepath.Join(casbinDirectory(t), "examples")
	counts := outcomeCounts{}
	for _, pair := range otherPairs {
		t.Run(pair.model, func(t *testing.T) { pair.run(t, dir, counts) })
	}
	t.Logf("requests:%v", counts)
}

// run compares a pair, or sees it refused, and returns how it ended.
func (pair examplePair) run(t *testing.T, dir string, counts outcomeCounts) exampleEnding {
	modelText, rules := readFile(t, dir, pair.model+".conf"), withoutDuplicates(readFile(t, dir, pair.rules+".csv"))
	if pair.ending == endsNowhere {
		if _, err := casbin.NewEnforcer(filepath.Join(dir, pair.model+".conf"), filepath.Join(dir, pair.rules+".csv")); err == nil {
			t.Error("casbin loads it")
		}
	}
	o, problems, err := newOracle(modelText, rules, pair.objects)
	if err != nil {
		t.Fatal(err)
	}
	pair.runMatching(t, modelText, rules, counts)
	switch pair.ending {
	case endsNowhere, endsRefused, endsApart:
		if len(problems) == 0 || !strings.Contains(problems.Error(), pair.why) {
			t.Errorf("want a problem with %q, got:\n%v", pair.why, problems)
		}
		t.Logf("%s: %s", pair.ending, strings.SplitN(problems.Error(), "\n", 2)[0])
		if pair.ending != endsApart {
			return pair.ending
		}
		for _, o := range contexts(t, modelText, rules, pair.objects) {
			pair.compare(t, o, rules, counts)
		}
		return endsApart
	default: // it loads
	}
	if len(problems) > 0 {
		t.Fatalf("refused:\n%v", problems)
	}
	pair.compare(t, o, rules, counts)
	if is, why := planOf(o.compiled); !is {
		t.Errorf("linear: %s", why)
		return endsLinear
	}
	return endsIndexed
}

// exampleMatching are the functions that casbin's own tests register for a model, one run each.
var exampleMatching = map[string][]map[string]functions{
	"rbac_with_pattern_model": {
		{"g": {Names: "keyMatch2"}, "g2": {Names: "keyMatch2"}}, {"g": {Names: "keyMatch2"}, "g2": {Names: "keyMatch3"}}, {"g2": {Names: "keyMatch2"}},
		{"g": {Names: "keyMatch4"}}, {"g2": {Names: "keyMatch"}},
	},
	"rbac_with_all_pattern_model":    {{"g": {Names: "keyMatch2", Domains: "keyMatch2"}}, {"g": {Names: "keyMatch4", Domains: "keyMatch4"}}},
	"rbac_with_domain_pattern_model": {{"g": {Domains: "keyMatch2"}}, {"g": {Domains: "keyMatch"}}},
	"performance/rbac_with_pattern_large_scale_model": {
		{"g": {Domains: "keyMatch4"}}, {"g": {Names: "keyMatch4"}}, {"g": {Names: "keyMatch4", Domains: "keyMatch4"}},
	},
}

// runMatching compares a pair with the functions that casbin's tests register for it.
func (pair examplePair) runMatching(t *testing.T, modelText, rules string, counts outcomeCounts) {
	t.Helper()
	for _, matching := range exampleMatching[pair.model] {
		o, problems, err := newOracleOf(oracleSource{model: modelText, rules: rules, matching: matching})
		if err != nil || len(problems) > 0 {
			t.Fatalf("%v: %v\n%v", matching, err, problems)
		}
		// Casbin compiles patterns in each match, so that all requests would take a minute.
		requests := enumerate(o, rules, false)
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
		for _, values := range requests[:min(len(requests), 1500)] {
			c := o.compare(t.Context(), values)
			if c.difference != "" || c.outcome == outcomeStricter && strings.Join(texts(values), "") != "" {
				t.Fatalf("%v: %q: %s%s", matching, values, c.outcome, c.difference)
			}
			counts["with matching: "+c.outcome]++
			if c.allowed {
				counts["with matching: allowed"]++
			}
		}
		if is, why := planOf(o.compiled); !is {
			t.Errorf("%v: linear: %s", matching, why)
		}
	}
}

func (pair examplePair) compare(t *testing.T, o *oracle, rules string, counts outcomeCounts) {
	t.Helper()
	requests := enumerate(o, rules, pair.objects)
	for i, f := range o.fields {
		if pair.objects && !o.object(f) {
			requests = slices.DeleteFunc(requests, func(values []any) bool { _, isText := values[i].(string); return !isText })
		}
	}
	here := outcomeCounts{}
	for _, values := range requests {
		c := o.compare(t.Context(), values)
		if c.difference != "" || c.outcome == outcomeStricter && !pair.objects && strings.Join(texts(values), "") != "" {
			t.Fatalf("%q: %s%s", values, c.outcome, c.difference)
		}
		here[c.outcome]++
	}
	counts.add(here)
	t.Logf("%d requests:%v", len(requests), here)
}

func texts(values []any) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return texts
}

// contexts takes a model with r2, p2 or m2 apart into policies of their own, one for each context that casbin can
// evaluate.
func contexts(t *testing.T, modelText, rules string, objects bool) []*oracle {
	t.Helper()
	whole, err := loadCasbin(modelText, strings.TrimSpace(rules))
	if err != nil {
		t.Fatal(err)
	}
	var oracles []*oracle
	for _, suffix := range []string{"", "2"} {
		context := casbin.NewEnforceContext("")
		var modelLines, ruleLines []string
		kept := map[string]bool{}
		for _, line := range strings.Split(modelText, "\n") {
			key, definition, isDefinition := strings.Cut(line, "=")
			if key = strings.TrimSpace(key); !isDefinition || key[0] == 'g' || key[0] == '#' {
				modelLines = append(modelLines, line)
				continue
			}
			letter := key[:1]
			if hasOwn := strings.Contains(modelText, "\n"+letter+"2"); key != letter+suffix && (hasOwn || suffix == "") {
				continue
			}
			kept[key] = true
			modelLines = append(modelLines, letter+" ="+single(definition, suffix))
		}
		if suffix == "2" && !kept["m2"] {
			continue
		}
		for _, line := range strings.Split(rules, "\n") {
			ptype, rest, _ := strings.Cut(line, ",")
			switch {
			case ptype == "p2" && kept["p2"]:
				ruleLines = append(ruleLines, "p,"+single(rest, suffix))
			case ptype == "p" && kept["p"], strings.HasPrefix(ptype, "g"):
				ruleLines = append(ruleLines, line)
			}
		}
		for letter, at := range map[string]*string{"r": &context.RType, "p": &context.PType, "e": &context.EType, "m": &context.MType} {
			*at = letter
			if kept[letter+"2"] {
				*at = letter + "2"
			}
		}
		if matcher := modelText[strings.Index(modelText, "\nm"+suffix):]; suffix != "" && strings.Contains(matcher, " p.") && strings.Contains(matcher, "p2.") {
			// The matcher mixes p2 and p: casbin cannot evaluate it either.
			if _, err := whole.Enforce(context, "alice", "/data", "view"); err == nil {
				t.Error("casbin evaluates a matcher of p2 that reads p")
			}
			continue
		}
		text := strings.Join(modelLines, "\n")
		o, problems, err := newOracleOf(oracleSource{model: text, rules: strings.Join(ruleLines, "\n") + "\n", object: func(f string) bool {
			return objects && !(isSubject(f) && strings.Contains(text, "g(r"))
		}})
		if err != nil || len(problems) > 0 {
			t.Fatalf("context %q: %v\n%v", suffix, err, problems)
		}
		if is, why := planOf(o.compiled); !is {
			t.Errorf("context %q is linear: %s", suffix, why)
		}
		o.enforcer, o.context = whole, &context
		oracles = append(oracles, o)
	}
	return oracles
}

// single writes r2 and p2 as r and p.
func single(text, suffix string) string {
	return strings.NewReplacer("r"+suffix+".", "r.", "p"+suffix+".", "p.").Replace(text)
}

// withoutDuplicates drops lines that stand twice, as casbin does; here they are refused.
func withoutDuplicates(rules string) string {
	seen := map[string]bool{}
	var out strings.Builder
	for line := range strings.Lines(rules) {
		if !seen[line] || !strings.Contains(line, ",") {
			out.WriteString(line)
		}
		seen[line] = true
	}
	return out.String()
}

func readFile(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// enumerate returns requests made of the values that the rules name, instances of their patterns, strangers and "".
func enumerate(o *oracle, rules string, objects bool) [][]any {
	if objects {
		return objectRequests()
	}
	pools := poolsOf(o.fields, rules)
	requests := [][]any{nil}
	for _, f := range o.fields {
		var longer [][]any
		for _, request := range requests {
			for _, value := range pools[f] {
				longer = append(longer, append(slices.Clone(request), value))
			}
		}
		requests = longer
	}
	return requests
}

// poolsOf returns the values to ask about for each field of r. Where there are few values every field gets all of them;
// else a field gets those of the relation that it is a member of.
func poolsOf(requestFields []string, rules string) map[string][]string {
	byColumn := map[string][]string{} // ptype and column, or "all"
	instance := strings.NewReplacer("{orgID}", "1", "{siteID}", "site001", ":resource", "x", ":id2", "y", ":id", "1", "*", "x/y", "(", "", ")", "", "^", "", "$", "")
	for line := range strings.SplitSeq(rules, "\n") {
		reader := csv.NewReader(strings.NewReader(line))
		reader.TrimLeadingSpace = true
		fields, err := reader.Read()
		if err != nil || strings.HasPrefix(line, "#") {
			continue
		}
		for i, f := range fields[1:] {
			values := append(strings.Split(instance.Replace(f), "|"), f, strings.TrimSuffix(f, "*"))
			byColumn["all"] = append(byColumn["all"], values...)
			byColumn[fmt.Sprint(fields[0], i)] = append(byColumn[fmt.Sprint(fields[0], i)], values...)
		}
	}
	for column := range byColumn {
		values := append(byColumn[column], "", "nobody", "root")
		if column == "all" {
			values = append(values, "/alice_data/x", "/foo/bar", "192.168.2.1", "10.0.0.5", "GET", "domain1")
		}
		slices.Sort(values)
		byColumn[column] = slices.Compact(values)
	}
	pools := map[string][]string{}
	for _, f := range requestFields {
		pools[f] = byColumn["all"]
	}
	switch all := len(byColumn["all"]); {
	case len(requestFields) == 4 && all > 16:
		pools["sub"] = slices.Concat(byColumn["g0"], byColumn["g1"])
		pools["act"] = slices.Concat(byColumn["g20"], byColumn["g21"])
		pools["obj"] = slices.Concat(byColumn["g30"], byColumn["g31"])
		pools["org"], pools["dom"] = byColumn["g2"], byColumn["g2"]
		if len(pools["obj"]) == 0 {
			pools["act"], pools["obj"] = byColumn["p3"], byColumn["p2"]
		}
	case all > 100:
		pools["sub"] = byColumn["g1"]
		for i := 0; i < len(byColumn["g0"]); i += 10 {
			pools["sub"] = append(pools["sub"], byColumn["g0"][i])
		}
		pools["obj"] = slices.Concat(byColumn["g2"], byColumn["p1"])
		pools["act"] = byColumn["p2"]
	}
	return pools
}

func objectRequests() [][]any {
	values := []any{
		map[string]any{"Age": 20.0, "Role": "admin", "Type": "doc"},
		map[string]any{"Age": 70.0, "Role": "user", "Type": "video"},
		map[string]any{"Age": 17.0, "Role": "admin", "Type": "video"},
		map[string]any{"Age": 18.0},
		map[string]any{"Age": 60.0, "Type": "doc"},
		map[string]any{"Role": "admin", "Type": "doc"},
		map[string]any{},
		"admin", "users", "/data1", "/data2", "data2", "alice", "data2_admin", "",
	}
	var requests [][]any
	for _, sub := range values {
		for _, obj := range values {
			for _, act := range []any{"read", "write", "play", "x", ""} {
				requests = append(requests, []any{sub, obj, act})
			}
		}
	}
	return requests
}
