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
