package inspection

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// run takes a request through one point and returns the reason; "" when it continues.
func run(t *testing.T, s pipeline.Stage, r *request.Request, rule *bodyRule) verdict.Reason {
	t.Helper()
	c := newCase(r, rule)
	outcome, err := s.Evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if (outcome == pipeline.Continue) != (c.Verdict.Reason == "") {
		t.Fatalf("outcome %v with reason %q", outcome, c.Verdict.Reason)
	}
	return c.Verdict.Reason
}

func newCase(r *request.Request, rule *bodyRule) *pipeline.Case {
	service := &route.Service{Name: "s", TLSRequired: true}
	return &pipeline.Case{
		Facts:   attribute.Facts{Request: r, Match: route.Match{Service: service, Route: &route.Route{Service: service}}},
		Service: &pipeline.Service{Route: service, Parts: map[string]any{name: &part{bodies: []*bodyRule{rule}}}},
	}
}

// fields reads "name: value" lines.
func fields(lines ...string) request.Header {
	var h request.Header
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h = append(h, request.Field{Name: name, Value: value})
	}
	return h
}

func TestTransport(t *testing.T) {
	stage := New().Shape()
	tests := []struct {
		name string
		r    request.Request
		want verdict.Reason
	}{
		{"https", request.Request{Scheme: "https"}, ""},
		{"server name", request.Request{SNI: "h"}, ""},
		{"certificate", request.Request{Certificate: &request.Certificate{}}, ""},
		{"http", request.Request{Scheme: "http"}, verdict.PlainText},
		{"http behind a proxy that speaks TLS", request.Request{Scheme: "http", SNI: "h", Certificate: &request.Certificate{}}, verdict.PlainText},
		{"unknown", request.Request{}, verdict.PlainText},
		{"other", request.Request{Scheme: "HTTPS "}, verdict.PlainText},
		{"claimed in a header", request.Request{Scheme: "http", Header: fields("x-forwarded-proto: https")}, verdict.PlainText},
		{"operation", request.Request{Operation: &request.Operation{Action: "a"}}, ""},
	}
	for _, tt := range tests {
		if got := run(t, stage, &tt.r, nil); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	c := newCase(&request.Request{Scheme: "http"}, nil)
	c.Match.Service.TLSRequired = false
	if outcome, err := stage.Evaluate(context.Background(), c); outcome != pipeline.Continue || err != nil {
		t.Errorf("tls: optional: %v %v", outcome, err)
	}
}

func TestHeader(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = "a: b"
	}
	stage := New().Shape()
	tests := []struct {
		name  string
		lines []string
		want  verdict.Reason
	}{
		{"none", nil, ""},
		{"usual", []string{"authorization: Bearer abc", "content-type: application/json; charset=utf-8", "content-length: 12", "x-note: a\tb é", "cookie: a=1", "cookie: b=2", "host: h"}, ""},
		{"100 lines", many[:100], ""},
		{"101 lines", many, verdict.HeaderTooLarge},
		{"long value", []string{"a: " + strings.Repeat("v", 16<<10)}, ""},
		{"longer value", []string{"a: " + strings.Repeat("v", 16<<10+1)}, verdict.HeaderTooLarge},
		{"many bytes", []string{"a: " + strings.Repeat("v", 16<<10), "b: " + strings.Repeat("v", 16<<10-2)}, ""},
		{"more bytes", []string{"a: " + strings.Repeat("v", 16<<10), "b: " + strings.Repeat("v", 16<<10-1)}, verdict.HeaderTooLarge},
		{"bounds come first", []string{"a: \x00" + strings.Repeat("v", 16<<10)}, verdict.HeaderTooLarge},

		{"line feed", []string{"a: b\nc"}, verdict.HeaderInvalid},
		{"carriage return", []string{"a: b\rc"}, verdict.HeaderInvalid},
		{"NUL", []string{"a: \x00"}, verdict.HeaderInvalid},
		{"DEL", []string{"a: \x7f"}, verdict.HeaderInvalid},
		{"escape", []string{"a: \x1b[2J"}, verdict.HeaderInvalid},
		{"no UTF-8", []string{"a: \xff"}, verdict.HeaderInvalid},
		{"replacement character", []string{"a: \ufffd"}, verdict.HeaderInvalid},
		{"empty name", []string{": b"}, verdict.HeaderInvalid},
		{"pseudo name", []string{":path: b"}, verdict.HeaderInvalid},
		{"space in name", []string{"a b: c"}, verdict.HeaderInvalid},
		{"upper-case name", []string{"Authorization: c"}, verdict.HeaderInvalid},
		{"name beyond ASCII", []string{"é: c"}, verdict.HeaderInvalid},

		{"authorization twice", []string{"authorization: Bearer a", "authorization: Bearer b"}, verdict.DuplicateHeader},
		{"authorization joined", []string{"authorization: Bearer a,Bearer b"}, verdict.DuplicateHeader},
		{"authorization joined, other case", []string{"authorization: bEARER a, bearer b"}, verdict.DuplicateHeader},
		{"authorization joined, empty", []string{"authorization: Bearer a,"}, verdict.DuplicateHeader},
		{"authorization joined to parameters", []string{`authorization: Digest username="a", realm="r",Bearer b`}, verdict.DuplicateHeader},
		{"authorization joined to a bare scheme", []string{`authorization: Digest a="b",Negotiate`}, verdict.DuplicateHeader},
		{"authorization with parameters", []string{`authorization: Digest username="a", realm="r", qop=auth`}, ""},
		{"authorization with a signature", []string{"authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x, Signature=0f"}, ""},
		{"host twice", []string{"host: h", "host: h"}, verdict.DuplicateHeader},
		{"host joined", []string{"host: h,h"}, verdict.DuplicateHeader},
		{"another host", []string{"host: i"}, verdict.DuplicateHeader},
		{"length twice", []string{"content-length: 5", "content-length: 5"}, verdict.DuplicateHeader},
		{"length joined", []string{"content-length: 5,5"}, verdict.DuplicateHeader},
		{"length signed", []string{"content-length: +5"}, verdict.HeaderInvalid},
		{"length negative", []string{"content-length: -5"}, verdict.HeaderInvalid},
		{"length empty", []string{"content-length: "}, verdict.HeaderInvalid},
		{"length in hexadecimal", []string{"content-length: 0x5"}, verdict.HeaderInvalid},
		{"length beyond bounds", []string{"content-length: 99999999999999999999"}, verdict.HeaderInvalid},
		{"type twice", []string{"content-type: a/b", "content-type: c/d"}, verdict.DuplicateHeader},
		{"type joined", []string{"content-type: a/b,c/d"}, verdict.DuplicateHeader},
		{"type with a quoted comma", []string{`content-type: multipart/mixed; boundary="a,\",b"`}, ""},
		{"type with an open quote", []string{`content-type: multipart/mixed; boundary="a,b`}, verdict.DuplicateHeader},
		{"two framings", []string{"content-length: 5", "transfer-encoding: chunked"}, verdict.HeaderInvalid},
	}
	for _, tt := range tests {
		r := &request.Request{Scheme: "https", Host: "h", Header: fields(tt.lines...)}
		if got := run(t, stage, r, nil); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	small := shape{bounds{lines: 1, bytes: 8, value: 4}}
	for lines, want := range map[string]verdict.Reason{"a: bcde": "", "a: bcdef": verdict.HeaderTooLarge, "abcdef: bcd": verdict.HeaderTooLarge, "a: b|c: d": verdict.HeaderTooLarge} {
		r := &request.Request{Scheme: "https", Header: fields(strings.Split(lines, "|")...)}
		if got := run(t, small, r, nil); got != want {
			t.Errorf("small bounds, %s: got %q, want %q", lines, got, want)
		}
	}
}

func TestOperation(t *testing.T) {
	stage := New().Shape()
	for name, tt := range map[string]struct {
		op   request.Operation
		want verdict.Reason
	}{
		"sound":        {request.Operation{Service: "s", Action: "a:b", ResourceType: "t", ResourceID: "é 7", Properties: map[string]string{"k": "v"}}, ""},
		"control":      {request.Operation{ResourceID: "a\nb"}, verdict.MalformedRequest},
		"no UTF-8":     {request.Operation{Action: "\xff"}, verdict.MalformedRequest},
		"property":     {request.Operation{Properties: map[string]string{"k": "\x00"}}, verdict.MalformedRequest},
		"large":        {request.Operation{ResourceID: strings.Repeat("a", 32<<10+1)}, verdict.HeaderTooLarge},
		"large member": {request.Operation{Properties: map[string]string{"k": strings.Repeat("a", 32<<10)}}, verdict.HeaderTooLarge},
	} {
		r := &request.Request{Operation: &tt.op}
		if got := run(t, stage, r, nil); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestBody(t *testing.T) {
	i := New()
	sized := &bodyRule{max: 10}
	typed := &bodyRule{max: anySize, types: []string{"application/json", "application/grpc"}}
	none := &bodyRule{}
	proto := &bodyRule{max: anySize, types: []string{"application/grpc+proto"}}
	tests := []struct {
		name          string
		rule          *bodyRule
		method        string
		body          request.Body
		lines         []string
		shape, inBody verdict.Reason
	}{
		{"no rule", nil, "POST", request.Body{Size: 1 << 40, Partial: true}, []string{"content-encoding: gzip"}, "", ""},
		{"no body", sized, "GET", request.Body{}, nil, "", ""},
		{"fits", sized, "POST", request.Body{Bytes: []byte("0123456789"), Size: 10}, []string{"content-length: 10"}, "", ""},
		{"too large", sized, "POST", request.Body{Size: 11}, nil, verdict.BodyTooLarge, verdict.BodyTooLarge},
		{"more bytes than counted", sized, "POST", request.Body{Bytes: []byte("0123456789a"), Size: 1}, nil, verdict.BodyTooLarge, verdict.BodyTooLarge},
		{"declared too large, not forwarded", sized, "POST", request.Body{}, []string{"content-length: 11"}, verdict.BodyTooLarge, verdict.BodyTooLarge},
		{"declared small, is large", sized, "POST", request.Body{Size: 11}, []string{"content-length: 1"}, verdict.BodyTooLarge, verdict.BodyTooLarge},
		{"cut, length declared", sized, "POST", request.Body{Bytes: []byte("01"), Size: 2, Partial: true}, []string{"content-length: 9"}, "", ""},
		{"cut, length unknown", sized, "POST", request.Body{Bytes: []byte("01"), Size: 2, Partial: true}, []string{"transfer-encoding: chunked"}, "", verdict.BodyPartial},
		{"chunked, forwarded", sized, "POST", request.Body{Bytes: []byte("01"), Size: 2}, []string{"transfer-encoding: chunked"}, "", ""},
		{"chunked, not forwarded", sized, "POST", request.Body{}, []string{"transfer-encoding: chunked"}, "", verdict.BodyPartial},
		{"size unknown", sized, "POST", request.Body{Size: -1}, nil, "", verdict.BodyPartial},
		{"gzip", sized, "POST", request.Body{Size: 1}, []string{"content-encoding: gzip"}, verdict.BodyEncoding, ""},
		{"identity", sized, "POST", request.Body{Size: 1}, []string{"content-encoding: Identity"}, "", ""},
		{"identity and gzip", sized, "POST", request.Body{Size: 1}, []string{"content-encoding: identity", "content-encoding: gzip"}, verdict.BodyEncoding, ""},
		{"identity, gzip", sized, "POST", request.Body{Size: 1}, []string{"content-encoding: identity, gzip"}, verdict.BodyEncoding, ""},

		{"type", typed, "POST", request.Body{Size: 1}, []string{"content-type: application/json"}, "", ""},
		{"type in another case, with parameters", typed, "POST", request.Body{Size: 1}, []string{"content-type: Application/JSON ; charset=utf-8"}, "", ""},
		{"other type", typed, "POST", request.Body{Size: 1}, []string{"content-type: text/plain"}, "", verdict.BodyType},
		{"longer type", typed, "POST", request.Body{Size: 1}, []string{"content-type: application/jsonx"}, "", verdict.BodyType},
		{"no type", typed, "POST", request.Body{Size: 1}, nil, "", verdict.BodyType},
		{"empty type", typed, "POST", request.Body{Size: 1}, []string{"content-type: "}, "", verdict.BodyType},
		{"broken type", typed, "POST", request.Body{Size: 1}, []string{"content-type: application/json; charset"}, "", verdict.BodyType},
		{"no type, body only declared", typed, "POST", request.Body{}, []string{"content-length: 1"}, "", verdict.BodyType},
		{"no type, chunked", typed, "POST", request.Body{}, []string{"transfer-encoding: chunked"}, "", verdict.BodyType},
		{"no type, size unknown", typed, "POST", request.Body{Size: -1}, nil, "", verdict.BodyType},
		{"no type, no body", typed, "POST", request.Body{}, nil, "", ""},
		{"other type, body not seen", typed, "POST", request.Body{}, []string{"content-type: text/plain"}, "", verdict.BodyType},
		{"other type, no body", typed, "GET", request.Body{}, []string{"content-type: text/plain"}, "", ""},
		{"other type, body of a GET", typed, "GET", request.Body{Size: 1}, []string{"content-type: text/plain"}, "", verdict.BodyType},
		{"gRPC", typed, "POST", request.Body{Size: -1}, []string{"content-type: application/grpc"}, "", ""},
		{"gRPC with a format", typed, "POST", request.Body{Size: -1}, []string{"content-type: application/grpc+proto"}, "", ""},
		{"gRPC-Web", typed, "POST", request.Body{Size: 1}, []string{"content-type: application/grpc-web"}, "", verdict.BodyType},
		{"gRPC format declared", proto, "POST", request.Body{Size: 1}, []string{"content-type: application/grpc+proto"}, "", ""},
		{"gRPC format declared, other", proto, "POST", request.Body{Size: 1}, []string{"content-type: application/grpc+json"}, "", verdict.BodyType},
		{"no body, none sent", none, "POST", request.Body{}, []string{"content-length: 0"}, "", ""},
		{"no body, one sent", none, "POST", request.Body{Size: 1}, nil, verdict.BodyTooLarge, verdict.BodyTooLarge},
		{"no body, one of unknown size", none, "POST", request.Body{Size: -1}, nil, "", verdict.BodyPartial},
		{"any type, but one", &bodyRule{max: anySize, types: []string{"*/*"}}, "POST", request.Body{Size: 1}, []string{"content-type: a/b"}, "", ""},
		{"any type, none sent", &bodyRule{max: anySize, types: []string{"*/*"}}, "POST", request.Body{Size: 1}, nil, "", verdict.BodyType},
	}
	for _, tt := range tests {
		r := &request.Request{Scheme: "https", Method: tt.method, Body: tt.body, Header: fields(tt.lines...)}
		if got := run(t, i.Shape(), r, tt.rule); got != tt.shape {
			t.Errorf("%s, shape: got %q, want %q", tt.name, got, tt.shape)
		}
		if got := run(t, i.Body(), r, tt.rule); got != tt.inBody {
			t.Errorf("%s, body: got %q, want %q", tt.name, got, tt.inBody)
		}
	}
}

func TestCompile(t *testing.T) {
	i := New()
	s := &format.Service{
		Name: "s", File: &format.File{Path: "f"},
		Defaults: format.Defaults{Body: &format.Body{Max: new(format.Size(10)), Types: []string{"Application/JSON"}}},
		Routes:   []format.Route{{}, {Body: &format.Body{Max: new(format.Size(20))}}, {Body: &format.Body{Types: []string{"*/*"}}}, {Body: &format.Body{Max: new(format.Size)}}},
	}
	compiled, problems := i.Compile(&format.Bundle{}, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []bodyRule{{10, []string{"application/json"}}, {20, []string{"application/json"}}, {10, []string{"*/*"}}, {0, []string{"application/json"}}}
	for n, w := range want {
		if got := compiled.(*part).bodies[n]; got.max != w.max || len(got.types) != 1 || got.types[0] != w.types[0] {
			t.Errorf("route %d: got %+v, want %+v", n, got, w)
		}
	}
	compiled, problems = i.Compile(nil, &format.Service{Routes: []format.Route{{}}})
	if p := compiled.(*part); len(problems) > 0 || len(p.bodies) != 1 || p.bodies[0] != nil {
		t.Errorf("without declarations: %+v %v", p, problems)
	}
	for message, b := range map[string]*format.Body{
		"negative":         {Max: new(format.Size(-1))},
		"needs max":        {},
		"is no media type": {Types: []string{"json"}},
		"is no media":      {Types: []string{"a/b; c=d"}},
		"no media type":    {Types: []string{"application/*"}},
	} {
		s := &format.Service{File: &format.File{Path: "f"}, Routes: []format.Route{{Body: b}}}
		if compiled, problems := i.Compile(nil, s); compiled != nil || !strings.Contains(problems.Error(), message) {
			t.Errorf("%+v: got %v %v, want %q", b, compiled, problems, message)
		}
	}
}

func TestNothingCompiled(t *testing.T) {
	i := New()
	r := &request.Request{Scheme: "https"}
	for name, spoil := range map[string]func(*pipeline.Case){
		"no service":   func(c *pipeline.Case) { c.Service = nil },
		"no part":      func(c *pipeline.Case) { c.Service.Parts = nil },
		"no route":     func(c *pipeline.Case) { c.Match.Route = nil },
		"other route":  func(c *pipeline.Case) { c.Match.Route.Index = 7 },
		"other policy": func(c *pipeline.Case) { c.Service.Parts[i.Name()] = 1 },
	} {
		for _, s := range []pipeline.Stage{i.Shape(), i.Body()} {
			c := newCase(r, nil)
			spoil(c)
			if outcome, err := s.Evaluate(context.Background(), c); outcome != pipeline.Stop || !errors.Is(err, errPart) {
				t.Errorf("%s: %v %v", name, outcome, err)
			}
		}
	}
	c := newCase(r, nil)
	c.Match.Service = nil
	if outcome, err := i.Shape().Evaluate(context.Background(), c); outcome != pipeline.Stop || err == nil {
		t.Errorf("no matched service: %v %v", outcome, err)
	}
}

func TestShapeAllocations(t *testing.T) {
	c := newCase(&request.Request{Scheme: "https", Host: "h", Header: fields("authorization: Bearer a", "content-length: 5", "content-type: a/b", "accept: */*")}, &bodyRule{max: 10})
	stage := New().Shape()
	if got := testing.AllocsPerRun(100, func() {
		if outcome, err := stage.Evaluate(context.Background(), c); outcome != pipeline.Continue || err != nil {
			t.Fatal(outcome, err)
		}
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("authorization", "Bearer a,Bearer b", "content-length", "5")
	f.Add("content-type", `a/b; c="d,e"`, "host", "h")
	f.Add("a", "\x00", "A", "\xff")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		r := &request.Request{Scheme: "https", Host: "h", Method: "POST", Header: request.Header{{Name: name1, Value: value1}, {Name: name2, Value: value2}}}
		rule := &bodyRule{max: 10, types: []string{"a/b"}}
		i := New()
		if run(t, i.Shape(), r, rule) == "" {
			for _, field := range r.Header {
				if strings.ContainsAny(field.Name+field.Value, "\r\n\x00") || strings.ToLower(field.Name) != field.Name {
					t.Fatalf("%q: %q passes", field.Name, field.Value)
				}
			}
			if name1 == name2 && (name1 == "authorization" || name1 == "content-length") {
				t.Fatalf("%s twice passes", name1)
			}
		}
		run(t, i.Body(), r, rule)
	})
}
