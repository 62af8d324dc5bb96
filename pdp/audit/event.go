package audit

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
)

// Event is what an operator did over the admin listener.
type Event struct {
	// Event says what, as "limits.unblock"; ID is the same for all lines of one action.
	Event, ID string
	Time      time.Time
	// Outcome is "requested", "done" or "failed".
	Outcome string
	// Caller is the listener's name for who did it, Peer the other end of the connection, Certificate the verified one of the
	// connection, nil without.
	Caller      string
	Peer        netip.AddrPort
	Certificate *request.Certificate
	// Bundle, Service, Domain and Limit are what it was done to, Key the values of the counter, Counter the hash of its key.
	Bundle, Service, Domain, Limit string
	Key                            []EventValue
	Counter                        string
	// Detail is a short text for operators.
	Detail string
}

// EventValue is one named value of a counter's key.
type EventValue struct {
	Name, Value string
	// Missing is set where the request had none.
	Missing bool
}

// RecordEvent writes one line for what an operator does, and returns when the sink has taken it. It does not go by OnFull:
// the error, ErrNotRecorded, means that the line may be lost, so that what it tells of must not be done. Events have the room
// in the queue that denials have.
func (l *Log) RecordEvent(ctx context.Context, event *Event) error {
	var e encoder
	if why := l.queue(ctx, e.encodeEvent(event), false); why != "" {
		return fmt.Errorf("%w: %s", ErrNotRecorded, why)
	}
	return l.flush(ctx)
}

// flush waits until what is queued is written.
func (l *Log) flush(ctx context.Context) error {
	l.mu.Lock()
	queued := l.queued
	l.mu.Unlock()
	for {
		l.mu.Lock()
		written, room := l.written, l.room
		l.mu.Unlock()
		if written >= queued {
			return nil
		}
		select {
		case <-room:
		case <-l.done:
			return fmt.Errorf("%w: %s", ErrNotRecorded, DroppedUnwritten)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotRecorded, ctx.Err())
		}
	}
}

// encodeEvent returns the event's line, newline included.
func (e *encoder) encodeEvent(event *Event) []byte {
	e.reset()
	e.open('{')
	e.text("event", event.Event, maxText)
	e.text("id", event.ID, maxText)
	e.instant("time", event.Time)
	e.text("outcome", event.Outcome, maxText)
	e.text("caller", event.Caller, maxText)
	if event.Peer.IsValid() {
		e.key("peer_address")
		e.open('"')
		e.buf = event.Peer.AppendTo(e.buf)
		e.close('"')
	}
	if c := event.Certificate; c != nil {
		e.object("certificate", func() { e.certificate(c) })
	}
	e.text("bundle", event.Bundle, maxText)
	e.text("service", event.Service, maxText)
	e.text("domain", e.clean(event.Domain), maxText)
	e.text("limit", event.Limit, maxText)
	e.list("key", len(event.Key), func(i int) {
		v := &event.Key[i]
		e.text("name", v.Name, maxText)
		if !v.Missing {
			e.text("value", e.clean(v.Value), maxText)
		}
	})
	e.text("counter", event.Counter, maxText)
	e.text("detail", e.clean(event.Detail), maxText)
	e.close('}')
	return append(e.buf, '\n')
}
