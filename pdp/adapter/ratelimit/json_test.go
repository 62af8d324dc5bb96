package ratelimit

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const oneUser = `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]}]}`

// post sends a body to a server's handler.
func post(t testing.TB, s *Server, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.JSON().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/json", strings.NewReader(body)))
	return w
}

// TestJSON: the status of an answer is its overall code, and its body the whole of it.
func TestJSON(t *testing.T) {
	limit := &verdict.DescriptorLimit{RequestsPerUnit: 3, Unit: "hour"}
	for name, c := range map[string]struct {
		verdict verdict.Verdict
		status  int
		code    string
	}{
		"room":       {verdict.Verdict{Effect: verdict.Allow, Descriptors: []verdict.DescriptorState{{Limit: limit, Remaining: 2, Reset: time.Minute}}}, 200, "OK"},
		"over":       {verdict.Verdict{Reason: verdict.LimitExceeded, Descriptors: []verdict.DescriptorState{{Limit: limit, Over: true}}}, 429, "OVER_LIMIT"},
		"an outage":  {verdict.Verdict{Reason: verdict.LimitsUnavailable}, 500, "limits_unavailable\n"},
		"not loaded": {verdict.Verdict{Reason: verdict.NoSnapshot}, 500, "no rate limit configuration loaded\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &decider{verdict: c.verdict}
			w := post(t, New(Options{Decider: d, Caller: known}), oneUser)
			if w.Code != c.status {
				t.Fatalf("%d, want %d: %s", w.Code, c.status, w.Body)
			}
			want := &request.Descriptors{Domain: "edge", List: []request.Descriptor{{Pairs: []request.Pair{{Key: "user", Value: "alice"}}}}}
			if diff := cmp.Diff(want, d.seen.Descriptors); diff != "" || d.seen.Caller != "edge" || d.seen.Adapter != Name {
				t.Errorf("asked %+v: %s", d.seen, diff)
			}
			if c.status == http.StatusInternalServerError {
				if w.Body.String() != c.code {
					t.Errorf("body %q", w.Body)
				}
				return
			}
			out := &rlsv3.RateLimitResponse{}
			if err := protojson.Unmarshal(w.Body.Bytes(), out); err != nil {
				t.Fatal(err)
			}
			if out.GetOverallCode().String() != c.code || out.GetStatuses()[0].GetCurrentLimit().GetRequestsPerUnit() != 3 || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%v, %v", out, w.Header())
			}
		})
	}
}

// TestJSONErrors: what cannot be read is recorded, and no text of it comes back.
func TestJSONErrors(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"no JSON":           {"hunter2", 400, "the body is no RateLimitRequest in the JSON form of protobuf\n"},
		"nothing":           {"", 400, "the body is no RateLimitRequest in the JSON form of protobuf\n"},
		"an unknown field":  {`{"hunter2":1}`, 400, "the body is no RateLimitRequest in the JSON form of protobuf\n"},
		"no UTF-8":          {"{\"domain\":\"\xff\"}", 400, "the body is no RateLimitRequest in the JSON form of protobuf\n"},
		"more than one":     {oneUser + oneUser, 400, "the body is no RateLimitRequest in the JSON form of protobuf\n"},
		"an empty domain":   {`{"descriptors":[{}]}`, 400, "rate limit domain must not be empty\n"},
		"no descriptors":    {`{"domain":"hunter2"}`, 400, "rate limit descriptor list must not be empty\n"},
		"a body too large":  {`{"domain":"` + strings.Repeat("x", maxJSON) + `"}`, 413, "the body has more than 1 MiB\n"},
		"too large, broken": {strings.Repeat("x", maxJSON+1), 413, "the body has more than 1 MiB\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &decider{}
			w := post(t, New(Options{Decider: d, Caller: known}), c.body)
			if w.Code != c.status || w.Body.String() != c.text {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.text)
			}
			if d.seen == nil || d.seen.Invalid != string(verdict.MalformedRequest) || d.seen.Adapter != Name || d.seen.Caller != "edge" {
				t.Errorf("recorded %+v", d.seen)
			}
		})
	}
}

// unread fails the test of whoever reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("a stranger makes us read")
	return 0, errors.New("unread")
}

// TestJSONStrangers: a caller that the listener does not know is refused and recorded, and its body is not read.
func TestJSONStrangers(t *testing.T) {
	d := &decider{}
	w := httptest.NewRecorder()
	s := New(Options{Decider: d, Caller: func(context.Context) (string, bool) { return "", false }})
	s.JSON().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/json", unread{t}))
	if w.Code != http.StatusForbidden || w.Body.String() != "caller_not_trusted\n" || d.seen == nil || d.seen.Invalid != string(verdict.CallerNotTrusted) {
		t.Errorf("%d %q, recorded %+v", w.Code, w.Body, d.seen)
	}
}

// FuzzJSON: whatever the body, the answer is one of those that the protocol has.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{oneUser, "", "{}", `{"domain":"a","hitsAddend":4294967295,"descriptors":[{"limit":{"requestsPerUnit":1,"unit":"DAY"},"hitsAddend":"18446744073709551615"}]}`, `[[[[`, "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		d := &decider{verdict: verdict.Verdict{Reason: verdict.LimitExceeded, Descriptors: make([]verdict.DescriptorState, 1)}}
		switch w := post(t, New(Options{Decider: d, Caller: known}), body); w.Code {
		case http.StatusTooManyRequests, http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		case http.StatusInternalServerError: // the fake's answer is for one descriptor
			if len(d.seen.Descriptors.List) == 1 {
				t.Errorf("an outage: %s", w.Body)
			}
		default:
			t.Errorf("status %d", w.Code)
		}
	})
}
