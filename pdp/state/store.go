package state

import (
	"context"
	"errors"
	"time"
)

// Trace is how long the trace of a deleted record should stand where it matters that the record does not come back.
const Trace = 24 * time.Hour

// Bounds of a record. A store refuses what is larger.
const (
	MaxID    = 512
	MaxValue = 16 << 10
)

// ErrRecord is returned for a record outside the bounds, or without an id.
var ErrRecord = errors.New("malformed record")

// Record is one entry of a table. Its value must not be changed after it was handed over.
type Record struct {
	// ID is 1 to [MaxID] bytes.
	ID string
	// Value is at most [MaxValue] bytes; nil in a record that was deleted.
	Value []byte
	// Expires is when the record ends by itself; zero for never. A record that was deleted stands as a trace until then.
	Expires time.Time
	// Deleted is set in the trace of a record that was taken away. A replica that is cut off for longer than the trace lasts, while
	// the store loses the table, brings the record back: [Trace] is a length for those that matter.
	Deleted bool
	// Version orders the writes of one ID. The store sets it. A record that is written with a version is written back: only what is
	// older, or nothing, gives way to it.
	Version uint64
}

// Check says whether the record is within the bounds.
func (r *Record) Check() error {
	if r.ID == "" || len(r.ID) > MaxID || len(r.Value) > MaxValue || r.Deleted && (r.Value != nil || r.Expires.IsZero()) {
		return ErrRecord
	}
	return nil
}

// ended says whether a record, or the trace of one, is over.
func (r *Record) ended(now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

// Cursor is a place in the history of a table. The zero Cursor is before everything.
type Cursor struct {
	// Epoch names the life of the table at one server: it changes when the store has lost it, and when another server took over,
	// which may have missed the last writes.
	Epoch string
	// Sequence grows with each change within an epoch.
	Sequence uint64
}

// Lost says whether a copy at cursor c may hold what the store, at next, no longer does.
func (c Cursor) Lost(next Cursor) bool {
	return c.Epoch != "" && (c.Epoch != next.Epoch || c.Sequence > next.Sequence)
}

// Changes are what happened to a table after a cursor.
type Changes struct {
	// Records are the latest states of what changed, traces of what was deleted among them. Of two with one ID the latter counts.
	Records []Record
	// Whole is set when Records are all that there is, so that whatever else a copy holds is gone: after the zero cursor, when the
	// cursor was of another epoch or ahead of the table, and when it was so old that records ended since of which nothing is left.
	Whole bool
	// Next is where the next question begins.
	Next Cursor
}

// Store keeps tables. It is safe for concurrent use.
type Store interface {
	// Write puts a record into a table, or takes it away where it is Deleted. With ifAbsent nothing is written where a record with
	// that ID stands that has not ended, and written is false. An error means that it is unknown whether it was written; the store
	// does not try again by itself.
	Write(ctx context.Context, table string, r Record, ifAbsent bool) (written bool, err error)
	// Changes returns what changed in a table since a cursor. A table that nobody wrote to is empty. One that is too large to be
	// read is [ErrFull].
	Changes(ctx context.Context, table string, since Cursor) (Changes, error)
	// Listen calls wake whenever a table may have changed, and when it begins to listen, until ctx ends or the connection is lost.
	// It returns at once when ctx ends. It may miss changes.
	Listen(ctx context.Context, table string, wake func()) error
}

// Marks remember what was used. They are safe for concurrent use.
type Marks interface {
	// Mark says whether nobody marked the key before, within the time that the earlier mark was to last. Key is any text, which
	// the caller keeps apart from others' by a prefix and bounds by hashing. An error means that it is unknown.
	Mark(ctx context.Context, key string, lasts time.Duration) (first bool, err error)
}
