// Package memory is a [state.Store] and [state.Marks] in the process: for a server that shares nothing, and for tests. What it
// holds ends with the process.
package memory

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/state"
)

// MaxMarks bounds the marks that are held. Beyond it Mark returns [state.ErrFull]: a mark that is forgotten before its time would
// let through what was used.
const MaxMarks = 1 << 18

// Store keeps tables and marks. It is safe for concurrent use.
type Store struct {
	clock func() time.Time

	mu     sync.Mutex
	tables map[string]*table
	marks  map[string]time.Time // until when
	swept  time.Time
	epoch  int
}

type table struct {
	epoch    int
	sequence uint64
	version  uint64 // of the last write, whatever was lost since
	swept    uint64 // the last sequence of a record that ended and is forgotten
	records  map[string]state.Record
	written  map[string]uint64 // when by sequence
	wakes    map[*func()]bool
	cleaned  time.Time
}

// New returns an empty store. Clock is the time by which records and marks end.
func New(clock func() time.Time) *Store {
	return &Store{clock: clock, tables: map[string]*table{}, marks: map[string]time.Time{}}
}

func (s *Store) table(name string) *table {
	t, ok := s.tables[name]
	if !ok {
		t = &table{epoch: s.epoch, records: map[string]state.Record{}, written: map[string]uint64{}, wakes: map[*func()]bool{}}
		s.tables[name] = t
	}
	return t
}

// Write implements [state.Store].
func (s *Store) Write(_ context.Context, name string, r state.Record, ifAbsent bool) (bool, error) {
	if err := r.Check(); err != nil {
		return false, err
	}
	s.mu.Lock()
	t := s.table(name)
	now := s.clock()
	old, there := t.records[r.ID]
	if there && (ifAbsent && !old.Deleted && !ended(&old, now) || r.Version > 0 && r.Version <= old.Version) {
		s.mu.Unlock()
		return false, nil
	}
	if now.Sub(t.cleaned) >= time.Second { // to look at all records costs more than a write
		t.cleaned = now
		t.sweep(now)
	}
	t.sequence++
	t.version = max(t.version+1, r.Version)
	if r.Version == 0 {
		r.Version = t.version
	}
	t.records[r.ID], t.written[r.ID] = r, t.sequence
	wakes := make([]func(), 0, len(t.wakes))
	for w := range t.wakes {
		wakes = append(wakes, *w)
	}
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
	return true, nil
}

func ended(r *state.Record, now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

func (t *table) sweep(now time.Time) {
	for id, r := range t.records {
		if ended(&r, now) {
			t.swept = max(t.swept, t.written[id])
			delete(t.records, id)
			delete(t.written, id)
		}
	}
}

// Changes implements [state.Store].
func (s *Store) Changes(_ context.Context, name string, since state.Cursor) (state.Changes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(name)
	t.sweep(s.clock())
	out := state.Changes{Next: state.Cursor{Epoch: "memory-" + strconv.Itoa(t.epoch), Sequence: t.sequence}}
	out.Whole = since.Epoch != out.Next.Epoch || since.Sequence > t.sequence || since.Sequence < t.swept
	for id, r := range t.records {
		if out.Whole || t.written[id] > since.Sequence {
			out.Records = append(out.Records, r)
		}
	}
	return out, nil
}

// Listen implements [state.Store].
func (s *Store) Listen(ctx context.Context, name string, wake func()) error {
	s.mu.Lock()
	t := s.table(name)
	t.wakes[&wake] = true
	s.mu.Unlock()
	wake()
	<-ctx.Done()
	s.mu.Lock()
	delete(t.wakes, &wake)
	s.mu.Unlock()
	return ctx.Err()
}

// Lose forgets all tables and marks, as a server that keeps nothing on disk does when it restarts.
func (s *Store) Lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	for _, t := range s.tables {
		t.epoch, t.sequence, t.swept = s.epoch, 0, 0
		clear(t.records)
		clear(t.written)
	}
	clear(s.marks)
}

// Mark implements [state.Marks].
func (s *Store) Mark(_ context.Context, key string, lasts time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if until, ok := s.marks[key]; ok && now.Before(until) {
		return false, nil
	}
	if len(s.marks) >= MaxMarks && now.Sub(s.swept) >= time.Second {
		s.swept = now
		maps.DeleteFunc(s.marks, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if len(s.marks) >= MaxMarks {
		return false, state.ErrFull
	}
	s.marks[key] = now.Add(lasts)
	return true, nil
}
