package format

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const bundleYAML = `format: 1
requires: "1.0"
name: acme
authenticators:
  corp:
    kind: jwt
    issuer: https://idp.example.com
    algorithms: [RS256, ES256]
    jwks: {file: keys/corp.jwks.json}
    leeway: 30s
    max_lifetime: 24h
    roles: {from: realm_access.roles, allow: [reader, writer]}
guards: []
record: {headers: [user-agent], params: [id]}
`

const serviceYAML = `service: orders
match:
  - {host: orders.example.com}
  - host: api.example.com
    prefix: /orders
identity: {mode: required, accept: [corp], audiences: [orders-api]}
policies:
  - name: main
    model: model.conf
    rules: [policy.csv]
    request: {sub: subject.key, ten: {attr: subject.tenant, missing: "-"}}
defaults: {body: {max: 64KiB, types: [application/json]}}
limit_definitions:
  per-address: {rate: 1000/min, by: [client.network], cost: 2}
  by.dots[0]:
    rate: 5/30s
    cost: request.size
    shadow: true
routes:
  - {name: read, path: "/orders/{id}", methods: [GET]}
  - name: write
    path: /orders/{id}
    methods:
      - POST
    same: [subject.tenant, params.tenant]
unmatched: 404
`

const limitsYAML = `limit_definitions:
  a:
    when: {request.method: [POST, PUT], subject.kind: user, claims.level: 3, claims.beta: true, subject.roles: {contains: trial, not: [x], present: true}, claims.plan: {is: []}}
    by_class: {of: subject.roles, first_of: [{gold: 1000/min}, {silver: {rate: 300/min, burst: 15}}], otherwise: 100/min}
`

// TestDecodeLimits: conditions and the rates of classes have short forms.
func TestDecodeLimits(t *testing.T) {
	var got Service
	if problems := Decode(&File{Path: "service.yaml", Data: []byte(limitsYAML)}, &got); problems != nil {
		t.Fatal(problems)
	}
	here := true
	want := Service{LimitDefinitions: map[string]Limit{"a": {
		When: map[string]condition{
			"request.method": {Is: values{"POST", "PUT"}},
			"subject.kind":   {Is: values{"user"}},
			"claims.level":   {Is: values{int64(3)}},
			"claims.beta":    {Is: values{true}},
			"subject.roles":  {Contains: values{"trial"}, Not: values{"x"}, Present: &here},
			"claims.plan":    {Is: values{}},
		},
		ByClass: &byClass{
			Of:        "subject.roles",
			FirstOf:   []map[string]classRate{{"gold": {Rate: Rate{Count: 1000, Window: time.Minute}}}, {"silver": {Rate: Rate{Count: 300, Window: time.Minute}, Burst: 15}}},
			Otherwise: classRate{Rate: Rate{Count: 100, Window: time.Minute}},
		},
	}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(File{})); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeBundle(t *testing.T) {
	var got Bundle
	if problems := Decode(&File{Path: "bundle.yaml", Data: []byte(bundleYAML)}, &got); problems != nil {
		t.Fatal(problems)
	}
	want := Bundle{
		Format: 1, Requires: "1.0", Name: "acme",
		Authenticators: map[string]Authenticator{"corp": {
			Kind: "jwt", Issuer: "https://idp.example.com", Algorithms: []string{"RS256", "ES256"},
			JWKS: JWKS{File: "keys/corp.jwks.json"}, Leeway: Duration(30 * time.Second), MaxLifetime: Duration(24 * time.Hour),
			Roles: &Roles{From: "realm_access.roles", Allow: []string{"reader", "writer"}},
		}},
		Guards: []Policy{},
		Record: Record{Headers: []string{"user-agent"}, Params: []string{"id"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeService(t *testing.T) {
	var got Service
	if problems := Decode(&File{Path: "service.yaml", Data: []byte(serviceYAML)}, &got); problems != nil {
		t.Fatal(problems)
	}
	dash := "-"
	want := Service{
		Name:     "orders",
		Match:    []Match{{Host: "orders.example.com"}, {Host: "api.example.com", Prefix: "/orders"}},
		Identity: Identity{Mode: "required", Accept: []string{"corp"}, Audiences: []string{"orders-api"}},
		Policies: []Policy{{Name: "main", Model: "model.conf", Rules: []string{"policy.csv"},
			Request: map[string]Attribute{"sub": {Name: "subject.key"}, "ten": {Name: "subject.tenant", Missing: &dash}}}},
		Defaults: Defaults{Body: &Body{Max: new(Size(64 << 10)), Types: []string{"application/json"}}},
		LimitDefinitions: map[string]Limit{
			"per-address": {Rate: Rate{Count: 1000, Window: time.Minute}, By: []Attribute{{Name: "client.network"}}, Cost: int64(2)},
			"by.dots[0]":  {Rate: Rate{Count: 5, Window: 30 * time.Second}, Cost: "request.size", Shadow: true},
		},
		Routes: []Route{
			{Name: "read", Path: "/orders/{id}", Methods: []string{"GET"}},
			{Name: "write", Path: "/orders/{id}", Methods: []string{"POST"}, Same: []Attribute{{Name: "subject.tenant"}, {Name: "params.tenant"}}},
		},
		Unmatched: 404,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(File{})); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeProblems holds the first line of every problem of a file, so that none hides another.
func TestDecodeProblems(t *testing.T) {
	for _, test := range []struct{ name, yaml, want string }{
		{"all are reported", "namme: x\nformat: x\nzzzzzzzz: 1\n", `f:1:1: unknown key "namme" (did you mean "name"?)|f:2:9: expected a whole number in plain decimal digits, found the text "x"|f:3:1: unknown key "zzzzzzzz" (known here: format, requires, name, authenticators, guards, limit_definitions, record)`},
		{"repeated key", "name: a\nname: b\n", `f:2:1: the key "name" stands twice; first on line 1`},
		{"repeated in flow", "record: {query: [], query: []}\n", `f:1:21: the key "query" stands twice; first on line 1`},
		{"repeated in quotes", "name: a\n\"name\": b\n", `f:2:1: the key "name" stands twice; first on line 1`},
		{"number for text", "name: 7\n", `f:1:7: expected text, found a number (put it in quotes: "7")`},
		{"exponent for text", "name: 1e3\n", `f:1:7: expected text, found a number (put it in quotes: "1e3")`},
		{"true for text", "name: true\n", `f:1:7: expected text, found true or false (put it in quotes: "true")`},
		{"list for text", "name: [a]\n", `f:1:7: expected text, found a list`},
		{"text for list", "guards: a\n", `f:1:9: expected a list, found the text "a"`},
		{"text for mapping", "record: a\n", `f:1:9: expected a mapping, found the text "a"`},
		{"hexadecimal", "format: 0x10\n", `f:1:9: expected a whole number in plain decimal digits, found "0x10"`},
		{"octal", "format: 010\n", `f:1:9: expected a whole number in plain decimal digits, found "010"`},
		{"separators", "format: 1_000\n", `f:1:9: expected a whole number in plain decimal digits, found "1_000"`},
		{"fraction", "format: 1.0\n", `f:1:9: expected a whole number in plain decimal digits, found "1.0"`},
		{"overflow", "format: 99999999999999999999\n", `f:1:9: expected a whole number in plain decimal digits, found "99999999999999999999"`},
		{"yes for true", "limit_definitions: {a: {shadow: yes}}\n", `f:1:33: expected true or false, found the text "yes"`},
		{"True for true", "limit_definitions: {a: {shadow: True}}\n", `f:1:33: expected true or false, found "True"`},
		{"quoted true", "limit_definitions: {a: {shadow: \"true\"}}\n", `f:1:33: expected true or false, found the text "true"`},
		{"null", "name: ~\n", `f:1:1: a key without a value (remove the key, or write the value; an empty list is [])`},
		{"nothing", "record:\nname: x\n", `f:1:1: a key without a value (remove the key, or write the value; an empty list is [])`},
		{"number as key", "record: {1: a}\n", `f:1:10: a key must be text; put it in quotes`},
		{"exponent as key", "1e3: a\n", `f:1:1: a key must be text; put it in quotes`},
		{"empty key", "'': a\n", `f:1:1: an empty key`},
		{"anchor and alias", "name: &a x\nrequires: *a\n", `f:1:7: ` + notFormat + `|f:2:11: ` + notFormat},
		{"merge key", "<<: {name: x}\n", `f:1:1: ` + notFormat},
		{"tag", "name: !!str 1\n", `f:1:7: ` + notFormat},
		{"complex key", "? name\n: x\n", `f:1:1: ` + notFormat},
		{"directive", "%YAML 1.1\n---\nname: x\n", `f:1:1: ` + notFormat + `|f:2:1: a second document; a file holds one`},
		{"second document", "name: x\n---\nname: y\n", `f:2:1: a second document; a file holds one`},
		{"document's end", "name: x\n...\n", `f:2:1: the mark of a document's end; a file holds one document`},
		{"colon without a space", "record: {headers: [urn:x], query: [\"a\":b], params:[]}\n", `f:1:23: a colon without a space after it: put the text in quotes, or write the space|f:1:50: a colon without a space after it: put the text in quotes, or write the space`},
		{"syntax", "name: [a\n", `f:1:7: not YAML: sequence end token ']' not found`},
		{"a tab as indent", "record:\n\tparams: [id]\n", `f:2:1: not YAML: found character '\t' that cannot start any token (YAML is indented with spaces)`},
		{"dropped by the lexer", "!!!!", `f: cannot be read as YAML to its end`},
		{"empty", "# nothing\n", `f: the file is empty`},
		{"only a document's start", "---\n", `f: the file is empty`},
		{"list at the top", "- a\n", `f:1:1: expected a mapping, found a list`},
		{"not UTF-8", "name: \xff\n", `f:1:7: this byte is not UTF-8`},
		{"byte order mark", "\uFEFFname: x\n", `f:1:1: a byte order mark; save the file as UTF-8 without one`},
		{"NUL", "name: \x00\n", `f:1:7: the control character U+0000`},
		{"escape sequence", "# \x1b[2J\nname: x\n", `f:1:3: the control character U+001B`},
		{"escaped NUL", "name: \"\\0\"\n", `f:1:7: the text holds the control character U+0000`},
		{"right to left", "name: a\u202Eb\n", `f:1:8: the invisible character U+202E, which makes the line read differently from what it says`},
		{"carriage return alone", "name: x\rformat: 1\n", `f:1:8: a carriage return without a line feed; save the file with \n line ends`},
		{"after a Windows line end", "name: x\r\nformat: x\r\n", `f:2:9: expected a whole number in plain decimal digits, found the text "x"`},
		{"after text of several lines", "name: |\n  a\n\n  b\nformat: x\n", `f:5:9: expected a whole number in plain decimal digits, found the text "x"`},
		{"duration", "authenticators: {a: {leeway: 30, max_lifetime: 1h30m}}\n", `f:1:30: "30" is no duration; write a whole number and a unit, as in 30s (ms, s, min, h, d)|f:1:48: "1h30m" is no duration; write a whole number and a unit, as in 30s (ms, s, min, h, d)`},
		{"attribute", "limit_definitions: {a: {by: [5, {attr: x, mising: y}]}}\n", `f:1:30: expected the name of an attribute, found "5"|f:1:43: unknown key "mising" (did you mean "missing"?)`},
		{"deep in flow", "record: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n", `f:1:72: nested deeper than 32 levels`},
		{"deep in blocks", indented(40), `f:1:1: unknown key "a" (known here: format, requires, name, authenticators, guards, limit_definitions, record)|f:33:34: nested deeper than 32 levels`},
		{"deep in lists", "record: \n  " + strings.Repeat("- ", 100) + "a\n", `f:2:129: nested deeper than 32 levels`},
	} {
		t.Run(test.name, func(t *testing.T) {
			problems := Decode(&File{Path: "f", Data: []byte(test.yaml)}, new(Bundle))
			var lines []string
			for _, p := range problems {
				p.Excerpt = ""
				lines = append(lines, p.Error())
			}
			if diff := cmp.Diff(strings.Split(test.want, "|"), lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const notFormat = `anchors, aliases, merge keys, tags, directives and "? " keys are not part of this format; write the value out`

func indented(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestHostileFiles are files that are small to send and dear to read.
func TestHostileFiles(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct{ yaml, want string }{
		"too large":         {strings.Repeat("#\n", mib), "larger than 1024 KiB"},
		"open brackets":     {strings.Repeat("[", mib), "more than 100000 YAML tokens"},
		"dashes":            {strings.Repeat("- ", 45_000), "nested deeper than 32 levels"},
		"documents":         {"a: b\n" + strings.Repeat("---\n", 45_000), "a second document; a file holds one"},
		"wrong keys":        {strings.Repeat("abc: x\n", 30_000), "the key \"abc\" stands twice; first on line 1"},
		"one line of wrong": {"record: {" + strings.Repeat("a, ", 30_000) + "}", "the key \"a\" stands twice; first on line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			problems := Decode(&File{Path: "f", Data: []byte(test.yaml)}, new(Bundle))
			found := false
			for _, p := range problems {
				found = found || p.Message == test.want
			}
			if !found || len(problems) > maxProblems {
				t.Errorf("%d problems, and %q is not among them: %.300v", len(problems), test.want, problems)
			}
		})
	}
}

func TestDecodeIntoOtherTypes(t *testing.T) {
	type settings struct {
		Keep    string            `yaml:"keep"`
		Share   float64           `yaml:"share"`
		Free    any               `yaml:"free"`
		Names   map[string]string `yaml:"names"`
		Timeout *Duration         `yaml:"timeout"`
		Size    Size              `yaml:"size"`
		Hidden  string
	}
	got := settings{Keep: "default"}
	source := "share: 0.25\nfree: {a: [1, 1.5, true, b]}\nnames: {x: y}\ntimeout: 20ms\nsize: 1024\n"
	if problems := Decode(&File{Path: "f", Data: []byte(source)}, &got); problems != nil {
		t.Fatal(problems)
	}
	timeout := Duration(20 * time.Millisecond)
	want := settings{Keep: "default", Share: 0.25, Free: map[string]any{"a": []any{int64(1), 1.5, true, "b"}},
		Names: map[string]string{"x": "y"}, Timeout: &timeout, Size: 1024}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if problems := Decode(&File{Path: "f", Data: []byte("Hidden: x\n")}, &got); len(problems) != 1 {
		t.Errorf("a field without a tag was read: %v", problems)
	}
}

func TestScalars(t *testing.T) {
	text := func(u interface{ UnmarshalText([]byte) error }, s string) bool {
		return u.UnmarshalText([]byte(s)) == nil
	}
	for s, want := range map[string]time.Duration{"1ms": time.Millisecond, "30s": 30 * time.Second, "10min": 10 * time.Minute, "5m": 5 * time.Minute, "24h": 24 * time.Hour, "30d": 720 * time.Hour, "0s": 0} {
		var d Duration
		if !text(&d, s) || time.Duration(d) != want {
			t.Errorf("%q is %v, want %v", s, time.Duration(d), want)
		}
	}
	for _, s := range []string{"", "s", "5", "05s", "-5s", "+5s", "5 s", "1.5s", "1e3s", "5S", "5w", "99999999999999999999s", "4000d", "5s5s"} {
		if d := Duration(7); text(&d, s) || d != 7 {
			t.Errorf("the duration %q passed as %v", s, time.Duration(d))
		}
	}
	for s, want := range map[string]Size{"0": 0, "10": 10, "10B": 10, "64KiB": 64 << 10, "1MiB": 1 << 20, "2GiB": 2 << 30} {
		var size Size
		if !text(&size, s) || size != want {
			t.Errorf("%q is %d, want %d", s, size, want)
		}
	}
	for _, s := range []string{"", "KiB", "64KB", "64kib", "64 KiB", "-1", "1.5MiB", "2000GiB", "99999999999999999999"} {
		if size := Size(7); text(&size, s) || size != 7 {
			t.Errorf("the size %q passed as %d", s, size)
		}
	}
	for s, want := range map[string]Rate{
		"100/min": {100, time.Minute, ""}, "5/30s": {5, 30 * time.Second, ""}, "1000000/30d": {1000000, 720 * time.Hour, ""}, "1/h": {1, time.Hour, ""},
		"5/15min": {5, 15 * time.Minute, ""}, "5000/month": {5000, 31 * day, "month"}, "1/year": {1, 366 * day, "year"},
	} {
		var r Rate
		if !text(&r, s) || r != want {
			t.Errorf("%q is %v, want %v", s, r, want)
		}
	}
	for _, s := range []string{"", "100", "100/", "/min", "0/min", "-1/min", "1.5/min", "1/0s", "1/367d", "1/m", "1/5ms", "1/min/min", "1/ min", "2000000000/min", "01/min", "1/05s", "1/1month", "2/2year", "1/months", "0/month", "1/MONTH"} {
		if r := (Rate{7, 7, "x"}); text(&r, s) || r != (Rate{7, 7, "x"}) {
			t.Errorf("the rate %q passed as %v", s, r)
		}
	}
}
