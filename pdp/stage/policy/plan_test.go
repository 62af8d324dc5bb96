package policy

import (
	"strings"
	"testing"
)

// TestReportNamesWhatIsSlow: guards, policies and candidates alike.
func TestReportNamesWhatIsSlow(t *testing.T) {
	slow := rbacWith(matcher, "(g(r.sub, p.sub) || r.obj + p.obj == p.act) && r.act == p.act ? true : false")
	p := setup{
		model: slow, rules: "p, reader, 7, read\n", next: "p, reader, 7, read\np, reader, 8, read\n",
		guardModel: strings.Replace(slow, "p = sub, obj, act", "p = sub, obj, act, eft", 1), guard: "p, reader, 7, read, deny\n",
		guardRequest: map[string]string{"sub": "subject.key", "obj": "resource.id", "act": "action"},
		extra:        "candidate: {rules: [next.csv]}\n",
	}.mustCompile(t)
	want := []string{"guard fence: the matcher ", "policy main: the matcher ", "candidate of policy main: the matcher "}
	got := p.Report()
	if len(got) != len(want) {
		t.Fatalf("the report is %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("line %d is %q, want %q…", i, got[i], want[i])
		}
	}
	if quick := (setup{rules: "p, user:corp:alice, 7, read\n"}).mustCompile(t).Report(); len(quick) > 0 {
		t.Errorf("an indexed policy is in the report: %q", quick)
	}
}
