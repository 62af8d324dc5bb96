package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// OnFull says what becomes of a decision whose record finds no room.
type OnFull uint8

const (
	// DropAllows drops the record and counts it. Allows may fill three quarters of the queue and denials all of it, so
	// that a flood of allows hides no denial. It is the zero value.
	DropAllows OnFull = iota
	// Wait holds the decision until there is room, as long as its deadline allows; then the record is dropped and counted.
	Wait
	// DenyDecision denies what cannot be recorded; that denial is recorded in the room that allows leave free.
	DenyDecision
)

// Drop says why a record was lost.
type Drop string

const (
	// DroppedAllow is the record of an allow that found no room in the queue.
	DroppedAllow Drop = "full_allow"
	// DroppedDenial is the record of a denial that found no room.
	DroppedDenial Drop = "full_denial"
	// DroppedClosed came after Close.
	DroppedClosed Drop = "closed"
	// DroppedUnwritten was in the queue when the time to close was over.
	DroppedUnwritten Drop = "unwritten"
)

var (
	// ErrOptions is returned for options that cannot be right.
	ErrOptions = errors.New("audit log options")
	// ErrOnFull is wrapped by errors about a mode that does not exist.
	ErrOnFull = errors.New("on_full must be drop_allows, wait or deny")
	// ErrNotRecorded means that a record is lost and that the mode forbids to decide without one.
	ErrNotRecorded = errors.New("decision cannot be recorded")
	// ErrUnwritten means that the time to close was over before every record was written.
	ErrUnwritten = errors.New("records were not written")
)

// ParseOnFull reads "drop_allows", "wait" or "deny"; "" is drop_allows.
func ParseOnFull(s string) (OnFull, error) {
	switch s {
	case "", "drop_allows":
		return DropAllows, nil
	case "wait":
		return Wait, nil
	case "deny":
		return DenyDecision, nil
	}
	return DropAllows, fmt.Errorf("%w: got %q", ErrOnFull, s)
}

const (
	// minQueue and maxQueue bound the queue's length in records.
	minQueue = 16
	maxQueue = 1 << 20
	// lineShare is the room that a record has on average, in bytes.
	lineShare = 4 << 10
	// firstPause and maxPause bound the wait between two tries to write.
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
	// maxKept bounds a buffer that is kept for reuse.
	maxKept = 1 << 20
)

// Options configure a Log. Sink and Queue are mandatory.
type Options struct {
	// Sink takes whole lines, many in one call, from one goroutine. What it did not take is written again.
	Sink io.Writer
	// Queue is the number of records that may wait, from 16 to 1<<20; OnFull is what happens beyond.
	Queue  int
	OnFull OnFull
	// Observe is told what becomes of records.
	Observe Observer
}

// Observer is told what becomes of records. Any member may be nil; none may block or use the log.
type Observer struct {
	// Written and Dropped count records.
	Written func(records int)
	Dropped func(records int, why Drop)
	// Failed is told of every failed try to write.
	Failed func(err error)
}

// Log records decisions. It is safe for concurrent use.
type Log struct {
	options  Options
	maxBytes int
	encoders sync.Pool

	wake   chan struct{} // one pending wake-up of the writer
	giveUp chan struct{} // closed when the time to close is over
	done   chan struct{} // closed when the writer has ended

	mu       sync.Mutex
	pending  []byte        // lines that no write has begun for
	waiting  int           // records in pending
	writing  int           // records that the writer has in hand
	handed   int           // their bytes
	queued   uint64        // records that ever found room
	written  uint64        // those of them that the sink has taken
	room     chan struct{} // closed, and made anew, when room was made or the log is closed
	closed   bool
	quitOnce sync.Once
}

// NewLog starts a log. It must be closed.
func NewLog(options Options) (*Log, error) {
	if options.Sink == nil {
		return nil, fmt.Errorf("%w: no sink", ErrOptions)
	}
	if options.Queue < minQueue || options.Queue > maxQueue {
		return nil, fmt.Errorf("%w: queue of %d records, want %d to %d", ErrOptions, options.Queue, minQueue, maxQueue)
	}
	if options.OnFull > DenyDecision {
		return nil, fmt.Errorf("%w: %w", ErrOptions, ErrOnFull)
	}
	o := &options.Observe
	if o.Written == nil {
		o.Written = func(int) {}
	}
	if o.Dropped == nil {
		o.Dropped = func(int, Drop) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	l := &Log{
		options:  options,
		maxBytes: max(options.Queue*lineShare, 4*maxLine),
		encoders: sync.Pool{New: func() any { return &encoder{} }},
		wake:     make(chan struct{}, 1),
		giveUp:   make(chan struct{}),
		done:     make(chan struct{}),
		room:     make(chan struct{}),
	}
	go l.write()
	return l, nil
}

// Record encodes the entry, of which it keeps nothing, and queues the line. It blocks under Wait only, and no longer than
// ctx allows. It returns an error only under DenyDecision, when the record found no room.
func (l *Log) Record(ctx context.Context, entry *Entry) error {
	e, ok := l.encoders.Get().(*encoder)
	if !ok {
		e = &encoder{}
	}
	defer l.release(e)

	allowed := entry.Verdict.Allowed()
	why := l.queue(ctx, e.encode(entry), allowed)
	if why == "" {
		return nil
	}
	if l.options.OnFull != DenyDecision {
		l.options.Observe.Dropped(1, why)
		return nil
	}
	if allowed {
		// The engine denies now. That denial is what the log must show.
		refused, v := *entry, *entry.Verdict
		v.Effect, v.Status, v.Reason, v.Stage, v.Degraded = verdict.Deny, 0, verdict.AuditUnavailable, "audit", true
		refused.Verdict = &v
		if l.queue(ctx, e.encode(&refused), false) == "" {
			return ErrNotRecorded
		}
	}
	l.options.Observe.Dropped(1, why)
	return ErrNotRecorded
}

// Queued returns how many records are not written yet.
func (l *Log) Queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting + l.writing
}

// Close writes what is queued, for as long as ctx allows, and ends the log. The sink stays open. It may be called twice.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		l.announceRoom()
	}
	l.mu.Unlock()
	l.wakeWriter()
	select {
	case <-l.done:
	case <-ctx.Done():
		// A write that hangs cannot be ended: what it has in hand counts as not written.
		l.quitOnce.Do(func() { close(l.giveUp) })
	}
	if left := l.Queued(); left > 0 {
		return fmt.Errorf("closing the audit log: %w: %d", ErrUnwritten, left)
	}
	return nil
}

// queue appends the line, or says why it cannot.
func (l *Log) queue(ctx context.Context, line []byte, allowed bool) Drop {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return DroppedClosed
		}
		if l.fits(len(line), allowed) {
			l.pending = append(l.pending, line...)
			l.waiting++
			l.queued++
			l.mu.Unlock()
			l.wakeWriter()
			return ""
		}
		room := l.room
		l.mu.Unlock()

		full := DroppedDenial
		if allowed {
			full = DroppedAllow
		}
		if l.options.OnFull != Wait {
			return full
		}
		select {
		case <-room:
		case <-ctx.Done():
			return full
		}
	}
}

// fits reports whether a line has room; a quarter of the queue is for denials alone.
func (l *Log) fits(size int, allowed bool) bool {
	records, bytes := l.options.Queue, l.maxBytes
	if allowed {
		records -= records / 4
		bytes -= bytes / 4
	}
	return l.waiting+l.writing < records && len(l.pending)+l.handed+size <= bytes
}

// announceRoom wakes those who wait. The lock is held.
func (l *Log) announceRoom() {
	close(l.room)
	l.room = make(chan struct{})
}

func (l *Log) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Log) release(e *encoder) {
	if cap(e.buf) <= maxLine/2 {
		l.encoders.Put(e)
	}
}
