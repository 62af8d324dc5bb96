package ratelimit

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// edgeLimits are the limits of most tests, by year, so that no window ends while a test runs.
const edgeLimits = `domain: edge
descriptors:
  - {key: user, rate_limit: {unit: year, requests_per_unit: 3, name: per-user}, metadata: {tier: low}}
  - {key: all, rate_limit: {unit: year, requests_per_unit: 100}}
  - {key: staff, rate_limit: {unlimited: true, replaces: [{name: per-user}]}}
`

// ask sends a request in its JSON form.
func (s *server) ask(t *testing.T, text string) (*rlsv3.RateLimitResponse, error) {
	t.Helper()
	in := &rlsv3.RateLimitRequest{}
	if err := protojson.Unmarshal([]byte(text), in); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return rlsv3.NewRateLimitServiceClient(s.conn).ShouldRateLimit(ctx, in)
}

// TestRateLimitService asks a whole server over gRPC.
func TestRateLimitService(t *testing.T) {
	s := start(t, edgeLimits)
	const both = `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]},{"entries":[{"key":"all","value":"x"}]}]}`
	for i, want := range []string{"OK 2 2", "OK 1 1", "OK 0 0", "OVER_LIMIT 0 0", "OVER_LIMIT 0 0"} {
		out, err := s.ask(t, both)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.GetStatuses()) != 2 || len(out.GetResponseHeadersToAdd()) != 3 {
			t.Fatalf("call %d: %v", i, out)
		}
		first, headers := out.GetStatuses()[0], out.GetResponseHeadersToAdd()
		got := out.GetOverallCode().String() + " " + headers[1].GetValue() + " " + strconv.FormatUint(uint64(first.GetLimitRemaining()), 10)
		if got != want || first.GetCode() != out.GetOverallCode() || first.GetCurrentLimit().GetName() != "per-user" || headers[0].GetKey() != "RateLimit-Limit" || headers[0].GetValue() != "3" {
			t.Errorf("call %d: %s, want %s: %v", i, got, want, out)
		}
		if d := first.GetDurationUntilReset().AsDuration(); d <= 0 || d > 365*24*time.Hour || d%time.Second != 0 {
			t.Errorf("call %d: reset after %v", i, d)
		}
		if tier := out.GetDynamicMetadata().AsMap()["metadata"]; (tier != nil) != (i < 3) {
			t.Errorf("call %d: metadata %v", i, tier)
		}
	}
	// What was refused charged nothing else: 3 of 100 are gone.
	out, err := s.ask(t, `{"domain":"edge","descriptors":[{"entries":[{"key":"all","value":"x"}],"hitsAddend":"0"}]}`)
	if err != nil || out.GetStatuses()[0].GetLimitRemaining() != 97 {
		t.Errorf("a look: %v, %v", out, err)
	}
	// Another counter, and a rule that replaces the limit.
	for _, text := range []string{
		`{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"bob"}]}]}`,
		`{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]},{"entries":[{"key":"staff"}]}]}`,
		`{"domain":"other","descriptors":[{"entries":[{"key":"user","value":"alice"}],"limit":{"requestsPerUnit":0,"unit":"UNKNOWN"}}]}`,
	} {
		if out, err := s.ask(t, text); err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OK {
			t.Errorf("%s: %v, %v", text, out, err)
		}
	}
}

// TestRateLimitRecords: a record names the domain, the rule and the bundle, and holds no value of a descriptor.
func TestRateLimitRecords(t *testing.T) {
	s := start(t, edgeLimits)
	const four = `{"domain":"edge","hitsAddend":4,"descriptors":[{"entries":[{"key":"user","value":"alice"}]}]}`
	for _, text := range []string{four, `{"domain":"nowhere","descriptors":[{}]}`, `{"domain":"edge"}`} {
		_, _ = s.ask(t, text)
	}
	s.stop(t)
	lines := strings.Split(strings.TrimSpace(s.records.String()), "\n")
	want := [][]string{
		{`"adapter":"ratelimit"`, `"caller":"local"`, `"bundle":"acme"`, `"service":"edge"`, `"route":"descriptors"`, `"effect":"deny"`, `"reason":"limit_exceeded"`, `"edge.user"`, `"point":"limits.descriptors"`},
		{`"route":"unknown_domain"`, `"reason":"allowed"`},
		{`"reason":"malformed_request"`},
	}
	if len(lines) != len(want) {
		t.Fatalf("records: %q", lines)
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("record %d has no %s: %s", i, part, lines[i])
			}
		}
		if strings.Contains(lines[i], "alice") {
			t.Errorf("record %d holds a value: %s", i, lines[i])
		}
	}
}

// TestRateLimitServiceErrors: the caller's mistakes do not end the server, and are told.
func TestRateLimitServiceErrors(t *testing.T) {
	s := start(t, edgeLimits)
	for text, want := range map[string]string{
		`{"descriptors":[{}]}`: "rate limit domain must not be empty",
		`{"domain":"edge"}`:    "rate limit descriptor list must not be empty",
		`{"domain":"edge","descriptors":[{"limit":{"requestsPerUnit":1,"unit":"UNKNOWN"}}]}`: "descriptor 0: invalid override of a limit: its unit is not second, minute, hour, day, week, month or year",
	} {
		if out, err := s.ask(t, text); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
			t.Errorf("%s: %v, %v", text, out, err)
		}
	}
	// A value that is no UTF-8, as a client may bring it: field 1, the domain.
	broken := &emptypb.Empty{}
	broken.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "\xff"))
	out := &rlsv3.RateLimitResponse{}
	if err := s.conn.Invoke(t.Context(), rlsv3.RateLimitService_ShouldRateLimit_FullMethodName, broken, out); err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("no UTF-8: %v, %v", out, err)
	}
	if out, err := s.ask(t, `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"x"}]}]}`); err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Errorf("after all that: %v, %v", out, err)
	}
}

// TestRateLimitReload: new limits hold at once, and bad ones do not replace good ones.
func TestRateLimitReload(t *testing.T) {
	s := start(t, edgeLimits)
	limitOf := func() uint32 {
		out, err := s.ask(t, `{"domain":"edge","descriptors":[{"entries":[{"key":"all","value":"y"}],"hitsAddend":"0"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		return out.GetStatuses()[0].GetCurrentLimit().GetRequestsPerUnit()
	}
	replace := func(text string) {
		path := filepath.Join(s.bundle, "ratelimits/edge.yaml")
		aside := filepath.Join(s.bundle, "ratelimits/.edge")
		if err := os.WriteFile(aside, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
	refused := make(chan struct{}, 100)
	s.log.listen(func(line string) {
		if strings.Contains(line, "bundle refused") && strings.Contains(line, "edge.yaml:2:") {
			refused <- struct{}{}
		}
	})
	replace("domain: edge\ndescriptors: [{key: all, rate_limit: {unit: fortnight}}]\n")
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatal("a bad unit is not refused")
	}
	if got := limitOf(); got != 100 {
		t.Errorf("after a bad file the limit is %d", got)
	}
	replace(strings.Replace(edgeLimits, "100", "50", 1))
	for end := time.Now().Add(patience); limitOf() != 50; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new limit does not hold")
		}
	}
}
