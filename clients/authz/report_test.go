package authz_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// reports answers checks with an allow and takes reports.
type reports struct {
	mu   sync.Mutex
	seen []*request.Request
}

func (s *reports) decide(r *request.Request) verdict.Verdict {
	if r.Failure == nil {
		return verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed, DecisionID: "d1"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
	return verdict.Verdict{Reason: verdict.ReportedFailure, Stage: "limits.report", DecisionID: "r1"}
}

func logIn() authz.Request {
	return authz.Request{CorrelationID: "c1", HTTP: &authz.HTTP{
		Method: "POST", Scheme: "https", Host: "a.example", Target: "/login", Protocol: "HTTP/2", Header: []authz.Field{{Name: "a", Value: "b"}},
		Body: []byte("password=x"), BodySize: 10, PeerAddress: "198.51.100.7:1",
	}}
}

func TestReport(t *testing.T) {
	s := &reports{}
	c := inProcess(t, adapter(t, s.decide))
	d, err := c.Check(t.Context(), logIn())
	if err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	copied := d // decisions travel by value
	for range 3 {
		if err := errors.Join(d.Report(gone, authz.Failed), copied.Report(t.Context(), authz.Failed)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.seen) != 1 {
		t.Fatalf("%d reports", len(s.seen))
	}
	got := s.seen[0]
	if got.Failure.DecisionID != "d1" || got.Method != "POST" || got.Target != "/login" || got.CorrelationID != "c1" || got.Header.Count("a") != 1 || !got.Peer.Address.IsValid() || got.Mode != request.Enforce {
		t.Errorf("reported %+v", got)
	}
	if len(got.Body.Bytes) != 0 || got.Body.Size != 10 {
		t.Errorf("the report carries a body: %+v", got.Body)
	}
	other, err := c.Check(t.Context(), authz.Request{Operation: &authz.Operation{Service: "s", Action: "a", Credential: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	// The adapter remembers the id of a decision; this one's is the same.
	if err := other.Report(t.Context(), authz.Failed); err != nil || len(s.seen) != 1 {
		t.Errorf("%v, %d reports", err, len(s.seen))
	}
}

func TestReportsThatAreNotAccepted(t *testing.T) {
	s := &reports{}
	c := inProcess(t, adapter(t, s.decide))
	dry := logIn()
	dry.DryRun = true
	looked, err := c.Check(t.Context(), dry)
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := c.Check(t.Context(), logIn())
	if err != nil {
		t.Fatal(err)
	}
	denied, _ := inProcess(t, adapter(t, answers(verdict.Verdict{Reason: verdict.NoMatchingRule}))).Check(t.Context(), logIn())
	for name, err := range map[string]error{
		"a dry run":       looked.Report(t.Context(), authz.Failed),
		"a denial":        denied.Report(t.Context(), authz.Failed),
		"a zero decision": authz.Decision{Allowed: true}.Report(t.Context(), authz.Failed),
		"no outcome":      allowed.Report(t.Context(), 0),
		"another outcome": allowed.Report(t.Context(), 7),
	} {
		if !errors.Is(err, authz.ErrReport) || len(s.seen) != 0 {
			t.Errorf("%s: %v, %d reports", name, err, len(s.seen))
		}
	}

	if err := looked.Report(t.Context(), authz.Failed); !strings.Contains(err.Error(), "a dry run") {
		t.Errorf("the server was asked: %v", err)
	}

	refusing, err := inProcess(t, adapter(t, func(r *request.Request) verdict.Verdict {
		if r.Failure != nil {
			return verdict.Verdict{Reason: verdict.NoRoute, Stage: "route", DecisionID: "r7"}
		}
		return s.decide(r)
	})).Check(t.Context(), logIn())
	if err != nil {
		t.Fatal(err)
	}
	if err := refusing.Report(t.Context(), authz.Failed); !errors.Is(err, authz.ErrReport) || !strings.Contains(err.Error(), "no_route (report r7)") {
		t.Errorf("refused: %v", err)
	}
	old, err := inProcess(t, wire{check: func(context.Context) (*durwardv1.CheckResponse, error) {
		return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW}, nil
	}}).Check(t.Context(), logIn())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Report(t.Context(), authz.Failed); !errors.Is(err, authz.ErrReport) || !strings.Contains(err.Error(), "Unimplemented") {
		t.Errorf("a server that takes none: %v", err)
	}
}

// A program behind a gateway reports what the gateway asked about.
func TestReportWithoutADecision(t *testing.T) {
	s := &reports{}
	c := inProcess(t, adapter(t, s.decide))
	if err := c.Report(t.Context(), logIn(), "e1", authz.Failed); err != nil {
		t.Fatal(err)
	}
	if got := s.seen[0]; got.Failure.DecisionID != "e1" || got.Target != "/login" || len(got.Body.Bytes) != 0 || got.Body.Size != 10 {
		t.Errorf("reported %+v", got)
	}
	text := logIn()
	text.HTTP.Host = "\xff"
	for name, err := range map[string]error{
		"no UTF-8 in the request": c.Report(t.Context(), text, "e2", authz.Failed),
		"no UTF-8 in the id":      c.Report(t.Context(), logIn(), "\xff", authz.Failed),
		"no outcome":              c.Report(t.Context(), logIn(), "e2", 0),
		"no question":             c.Report(t.Context(), authz.Request{}, "e2", authz.Failed),
	} {
		if !errors.Is(err, authz.ErrReport) || len(s.seen) > 1 && s.seen[len(s.seen)-1].Invalid == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A call that failed open is reported when a server is there again: the API still saw it fail.
func TestReportOfACallThatFailedOpen(t *testing.T) {
	s := &reports{}
	c := inProcess(t, flaky{adapter(t, s.decide)}, authz.WithFailMode(authz.FailOpen))
	d, err := c.Check(t.Context(), logIn())
	if err != nil || !d.FailedOpen {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := d.Report(t.Context(), authz.Failed); err != nil || len(s.seen) != 1 || s.seen[0].Failure.DecisionID != "" {
		t.Errorf("%v, %d reports", err, len(s.seen))
	}
}

// flaky answers no check.
type flaky struct {
	durwardv1.DecisionServiceServer
}

func (flaky) Check(context.Context, *durwardv1.CheckRequest) (*durwardv1.CheckResponse, error) {
	return nil, status.Error(codes.Unavailable, "down")
}
