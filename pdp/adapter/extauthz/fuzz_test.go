package extauthz

import (
	"encoding/json"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// FuzzCheck: whatever the message and the verdict hold, there is an answer, Envoy takes it as it is meant, and it
// allows only where the decider did.
func FuzzCheck(f *testing.F) {
	withCertificate := message()
	withCertificate.Attributes.Source.Certificate = certificate(f)
	for _, in := range []*authv3.CheckRequest{
		{}, message(), inRaw(message()), withCertificate, lines("authorization", "Bearer a", "authorization", "b"),
		message(header("content-type", "application/grpc"), func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = []byte("\xff") }),
	} {
		wire, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, uint8(1), 0, "x-durward-subject", "alice", "authorization")
		f.Add(wire, uint8(0), 700, "set-cookie", "a=1\r\nb", ":path")
	}
	f.Fuzz(func(t *testing.T, wire []byte, effect uint8, status int, name, value, remove string) {
		in := &authv3.CheckRequest{}
		if err := proto.Unmarshal(wire, in); err != nil {
			return
		}
		fields := []verdict.Field{{Name: name, Value: value}}
		d := &decider{verdict: verdict.Verdict{
			Effect: verdict.Effect(effect), Status: status, Reason: verdict.TokenSignature, DecisionID: value, Stage: value,
			Obligations: verdict.Obligations{SetUpstream: fields, SetResponse: fields, RemoveUpstream: []string{remove}, Metadata: fields},
			Explanation: verdict.Explanation{Rule: value, Limit: name, Limits: []verdict.LimitState{{Name: value, Refused: true}}},
		}}
		panics := 0
		out := check(t, newServer(t, d, func(o *Options) { o.OnPanic = func() { panics++ } }), in)
		if panics != 0 {
			t.Error("panicked")
		}
		if code := out.GetStatus().GetCode(); code == 0 && (verdict.Effect(effect) != verdict.Allow || d.last().Invalid != "") {
			t.Errorf("allowed: effect %d, invalid %q", effect, d.last().Invalid)
		}
		if body := out.GetDeniedResponse().GetBody(); body != "" && !isGRPC(d.last().Header) && !json.Valid([]byte(body)) {
			t.Errorf("body %q", body)
		}
	})
}

// FuzzEncodings: one client request, sent in headers and in header_map, is one request.Request; where a header is
// repeated, it is one reason.
func FuzzEncodings(f *testing.F) {
	f.Add("authorization", "Bearer a", "Authorization", "Bearer b")
	f.Add("host", "a.test", ":authority", "a.test,b.test")
	f.Add("x-a", "\xff\x00", "cookie", "a=1; b=2")
	f.Add("x-request-id", "1", "x-envoy-auth-partial-body", "true")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		// Envoy's names are ASCII in lower case; proto3 strings are UTF-8 or the message is refused before us.
		name1, name2 = replaceInvalid(name1), replaceInvalid(name2)
		pairs := []string{name1, value1, name2, value2}
		if strings.EqualFold(name1, "authorization") && strings.EqualFold(name2, name1) && (request.Header{{Name: "authorization", Value: "Digest a=b," + value2}}).SingleCredential() {
			return // no credential, and one with the first line when joined; see checkSingle
		}
		raw, text := fuzzRead(t, lines(pairs...)), fuzzRead(t, joined(pairs...))
		if raw.Invalid != text.Invalid {
			t.Fatalf("header_map: %q, headers: %q", raw.Invalid, text.Invalid)
		}
		for i := range raw.Header {
			raw.Header[i].Value = replaceInvalid(raw.Header[i].Value)
		}
		if diff := cmp.Diff(raw, text, compareAddresses); diff != "" && raw.Invalid == "" && !strings.EqualFold(name1, name2) {
			t.Errorf("header_map and headers differ:\n%s", diff)
		}
	})
}

func fuzzRead(t *testing.T, in *authv3.CheckRequest) *request.Request {
	d := &decider{verdict: allowed()}
	s := newServer(t, d)
	if _, err := s.Check(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return d.seen[0]
}
