package state

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Poll is how often a table asks its store by default.
const Poll = 300 * time.Millisecond

const (
	syncTimeout   = 15 * time.Second // a whole table is read in many calls, which the store bounds one by one
	writers       = 16               // that write back at a time
	listenAgain   = time.Second
	breath        = 20 * time.Millisecond // between questions: what is written meanwhile is read at once
	defaultMost   = 100_000
	sweepInterval = time.Minute
)

// ErrFull is returned when a table or the marks hold as many as they may. What they hold stays in force.
var ErrFull = errors.New("the store's bound is reached")

// TableOptions say how a table is kept.
type TableOptions struct {
	// Store and Name are where the table is; Clock is the time by which records end.
	Store Store
	Name  string
	Clock func() time.Time
	// Most bounds the records that Write adds, traces among them, 100,000 by default. Writers that race may go beyond it by an eighth;
	// a table that outgrows that is not taken over: [Table.Synced] then grows old.
	Most int
	// Poll is how often the store is asked; 0 takes [Poll].
	Poll time.Duration
	// Changed, if not nil, is told of every change after it is in force, one call at a time. With whole set the records are all
	// that the table now holds, and none of them is Deleted. It must not call the table's Run, Sync or Write.
	Changed func(records []Record, whole bool)
	// Trouble, if not nil, is told of each attempt to reach the store: nil when it answered. It must not block.
	Trouble func(err error)
}

// Table is one replica's copy of a table. It is safe for concurrent use.
type Table struct {
	options TableOptions

	syncing sync.Mutex // one sync at a time
	cursor  Cursor

	mu      sync.RWMutex
	records map[string]Record
	swept   time.Time

	synced atomic.Pointer[time.Time] // apart, so that who asks never waits for a change
}

// NewTable returns an empty copy, which Run or Sync fill.
func NewTable(o TableOptions) (*Table, error) {
	if o.Store == nil || o.Name == "" || o.Clock == nil {
		return nil, errors.New("a table needs a store, a name and a clock")
	}
	if o.Most == 0 {
		o.Most = defaultMost
	}
	if o.Poll == 0 {
		o.Poll = Poll
	}
	return &Table{options: o, records: map[string]Record{}}, nil
}

// Get returns the record with an id, if there is one that has not ended.
func (t *Table) Get(id string) (Record, bool) {
	t.mu.RLock()
	r, ok := t.records[id]
	t.mu.RUnlock()
	return r, ok && !r.Deleted && !r.ended(t.options.Clock())
}

// All returns the records that have not ended, in no particular order.
func (t *Table) All() []Record {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Record, 0, len(t.records))
	now := t.options.Clock()
	for _, r := range t.records {
		if !r.Deleted && !r.ended(now) {
			out = append(out, r)
		}
	}
	return out
}

// Len returns how many records the copy holds, traces and what ended lately among them.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.records)
}

// Synced returns when the store was last known to hold nothing else than this copy, of which Changed has been told; the zero time for
// never.
func (t *Table) Synced() time.Time {
	if at := t.synced.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Write writes to the store, then takes the change over, so that this replica acts on it at once. Beyond the bound it returns
// [ErrFull] and writes nothing: one record more would keep every replica from taking over what comes after. With written set an
// error means that the store has the record and this replica's copy does not.
func (t *Table) Write(ctx context.Context, r Record, ifAbsent bool) (written bool, err error) {
	if err := r.Check(); err != nil {
		return false, err
	}
	if !r.Deleted && !t.hasRoom(r.ID) {
		return false, ErrFull
	}
	if written, err = t.options.Store.Write(ctx, t.options.Name, r, ifAbsent); err != nil {
		return written, err
	}
	return written, t.Sync(ctx)
}

// Run keeps the copy fresh until ctx ends.
func (t *Table) Run(ctx context.Context) {
	woken := make(chan struct{}, 1)
	var listening sync.WaitGroup
	listening.Go(func() { t.listen(ctx, woken) })
	defer listening.Wait()
	poll := time.NewTicker(t.options.Poll)
	defer poll.Stop()
	pause := time.NewTimer(breath)
	defer pause.Stop()
	for {
		_ = t.Sync(ctx) // told to Trouble
		pause.Reset(breath)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-woken:
		}
	}
}

func (t *Table) listen(ctx context.Context, woken chan<- struct{}) {
	wake := func() {
		select {
		case woken <- struct{}{}:
		default: // a wake-up waits already
		}
	}
	again := time.NewTicker(listenAgain)
	defer again.Stop()
	for {
		_ = t.options.Store.Listen(ctx, t.options.Name, wake) // polling goes on meanwhile, and tells of trouble
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// Sync catches up with the store once.
func (t *Table) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	t.syncing.Lock()
	defer t.syncing.Unlock()
	err := t.sync(ctx)
	if t.options.Trouble != nil && !errors.Is(err, context.Canceled) {
		t.options.Trouble(err)
	}
	return err
}

func (t *Table) sync(ctx context.Context) error {
	asked := t.options.Clock()
	changes, err := t.options.Store.Changes(ctx, t.options.Name, t.cursor)
	if err != nil {
		return err
	}
	if t.cursor.Lost(changes.Next) {
		if err := t.restore(ctx, &changes, asked); err != nil {
			return err
		}
	}
	if err := t.apply(&changes, asked); err != nil {
		return err
	}
	t.cursor = changes.Next
	if t.options.Changed != nil && (changes.Whole || len(changes.Records) > 0) {
		if changes.Whole {
			changes.Records = t.All()
		}
		t.options.Changed(changes.Records, changes.Whole)
	}
	t.synced.Store(&asked) // last, for who asks relies on what Changed was told
	return nil
}

// restore writes back what this replica holds and a store that lost it does not, and adds it to what was found. Others may do so
// too: who comes later finds it there.
func (t *Table) restore(ctx context.Context, found *Changes, now time.Time) error {
	lost := t.missing(found.Records, now)
	errs := make([]error, writers)
	var writing sync.WaitGroup
	for i := range errs {
		writing.Go(func() {
			for n := i; n < len(lost) && errs[i] == nil; n += writers {
				_, errs[i] = t.options.Store.Write(ctx, t.options.Name, lost[n], false)
			}
		})
	}
	writing.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	found.Records = append(found.Records, lost...)
	return nil
}

// missing returns what this replica holds, traces too, of which a store holds nothing or what is older.
func (t *Table) missing(found []Record, now time.Time) []Record {
	there := make(map[string]uint64, len(found))
	for i := range found {
		there[found[i].ID] = max(there[found[i].ID], found[i].Version)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var lost []Record
	for id, r := range t.records {
		if r.Version > there[id] && !r.ended(now) {
			lost = append(lost, r)
		}
	}
	return lost
}

// hasRoom says whether a record may be written: in the place of one that is there, or within the bound.
func (t *Table) hasRoom(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.records) >= t.options.Most {
		t.sweep(t.options.Clock())
	}
	_, known := t.records[id]
	return known || len(t.records) < t.options.Most
}

// sweep forgets what has ended.
func (t *Table) sweep(now time.Time) {
	t.swept = now
	for id, r := range t.records {
		if r.ended(now) {
			delete(t.records, id)
		}
	}
}

// apply takes all changes over, or none where they do not fit, and forgets from time to time what has ended.
func (t *Table) apply(c *Changes, asked time.Time) error {
	records, most := make(map[string]Record, len(c.Records)), t.options.Most+t.options.Most/8
	for _, r := range c.Records {
		records[r.ID] = r
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Whole {
		if len(records) > most {
			return ErrFull
		}
		t.records = records
		return nil
	}
	if asked.Sub(t.swept) >= sweepInterval || len(t.records)+len(records) > most {
		t.sweep(asked)
	}
	more := 0
	for id := range records {
		if _, known := t.records[id]; !known {
			more++
		}
	}
	if len(t.records)+more > most {
		return ErrFull
	}
	maps.Copy(t.records, records)
	return nil
}
