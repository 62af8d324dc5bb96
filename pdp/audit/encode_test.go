package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

var update = flag.Bool("update", false, "write the golden files")

func encoded(t testing.TB, entry *Entry) string {
	t.Helper()
	var e encoder
	return string(e.encode(entry))
}

// parsed reads the line as strictly as a replay does: an unknown member or a wrong type fails.
func parsed(t testing.TB, line string) *durwardv1.Record {
	t.Helper()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Fatalf("not one line: %q", line)
	}
	record := &durwardv1.Record{}
	if err := protojson.Unmarshal([]byte(line), record); err != nil {
		t.Fatalf("reading %q as a Record: %v", line, err)
	}
	return record
}

func TestGolden(t *testing.T) {
	cases := map[string]*Entry{"limited": fullEntry(), "allowed": allowEntry(), "unrouted": unrouted(), "reported": reported()}
	for name, entry := range cases {
		t.Run(name, func(t *testing.T) {
			line := encoded(t, entry)
			parsed(t, line)
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, []byte(line), "", "  "); err != nil {
				t.Fatal(err)
			}
			path := "testdata/" + name + ".json"
			if *update {
				if err := os.WriteFile(path, pretty.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
				t.Errorf("record differs (-want +got):\n%s", diff)
			}
		})
	}
}

func unrouted() *Entry {
	e := fullEntry()
	e.Match.Route, e.Match.Params, e.Match.Path, e.Match.Reason = nil, nil, "/nowhere", verdict.NoRoute
	e.Subject = &subject.Subject{}
	e.Verdict = &verdict.Verdict{Reason: verdict.NoRoute, Stage: "route"}
	e.Request.Operation = &request.Operation{Properties: map[string]string{"owner": "planted-property"}}
	return e
}

// reported is a failure of a log-in that the API reported.
func reported() *Entry {
	e := fullEntry()
	e.Request.Failure, e.Request.Mode = &request.Failure{DecisionID: "d1"}, request.Enforce
	e.Verdict = &verdict.Verdict{Reason: verdict.ReportedFailure, DecisionID: "d3", Stage: "limits.report"}
	return e
}

// TestEveryFieldIsWritten keeps the .proto and the encoder from drifting apart.
func TestEveryFieldIsWritten(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.Message)
	walk = func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			seen[f.FullName()] = true
			switch {
			case f.Kind() != protoreflect.MessageKind:
			case f.IsList():
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message())
				}
			default:
				walk(v.Message())
			}
			return true
		})
	}
	long := fullEntry()
	long.Request.CorrelationID = strings.Repeat("c", maxText+1)
	for _, e := range []*Entry{fullEntry(), unrouted(), reported(), long} {
		walk(parsed(t, encoded(t, e)).ProtoReflect())
	}
	file := (&durwardv1.Record{}).ProtoReflect().Descriptor().ParentFile()
	for i := range file.Messages().Len() {
		fields := file.Messages().Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !seen[name] {
				t.Errorf("%s is in the .proto and never written", name)
			}
		}
	}
}

func TestNothingPlanted(t *testing.T) {
	for name, e := range map[string]*Entry{"limited": fullEntry(), "unrouted": unrouted(), "reported": reported()} {
		line := encoded(t, e)
		for _, planted := range []string{"planted", "unlisted", "/private", "dark"} {
			if strings.Contains(line, planted) {
				t.Errorf("%s: the record holds %q: %s", name, planted, line)
			}
		}
	}
}

// TestCredentialsAnywhere repeats a credential in every text that a client controls.
func TestCredentialsAnywhere(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
	for _, c := range []struct {
		name, text, secret string
		header             request.Field
	}{
		{"bearer", "x planted-secret y", "planted-secret", request.Field{Name: "authorization", Value: "Bearer planted-secret"}},
		{"cookie member", "planted-secret", "planted-secret", request.Field{Name: "cookie", Value: "a=1; b=planted-secret"}},
		{"key header with underscores", "planted-secret", "planted-secret", request.Field{Name: "x_api_key", Value: "planted-secret"}},
		{"vendor header", "planted-secret", "planted-secret", request.Field{Name: "x-goog-iap-jwt-assertion", Value: "planted-secret"}},
		{"a token that no header holds", "p/" + jwt, "eyJhbGci", request.Field{}},
		{"a bearer value elsewhere", "BEARER short", "short", request.Field{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := fullEntry()
			e.Match.Route = nil
			e.Request.Header = request.Header{c.header, {Name: "user-agent", Value: c.text}}
			e.Request.CorrelationID, e.Request.Method, e.Request.SNI, e.Request.Peer.Principal = c.text, c.text, c.text, c.text
			e.Request.Scheme, e.Request.Protocol = c.text, c.text
			e.Match.Host, e.Match.Path = c.text, c.text
			e.Match.Params = []route.Param{{Name: "id", Value: c.text}}
			e.Match.Query = "page=" + strings.ReplaceAll(c.text, " ", "%20")
			e.Action, e.ResourceType, e.ResourceID = c.text, c.text, c.text
			line := encoded(t, e)
			if strings.Contains(line, c.secret) {
				t.Errorf("the record holds the credential: %s", line)
			}
			if got := strings.Count(line, maskedText); got != 14 {
				t.Errorf("%d texts are masked, want 14: %s", got, line)
			}
		})
	}
}

// TestWrongMethod: the path of a declared template holds its parameters, which are not for the record.
func TestWrongMethod(t *testing.T) {
	e := unrouted()
	e.Match.Path, e.Match.Template, e.Match.Reason = "/resets/planted-code", "/resets/{code}", verdict.RouteMethod
	r := parsed(t, encoded(t, e))
	if r.GetTemplate() != "/resets/{code}" || r.GetRequest().GetPath() != "" {
		t.Errorf("record shows the template %q and the path %q", r.GetTemplate(), r.GetRequest().GetPath())
	}
}

// TestCutCredential shows that the bound of a text leaves no beginning of a credential in the record.
func TestCutCredential(t *testing.T) {
	secret := "planted" + strings.Repeat("x", 8<<10)
	e := fullEntry()
	e.Request.Header = request.Header{{Name: "x-api-key", Value: secret}}
	e.Request.Peer.Principal = strings.Repeat("a", maxLong-8) + secret
	e.Request.CorrelationID = strings.Repeat("a", maxText-8) + secret
	if line := encoded(t, e); strings.Contains(line, "planted") {
		t.Errorf("the record holds the beginning of a credential: %s", line)
	}
}

func TestRefusedNames(t *testing.T) {
	e := fullEntry()
	names := []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "api_key", "DPoP", "x-forwarded-client-cert", "x-csrf-token", "access_token", "id_token", "session-id"}
	e.Headers, e.Query, e.Params = names, append(names, "code", "key"), names
	e.Request.Header, e.Match.Params, e.Match.Query = nil, nil, "code=leak&key=leak"
	for _, n := range names {
		e.Request.Header = append(e.Request.Header, request.Field{Name: strings.ToLower(n), Value: "leak"})
		e.Match.Params = append(e.Match.Params, route.Param{Name: n, Value: "leak"})
		e.Match.Query += "&" + n + "=leak"
	}
	if line := encoded(t, e); strings.Contains(line, "leak") {
		t.Errorf("a listed credential is recorded: %s", line)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "a b/ü", `"a b/ü"`},
		{"line ends", "a\r\nb", `"a\u000d\u000ab"`},
		{"quotes", `a"b\`, `"a\"b\\"`},
		{"terminal", "\x1b[31m\x7f\u009b", `"\u001b[31m\u007f\u009b"`},
		{"direction", "a\u202eb\u2028", `"a\u202eb\u2028"`},
		{"no UTF-8", "a\xffb", `"a\ufffdb"`},
		{"cut between runes", "123456ü", `"123456"`},
		{"cut in no UTF-8", "12\xbf\xbf\xbf\xbf\xbf\xbf", `"12\ufffd\ufffd"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w lineWriter
			limit := maxText
			if strings.HasPrefix(c.name, "cut") {
				limit = 7
			}
			w.quote(c.in, limit)
			if string(w.buf) != c.want {
				t.Errorf("quote(%q) = %s, want %s", c.in, w.buf, c.want)
			}
			if w.truncated != (len(c.in) > limit) {
				t.Errorf("truncated = %v", w.truncated)
			}
		})
	}
}

// hostileEntry fills every text and list far beyond its bound with what escapes longest.
func hostileEntry(text string, n int) *Entry {
	e := fullEntry()
	list := make([]string, n)
	for i := range list {
		list[i] = text
		e.Match.Params = append(e.Match.Params, route.Param{Name: "id", Value: text})
		e.Request.Header = append(e.Request.Header, request.Field{Name: "user-agent", Value: text})
		e.Verdict.Explanation.Limits = append(e.Verdict.Explanation.Limits, verdict.LimitState{Name: text})
		e.Steps = append(e.Steps, Step{Point: text})
	}
	e.Match.Query = strings.Repeat("&page="+text, n)
	s, x, r := e.Subject, &e.Verdict.Explanation, e.Request
	s.Roles, s.Scopes, s.AMR, r.Certificate.DNSNames = list, list, list, list
	for _, p := range []*string{
		&s.Key, &s.Kind, &s.Authenticator, &s.ID, &s.Issuer, &s.Tenant, &s.ACR, &s.TokenID, &s.KeyID, &s.Binding, &s.KeyThumbprint,
		&x.Bundle, &x.Revision, &x.Policy, &x.Rule, &x.RuleID, &x.Limit, &x.Detail, &x.Candidate.Policy, &x.Candidate.Rule, &x.Candidate.RuleID,
		&r.Adapter, &r.Caller, &r.CorrelationID, &r.Method, &r.Scheme, &r.Protocol, &r.SNI, &r.Peer.Principal, &r.Certificate.Subject,
		&e.Match.Host, &e.Match.Service.Name, &e.Match.Route.Name, &e.Match.Route.Template,
		&e.Action, &e.ResourceType, &e.ResourceID, &e.Verdict.DecisionID, &e.Verdict.Stage,
	} {
		*p = text
	}
	return e
}

func TestBound(t *testing.T) {
	for name, text := range map[string]string{"controls": strings.Repeat("\x00", 1<<14), "no UTF-8": strings.Repeat("\xff", 1<<14), "letters": strings.Repeat("a", 1<<14)} {
		line := encoded(t, hostileEntry(text, 300))
		if len(line) > maxLine {
			t.Errorf("%s: a line of %d bytes, want at most %d", name, len(line), maxLine)
		}
		if r := parsed(t, line); !r.GetTruncated() {
			t.Errorf("%s: the record does not say that it was cut", name)
		}
	}
}

func TestAllocations(t *testing.T) {
	entry := allowEntry()
	entry.Claims = nil // a claim that is listed costs its JSON
	var e encoder
	e.encode(entry)
	if got := testing.AllocsPerRun(100, func() { e.encode(entry) }); got != 0 {
		t.Errorf("encoding allocates %v times, want 0", got)
	}
}

func BenchmarkEncode(b *testing.B) {
	entry := allowEntry()
	var e encoder
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(e.encode(entry))))
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("probe", "a=1&page=2", "alice", "planted-secret-value")
	f.Add("x\x00\xff\u202e\"", "page=%zz&%70age=3&&=", "\n{\"effect\":\"allow\"}", "========")
	f.Add("planted-secret-value", "page=planted-secret-value", "é", "planted-secret-value")
	f.Add(strings.Repeat("\x8b", 4*maxLong), "page=1", "alice", "planted-secret-value")
	f.Fuzz(func(t *testing.T, text, query, verified, secret string) {
		if len(secret) < minSecret {
			secret += "-planted-secret"
		}
		e := fullEntry()
		e.Request.Header = request.Header{{Name: "authorization", Value: "Bearer " + secret}, {Name: "x-api-key", Value: secret}, {Name: "user-agent", Value: text + secret}}
		e.Request.Body.Bytes = []byte(secret)
		e.Request.Target, e.Request.Host = "/"+secret, secret
		e.Request.CorrelationID, e.Request.Method = secret+text, text+secret+text
		e.Match.Host, e.Match.Query = text, query+"&access_token="+secret
		e.Match.Params[0].Value, e.ResourceID = text+secret, secret
		e.Subject.ID, e.Subject.Roles = verified, []string{verified, text}
		e.Verdict.Explanation.Detail = text

		line := encoded(t, e)
		if !utf8.ValidString(line) || !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %q", line)
		}
		r := parsed(t, line)
		if r.GetEffect() != "deny" || r.GetReason() != "limit_exceeded" {
			t.Errorf("a text changed the outcome: %q", line)
		}
		for i := 0; i < len(line)-1; i++ {
			if line[i] < ' ' || line[i] == 0x7f {
				t.Errorf("a control character at %d of %q", i, line)
			}
		}
		// What fuzzing put into the other texts may hold the secret by chance; the record without the secret shows it.
		for _, got := range []string{r.GetCorrelationId(), r.GetRequest().GetMethod(), r.GetResource().GetId(), r.GetRequest().GetParams()[0].GetValue(), r.GetRequest().GetHeaders()[0].GetValue()} {
			// A secret behind more text than is recorded is cut off instead of masked.
			if got != maskedText && (len(text) <= maxLong || strings.Contains(got, secret)) {
				t.Errorf("a text with the credential is recorded as %q", got)
			}
		}
	})
}

// TestResourceOfUnlistedParameter: an id that the bundle keeps out of records as a parameter is not shown as a resource.
func TestResourceOfUnlistedParameter(t *testing.T) {
	for _, c := range []struct {
		id     string
		params []string
		shown  bool
	}{{"unlisted-param-value", []string{"id"}, false}, {"unlisted-param-value", []string{"part"}, true}, {"7", []string{"id"}, true}, {"/orders/{id}", nil, true}} {
		e := fullEntry()
		e.ResourceID, e.Params = c.id, c.params
		line := encoded(t, e)
		if got := strings.Contains(line, `"resource":{"type":"order","id":`); got != c.shown {
			t.Errorf("id %q, listed %v: shown %v, want %v\n%s", c.id, c.params, got, c.shown, line)
		}
		if got := strings.Contains(line, `"resource.id"`); got == c.shown {
			t.Errorf("id %q, listed %v: masked says %v\n%s", c.id, c.params, got, line)
		}
		if !c.shown && strings.Contains(line, c.id) {
			t.Errorf("id %q stands in the record\n%s", c.id, line)
		}
	}
}

// TestClaims: only listed claims are recorded, and one that repeats a credential is masked like any text.
func TestClaims(t *testing.T) {
	e := fullEntry()
	e.Claims = []string{"email", "copy", "org.units"}
	e.Subject.Claims["copy"] = "Bearer planted-credential-1"
	line := encoded(t, e)
	for _, want := range []string{`{"name":"email","value":"\"planted-claim\""}`, `{"name":"org.units","value":"[\"shop\",7]"}`, `{"name":"copy","value":"[masked]"}`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	e.Claims = nil
	if line := encoded(t, e); strings.Contains(line, "planted-claim") || strings.Contains(line, `"claims"`) {
		t.Errorf("a claim that is not listed stands in %s", line)
	}
}
