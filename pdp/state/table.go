package state

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Poll is how often a table asks its store by default.
const Poll = 300 * time.Millisecond

const (
	syncTimeout   = 2 * time.Second
	listenAgain   = time.Second
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
	// Most bounds the records that are held, 100,000 by default. A table that outgrows it is not taken over: [Table.Synced] then
	// grows old.
	Most int
	// Poll is how often the store is asked; 0 takes [Poll].
	Poll time.Duration
	// Changed, if not nil, is told of every change after it is in force, one call at a time. With whole set the records are all
	// that the table now holds. It must not call the table's Run, Sync or Write.
	Changed func(records []Record, whole bool)
	// Trouble, if not nil, is told of each attempt to reach the store: nil when it answered. It must not block.
	Trouble func(err error)
}

// Table is one replica's copy of a table. It is safe for concurrent use.
type Table struct {
	options TableOptions

	syncing sync.Mutex // one sync at a time
	cursor  Cursor
	swept   time.Time

	mu      sync.RWMutex
	records map[string]Record
	synced  time.Time
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
	return r, ok && !t.ended(&r)
}

// All returns the records that have not ended, in no particular order.
func (t *Table) All() []Record {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Record, 0, len(t.records))
	for _, r := range t.records {
		if !t.ended(&r) {
			out = append(out, r)
		}
	}
	return out
}

func (t *Table) ended(r *Record) bool {
	return r.Deleted || !r.Expires.IsZero() && !t.options.Clock().Before(r.Expires)
}

// Synced returns when the store was last known to hold nothing else than this copy; the zero time for never.
func (t *Table) Synced() time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.synced
}

// Write writes to the store, then takes the change over, so that this replica acts on it at once.
func (t *Table) Write(ctx context.Context, r Record, ifAbsent bool) (written bool, err error) {
	if err := r.Check(); err != nil {
		return false, err
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
	for {
		_ = t.Sync(ctx) // told to Trouble
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
	if changes.Whole && t.cursor.Epoch != "" && changes.Next.Epoch != t.cursor.Epoch {
		if err := t.restore(ctx, &changes); err != nil {
			return err
		}
	}
	if err := t.apply(&changes, asked); err != nil {
		return err
	}
	t.cursor = changes.Next
	if t.options.Changed != nil && (changes.Whole || len(changes.Records) > 0) {
		t.options.Changed(changes.Records, changes.Whole)
	}
	return nil
}

// restore writes back what this replica holds and a store that lost its table does not. Others may do so too: who comes later
// finds it there.
func (t *Table) restore(ctx context.Context, lost *Changes) error {
	for _, r := range t.All() {
		if _, err := t.options.Store.Write(ctx, t.options.Name, r, true); err != nil {
			return err
		}
	}
	changes, err := t.options.Store.Changes(ctx, t.options.Name, Cursor{})
	if err != nil {
		return err
	}
	*lost = changes
	return nil
}

// apply takes changes over, and forgets from time to time what has ended.
func (t *Table) apply(c *Changes, asked time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Whole {
		if len(c.Records) > t.options.Most {
			return ErrFull
		}
		t.records = make(map[string]Record, len(c.Records))
	}
	if asked.Sub(t.swept) >= sweepInterval || len(t.records)+len(c.Records) > t.options.Most {
		t.swept = asked
		for id, r := range t.records {
			if t.ended(&r) {
				delete(t.records, id)
			}
		}
	}
	for _, r := range c.Records {
		if _, known := t.records[r.ID]; !known && !r.Deleted && len(t.records) >= t.options.Most {
			return ErrFull
		}
		if r.Deleted {
			delete(t.records, r.ID)
		} else {
			t.records[r.ID] = r
		}
	}
	t.synced = asked
	return nil
}
