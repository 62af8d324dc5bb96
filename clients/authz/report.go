package authz

import (
	"context"
	"fmt"
	"sync/atomic"
	"unicode/utf8"

	"google.golang.org/grpc/status"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// Outcome is what became of a call that was allowed, as only the program that answered it knows. The zero Outcome is none.
type Outcome uint8

// Outcomes.
const (
	// Failed says that what the client brought to prove itself was wrong: a password, a second factor, a one-time code.
	Failed Outcome = iota + 1
)

// call is an allowed call, in the terms in which it was asked about.
type call struct {
	client   *Client
	question *durwardv1.CheckRequest
	reported atomic.Bool
}

// remember keeps what a later report needs: the question without the body, which may be large.
func (c *Client) remember(d *Decision, question *durwardv1.CheckRequest) {
	if !d.Allowed || question.GetDryRun() {
		return
	}
	question.Explain = durwardv1.Explain_EXPLAIN_UNSPECIFIED
	if body := question.GetHttp().GetBody(); body != nil {
		body.Content = nil
	}
	d.call = &call{client: c, question: question}
}

// Report tells the server what became of a call that it allowed, so that limits with `count: denied` count what only the
// program can see. The client is then stopped before the program is asked, once it failed too often. The server must
// permit this program to report. A decision is reported once; further calls do nothing.
//
// The report is made even when ctx is cancelled, because the client that ctx belongs to may be gone on purpose, and within
// the time that bounds a check. The error wraps ErrReport and is for the program's log: there is nothing else to do, and a
// report is not repeated. It is safe for concurrent use.
func (d Decision) Report(ctx context.Context, o Outcome) error {
	switch {
	case d.call == nil:
		return fmt.Errorf("%w: no allowed call of a client, or a dry run", ErrReport)
	case o != Failed:
		return fmt.Errorf("%w: unknown outcome %d", ErrReport, o)
	case d.call.reported.Swap(true):
		return nil
	}
	return d.call.client.report(ctx, d.call.question, d.ID)
}

// Report is Decision.Report for a call that something else asked about, such as a gateway in front. The request names the
// counters, so it must say the same as the gateway did of what limits count by; its body is not looked at. decisionID is for the
// record, "" where it is not known.
func (c *Client) Report(ctx context.Context, r Request, decisionID string, o Outcome) error {
	if o != Failed {
		return fmt.Errorf("%w: unknown outcome %d", ErrReport, o)
	}
	if r.HTTP != nil {
		slim := *r.HTTP
		slim.Body = nil
		r.HTTP = &slim
	}
	question, refused := r.message()
	if refused != nil || !utf8.ValidString(decisionID) {
		return fmt.Errorf("%w: text that is not UTF-8, or too much of it", ErrReport)
	}
	return c.report(ctx, question, decisionID)
}

func (c *Client) report(ctx context.Context, question *durwardv1.CheckRequest, decisionID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.timeout)
	defer cancel()
	answer, err := c.service.Report(ctx, &durwardv1.ReportRequest{
		Check: question, DecisionId: decisionID, Outcome: durwardv1.Outcome_OUTCOME_FAILED,
	})
	if err != nil {
		return fmt.Errorf("%w: asking the authz server: %w", ErrReport, status.Error(status.Code(err), status.Code(err).String()))
	}
	if !answer.GetAccepted() {
		return fmt.Errorf("%w: %s (report %s)", ErrReport, answer.GetReason(), answer.GetReportId())
	}
	return nil
}
