package upstream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

func dash() *string { s := "-"; return &s }

// orders is the service of most tests.
func orders() *format.Service {
	return &format.Service{
		Name: "orders", File: &format.File{Path: "services/orders/service.yaml"},
		Routes: []format.Route{{Path: "/orders/{id}"}, {Path: "/health"}},
		Upstream: format.Upstream{
			Headers: map[string]format.Attribute{
				"x-durward-subject": {Name: "subject.id"},
				"x-durward-tenant":  {Name: "subject.tenant"},
				"x-durward-roles":   {Name: "subject.roles"},
				"x-user-kind":       {Name: "subject.kind", Missing: dash()},
				"x-groups":          {Name: "claims.groups"},
				"x-order":           {Name: "params.id"},
				"x-client-dn":       {Name: "client.certificate.subject"},
				"x-trace":           {Name: "request.header.trace"},
			},
			Remove: []string{"Authorization"},
		},
	}
}

func alice() subject.Subject {
	return subject.Subject{Key: "user:corp:alice", Kind: subject.KindUser, ID: "alice", Tenant: "acme", Roles: []string{"reader", "Domain Users"}}
}

func compile(t testing.TB, s *format.Service) *part {
	t.Helper()
	compiled, problems := New(Options{}).Compile(&format.Bundle{}, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return compiled.(*part)
}

func newCase(p *part, s subject.Subject, h request.Header) *pipeline.Case {
	return &pipeline.Case{
		Facts: attribute.Facts{
			Request: &request.Request{Header: h}, Subject: s,
			Match: route.Match{Params: []route.Param{{Name: "id", Value: "7"}}},
		},
		Service: &pipeline.Service{Parts: map[string]any{name: p}},
		Verdict: verdict.Verdict{DecisionID: "d1"},
	}
}

// evaluate returns what the API behind receives of the client's headers and the obligations, by the rules of a
// gateway that sets first and removes afterwards; a nil map when the case stopped.
func evaluate(t testing.TB, c *pipeline.Case) map[string]string {
	t.Helper()
	outcome, err := New(Options{}).Evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if outcome != pipeline.Continue {
		return nil
	}
	got := map[string]string{}
	for _, f := range c.Request.Header {
		got[strings.ToLower(f.Name)] = f.Value
	}
	o := &c.Verdict.Obligations
	for _, f := range o.SetUpstream {
		if contains(o.RemoveUpstream, f.Name) {
			t.Errorf("%s is set and removed", f.Name)
		}
		if f.Value == "" || f.Name != strings.ToLower(f.Name) {
			t.Errorf("sets %q: %q", f.Name, f.Value)
		}
		got[f.Name] = f.Value
	}
	for _, n := range o.RemoveUpstream {
		delete(got, strings.ToLower(n))
	}
	return got
}

func TestHeaders(t *testing.T) {
	p := compile(t, orders())
	c := newCase(p, alice(), request.Header{{Name: "authorization", Value: "Bearer x"}, {Name: "accept", Value: "*/*"}})
	c.Subject.Claims = map[string]any{"groups": []any{"a", "b", 7.0}}
	c.Request.Certificate = &request.Certificate{Subject: "CN=alice,O=Acme"}
	want := map[string]string{
		"x-durward-subject": "alice", "x-durward-tenant": "acme", "x-durward-roles": "reader,Domain Users", "x-user-kind": "user",
		"x-groups": "a,b,7", "x-order": "7", "x-client-dn": "CN=alice,O=Acme", "x-durward-decision-id": "d1", "accept": "*/*",
	}
	if diff := cmp.Diff(want, evaluate(t, c)); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(c.Verdict.Obligations.RemoveUpstream, "x-trace") {
		t.Error("a header whose attribute is missing is not removed")
	}
	if c.Grant != nil || c.Verdict.Effect != verdict.Deny {
		t.Error("the stage granted")
	}
}

// TestAnonymous: on public routes nothing that a client sent passes for an identity.
func TestAnonymous(t *testing.T) {
	s := orders()
	s.Upstream.Headers["x-key"] = format.Attribute{Name: "subject.key"}
	c := newCase(compile(t, s), subject.Anonymous(), request.Header{
		{Name: "x-durward-subject", Value: "mallory"}, {Name: "x-durward-roles", Value: "admin"}, {Name: "x-key", Value: "user:corp:alice"},
		{Name: "x-user-kind", Value: "service"}, {Name: "x-groups", Value: "admin"}, {Name: "x-client-dn", Value: "CN=root"},
		{Name: "x-durward-decision-id", Value: "forged"}, {Name: "x-durward-anything", Value: "1"},
	})
	c.Match.Params = nil
	want := map[string]string{"x-user-kind": "-", "x-durward-decision-id": "d1"}
	if diff := cmp.Diff(want, evaluate(t, c)); diff != "" {
		t.Error(diff)
	}
	c = newCase(compile(t, &format.Service{}), subject.Subject{}, request.Header{{Name: "x-durward-subject", Value: "mallory"}, {Name: "x-durward-decision-id", Value: "x"}})
	c.Verdict.DecisionID = ""
	if diff := cmp.Diff(map[string]string{}, evaluate(t, c)); diff != "" {
		t.Errorf("a service that sets nothing: %s", diff)
	}
}

func TestUnsafeValues(t *testing.T) {
	long := strings.Repeat("a", maxValue)
	tests := []struct {
		name  string
		spoil func(*pipeline.Case)
		want  verdict.Reason
	}{
		{"longest", func(c *pipeline.Case) { c.Subject.ID = long }, ""},
		{"too long", func(c *pipeline.Case) { c.Subject.ID = long + "a" }, verdict.HeaderUnsafe},
		{"line feed", func(c *pipeline.Case) { c.Subject.ID = "a\r\nx-admin: 1" }, verdict.HeaderUnsafe},
		{"NUL", func(c *pipeline.Case) { c.Subject.ID = "a\x00" }, verdict.HeaderUnsafe},
		{"tab", func(c *pipeline.Case) { c.Subject.ID = "a\tb" }, verdict.HeaderUnsafe},
		{"beyond ASCII", func(c *pipeline.Case) { c.Subject.ID = "alicé" }, verdict.HeaderUnsafe},
		{"leading space", func(c *pipeline.Case) { c.Subject.ID = " alice" }, verdict.HeaderUnsafe},
		{"trailing space", func(c *pipeline.Case) { c.Subject.ID = "alice " }, verdict.HeaderUnsafe},
		{"inner space", func(c *pipeline.Case) { c.Subject.ID = "Alice Smith" }, ""},
		{"comma in a list", func(c *pipeline.Case) { c.Subject.Roles = []string{"reader,admin"} }, verdict.HeaderUnsafe},
		{"empty member", func(c *pipeline.Case) { c.Subject.Roles = []string{"reader", ""} }, verdict.HeaderUnsafe},
		{"long list, longest", func(c *pipeline.Case) { c.Subject.Roles = []string{"a", long[2:]} }, ""},
		{"long list", func(c *pipeline.Case) { c.Subject.Roles = []string{"a", long[1:]} }, verdict.HeaderUnsafe},
		{"claim with a comma", func(c *pipeline.Case) { c.Subject.Claims = map[string]any{"groups": "reader,admin"} }, verdict.HeaderUnsafe},
		{"claim of one text", func(c *pipeline.Case) { c.Subject.Claims = map[string]any{"groups": "reader"} }, ""},
		{"empty claim", func(c *pipeline.Case) { c.Subject.Claims = map[string]any{"groups": ""} }, ""},
		{"empty list", func(c *pipeline.Case) { c.Subject.Claims = map[string]any{"groups": []any{}} }, ""},
		{"object", func(c *pipeline.Case) { c.Subject.Claims = map[string]any{"groups": map[string]any{"a": "b"}} }, verdict.HeaderUnsafe},
		{"nested list", func(c *pipeline.Case) { c.Subject.Claims = map[string]any{"groups": []any{[]any{"a"}}} }, verdict.HeaderUnsafe},
		{"repeated header", func(c *pipeline.Case) {
			c.Request.Header = request.Header{{Name: "trace", Value: "1"}, {Name: "trace", Value: "2"}}
		}, verdict.AttributeMany},
	}
	p := compile(t, orders())
	for _, tt := range tests {
		c := newCase(p, alice(), nil)
		tt.spoil(c)
		got := evaluate(t, c)
		if c.Verdict.Reason != tt.want || (got == nil) != (tt.want != "") {
			t.Errorf("%s: got %q, want %q", tt.name, c.Verdict.Reason, tt.want)
		}
		if tt.want != "" && len(c.Verdict.Obligations.SetUpstream) > 0 {
			t.Errorf("%s: obligations of a denial: %v", tt.name, c.Verdict.Obligations)
		}
		if strings.HasPrefix(tt.name, "empty ") && tt.want == "" {
			if _, sent := got["x-groups"]; sent {
				t.Errorf("%s: x-groups is sent empty", tt.name)
			}
		}
	}
}

// TestCVEs holds the classes of published advisories against the stage.
func TestCVEs(t *testing.T) {
	p := compile(t, orders())
	t.Run("header-name-variants", func(t *testing.T) { // CVE-2026-33433, CVE-2026-54763, CVE-2026-29054
		for _, spelling := range []string{
			"x-durward-subject", "X-Durward-Subject", "x_durward_subject", "x-durward_subject", "X_DURWARD-SUBJECT", "x.durward.subject", "x~durward!subject",
			"x_groups", "X-Groups", "x_client-dn", "x_durward_new", "X-Durward-Decision_Id", "x-durward-" + strings.Repeat("a", 300),
			"authorization", "x_original_url", "X-HTTP-Method-Override", "x-http-method", "x-method-override", "x_http_method_override",
			"x-original-uri", "x-original-method", "x-rewrite-url", "X_Rewrite_Url", "x-envoy-auth-partial-body", "x_envoy_auth_partial_body",
		} {
			for who, s := range map[string]subject.Subject{"alice": alice(), "anonymous": subject.Anonymous()} {
				c := newCase(p, s, request.Header{{Name: spelling, Value: "mallory"}, {Name: spelling, Value: "mallory"}, {Name: "x-user", Value: "mine"}})
				got := evaluate(t, c)
				if got["x-user"] != "mine" {
					t.Errorf("%s: a header of the client's own was removed", spelling)
				}
				delete(got, "x-user")
				for name, value := range got {
					if value == "mallory" {
						t.Errorf("%s, %s: reaches the API as %s", who, spelling, name)
					}
				}
				if contains(c.Verdict.Obligations.RemoveUpstream, spelling) != (got[strings.ToLower(spelling)] == "") {
					t.Errorf("%s, %s: %v", who, spelling, c.Verdict.Obligations)
				}
			}
		}
	})
	t.Run("hop-by-hop", func(t *testing.T) { // GHSA-w9mr-28mw-j8hg
		for value, want := range map[string]verdict.Reason{
			"x-durward-subject":            verdict.HeaderInvalid,
			"close, X-Durward-Subject":     verdict.HeaderInvalid,
			"keep-alive,\tx_groups ,close": verdict.HeaderInvalid,
			"x-durward-decision-id":        verdict.HeaderInvalid,
			"X-Durward-Unset":              verdict.HeaderInvalid,
			`"x-groups"`:                   verdict.HeaderInvalid,
			"close":                        "",
			"keep-alive, upgrade":          "",
			"x-other":                      "",
			"":                             "",
		} {
			c := newCase(p, alice(), request.Header{{Name: "connection", Value: "close"}, {Name: "connection", Value: value}})
			evaluate(t, c)
			if c.Verdict.Reason != want {
				t.Errorf("connection: %s: got %q, want %q", value, c.Verdict.Reason, want)
			}
		}
	})
}

func TestCompileProblems(t *testing.T) {
	set := func(name, attr string) func(*format.Service) {
		return func(s *format.Service) { s.Upstream.Headers[name] = format.Attribute{Name: attr} }
	}
	remove := func(names ...string) func(*format.Service) {
		return func(s *format.Service) { s.Upstream.Remove = names }
	}
	empty, control := "", "a\n"
	for name, tt := range map[string]struct {
		build func(*format.Service)
		want  string
	}{
		"sound":             {func(*format.Service) {}, ""},
		"upper case":        {set("X-User", "subject.id"), "is no header name in lower case"},
		"no token":          {set("x user", "subject.id"), "is no header name"},
		"empty name":        {set("", "subject.id"), "is no header name"},
		"pseudo":            {set(":path", "subject.id"), "is no header name"},
		"long name":         {set(strings.Repeat("a", maxName), "subject.id"), "is no header name"},
		"host":              {set("host", "subject.id"), "steers the connection"},
		"framing":           {set("content-length", "subject.id"), "steers the connection"},
		"hop-by-hop":        {set("connection", "subject.id"), "steers the connection"},
		"framing's alias":   {set("transfer_encoding", "subject.id"), "steers the connection"},
		"for proxies":       {set("proxy-authorization", "subject.id"), "steers the connection"},
		"gateway's alias":   {set("x_envoy_internal", "subject.id"), "belong to the gateway"},
		"gateway's own":     {set("x-envoy-internal", "subject.id"), "belong to the gateway"},
		"decision id":       {set("x-durward-decision-id", "subject.id"), "is set to the decision's id"},
		"decision id alias": {set("x-durward-decision_id", "subject.id"), "is set to the decision's id"},
		"override":          {set("x_original-url", "request.path"), "is removed from every request"},
		"alias":             {set("x_groups", "subject.id"), "under the name of another header"},
		"unknown attribute": {set("x-a", "subject.name"), "unknown attribute"},
		"unknown parameter": {set("x-a", "params.order"), "no parameter"},
		"whole object":      {set("x-a", "subject"), "whole object"},
		"empty missing": {func(s *format.Service) {
			s.Upstream.Headers["x-a"] = format.Attribute{Name: "subject.id", Missing: &empty}
		}, "missing must be visible"},
		"unsafe missing": {func(s *format.Service) {
			s.Upstream.Headers["x-a"] = format.Attribute{Name: "subject.id", Missing: &control}
		}, "missing must be visible"},
		"removes a framing header": {remove("Content-Length"), "cannot be removed"},
		"removes no name":          {remove("a b"), "no header name"},
		"removes its alias":        {remove("content_length"), "cannot be removed"},
		"removes what it sets":     {remove("X-Groups"), "cannot be removed as well"},
		"removes an alias":         {remove("x_groups"), "cannot be removed as well"},
		"removes the id":           {remove("x-durward-decision-id"), "cannot be removed as well"},
		"removes twice":            {remove("a", "A"), "stands twice"},
		"removes what always is":   {remove("x-original-url"), ""},
	} {
		s := orders()
		tt.build(s)
		compiled, problems := New(Options{}).Compile(nil, s)
		if tt.want == "" {
			if compiled == nil || len(problems) > 0 {
				t.Errorf("%s: %v", name, problems)
			}
			continue
		}
		if compiled != nil || !strings.Contains(problems.Error(), tt.want) || !strings.HasPrefix(problems.Error(), "services/orders/service.yaml") {
			t.Errorf("%s: got %v, want %q", name, problems, tt.want)
		}
	}
}

func TestNothingCompiled(t *testing.T) {
	for _, parts := range []map[string]any{nil, {name: 1}} {
		c := newCase(nil, alice(), nil)
		c.Service.Parts = parts
		if outcome, err := New(Options{}).Evaluate(context.Background(), c); outcome != pipeline.Stop || !errors.Is(err, errPart) {
			t.Errorf("%v: %v %v", parts, outcome, err)
		}
	}
	if New(Options{}).Name() != name {
		t.Error("the part is kept under another name")
	}
}

func TestAllocations(t *testing.T) {
	p := compile(t, orders())
	c := newCase(p, alice(), request.Header{{Name: "accept", Value: "*/*"}, {Name: "user-agent", Value: "x"}, {Name: "connection", Value: "close"}})
	if got := testing.AllocsPerRun(100, func() {
		c.Verdict.Obligations = verdict.Obligations{}
		if outcome, err := New(Options{}).Evaluate(context.Background(), c); outcome != pipeline.Continue || err != nil {
			t.Fatal(outcome, err)
		}
	}); got > 9 {
		t.Errorf("%v allocations, want at most 9", got)
	}
}

func FuzzUpstream(f *testing.F) {
	f.Add("alice", "reader", "x_durward_subject", "mallory")
	f.Add("a,b", "c,d", "connection", "x-groups")
	f.Add("a\r\nb", "\x00", "X-Durward-Roles", "y")
	p := compile(f, orders())
	f.Fuzz(func(t *testing.T, id, role, sent, value string) {
		s := alice()
		s.ID, s.Roles = id, []string{role, "reader"}
		s.Claims = map[string]any{"groups": role}
		c := newCase(p, s, request.Header{{Name: sent, Value: value}})
		got := evaluate(t, c)
		if got == nil {
			if len(c.Verdict.Obligations.SetUpstream) > 0 || c.Verdict.Reason == "" {
				t.Fatalf("stopped with %+v", c.Verdict)
			}
			return
		}
		for _, field := range c.Verdict.Obligations.SetUpstream {
			if !visible(field.Value) || len(field.Value) > maxValue {
				t.Fatalf("%s: %q", field.Name, field.Value)
			}
		}
		if got["x-durward-roles"] != role+",reader" || strings.Contains(role, ",") || got["x-durward-subject"] != id {
			t.Fatalf("%q %q: %v", id, role, got)
		}
		for _, field := range c.Verdict.Obligations.SetUpstream {
			if folded(field.Name) == folded(sent) && field.Name != strings.ToLower(sent) && !slices.Contains(c.Verdict.Obligations.RemoveUpstream, sent) {
				t.Fatalf("%s passes beside %s", sent, field.Name)
			}
		}
	})
}

// TestCertificateHeadersNeverPass: the API behind must not take a certificate from a header that a client may have sent, in any
// spelling, and no bundle can set one.
func TestCertificateHeadersNeverPass(t *testing.T) {
	p := compile(t, orders())
	var h request.Header
	want := []string{"x-forwarded-client-cert", "client-cert", "client-cert-chain", "x_forwarded_client_cert", "client_cert", "x-forwarded-client_cert"}
	for _, name := range want {
		h = append(h, request.Field{Name: name, Value: "x"})
	}
	c := newCase(p, alice(), h)
	if outcome, err := New(Options{}).Evaluate(t.Context(), c); err != nil || outcome != pipeline.Continue {
		t.Fatalf("outcome %v, %v", outcome, err)
	}
	for _, name := range want {
		if !slices.Contains(c.Verdict.Obligations.RemoveUpstream, name) {
			t.Errorf("%s passes: %q", name, c.Verdict.Obligations.RemoveUpstream)
		}
	}
	s := orders()
	s.Upstream.Headers["client-cert"] = format.Attribute{Name: "subject.id"}
	if _, problems := New(Options{}).Compile(&format.Bundle{}, s); len(problems) != 1 || !strings.Contains(problems[0].Message, "is removed from every request") {
		t.Errorf("setting it: %v", problems)
	}
}
