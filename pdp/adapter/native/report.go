package native

import (
	"context"
	"sync"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// maxReported bounds the reports that a server remembers, so that one sent twice is charged once.
const maxReported = 4096

// Report takes the failure of a call that was allowed. The error is always nil and the response never is. Nothing of a
// report is believed that a check of the same caller would not be: it names no counter, only the call.
func (s *Server) Report(ctx context.Context, in *durwardv1.ReportRequest) (out *durwardv1.ReportResponse, _ error) {
	defer func() {
		if recover() != nil {
			// The value may hold request text: it is counted, and never logged or shown.
			s.options.OnPanic()
			out = &durwardv1.ReportResponse{Reason: string(verdict.Internal)}
		}
	}()
	r := s.decodeReport(ctx, in)
	if r.Invalid == "" && !s.reported.add(r.Caller, r.Failure.DecisionID) {
		return &durwardv1.ReportResponse{Accepted: true, Reason: string(verdict.ReportedFailure)}, nil
	}
	v := s.options.Decider.Decide(ctx, r)
	ok := accepted(&v)
	if !ok {
		s.reported.forget(r.Caller, r.Failure.DecisionID)
	}
	return &durwardv1.ReportResponse{Accepted: ok, Reason: clip(string(v.Reason)), ReportId: clip(v.DecisionID)}, nil
}

// accepted reports whether a report reached the stages, and was no outage: then its limits are charged by what is known of
// the call.
func accepted(v *verdict.Verdict) bool {
	return !v.Allowed() && !v.Degraded && (v.Stage == "identity" || v.Stage == "limits.report")
}

// decodeReport reads the message. A panic is a report that is refused, and thereby recorded.
func (s *Server) decodeReport(ctx context.Context, in *durwardv1.ReportRequest) *request.Request {
	r := s.decode(ctx, in.GetCheck(), func(d *decoder) {
		check := in.GetCheck()
		switch {
		case !d.asserts.Report:
			d.refuse(verdict.CallerNotTrusted)
		case in.GetOutcome() != durwardv1.Outcome_OUTCOME_FAILED, check.GetDryRun(), check.GetExplain() != durwardv1.Explain_EXPLAIN_UNSPECIFIED:
			d.refuse(verdict.MalformedRequest)
		}
	})
	r.Failure = &request.Failure{DecisionID: request.Printable(in.GetDecisionId(), maxLabel)}
	return r
}

// reports remembers the last reports. The zero value remembers none yet.
type reports struct {
	mu    sync.Mutex
	known map[report]bool
	last  []report // a ring, once it is full
	next  int
}

// report names the decision that a report is about. Ids are unique for each server; whether a caller's is one nobody knows.
type report struct {
	caller, decision string
}

// add remembers a report and says whether it is new. One without a decision always is.
func (m *reports) add(caller, decision string) bool {
	if decision == "" {
		return true
	}
	it := report{caller: caller, decision: decision}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known[it] {
		return false
	}
	if m.known == nil {
		m.known = make(map[report]bool)
	}
	m.known[it] = true
	if len(m.last) < maxReported {
		m.last = append(m.last, it)
		return true
	}
	delete(m.known, m.last[m.next])
	m.last[m.next] = it
	m.next = (m.next + 1) % maxReported
	return true
}

// forget lets a report that was not accepted be made again.
func (m *reports) forget(caller, decision string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, report{caller: caller, decision: decision})
}
