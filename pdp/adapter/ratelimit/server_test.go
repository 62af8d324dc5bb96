package ratelimit

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// decider is a Decider that keeps to the contract: an invalid request is denied with its reason.
type decider struct {
	seen    *request.Request
	verdict verdict.Verdict
}

func (d *decider) Decide(_ context.Context, r *request.Request) verdict.Verdict {
	d.seen = r
	if r.Invalid != "" {
		return verdict.Verdict{Reason: verdict.Reason(r.Invalid)}
	}
	return d.verdict
}

func known(context.Context) (string, bool) { return "edge", true }

// message reads a request from its JSON form.
func message(t testing.TB, text string) *rlsv3.RateLimitRequest {
	t.Helper()
	in := &rlsv3.RateLimitRequest{}
	if err := protojson.Unmarshal([]byte(text), in); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestRead: all of a message reaches the engine.
func TestRead(t *testing.T) {
	d := &decider{}
	_, _ = New(Options{Decider: d, Caller: known}).ShouldRateLimit(t.Context(), &rlsv3.RateLimitRequest{
		Domain: "edge", HitsAddend: 3,
		Descriptors: []*rlscommonv3.RateLimitDescriptor{
			{Entries: []*rlscommonv3.RateLimitDescriptor_Entry{{Key: "a", Value: "b"}, {Key: "c"}}, HitsAddend: wrapperspb.UInt64(0)},
			{Limit: &rlscommonv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 5, Unit: typev3.RateLimitUnit_MONTH}},
			{Limit: &rlscommonv3.RateLimitDescriptor_RateLimitOverride{Unit: 7}}, // the week of answers
			{Limit: &rlscommonv3.RateLimitDescriptor_RateLimitOverride{Unit: 99}},
			nil,
		},
	})
	zero := uint64(0)
	want := &request.Descriptors{Domain: "edge", Hits: 3, List: []request.Descriptor{
		{Pairs: []request.Pair{{Key: "a", Value: "b"}, {Key: "c"}}, Hits: &zero},
		{Pairs: []request.Pair{}, Override: &request.Override{RequestsPerUnit: 5, Unit: "month"}},
		{Pairs: []request.Pair{}, Override: &request.Override{Unit: "week"}},
		{Pairs: []request.Pair{}, Override: &request.Override{}},
		{Pairs: []request.Pair{}},
	}}
	if diff := cmp.Diff(want, d.seen.Descriptors); diff != "" {
		t.Error(diff)
	}
	if r := d.seen; r.Adapter != "ratelimit" || r.Caller != "edge" || r.Invalid != "" || r.Mode != request.Enforce {
		t.Errorf("request %+v", r)
	}
}

// TestErrors: what is no answer of a limit, and that it is recorded.
func TestErrors(t *testing.T) {
	deny := func(r verdict.Reason, detail string) verdict.Verdict {
		return verdict.Verdict{Reason: r, Explanation: verdict.Explanation{Detail: detail}}
	}
	const sound = `{"domain":"edge","descriptors":[{"entries":[{"key":"a","value":"secret"}]}]}`
	for _, c := range []struct {
		name, in string
		verdict  verdict.Verdict
		stranger bool
		code     codes.Code
		message  string
		reason   verdict.Reason // of the request that is recorded, where it is refused
	}{
		{name: "empty domain", in: `{"descriptors":[{}]}`, code: codes.InvalidArgument, message: "rate limit domain must not be empty", reason: verdict.MalformedRequest},
		{name: "no descriptors", in: `{"domain":"edge"}`, code: codes.InvalidArgument, message: "rate limit descriptor list must not be empty", reason: verdict.MalformedRequest},
		{name: "neither", in: `{}`, code: codes.InvalidArgument, message: "rate limit domain must not be empty", reason: verdict.MalformedRequest},
		{name: "nothing loaded", in: sound, verdict: deny(verdict.NoSnapshot, ""), code: codes.Unavailable, message: "no rate limit configuration loaded"},
		{name: "a mistake in an override", in: sound, verdict: deny(verdict.MalformedRequest, "what is wrong"), code: codes.InvalidArgument, message: "what is wrong"},
		{name: "negative hits", in: `{"domain":"edge","descriptors":[{},{"isNegativeHits":true}]}`, code: codes.InvalidArgument, message: "descriptor 1: negative hits are not supported", reason: verdict.MalformedRequest},
		{name: "too many descriptors", in: `{"domain":"edge","descriptors":[{}` + strings.Repeat(",{}", 256) + `]}`, code: codes.InvalidArgument, message: "257 descriptors, at most 256 are taken", reason: verdict.MalformedRequest},
		{name: "too many entries", in: `{"domain":"edge","descriptors":[{"entries":[{}` + strings.Repeat(",{}", 64) + `]}]}`, code: codes.InvalidArgument, message: "descriptor 0 has 65 entries, at most 64 are taken", reason: verdict.MalformedRequest},
		{name: "an outage", in: sound, verdict: deny(verdict.Deadline, "x"), code: codes.Unavailable, message: "deadline"},
		{name: "no record", in: sound, verdict: deny(verdict.AuditUnavailable, "x"), code: codes.Unavailable, message: "audit_unavailable"},
		{name: "a caller nobody knows", in: sound, stranger: true, code: codes.PermissionDenied, message: "caller_not_trusted", reason: verdict.CallerNotTrusted},
		{name: "another number of statuses", in: sound, verdict: verdict.Verdict{Effect: verdict.Allow}, code: codes.Internal, message: "internal"},
		{name: "the zero verdict", in: sound, code: codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &decider{verdict: c.verdict}
			caller := known
			if c.stranger {
				caller = nil
			}
			out, err := New(Options{Decider: d, Caller: caller}).ShouldRateLimit(t.Context(), message(t, c.in))
			if got := status.Convert(err); out != nil || got.Code() != c.code || got.Message() != c.message {
				t.Errorf("answered %v, %v", out, err)
			}
			if d.seen == nil || d.seen.Invalid != string(c.reason) {
				t.Errorf("recorded %+v", d.seen)
			}
		})
	}
	if out, err := New(Options{Caller: known}).ShouldRateLimit(t.Context(), message(t, sound)); status.Code(err) != codes.Unavailable {
		t.Errorf("a server without a decider: %v, %v", out, err)
	}
	// A message that cannot be read is a refusal: clients must not be able to bring an outage about.
	d := &decider{}
	if out, err := New(Options{Decider: d, Caller: known}).ShouldRateLimit(t.Context(), nil); err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT || d.seen.Invalid != string(verdict.MalformedRequest) {
		t.Errorf("an unreadable message: %v, %v, recorded %+v", out, err, d.seen)
	}
}

// panics is a decider with a fault.
type panics struct{}

func (panics) Decide(context.Context, *request.Request) verdict.Verdict { panic("secret") }

func TestPanic(t *testing.T) {
	n := 0
	out, err := New(Options{Decider: panics{}, Caller: known, OnPanic: func() { n++ }}).ShouldRateLimit(t.Context(), message(t, `{"domain":"a","descriptors":[{}]}`))
	if out != nil || status.Code(err) != codes.Internal || n != 1 || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, %v, %d panics counted", out, err, n)
	}
}

// limited is a descriptor's state with a limit of 10 a minute.
func limited(remaining int64, over, quota bool, reset time.Duration) verdict.DescriptorState {
	return verdict.DescriptorState{
		Limit: &verdict.DescriptorLimit{Name: "n", RequestsPerUnit: 10, Unit: "minute"}, Remaining: remaining, Over: over, Quota: quota, Reset: reset,
	}
}

func respond(t *testing.T, o Options, v verdict.Verdict) *rlsv3.RateLimitResponse {
	t.Helper()
	in := &rlsv3.RateLimitRequest{Domain: "edge"}
	for range v.Descriptors {
		in.Descriptors = append(in.Descriptors, &rlscommonv3.RateLimitDescriptor{})
	}
	o.Decider, o.Caller = &decider{verdict: v}, known
	out, err := New(o).ShouldRateLimit(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStatuses: section 1.2, "nil limit", and section 1.3.
func TestStatuses(t *testing.T) {
	got := respond(t, Options{}, verdict.Verdict{Reason: verdict.LimitExceeded, Descriptors: []verdict.DescriptorState{
		{}, {Unlimited: true}, limited(3, false, false, 18*time.Second), limited(0, true, false, time.Minute),
	}})
	limit := &rlsv3.RateLimitResponse_RateLimit{Name: "n", RequestsPerUnit: 10, Unit: rlsv3.RateLimitResponse_RateLimit_MINUTE}
	want := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{
		{Code: rlsv3.RateLimitResponse_OK},
		{Code: rlsv3.RateLimitResponse_OK, LimitRemaining: math.MaxUint32},
		{Code: rlsv3.RateLimitResponse_OK, CurrentLimit: limit, LimitRemaining: 3, DurationUntilReset: durationpb.New(18 * time.Second)},
		{Code: rlsv3.RateLimitResponse_OVER_LIMIT, CurrentLimit: limit, DurationUntilReset: durationpb.New(time.Minute)},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	ok := respond(t, Options{}, verdict.Verdict{Effect: verdict.Allow, Descriptors: []verdict.DescriptorState{limited(0, true, true, time.Minute)}})
	if ok.GetOverallCode() != rlsv3.RateLimitResponse_OK || ok.GetStatuses()[0].GetCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("an allow with a quota that is over: %v", ok)
	}
	for unit := rlsv3.RateLimitResponse_RateLimit_SECOND; unit <= rlsv3.RateLimitResponse_RateLimit_WEEK; unit++ {
		s := limited(1, false, false, 0)
		s.Limit.Unit = unitName(unit)
		if got := statusOf(&s).GetCurrentLimit().GetUnit(); got.String() != unit.String() {
			t.Errorf("%v comes back as %v", unit, got)
		}
	}
}

// TestHeaders: section 1.3, "Response headers": which descriptor they tell of.
func TestHeaders(t *testing.T) {
	named := Options{Headers: Headers{Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", Reset: "RateLimit-Reset"}}
	for name, c := range map[string]struct {
		states []verdict.DescriptorState
		want   string // remaining and reset
	}{
		"no limit":                            {[]verdict.DescriptorState{{}, {Unlimited: true}}, ""},
		"the least left":                      {[]verdict.DescriptorState{limited(5, false, false, 5e9), limited(2, false, false, 2e9), limited(3, false, false, 3e9)}, "2 2"},
		"the first of those":                  {[]verdict.DescriptorState{{}, limited(2, false, false, 5e9), limited(2, false, false, 2e9)}, "2 5"},
		"one that refuses, however much left": {[]verdict.DescriptorState{limited(0, false, false, 5e9), limited(0, true, false, 1500e6)}, "0 2"},
		"the last that refuses":               {[]verdict.DescriptorState{limited(0, true, false, 5e9), limited(0, true, false, 7e9), limited(0, false, false, 1e9)}, "0 7"},
		"a quota does not refuse by itself":   {[]verdict.DescriptorState{limited(0, true, false, 5e9), limited(0, true, true, 7e9)}, "0 5"},
		"quotas alone":                        {[]verdict.DescriptorState{limited(0, true, true, 5e9), limited(0, true, true, 7e9)}, "0 5"},
	} {
		t.Run(name, func(t *testing.T) {
			v := verdict.Verdict{Effect: verdict.Allow, Descriptors: c.states}
			var want []*corev3.HeaderValue
			if remaining, reset, ok := strings.Cut(c.want, " "); ok {
				want = []*corev3.HeaderValue{{Key: "RateLimit-Limit", Value: "10"}, {Key: "RateLimit-Remaining", Value: remaining}, {Key: "RateLimit-Reset", Value: reset}}
			}
			if diff := cmp.Diff(want, respond(t, named, v).GetResponseHeadersToAdd(), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if got := respond(t, Options{}, v).GetResponseHeadersToAdd(); len(got) > 0 {
				t.Errorf("without being told to: %v", got)
			}
		})
	}
}

// TestMetadata: section 1.3, "DynamicMetadata".
func TestMetadata(t *testing.T) {
	shared := map[string]any{"a": int64(1), "b": map[string]any{"c": "first", "l": []any{true}}}
	states := []verdict.DescriptorState{
		limited(1, false, false, 0), limited(0, true, false, 0), limited(1, false, false, 0), {},
	}
	states[0].Metadata = shared
	states[1].Metadata = map[string]any{"over": true}
	states[2].Metadata = map[string]any{"a": "second", "b": map[string]any{"c": "second", "d": 2.5}, "e": "f"}
	in := message(t, `{"domain":"edge","hitsAddend":2,"descriptors":[
		{"entries":[{"key":"k","value":"v"},{"key":"x"}],"hitsAddend":"7"},{"limit":{"requestsPerUnit":3,"unit":"HOUR"}},{},{}]}`)
	out, err := New(Options{Decider: &decider{verdict: verdict.Verdict{Reason: verdict.LimitExceeded, Descriptors: states}}, Caller: known, Metadata: true}).ShouldRateLimit(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"domain": "edge", "hitsAddend": 2.0,
		"descriptors": []any{
			map[string]any{"entries": []any{"k=v", "x="}, "hitsAddend": 7.0},
			map[string]any{"entries": []any{}, "limit": "requests_per_unit:3 unit:HOUR"},
			map[string]any{"entries": []any{}}, map[string]any{"entries": []any{}},
		},
		"metadata": map[string]any{"a": 1.0, "b": map[string]any{"c": "first", "l": []any{true}, "d": 2.5}, "e": "f"},
	}
	if diff := cmp.Diff(want, out.GetDynamicMetadata().AsMap()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"a": int64(1), "b": map[string]any{"c": "first", "l": []any{true}}}, shared); diff != "" {
		t.Errorf("the bundle's own metadata changed: %s", diff)
	}
}

// FuzzShouldRateLimit sends any bytes. The answer is one status for each descriptor, or an error without any text of the
// message.
func FuzzShouldRateLimit(f *testing.F) {
	seed, err := proto.Marshal(message(f, `{"domain":"edge","descriptors":[{"entries":[{"key":"k","value":"v"}],"limit":{"requestsPerUnit":3,"unit":"HOUR"}}]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &rlsv3.RateLimitRequest{}
		if proto.Unmarshal(data, in) != nil {
			in = nil
		}
		v := verdict.Verdict{Effect: verdict.Allow, Descriptors: make([]verdict.DescriptorState, len(in.GetDescriptors()))}
		out, err := New(Options{Decider: &decider{verdict: v}, Caller: known, Metadata: true}).ShouldRateLimit(t.Context(), in)
		switch {
		case err == nil && in != nil && len(out.GetStatuses()) != len(in.GetDescriptors()):
			t.Errorf("%d statuses for %v", len(out.GetStatuses()), in)
		case err != nil && status.Code(err) != codes.InvalidArgument:
			t.Errorf("%v for %v", err, in)
		}
	})
}
