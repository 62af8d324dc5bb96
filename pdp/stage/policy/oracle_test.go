package policy

import (
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"
	"github.com/casbin/casbin/v2/util"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
)

// oracle is a policy in both engines.
type oracle struct {
	enforcer *casbin.Enforcer
	compiled *compiled
	fields   []string
}

// isSubject are the field names that are mapped to the subject's key.
func isSubject(field string) bool { return field == "sub" || field == "user" || field == "subject" }

// newOracle loads a policy into both engines. Fields are mapped to attributes that can hold any text, or, with
// objects, to claims that can hold anything.
func newOracle(modelText, rules string, objects bool) (*oracle, format.Problems, error) {
	o := &oracle{}
	request := map[string]format.Attribute{}
	defs, _ := readModel(fileOf("model.conf", modelText))
	if defs["r"] != nil {
		var ignored format.Problems
		o.fields = fields(defs["r"], &ignored)
	}
	empty := ""
	for _, f := range o.fields {
		switch {
		case objects && !(isSubject(f) && defs["g"] != nil):
			request[f] = format.Attribute{Name: "claims." + f}
		case isSubject(f):
			request[f] = format.Attribute{Name: "subject.key", Missing: &empty}
		default:
			request[f] = format.Attribute{Name: "resource.properties." + f, Missing: &empty}
		}
	}
	files := format.NewFiles(map[string][]byte{"model.conf": []byte(modelText), "policy.csv": []byte(rules), "bundle.yaml": nil})
	owner, _ := files.Get("", "bundle.yaml")
	var problems format.Problems
	// Compiled as a guard, so that deny-override can be compared too.
	o.compiled, problems = compilePolicy(&source{policy: &format.Policy{Name: "main", Model: "model.conf", Rules: []string{"policy.csv"}, Request: request},
		files: files, file: owner, path: "$.guards[0]", guard: true})
	if len(problems) > 0 {
		return nil, problems, nil
	}
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, nil, err
	}
	// The file adapter trims lines and the string adapter does not: it panics on a blank one.
	lines := strings.Split(rules, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	o.enforcer, err = casbin.NewEnforcer(m, stringadapter.NewAdapter(strings.Join(lines, "\n")))
	return o, nil, err
}

func fileOf(path, text string) *format.File {
	f, _ := format.NewFiles(map[string][]byte{path: []byte(text)}).Get("", path)
	return f
}

func (o *oracle) facts(values []any) *attribute.Facts {
	f := &attribute.Facts{Request: &request.Request{}, Match: route.Match{Route: &route.Route{}},
		Resource: attribute.Resource{Properties: map[string]string{}}, Subject: subject.Subject{Kind: subject.KindUser, Claims: map[string]any{}}}
	for i, field := range o.fields {
		f.Subject.Claims[field] = values[i]
		text, isText := values[i].(string)
		switch {
		case !isText:
		case isSubject(field):
			f.Subject.Key = text
		default:
			f.Resource.Properties[field] = text
		}
	}
	return f
}

// outcomes of a comparison.
const (
	agreed   = "agreed"
	bothErr  = "both err"
	stricter = "denied here, answered by casbin"
)

// compare asks both engines and returns an outcome, or what differs.
func (o *oracle) compare(ctx context.Context, values []any) (outcome, difference string) {
	ok, explain, casbinErr := o.enforcer.EnforceEx(slices.Clone(values)...)
	d, err := o.compiled.decide(ctx, o.facts(values))
	if err != nil {
		return "", "decide: " + err.Error()
	}
	switch {
	case casbinErr != nil && d.failure != nil:
		return bothErr, ""
	case casbinErr != nil:
		return "", fmt.Sprintf("casbin errs (%.200s) and we answer %+v", casbinErr, d)
	case d.failure != nil && !d.allowed:
		return stricter, ""
	}
	var rule []string
	if d.rule != nil {
		for i := range d.rule.values {
			rule = append(rule, d.rule.text(i))
		}
	}
	if ok != d.allowed || !slices.Equal(explain, rule) {
		return "", fmt.Sprintf("casbin: %v by %q; here: %v by %q", ok, explain, d.allowed, rule)
	}
	return agreed, ""
}

// examplePairs are the models and rules of casbin's examples, with the reason for which a pair is refused.
var examplePairs = []struct {
	model, rules string
	objects      bool
	refused      string
}{
	{"basic_model", "basic_policy", false, ""},
	{"basic_model", "basic_inverse_policy", false, ""},
	{"basic_model_without_spaces", "basic_policy", false, ""},
	{"basic_with_root_model", "basic_policy", false, ""},
	{"basic_without_users_model", "basic_without_users_policy", false, ""},
	{"basic_without_resources_model", "basic_without_resources_policy", false, ""},
	{"comment_model", "basic_policy", false, ""},
	{"rbac_model", "rbac_policy", false, ""},
	{"rbac_model", "rbac_with_hierarchy_policy", false, ""},
	{"rbac_model_in_multi_line", "rbac_policy", false, ""},
	{"rbac_model_matcher_using_in_op", "rbac_policy", false, ""},
	{"rbac_model_matcher_using_in_op_bracket", "rbac_policy", false, ""},
	{"rbac_with_resource_roles_model", "rbac_with_resource_roles_policy", false, ""},
	{"rbac_with_domains_model", "rbac_with_domains_policy", false, ""},
	{"rbac_with_domains_model", "rbac_with_domains_policy2", false, ""},
	{"rbac_with_domains_model", "rbac_with_hierarchy_with_domains_policy", false, ""},
	{"rbac_with_deny_model", "rbac_with_deny_policy", false, ""},
	{"rbac_with_not_deny_model", "rbac_with_deny_policy", false, ""},
	{"rbac_with_pattern_model", "rbac_with_pattern_policy", false, ""},
	{"rbac_with_all_pattern_model", "rbac_with_all_pattern_policy", false, ""},
	{"rbac_with_domain_pattern_model", "rbac_with_domain_pattern_policy", false, ""},
	{"keymatch_model", "keymatch_policy", false, ""},
	{"keymatch2_model", "keymatch2_policy", false, ""},
	{"keymatch_custom_model", "keymatch2_policy", false, "unknown function"},
	{"keymatch_with_rbac_in_domain", "keymatch_with_rbac_in_domain", false, ""},
	{"keyget_model", "keymatch_policy", false, ""},
	{"keyget2_model", "keymatch2_policy", false, ""},
	{"glob_model", "glob_policy", false, ""},
	{"ipmatch_model", "ipmatch_policy", false, ""},
	{"priority_model", "priority_policy", false, ""},
	{"priority_model", "priority_indeterminate_policy", false, "eft must be"},
	{"priority_model_explicit", "priority_policy_explicit", false, ""},
	{"priority_model_explicit_customized", "priority_policy_explicit_customized", false, ""},
	{"priority_model_enforce_context", "priority_policy_enforce_context", false, "r2 is not enforced"},
	{"subject_priority_model", "subject_priority_policy", false, ""},
	{"subject_priority_model_with_domain", "subject_priority_policy_with_domain", false, ""},
	{"rebac_model", "rebac_policy", false, ""},
	{"orbac_model", "orbac_policy", false, ""},
	{"abac_rule_model", "abac_rule_policy", true, ""},
	{"eval_operator_model", "eval_operator_policy", true, ""},
	{"pbac_model", "pbac_policy", true, ""},
	{"object_conditions_model", "object_conditions_policy", true, "cannot be read"},
	{"abac_model", "basic_policy", true, "does not read p"},
	{"abac_not_using_policy_model", "abac_rule_effect_policy", true, "does not read p"},
	{"biba_model", "basic_policy", false, "does not read p"},
	{"blp_model", "basic_policy", false, "does not read p"},
	{"lbac_model", "basic_policy", false, "does not read p"},
	{"syntax_matcher_model", "basic_policy", false, "does not read p"},
	{"multiple_policy_definitions_model", "multiple_policy_definitions_policy", true, "r2 is not enforced"},
	{"rbac_with_multiple_policy_model", "rbac_with_multiple_policy_policy", false, "p2 is not enforced"},
	{"rbac_with_different_types_of_roles_model", "rbac_with_different_types_of_roles_policy", false, "conditional roles"},
	{"rbac_with_temporal_roles_model", "rbac_with_temporal_roles_policy", false, "conditional roles"},
	{"rbac_with_domain_temporal_roles_model", "rbac_with_domain_temporal_roles_policy", false, "conditional roles"},
	{"rbac_with_domains_conditional_model", "rbac_with_domains_conditional_policy", false, "conditional roles"},
}

func casbinExamples(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/casbin/casbin/v2").Output()
	if err != nil {
		t.Fatalf("find casbin's examples: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "examples")
}

// TestCasbinExamples compares casbin's own examples, over all combinations of the values that they name.
func TestCasbinExamples(t *testing.T) {
	dir := casbinExamples(t)
	counts := map[string]int{}
	for _, pair := range examplePairs {
		t.Run(pair.model+"/"+pair.rules, func(t *testing.T) {
			modelText, rules := readFile(t, dir, pair.model+".conf"), readFile(t, dir, pair.rules+".csv")
			o, problems, err := newOracle(modelText, rules, pair.objects)
			if err != nil {
				t.Fatal(err)
			}
			if pair.refused != "" {
				if !strings.Contains(problems.Error(), pair.refused) {
					t.Errorf("want a problem with %q, got:\n%v", pair.refused, problems)
				}
				t.Logf("refused: %v", problems)
				counts["pairs refused"]++
				return
			}
			if len(problems) > 0 {
				t.Fatalf("refused:\n%v", problems)
			}
			counts["pairs compared"]++
			for _, values := range enumerate(o, rules, pair.objects) {
				outcome, difference := o.compare(t.Context(), values)
				if difference != "" {
					t.Fatalf("%q: %s", values, difference)
				}
				counts[outcome]++
			}
		})
	}
	t.Logf("%v", counts)
	if counts["pairs compared"] < 36 || counts[agreed] < 20000 || counts[stricter] > counts[agreed]/20 {
		t.Errorf("too little was compared: %v", counts)
	}
}

func readFile(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// enumerate returns requests made of the values that the rules name and a few others: all of them, or a fixed choice.
func enumerate(o *oracle, rules string, objects bool) [][]any {
	if objects {
		return objectRequests(o)
	}
	known := map[string]bool{"": true, "nobody": true, "root": true, "/alice_data/x": true, "/foo/bar": true, "192.168.2.1": true, "GET": true, "domain1": true}
	for _, line := range strings.Split(rules, "\n") {
		r := csv.NewReader(strings.NewReader(line))
		r.TrimLeadingSpace = true
		if fields, err := r.Read(); err == nil && !strings.HasPrefix(line, "#") {
			for _, f := range fields[1:] {
				known[f] = true
			}
		}
	}
	var values []any
	for v := range known {
		values = append(values, v)
	}
	slices.SortFunc(values, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	total := 1
	for range o.fields {
		total *= len(values)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var requests [][]any
	for n := range min(total, 4000) {
		if total > 4000 {
			n = random.IntN(total)
		}
		values := slices.Clone(values)
		request := make([]any, len(o.fields))
		for i := range request {
			request[i] = values[n%len(values)]
			n /= len(values)
		}
		requests = append(requests, request)
	}
	return requests
}

func objectRequests(o *oracle) [][]any {
	objects := []any{
		map[string]any{"Age": 20.0, "Role": "admin", "Type": "doc"},
		map[string]any{"Age": 70.0, "Role": "user", "Type": "video"},
		map[string]any{"Age": 17.0, "Role": "admin", "Type": "video"},
		map[string]any{"Age": 18.0},
		map[string]any{"Role": "admin", "Type": "doc"},
		"admin", "users", "/data1", "/data2", "alice",
	}
	acts := []any{"read", "write", "play", "x"}
	var requests [][]any
	for _, sub := range objects {
		for _, obj := range objects {
			for _, act := range acts {
				requests = append(requests, []any{sub, obj, act})
			}
		}
	}
	return requests
}

// casbin's own functions; patterns on which they panic are not compiled here.
func casbinKeyMatch2(value, pattern string) bool { return util.KeyMatch2(value, pattern) }
func casbinKeyMatch3(value, pattern string) bool { return util.KeyMatch3(value, pattern) }
func casbinKeyMatch4(value, pattern string) bool { return util.KeyMatch4(value, pattern) }
func casbinKeyMatch5(value, pattern string) bool { return util.KeyMatch5(value, pattern) }
