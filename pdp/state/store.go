package state

import (
	"context"
	"errors"
	"time"
)

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
	// Deleted is set in the trace of a record that was taken away.
	Deleted bool
}

// Check says whether the record is within the bounds.
func (r *Record) Check() error {
	if r.ID == "" || len(r.ID) > MaxID || len(r.Value) > MaxValue || r.Deleted && (r.Value != nil || r.Expires.IsZero()) {
		return ErrRecord
	}
	return nil
}

// Cursor is a place in the history of a table. The zero Cursor is before everything.
type Cursor struct {
	// Epoch names the life of the table: it changes when the store has lost it.
	Epoch string
	// Sequence grows with each change within an epoch.
	Sequence uint64
}

// Changes are what happened to a table after a cursor.
type Changes struct {
	// Records are the latest states of what changed, traces of what was deleted among them, in no particular order.
	Records []Record
	// Whole is set when Records are all that there is, so that whatever else a copy holds is gone: after the zero cursor, and
	// when the cursor was of another epoch or ahead of the table.
	Whole bool
	// Next is where the next question begins.
	Next Cursor
}

// Store keeps tables. It is safe for concurrent use.
type Store interface {
	// Write puts a record into a table, or takes it away where it is Deleted. With ifAbsent nothing is written where a record with
	// that ID stands that has not ended, and written is false. An error means that it is unknown whether it was written.
	Write(ctx context.Context, table string, r Record, ifAbsent bool) (written bool, err error)
	// Changes returns what changed in a table since a cursor. A table that nobody wrote to is empty.
	Changes(ctx context.Context, table string, since Cursor) (Changes, error)
	// Listen calls wake whenever a table may have changed, until ctx ends or the connection is lost. It may miss changes.
	Listen(ctx context.Context, table string, wake func()) error
}

// Marks remember what was used. They are safe for concurrent use.
type Marks interface {
	// Mark says whether nobody marked the key before, within the time that the earlier mark was to last. Key is any text, which
	// the caller keeps apart from others' by a prefix and bounds by hashing. An error means that it is unknown.
	Mark(ctx context.Context, key string, lasts time.Duration) (first bool, err error)
}
