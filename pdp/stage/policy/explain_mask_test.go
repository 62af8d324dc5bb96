package policy

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/request"
)

// TestExplanationsHideCredentials: an explanation ends up in logs and tickets, so it says that a credential was there and not
// which one, in conditions of any form.
func TestExplanationsHideCredentials(t *testing.T) {
	for name, condition := range map[string]string{
		"a condition that is looked up": "r.obj == p.obj",
		"a condition as a whole":        "r.obj != p.obj && !(r.obj == p.obj) ? false : r.obj == p.obj",
	} {
		t.Run(name, func(t *testing.T) {
			p := setup{
				model:   rbacWith(matcher, "g(r.sub, p.sub) && r.act == p.act && "+condition),
				rules:   "p, reader, expected, read\ng, user:corp:alice, reader\n",
				request: map[string]string{"sub": "subject.key", "obj": "request.header.x-api-key", "act": "action"},
			}.mustCompile(t)
			a := asks{sub: alice, act: "read", header: request.Header{{Name: "x-api-key", Value: "hunter2hunter2"}}}
			text := explained(t, p, a, request.ExplainAll)
			if strings.Contains(text, "hunter2") || !strings.Contains(text, "(a credential)") {
				t.Errorf("the explanation:\n%s", text)
			}
		})
	}
}
