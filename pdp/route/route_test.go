package route

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// service returns the decoded form of a service; routes are written "METHOD,METHOD PATH" and named by their path.
func service(name string, hosts []string, routes ...string) *format.Service {
	s := &format.Service{Name: name, File: &format.File{Path: "services/" + name + "/service.yaml"}}
	for _, h := range hosts {
		host, prefix, _ := strings.Cut(h, "/")
		if prefix != "" {
			prefix = "/" + prefix
		}
		s.Match = append(s.Match, format.Match{Host: host, Prefix: prefix})
	}
	for _, r := range routes {
		methods, path, _ := strings.Cut(r, " ")
		s.Routes = append(s.Routes, format.Route{Name: path, Path: path, Methods: strings.Split(methods, ",")})
	}
	return s
}

func compiled(t testing.TB, bundle string, s *format.Service) *Service {
	t.Helper()
	out, problems := Compile(bundle, "r1", s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return out
}

func table(t testing.TB, services ...*Service) *Table {
	t.Helper()
	out, err := NewTable(services)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(host, target string) *request.Request {
	return &request.Request{Method: "GET", Host: host, Target: target}
}

// outcome is a match in one line: the template with its parameters, or the reason.
func outcome(m Match) string {
	if m.Reason != "" {
		return string(m.Reason)
	}
	out := m.Service.Name + " " + m.Route.Template
	for _, p := range m.Params {
		out += fmt.Sprintf(" %s=%s", p.Name, p.Value)
	}
	return out
}

func TestMostSpecificRoute(t *testing.T) {
	s := service("s", []string{"h"},
		"GET /", "GET /a", "GET /a/{x}", "GET,HEAD /a/b", "GET /a/{x}/c", "POST /a/{y}/c", "GET /a/b/d",
		"GET /f/{rest...}", "GET /f/{x}/meta", "GET /dir/", "GET /dir/{x}", "GET /caf%C3%A9", "GET /@me", "GET /u/{id}")
	tab := table(t, compiled(t, "b", s))
	tests := []struct{ method, target, want string }{
		{"GET", "/", "s /"},
		{"GET", "/a", "s /a"},
		{"GET", "/a/", "no_route"},
		{"GET", "/a/7", "s /a/{x} x=7"},
		{"GET", "/a/b", "s /a/b"},
		{"HEAD", "/a/b", "s /a/b"},
		{"HEAD", "/a", "method_not_allowed"}, // GET does not imply HEAD
		{"get", "/a", "method_not_allowed"},
		{"", "/a", "method_not_allowed"},
		{"POST", "/a/b", "method_not_allowed"}, // never a fall to /a/{x}
		{"GET", "/a/b/c", "s /a/{x}/c x=b"},    // of the templates that match the whole path
		{"POST", "/a/b/c", "s /a/{y}/c y=b"},
		{"DELETE", "/a/b/c", "method_not_allowed"},
		{"GET", "/a/b/d", "s /a/b/d"},
		{"GET", "/f/1/meta", "s /f/{x}/meta x=1"},
		{"GET", "/f/1/other", "s /f/{rest...} rest=1/other"},
		{"GET", "/f/1", "s /f/{rest...} rest=1"},
		{"GET", "/f/", "no_route"},
		{"GET", "/f", "no_route"},
		{"GET", "/f/1/", "no_route"}, // a final slash makes another path, not one more value
		{"GET", "/dir/", "s /dir/"},
		{"GET", "/dir", "no_route"},
		{"GET", "/dir/x", "s /dir/{x} x=x"},
		{"GET", "/dir/x/", "no_route"},
		{"GET", "/A", "no_route"},
		{"GET", "/u/a%20b%25c", "s /u/{id} id=a b%c"},
		{"GET", "/u/%41", "s /u/{id} id=A"},
		{"GET", "/u/caf%c3%a9", "s /u/{id} id=café"},
		{"GET", "/caf%c3%a9", "s /caf%C3%A9"},
		{"GET", "/@me", "s /@me"},
		{"GET", "/%40me", "path_ambiguous"}, // the API may or may not take it for /@me
		{"GET", "/%64ir/x", "s /dir/{x} x=x"},
	}
	for _, tt := range tests {
		r := get("h", tt.target)
		r.Method = tt.method
		if got := outcome(tab.Match(r)); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.target, got, tt.want)
		}
	}
	m := tab.Match(&request.Request{Method: "PATCH", Host: "h", Target: "/a/b/c"})
	if diff := cmp.Diff([]string{"GET", "POST"}, m.Allow); diff != "" || m.Service == nil || m.Reason.Status() != 405 || m.Template != "/a/{x}/c" {
		t.Errorf("405 of %+v: allow %s", m, diff)
	}
}

// TestKeptParameters: servers that ignore parameters take /admin;x for /admin, so it is not for the wider template.
func TestKeptParameters(t *testing.T) {
	kept := service("s", []string{"h"}, "GET /admin", "GET /admin/{x}", "GET /cars;v=1/all", "GET /cars/all", "GET /{name}", "GET /{name}/{x}", "GET /f/{rest...}")
	kept.Path.Parameters = "keep"
	tab := table(t, compiled(t, "b", kept))
	for target, want := range map[string]string{
		"/admin":         "s /admin",
		"/admin;x":       "path_ambiguous",
		"/admin%3bx":     "path_ambiguous",
		"/%61dmin;x":     "path_ambiguous",
		"/admin;x/7":     "path_ambiguous",
		"/admin/7;x":     "s /admin/{x} x=7;x",
		"/adm;in":        "s /{name} name=adm;in",
		"/cars;v=1/all":  "s /cars;v=1/all",
		"/cars;v=1/some": "path_ambiguous",
		"/vans;v=1/some": "s /{name}/{x} name=vans;v=1 x=some",
		"/f/a;x/b":       "s /f/{rest...} rest=a;x/b",
	} {
		if got := outcome(tab.Match(get("h", target))); got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

func TestMatchCarriesCanonicalForms(t *testing.T) {
	tab := table(t, compiled(t, "b", service("s", []string{"api.example.com"}, "GET /u/{id}")))
	m := tab.Match(get("API.Example.Com.:443", "/%75/%40?a=/../b?c"))
	if m.Host != "api.example.com" || m.Path != "/u/%40" || m.Query != "a=/../b?c" || m.Reason != "" {
		t.Errorf("got %+v", m)
	}
	if diff := cmp.Diff([]Param{{"id", "@"}}, m.Params); diff != "" {
		t.Error(diff)
	}
	if m.Service.Bundle != "b" || m.Service.Revision != "r1" || !m.Service.TLSRequired || m.Route.Index != 0 || m.Route.Service != m.Service {
		t.Errorf("got %+v of %+v", m.Route, m.Service)
	}
}

func TestServiceSelection(t *testing.T) {
	folded := service("fold", []string{"fold.test/admin"}, "GET /Admin/{x}")
	folded.Path.Case = "insensitive"
	services := []*Service{
		compiled(t, "b1", service("orders", []string{"orders.example.com", "api.example.com/orders"}, "GET /orders/{id}", "GET /health")),
		compiled(t, "b1", service("wide", []string{"api.example.com"}, "GET /{rest...}")),
		compiled(t, "b2", service("wild", []string{"*.example.com"}, "GET /{rest...}")),
		compiled(t, "b2", service("twin", []string{"twin2.test"}, "GET /x")),
		compiled(t, "b1", service("twin", []string{"twin1.test"}, "GET /x")),
		compiled(t, "b1", service("only", []string{"only.test/p/"}, "GET /p", "GET /p/{rest...}")),
		compiled(t, "b1", service("v6", []string{"[2001:db8::1]"}, "GET /x")),
		compiled(t, "b1", folded),
		compiled(t, "b1", service("plain", []string{"fold.test"}, "GET /{rest...}")),
	}
	tests := []struct{ host, target, extension, want string }{
		{"orders.example.com", "/orders/1", "", "orders /orders/{id} id=1"},
		{"orders.example.com", "/other", "", "no_route"}, // an exact host hides *.example.com
		{"api.example.com", "/orders/1", "", "orders /orders/{id} id=1"},
		{"api.example.com", "/orders", "", "no_route"},
		{"api.example.com", "/ordersx", "", "wide /{rest...} rest=ordersx"},
		{"api.example.com", "/health", "", "wide /{rest...} rest=health"},
		{"x.example.com", "/a", "", "wild /{rest...} rest=a"},
		{"x.y.example.com", "/a", "", "no_service"},
		{"example.com", "/a", "", "no_service"},
		{"only.test", "/p", "", "only /p"},
		{"only.test", "/p/q", "", "only /p/{rest...} rest=q"},
		{"only.test", "/q", "", "no_service"},
		{"[2001:DB8:0::1]:8443", "/x", "", "v6 /x"},
		{"fold.test", "/ADMIN/Y", "", "fold /Admin/{x} x=y"},
		{"fold.test", "/administrator", "", "plain /{rest...} rest=administrator"},
		{"", "/x", "", "host_invalid"},
		// The extension wins over the prefix of another, and its host must fit too.
		{"api.example.com", "/orders/1", "wide", "wide /{rest...} rest=orders/1"},
		{"api.example.com", "/orders/1", "b1/wide", "wide /{rest...} rest=orders/1"},
		{"api.example.com", "/orders/1", "b2/wide", "no_service"},
		{"x.example.com", "/orders/1", "wide", "no_service"},
		{"api.example.com", "/health", "orders", "no_service"}, // the prefix is part of the claim
		{"twin1.test", "/x", "twin", "no_service"},             // not unique
		{"twin1.test", "/x", "b1/twin", "twin /x"},
		{"twin1.test", "/x", "b2/twin", "no_service"},
		{"orders.example.com", "/orders/1", "nobody", "no_service"},
		{"orders.example.com", "/orders/1", "-", "no_service"},
	}
	tab := table(t, services...)
	for _, tt := range tests {
		r := get(tt.host, tt.target)
		if tt.extension != "" {
			r.Extensions = map[string]string{ServiceExtension: strings.TrimPrefix(tt.extension, "-")}
		}
		if got := outcome(tab.Match(r)); got != tt.want {
			t.Errorf("%s%s extension %q: got %q, want %q", tt.host, tt.target, tt.extension, got, tt.want)
		}
	}

	for _, tt := range []struct{ host, extension, want string }{
		{"anything.test", "b2/twin", "twin /x"},
		{"twin2.test", "", "no_service"},
		{"a,b", "b2/twin", "host_invalid"},
	} {
		r := get(tt.host, "/x")
		r.Extensions = map[string]string{ServiceExtension: tt.extension}
		r.SelectExtension = true
		if got := outcome(tab.Match(r)); got != tt.want {
			t.Errorf("select extension: %s %q: got %q, want %q", tt.host, tt.extension, got, tt.want)
		}
	}
}

func TestEmptyTables(t *testing.T) {
	var none *Table
	for name, tab := range map[string]*Table{"nil": none, "empty": table(t)} {
		for _, r := range []*request.Request{get("h", "/"), {Operation: &request.Operation{Service: "s", Action: "a"}}} {
			if m := tab.Match(r); m.Reason != verdict.NoService || m.Route != nil {
				t.Errorf("%s table: %+v", name, m)
			}
		}
	}
}

func TestConflicts(t *testing.T) {
	folded := service("f", []string{"h.test/API"})
	folded.Path.Case = "insensitive"
	root := service("two", []string{"h.test"})
	root.Match[0].Prefix = "/"
	tests := []struct {
		name string
		a, b *format.Service
		want []string
	}{
		{"host", service("one", []string{"h.test"}), service("two", []string{"h.test"}), []string{"b1/one", "b2/two", "h.test"}},
		{"root prefix", service("one", []string{"h.test"}), root, []string{"b1/one", "b2/two"}},
		{"wildcard", service("one", []string{"*.h.test"}), service("two", []string{"*.h.test"}), []string{"*.h.test"}},
		{"prefix", service("one", []string{"h.test/a"}), service("two", []string{"h.test/a/"}), []string{"h.test/a"}},
		{"case", service("one", []string{"h.test/Api"}), folded, []string{"b2/f"}},
		{"none", service("one", []string{"h.test", "*.h.test"}), service("two", []string{"h.test/a", "*.i.test"}), nil},
	}
	for _, tt := range tests {
		_, err := NewTable([]*Service{compiled(t, "b1", tt.a), compiled(t, "b2", tt.b)})
		if (err != nil) != (tt.want != nil) {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		for _, w := range tt.want {
			if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not name %s", tt.name, err, w)
			}
		}
	}
	s := compiled(t, "b", service("s", nil))
	if _, err := NewTable([]*Service{s, s}); !errors.Is(err, ErrConflict) {
		t.Errorf("a service twice: %v", err)
	}
}

func TestOperations(t *testing.T) {
	s := service("s", []string{"h"}, "GET /orders/{id}", "GET /invoices/{id}", "POST /orders", "GET /plain", "GET /r1", "GET /r2")
	for i, r := range []struct{ action, kind string }{
		{"read", "order"}, {"read", "invoice"}, {"create", "order"}, {"", ""}, {"twice", "x"}, {"twice", "x"},
	} {
		s.Routes[i].Action = r.action
		if r.kind != "" {
			s.Routes[i].Resource = &format.Resource{Type: r.kind}
		}
	}
	tab := table(t, compiled(t, "b", s))
	tests := []struct {
		op   request.Operation
		want string
	}{
		{request.Operation{Service: "s", Action: "read", ResourceType: "order"}, "s /orders/{id}"},
		{request.Operation{Service: "b/s", Action: "read", ResourceType: "invoice"}, "s /invoices/{id}"},
		{request.Operation{Service: "s", Action: "read"}, "action_unknown"},
		{request.Operation{Service: "s", Action: "read", ResourceType: "other"}, "action_unknown"},
		{request.Operation{Service: "s", Action: "create"}, "s /orders"},
		{request.Operation{Service: "s", Action: "twice", ResourceType: "x"}, "action_unknown"},
		{request.Operation{Service: "s", Action: ""}, "action_unknown"},
		{request.Operation{Service: "s", Action: "GET"}, "action_unknown"},
		{request.Operation{Service: "t", Action: "read"}, "no_service"},
	}
	for _, tt := range tests {
		if got := outcome(tab.Match(&request.Request{Operation: &tt.op})); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.op, got, tt.want)
		}
	}
}

func TestUnmatchedStatus(t *testing.T) {
	for declared, want := range map[int]int{0: 403, 403: 403, 404: 404} {
		s := service("s", []string{"h"}, "GET /a")
		s.Unmatched = declared
		m := table(t, compiled(t, "b", s)).Match(get("h", "/b"))
		if m.Reason != verdict.NoRoute || m.Status != want || m.Service == nil {
			t.Errorf("unmatched %d: %+v", declared, m)
		}
	}
}

func TestCompileProblems(t *testing.T) {
	tests := []struct {
		name  string
		build func(*format.Service)
		want  string // of the one problem; "" for none
	}{
		{"sound", func(*format.Service) {}, ""},
		{"encoded_slash", func(s *format.Service) { s.Path.EncodedSlash = "allow" }, "must be refuse or keep"},
		{"parameters", func(s *format.Service) { s.Path.Parameters = "strict" }, "must be refuse or keep"},
		{"trailing_slash", func(s *format.Service) { s.Path.TrailingSlash = "keep" }, "must be strict or ignore"},
		{"case", func(s *format.Service) { s.Path.Case = "lower" }, "must be sensitive or insensitive"},
		{"unmatched", func(s *format.Service) { s.Unmatched = 200 }, "must be 403 or 404"},
		{"host", func(s *format.Service) { s.Match[0].Host = "a,b" }, "is no host name"},
		{"no host", func(s *format.Service) { s.Match[0].Host = "" }, "is no host name"},
		{"all hosts", func(s *format.Service) { s.Match[0].Host = "*" }, "is no host name"},
		{"inner star", func(s *format.Service) { s.Match[0].Host = "a.*.b" }, "is no host name"},
		{"upper-case host", func(s *format.Service) { s.Match[0].Host = "H.test:80" }, `write "h.test"`},
		{"top-level domain", func(s *format.Service) { s.Match[0].Host = "*.test" }, "whole top-level domain"},
		{"prefix without slash", func(s *format.Service) { s.Match[0].Prefix = "x" }, "must begin with /"},
		{"prefix with an escape", func(s *format.Service) { s.Match[0].Prefix = "/%40" }, "must begin with /"},
		{"prefix with an at", func(s *format.Service) { s.Match[0].Prefix = "/@" }, "must begin with /"},
		{"prefix with dots", func(s *format.Service) { s.Match[0].Prefix = "/a/.." }, "must begin with /"},
		{"prefix of slashes", func(s *format.Service) { s.Match[0].Prefix = "//" }, "must begin with /"},
		{"match twice", func(s *format.Service) { s.Match = append(s.Match, s.Match[0]) }, "stands twice"},
		{"outside the prefix", func(s *format.Service) { s.Match[0].Prefix = "/o" }, "outside every prefix"},
		{"no methods", func(s *format.Service) { s.Routes[0].Methods = nil }, "at least one method"},
		{"lower-case method", func(s *format.Service) { s.Routes[0].Methods = []string{"get"} }, "methods are upper case"},
		{"no token", func(s *format.Service) { s.Routes[0].Methods = []string{"G T"} }, "is no method"},
		{"empty method", func(s *format.Service) { s.Routes[0].Methods = []string{""} }, "is no method"},
		{"CONNECT", func(s *format.Service) { s.Routes[0].Methods = []string{"CONNECT"} }, "CONNECT has no path"},
		{"method twice", func(s *format.Service) { s.Routes[0].Methods = []string{"GET", "GET"} }, "GET stands twice"},
		{"access", func(s *format.Service) { s.Routes[0].Access = "open" }, "must be public"},
		{"purpose", func(s *format.Service) { s.Routes[0].Purpose = "logon" }, "must be login"},
		{"no path", func(s *format.Service) { s.Routes[0].Path = "" }, "does not begin with /"},
		{"relative path", func(s *format.Service) { s.Routes[0].Path = "orders" }, "does not begin with /"},
		{"dot segment", func(s *format.Service) { s.Routes[0].Path = "/a/../b" }, `no canonical path holds the segment ".."`},
		{"empty segment", func(s *format.Service) { s.Routes[0].Path = "/a//b" }, "empty segments have no canonical path"},
		{"lower-case escape", func(s *format.Service) { s.Routes[0].Path = "/caf%c3%a9" }, `its canonical form is "caf%C3%A9"`},
		{"raw letters", func(s *format.Service) { s.Routes[0].Path = "/café" }, "no canonical path"},
		{"half a parameter", func(s *format.Service) { s.Routes[0].Path = "/{id}.json" }, "takes a whole segment"},
		{"unnamed", func(s *format.Service) { s.Routes[0].Path = "/{}" }, "is no name"},
		{"dotted name", func(s *format.Service) { s.Routes[0].Path = "/{a.b}" }, "is no name"},
		{"nested", func(s *format.Service) { s.Routes[0].Path = "/{{a}}" }, "is no name"},
		{"name twice", func(s *format.Service) { s.Routes[0].Path = "/{a}/{a}" }, "stands twice"},
		{"rest inside", func(s *format.Service) { s.Routes[0].Path = "/{a...}/b" }, "must be the last"},
		{"rest and slash", func(s *format.Service) { s.Routes[0].Path = "/{a...}/" }, "must be the last"},
		{"encoded slash", func(s *format.Service) { s.Routes[0].Path = "/a%2Fb" }, "path options refuse"},
		{"same shape", func(s *format.Service) { s.Routes[0].Path = "/orders/{other}" }, "same shape and method as route"},
		{"many segments", func(s *format.Service) { s.Routes[0].Path = strings.Repeat("/a", 65) }, "longer than"},
		{"many parameters", func(s *format.Service) {
			s.Routes[0].Path = ""
			for i := range 17 {
				s.Routes[0].Path += fmt.Sprintf("/{p%d}", i)
			}
		}, "more than 16"},
		{"final slash ignored", func(s *format.Service) { s.Path.TrailingSlash = "ignore"; s.Routes[0].Path = "/a/" }, "no canonical path ends in /"},
	}
	for _, tt := range tests {
		s := service("s", []string{"h.test"}, "GET /a", "GET,POST /orders/{id}")
		tt.build(s)
		got, problems := Compile("b", "r", s)
		if tt.want == "" {
			if got == nil || len(problems) > 0 {
				t.Errorf("%s: %v", tt.name, problems)
			}
			continue
		}
		first := ""
		if len(problems) > 0 {
			first = problems[0].Error()
		}
		if got != nil || !strings.Contains(first, tt.want) || !strings.HasPrefix(first, "services/s/service.yaml") {
			t.Errorf("%s: got %v, want %q", tt.name, problems, tt.want)
		}
	}
}

func TestParams(t *testing.T) {
	got, err := Params("/a/{id}/b/{rest...}")
	if diff := cmp.Diff([]string{"id", "rest"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if got, err := Params("/a"); got == nil || len(got) != 0 || err != nil {
		t.Errorf("no parameters: %v %v, want a list that is not nil", got, err)
	}
	if _, err := Params("/{"); !errors.Is(err, ErrTemplate) {
		t.Error(err)
	}
}

func TestMatchAllocations(t *testing.T) {
	tab := table(t, compiled(t, "b", service("s", []string{"api.example.com"}, "GET /health", "GET /a/{x}/c", "GET /a/{x}/{rest...}")))
	for _, tt := range []struct {
		host, target string
		want         float64
	}{
		{"api.example.com", "/health?x=1", 0},
		{"api.example.com:443", "/health", 0},
		{"api.example.com", "/a/b/c", 1},    // the parameters
		{"API.example.com", "/a/b/d/e", 2},  // and the host
		{"api.example.com", "/a/%41b/c", 2}, // the parameters and the path
		{"api.example.com", "/a/../b", 0},   // refusals cost nothing
		{"a,b", "/health", 0},
		{"api.example.com", strings.Repeat("/a%", 2000), 0},
		{"api.example.com", "/" + strings.Repeat("a", 9000), 0},
	} {
		r := get(tt.host, tt.target)
		if got := testing.AllocsPerRun(100, func() { tab.Match(r) }); got != tt.want {
			t.Errorf("%s%.20s: %v allocations, want %v", tt.host, tt.target, got, tt.want)
		}
	}
}
