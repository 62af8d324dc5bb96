package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/request"
)

// TestLongestWay: a way of as many links as a chain may have is told whole, and the shortest where there are several.
func TestLongestWay(t *testing.T) {
	rules, member := "p, role10, /a, read\n", alice
	names, places := []string{alice}, []string{}
	for i := range maxRoleDepth {
		role := fmt.Sprint("role", i+1)
		rules += "g, " + member + ", " + role + "\n"
		names, places, member = append(names, role), append(places, fmt.Sprintf("%q", fmt.Sprint("policy.csv:", i+2))), role
	}
	ask := asks{sub: alice, obj: "/a", act: "read"}
	for text, want := range map[string]string{
		rules:                        "  g(): " + strings.Join(names, " > ") + " by [" + strings.Join(places, " ") + "]\n",
		rules + "g, role1, role10\n": "  g(): " + alice + " > role1 > role10 by [\"policy.csv:2\" \"policy.csv:12\"]\n",
	} {
		if got := explained(t, setup{rules: text}.mustCompile(t), ask, request.ExplainDecision); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
