package assembly

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/durward-pdp/durward/pdp/audit"
)

// journal records what operators and issuers do.
type journal struct {
	audit  *audit.Log
	clock  func() time.Time
	random io.Reader
}

// event begins what a record will say of an action; all of its lines have one id.
func (j *journal) event(r *http.Request, caller, what string) (*audit.Event, *refusal) {
	var id [16]byte
	if _, err := io.ReadFull(j.random, id[:]); err != nil {
		return nil, &refusal{http.StatusServiceUnavailable, "no random number for the action's id"}
	}
	return &audit.Event{Event: what, ID: hex.EncodeToString(id[:]), Caller: caller, Peer: originOf(r).peer, Certificate: certificateOf(r)}, nil
}

// record writes a line, and returns when it is written.
func (j *journal) record(r *http.Request, e *audit.Event, outcome string) *refusal {
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	e.Time, e.Outcome = j.clock(), outcome
	if err := j.audit.RecordEvent(ctx, e); err != nil {
		return &refusal{http.StatusServiceUnavailable, "it cannot be recorded who does this"}
	}
	return nil
}

// action is something that an operator does, and its records.
type action struct {
	journal *journal
	request *http.Request
	event   *audit.Event
}

// begin returns an action, of which nothing is recorded yet.
func (j *journal) begin(r *http.Request, caller, what string) (*action, *refusal) {
	event, no := j.event(r, caller, what)
	if no != nil {
		return nil, no
	}
	return &action{j, r, event}, nil
}

func (d *action) record(outcome string) *refusal {
	return d.journal.record(d.request, d.event, outcome)
}

// requested records what will be done; with a refusal it must not be.
func (d *action) requested() *refusal { return d.record("requested") }

// failed records that it was not done, or perhaps not, and returns why.
func (d *action) failed(no *refusal) *refusal {
	_ = d.record("failed") // the line before says that it was tried
	return no
}

// done records that it was done. What says it to whoever asked, where the record fails.
func (d *action) done(what string) *refusal {
	if no := d.record("done"); no != nil {
		return &refusal{no.status, what + ", and only that it was requested is recorded: " + no.text}
	}
	return nil
}
