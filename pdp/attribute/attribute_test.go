package attribute

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
)

var instant = time.Date(2026, 1, 1, 12, 0, 0, 500e6, time.UTC)

// full has a value for every attribute.
func full() *Facts {
	service := &route.Service{Bundle: "acme", Name: "orders"}
	return &Facts{
		Request: &request.Request{
			Adapter: "ext_authz", Method: "GET", Protocol: "HTTP/2", Host: "ORDERS.example.com:443", Target: "/raw",
			Header: request.Header{{Name: "x-one", Value: "1"}, {Name: "x-empty", Value: ""}, {Name: "x-two", Value: "a"}, {Name: "x-two", Value: "b"}},
			Body:   request.Body{Size: 1500},
			Client: netip.MustParseAddr("2001:db8::7"),
			Certificate: &request.Certificate{
				Subject: "CN=orders", URIs: []string{"spiffe://a"}, DNSNames: []string{"a.local", "b.local"}, Emails: []string{"a@local"},
			},
			Extensions: map[string]string{"team": "blue"},
		},
		Match: route.Match{
			Service: service, Route: &route.Route{Service: service, Name: "read-order", Template: "/orders/{id}"},
			Params: []route.Param{{Name: "id", Value: "7"}, {Name: "tenant", Value: "t1"}},
			Host:   "orders.example.com", Path: "/orders/7",
			Query: "one=1&two=a&two=b&empty=&plus=a+b&esc=%26&semi=a;b&flag&seen=1;hidden=2&na%6de=x",
		},
		Subject: subject.Subject{
			Key: "user:corp:alice", Kind: "user", Authenticator: "corp", ID: "alice", Issuer: "https://idp", Tenant: "t1",
			Roles: []string{"reader", "writer"}, Scopes: []string{"orders:read"}, ACR: "mfa", AMR: []string{"otp", "pwd"}, AuthTime: instant.Add(-time.Minute),
			Claims: map[string]any{
				"dept": "sales", "level": 3.0, "ratio": 0.25, "vip": true, "no": false, "nothing": nil, "big": 1e21, "large": 1e17, "negative": -4.0,
				"groups": []any{"a", 2.0, true}, "nested": map[string]any{"a": map[string]any{"b": "deep"}}, "mixed": []any{"a", map[string]any{}}, "empty": "",
			},
		},
		Action:   "orders:read",
		Resource: Resource{Type: "order", ID: "7", Properties: map[string]string{"tenant": "t1"}},
		Now:      instant,
	}
}

// want is what an attribute yields: its text, its list, or neither.
type want struct {
	presence Presence
	text     string
	list     []string
}

func one(s string) want     { return want{Present, s, []string{s}} }
func many(s ...string) want { return want{Present, "", s} }
func nothing() want         { return want{presence: Missing} }
func ambiguous() want       { return want{presence: Ambiguous} }
func object() want          { return want{presence: Present} }
func got(a Accessor, f *Facts) want {
	v, p := a.Get(f)
	text, _ := v.Text()
	list, _ := v.List()
	if p != Present {
		text, list = "", nil
	}
	return want{p, text, list}
}

var values = map[string]want{
	"subject.key": one("user:corp:alice"), "subject.id": one("alice"), "subject.issuer": one("https://idp"), "subject.kind": one("user"),
	"subject.tenant": one("t1"), "subject.roles": many("reader", "writer"), "subject.scopes": many("orders:read"), "subject.acr": one("mfa"),
	"subject.amr": many("otp", "pwd"), "subject.auth_time": one("2026-01-01T11:59:00Z"),
	"claims.dept": one("sales"), "claims.level": one("3"), "claims.ratio": one("0.25"), "claims.vip": one("true"), "claims.no": one("false"),
	"claims.nothing": nothing(), "claims.absent": nothing(), "claims.big": one("1e+21"), "claims.large": one("1e+17"), "claims.negative": one("-4"),
	"claims.groups": many("a", "2", "true"), "claims.nested.a.b": one("deep"), "claims.nested.a": object(), "claims.nested.x.b": nothing(),
	"claims.dept.x": nothing(), "claims.mixed": object(), "claims.empty": one(""),
	"action": one("orders:read"), "resource.type": one("order"), "resource.id": one("7"),
	"resource.properties.tenant": one("t1"), "resource.properties.absent": nothing(),
	"request.method": one("GET"), "request.host": one("orders.example.com"), "request.path": one("/orders/7"), "request.size": one("1500"),
	"request.protocol": one("HTTP/2"), "request.time": one("2026-01-01T12:00:00Z"),
	"request.query.one": one("1"), "request.query.two": ambiguous(), "request.query.empty": one(""), "request.query.plus": one("a b"),
	"request.query.esc": one("&"), "request.query.semi": ambiguous(), "request.query.hidden": ambiguous(), "request.query.flag": one(""), "request.query.name": one("x"), "request.query.absent": nothing(),
	"request.header.x-one": one("1"), "request.header.X-One": one("1"), "request.header.x-empty": one(""), "request.header.x-two": ambiguous(), "request.header.x-absent": nothing(),
	"route.name": one("read-order"), "route.service": one("orders"), "route.template": one("/orders/{id}"),
	"params.id": one("7"), "params.tenant": one("t1"), "params.absent": nothing(),
	"client.address": one("2001:db8::7"), "client.network": one("2001:db8::/64"), "client.certificate.subject": one("CN=orders"),
	"client.certificate.sans": many("spiffe://a", "a.local", "b.local", "a@local"),
	"adapter":                 one("ext_authz"), "extensions.team": one("blue"), "extensions.absent": nothing(),
	"subject": object(), "resource": object(), "request": object(), "claims": object(),
}

func TestValues(t *testing.T) {
	for name, w := range values {
		t.Run(name, func(t *testing.T) {
			a, err := Compile(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a.Name() != name || !a.Valid() {
				t.Errorf("name %q, valid %v", a.Name(), a.Valid())
			}
			if diff := cmp.Diff(w, got(a, full()), cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMissing: without a value nothing is present, so that no rule compares with "". What every request has is the exception.
func TestMissing(t *testing.T) {
	always := map[string]bool{"request.time": true, "request.size": true, "subject": true, "resource": true, "request": true}
	for name := range values {
		a, err := Compile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, p := a.Get(&Facts{Request: &request.Request{}})
		if (p == Present) != always[name] {
			t.Errorf("%s = %v, presence %d, from nothing", name, v.Any(), p)
		}
		if always[name] {
			continue
		}
		if text := got(a.WithMissing("-"), &Facts{Request: &request.Request{}}).text; text != "-" {
			t.Errorf("%s with a substitute = %q", name, text)
		}
	}
	a, err := Compile("request.query.two", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, p := a.WithMissing("-").Get(full()); p != Ambiguous {
		t.Error("a substitute stands in for an ambiguous value")
	}
	if _, p := a.Get(&Facts{Request: &request.Request{}, Match: route.Match{Query: "x=%zz&two=1&%zz=1"}}); p != Ambiguous {
		t.Error("a query with broken escapes is not ambiguous")
	}
	if _, p := (Accessor{}).Get(full()); p != Missing || (Accessor{}).Valid() {
		t.Error("the zero accessor has a value")
	}
	size, err := Compile("request.size", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, p := size.Get(&Facts{Request: &request.Request{Body: request.Body{Size: -1}}}); p != Missing {
		t.Error("an unknown size is present")
	}
}

// TestEveryDocumentedName takes the names from the format's document.
func TestEveryDocumentedName(t *testing.T) {
	text, err := os.ReadFile("../../docs/design/bundle.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Attributes\n")
	if !ok {
		t.Fatal("no section about attributes")
	}
	_, section, _ = strings.Cut(section, "explanations:")
	section, _, ok = strings.Cut(section, "\n- ")
	if !ok {
		t.Fatal("no list of names")
	}
	documented := map[string]bool{}
	for _, group := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(section, -1) {
		prefix, members, braces := strings.Cut(strings.TrimSuffix(group[1], "}"), "{")
		if !braces {
			members = ""
		}
		for member := range strings.SplitSeq(members, ",") {
			documented[regexp.MustCompile(`<[a-z]+>`).ReplaceAllString(prefix+member, "x")] = true
		}
	}
	if len(documented) < 30 {
		t.Fatalf("only %d names: %v", len(documented), documented)
	}
	for name := range documented {
		if _, err := Compile(name, nil); err != nil {
			t.Errorf("documented, but: %v", err)
		}
	}
	for name := range fixed {
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	for _, family := range families {
		if !documented[family.prefix+"x"] {
			t.Errorf("%sNAME is not documented", family.prefix)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for name, hint := range map[string]string{
		"": "", "subject.tennant": `did you mean "subject.tenant"?`, "Subject.key": `did you mean "subject.key"?`, "client.adress": `did you mean "client.address"?`,
		"claims.": "needs a name", "claims..a": "needs a name", "claims.a..b": "needs a name", "claims.a.": "needs a name", "params.": "needs a name", "request.header.": "needs a name",
		"params.other": "the path has no parameter {other}", "nonsense.entirely": "", strings.Repeat("a", 1000): "", "request.body": "",
	} {
		a, err := Compile(name, []string{"id"})
		if !errors.Is(err, ErrUnknown) || a.Valid() {
			t.Errorf("Compile(%q) = %v, %v", name, a, err)
			continue
		}
		if !strings.Contains(err.Error(), hint) || hint == "" && strings.Contains(err.Error(), "did you mean") {
			t.Errorf("Compile(%q): %v, want %q", name, err, hint)
		}
	}
	if _, err := Compile("params.id", []string{"id"}); err != nil {
		t.Error(err)
	}
	if _, err := Compile("params.id", []string{}); err == nil {
		t.Error("a parameter of a path without parameters compiles")
	}
}

func TestKinds(t *testing.T) {
	for name, w := range map[string][3]bool{ // object, client, subject
		"subject": {true, false, true}, "resource": {true}, "request": {true}, "claims": {true, false, true},
		"subject.key": {false, false, true}, "claims.a": {false, false, true},
		"client.address": {false, true}, "client.network": {false, true}, "client.certificate.subject": {}, "action": {}, "params.subject": {},
	} {
		a, err := Compile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]bool{a.IsObject(), a.UsesClient(), a.UsesSubject()}; got != w {
			t.Errorf("%s: object, client, subject = %v, want %v", name, got, w)
		}
	}
}

// TestLists: the attributes that are lists by nature, and no other, have members, the same as their value.
func TestLists(t *testing.T) {
	for _, f := range []*Facts{full(), {Request: &request.Request{}}} {
		for name := range fixed {
			a, err := Compile(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			value, presence := a.Get(f)
			_, isList := value.v.([]string)
			if isList && !a.IsList() || presence == Present && isList != a.IsList() {
				t.Errorf("%s: %v is a list: %v", name, value, a.IsList())
			}
			members, _ := value.List()
			if !isList {
				members = nil
			}
			if diff := cmp.Diff(members, a.Members(f)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestObjects(t *testing.T) {
	read := func(name string, f *Facts) any {
		a, err := Compile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := a.Get(f)
		return v.Any()
	}
	for name, w := range map[string]any{
		"subject": map[string]any{
			"key": "user:corp:alice", "id": "alice", "issuer": "https://idp", "kind": "user", "tenant": "t1", "acr": "mfa",
			"roles": []any{"reader", "writer"}, "scopes": []any{"orders:read"}, "amr": []any{"otp", "pwd"}, "auth_time": float64(instant.Unix() - 60),
		},
		"resource": map[string]any{"type": "order", "id": "7", "properties": map[string]any{"tenant": "t1"}},
		"request": map[string]any{
			"method": "GET", "host": "orders.example.com", "path": "/orders/7", "protocol": "HTTP/2", "size": 1500.0, "time": float64(instant.Unix()) + 0.5,
		},
		"subject.auth_time": float64(instant.Unix() - 60),
		"subject.roles":     []any{"reader", "writer"},
	} {
		if diff := cmp.Diff(w, read(name, full())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	anonymous := &Facts{Request: &request.Request{}, Subject: subject.Anonymous()}
	if diff := cmp.Diff(map[string]any{"key": "anonymous", "kind": "anonymous"}, read("subject", anonymous)); diff != "" {
		t.Errorf("anonymous (-want +got):\n%s", diff)
	}
}

func TestResourceTemplate(t *testing.T) {
	compile := func(name string) Accessor {
		a, err := Compile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tc := range []struct {
		name      string
		template  *ResourceTemplate
		facts     *Facts
		want      Resource
		ambiguous string
	}{
		{"the route itself", nil, full(), Resource{Type: "route", ID: "/orders/{id}", Properties: map[string]string{"id": "7", "tenant": "t1"}}, ""},
		{"no route", nil, &Facts{Request: &request.Request{}}, Resource{Type: "route", Properties: map[string]string{}}, ""},
		{"a template", &ResourceTemplate{Type: "order", ID: compile("params.id"), Properties: map[string]Accessor{
			"owner": compile("request.header.x-one"), "absent": compile("request.query.absent"), "list": compile("client.certificate.sans"),
		}}, full(), Resource{Type: "order", ID: "7", Properties: map[string]string{"owner": "1"}}, ""},
		{"missing id", &ResourceTemplate{Type: "order", ID: compile("params.absent")}, full(), Resource{Type: "order", Properties: map[string]string{}}, ""},
		{"ambiguous id", &ResourceTemplate{ID: compile("request.query.two")}, full(), Resource{Properties: map[string]string{}}, "request.query.two"},
		{"ambiguous property", &ResourceTemplate{ID: compile("params.id"), Properties: map[string]Accessor{"p": compile("request.header.x-two")}}, full(),
			Resource{ID: "7", Properties: map[string]string{}}, "request.header.x-two"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.template.Resolve(tc.facts); got != tc.ambiguous {
				t.Errorf("ambiguous = %q, want %q", got, tc.ambiguous)
			}
			if diff := cmp.Diff(tc.want, tc.facts.Resource); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzCompile: no name and no query panics, and a name that compiles reads the same twice.
func FuzzCompile(f *testing.F) {
	for name := range values {
		f.Add(name, "a=1&b=2")
	}
	f.Add("request.query.a", "a=%zz&a=1;b")
	f.Fuzz(func(t *testing.T, name, query string) {
		a, err := Compile(name, nil)
		if err != nil {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("error %v", err)
			}
			return
		}
		facts := full()
		facts.Match.Query = query
		if diff := cmp.Diff(got(a, facts), got(a, facts), cmp.AllowUnexported(want{})); diff != "" {
			t.Error(diff)
		}
	})
}
