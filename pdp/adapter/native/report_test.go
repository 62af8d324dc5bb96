package native

import (
	"fmt"
	"net"
	"testing"

	"context"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

func failed(id string) *durwardv1.ReportRequest {
	return &durwardv1.ReportRequest{Check: httpRequest(), DecisionId: id, Outcome: durwardv1.Outcome_OUTCOME_FAILED}
}

// reported is what the engine answers to a report.
func reported() verdict.Verdict {
	return verdict.Verdict{Reason: verdict.ReportedFailure, Stage: "limits.report", DecisionID: "r1"}
}

func TestReportOverTheWire(t *testing.T) {
	d := &decider{verdict: reported()}
	listener := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	Register(g, server(t, d, everything))
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	out, err := durwardv1.NewDecisionServiceClient(conn).Report(t.Context(), failed("d1\x01"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&durwardv1.ReportResponse{Accepted: true, Reason: "reported_failure", ReportId: "r1"}, out, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	got := d.last(t)
	if diff := cmp.Diff(&request.Failure{DecisionID: "d1"}, got.Failure); diff != "" || got.Invalid != "" || got.Method != "GET" || got.Caller != "shop" || got.Mode != request.Enforce {
		t.Errorf("request %+v, failure (-want +got):\n%s", got, diff)
	}
}

// What may not be reported is refused, and recorded as a report all the same.
func TestRefusedReports(t *testing.T) {
	without := everything
	without.Report = false
	dry, explained, nothing := failed("d1"), failed("d1"), failed("d1")
	dry.Check.DryRun, explained.Check.Explain, nothing.Check = true, durwardv1.Explain_EXPLAIN_ALL, nil
	for name, c := range map[string]struct {
		in      *durwardv1.ReportRequest
		asserts Asserts
		want    verdict.Reason
	}{
		"without the permission": {failed("d1"), without, verdict.CallerNotTrusted},
		"dry":                    {dry, everything, verdict.MalformedRequest},
		"explained":              {explained, everything, verdict.MalformedRequest},
		"no outcome":             {&durwardv1.ReportRequest{Check: httpRequest()}, everything, verdict.MalformedRequest},
		"another outcome":        {&durwardv1.ReportRequest{Check: httpRequest(), Outcome: 7}, everything, verdict.MalformedRequest},
		"no question":            {nothing, everything, verdict.MalformedRequest},
		"unreadable":             {nil, everything, verdict.MalformedRequest},
	} {
		d := &decider{verdict: reported()}
		out, err := server(t, d, c.asserts).Report(t.Context(), c.in)
		if err != nil || out.GetAccepted() || out.GetReason() != string(c.want) || out.GetReportId() != "refused" {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		if got := d.last(t); got.Failure == nil || got.Invalid != string(c.want) {
			t.Errorf("%s: request %+v", name, got)
		}
	}
	d := &decider{verdict: reported()}
	if out, err := New(Options{Decider: d}).Report(t.Context(), failed("d1")); err != nil || out.GetAccepted() || d.last(t).Failure == nil || d.last(t).Method != "" {
		t.Errorf("an unknown caller: %v, %v", out, err)
	}
}

func TestAcceptedReports(t *testing.T) {
	for _, c := range []struct {
		verdict verdict.Verdict
		want    bool
	}{
		{reported(), true},
		{verdict.Verdict{Reason: verdict.TokenExpired, Stage: "identity"}, true}, // charged by what else is known
		{verdict.Verdict{Reason: verdict.KeysUnavailable, Stage: "identity", Degraded: true}, false},
		{verdict.Verdict{Reason: verdict.NoRoute, Stage: "route"}, false},
		{verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed}, false},
		{verdict.Verdict{}, false},
	} {
		s := server(t, &decider{verdict: c.verdict}, everything)
		for range 2 { // what was not accepted may be reported again
			if out, _ := s.Report(t.Context(), failed("d1")); out.GetAccepted() != c.want {
				t.Errorf("%+v: %v", c.verdict, out)
			}
		}
	}
	panicking := &decider{panics: true}
	if out, err := server(t, panicking, everything).Report(t.Context(), failed("d1")); err != nil || out.GetAccepted() || out.GetReason() != "internal" {
		t.Errorf("%v, %v", out, err)
	}
}

// A report that is sent twice is charged once, as far as the server remembers.
func TestRepeatedReports(t *testing.T) {
	d := &decider{verdict: reported()}
	s := server(t, d, everything)
	send := func(id string) (asked bool) {
		before := len(d.seen)
		if out, err := s.Report(t.Context(), failed(id)); err != nil || !out.GetAccepted() {
			t.Fatalf("%v, %v", out, err)
		}
		return len(d.seen) > before
	}
	if !send("d1") || send("d1") || !send("") || !send("") {
		t.Error("not once for each decision that has an id")
	}
	for i := range maxReported {
		if !send(fmt.Sprint("other-", i)) {
			t.Fatal("another decision's report was taken for a repeated one")
		}
	}
	if !send("d1") || send("d1") || send(fmt.Sprint("other-", maxReported-1)) {
		t.Error("not the last ones are remembered")
	}
	if n := len(s.reported.known); n != maxReported || len(s.reported.last) != maxReported {
		t.Errorf("%d and %d reports are remembered", n, len(s.reported.last))
	}
	if !s.reported.add("another", "d1") {
		t.Error("callers share ids")
	}
}
