package apikey

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The table of keys holds up to three entries for a key, each written once and never changed: the key itself, its revocation, and its
// end when it was replaced. So two replicas that write at the same time, or write back what a store lost, can only take rights away.
const (
	keyEntry     = "key:"
	revokedEntry = "revoked:"
	endsEntry    = "ends:"
)

// keepEnded is how long the entries of a key stay after it has expired, so that its use is told apart from that of an unknown one.
const keepEnded = 7 * 24 * time.Hour

// noteEvery is how often the use of a key is noted at most.
const noteEvery = time.Minute

// Entry is one entry of the table.
type Entry struct {
	ID    string
	Value []byte
	// Expires is when the entry ends; zero for never. All entries of a key end at the same time.
	Expires time.Time
	// Deleted is set for an entry that is gone.
	Deleted bool
}

// NewEntry returns the entry for a new key.
func NewEntry(r *Record) (Entry, error) {
	if err := r.Check(); err != nil {
		return Entry{}, err
	}
	value, err := r.encode()
	if err != nil {
		return Entry{}, fmt.Errorf("write down an API key: %w", err)
	}
	return Entry{ID: keyEntry + r.ID, Value: value, Expires: r.KeptUntil()}, nil
}

// change is the value of the other entries.
type change struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// RevokedEntry returns the entry that revokes a key from now on. The reason is for operators.
func RevokedEntry(r *Record, now time.Time, reason string) (Entry, error) {
	if len(reason) > maxReason || reason != "" && !isName(reason) {
		return Entry{}, fmt.Errorf("a reason is at most %d bytes of UTF-8 without control characters", maxReason)
	}
	return changeEntry(revokedEntry, r, change{now.UTC(), reason})
}

// EndsEntry returns the entry that lets a key end at a time.
func EndsEntry(r *Record, at time.Time) (Entry, error) {
	return changeEntry(endsEntry, r, change{At: at.UTC()})
}

func changeEntry(kind string, r *Record, c change) (Entry, error) {
	value, err := json.Marshal(c)
	if err != nil {
		return Entry{}, fmt.Errorf("write down an API key: %w", err)
	}
	return Entry{ID: kind + r.ID, Value: value, Expires: r.KeptUntil()}, nil
}

// KeptUntil returns when the entries of a key are forgotten; zero for never. It never changes, whatever becomes of the key: an entry that
// revokes must not end before a stale copy of the key does.
func (r *Record) KeptUntil() time.Time {
	if r.Expires.IsZero() {
		return time.Time{}
	}
	return r.Expires.Add(keepEnded)
}

// BookOptions say what a book knows beside keys.
type BookOptions struct {
	// Fresh, if not nil, says whether the book may be believed at a time. It must be safe for concurrent use.
	Fresh func(now time.Time) bool
	// Used, if not nil, is told that a key was used, about once a minute for each key. It must not block.
	Used func(r *Record, now time.Time)
}

// Book holds keys. It is safe for concurrent use.
type Book struct {
	options BookOptions

	mu      sync.RWMutex
	keys    map[string]*held
	changes map[string]change // by the entry's id; the zero time revokes from ever
}

type held struct {
	record *Record
	noted  atomic.Int64 // when its use was last noted, in Unix milliseconds
}

// NewBook returns a book that holds records.
func NewBook(o BookOptions, records ...Record) *Book {
	b := &Book{options: o, keys: make(map[string]*held, len(records)), changes: map[string]change{}}
	for i := range records {
		b.keys[records[i].ID] = &held{record: &records[i]}
	}
	return b
}

// Put adds a record.
func (b *Book) Put(r Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[r.ID] = &held{record: &r}
}

// Apply takes entries of the table over. With whole set they are all that there is. It returns how many of them cannot be read: such a
// key is not taken, and such a revocation revokes.
func (b *Book) Apply(entries []Entry, whole bool) (unreadable int) {
	changes, unreadable := readEntries(entries)
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.keys
	if whole {
		b.keys, b.changes = make(map[string]*held, len(entries)), map[string]change{}
	}
	for i := range changes {
		b.apply(&changes[i], before)
	}
	return unreadable
}

// read is an entry as it is understood: of a key, nil for one that is gone or cannot be read, or of what became of a key.
type read struct {
	kind, id string
	key      *held
	change   change
	deleted  bool
}

// readEntries reads entries aside, for it takes long and decisions go on meanwhile.
func readEntries(entries []Entry) (out []read, unreadable int) {
	out = make([]read, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		kind, id, _ := strings.Cut(e.ID, ":")
		r := read{kind: kind + ":", id: id, deleted: e.Deleted}
		ok := true
		switch {
		case r.kind != keyEntry && r.kind != revokedEntry && r.kind != endsEntry:
			unreadable++
			continue
		case e.Deleted:
		case r.kind == keyEntry:
			r.key, ok = readHeld(id, e.Value)
		default:
			r.change, ok = readChange(e.Value)
		}
		if !ok {
			unreadable++
		}
		out = append(out, r)
	}
	return out, unreadable
}

func readHeld(id string, value []byte) (*held, bool) {
	r, err := decodeRecord(value)
	if err != nil || r.ID != id {
		return nil, false
	}
	return &held{record: r}, true
}

func readChange(value []byte) (change, bool) {
	var c change
	if err := decodeStrict(value, &c); err != nil || c.At.IsZero() {
		return change{At: time.Unix(0, 0), Reason: "an entry that cannot be read"}, false
	}
	return c, true
}

// apply takes one entry over. Before are the keys that were held so far.
func (b *Book) apply(r *read, before map[string]*held) {
	switch {
	case r.kind != keyEntry && r.deleted:
		delete(b.changes, r.kind+r.id)
	case r.kind != keyEntry:
		b.changes[r.kind+r.id] = r.change
	case r.key == nil:
		delete(b.keys, r.id)
	default:
		if old := before[r.id]; old != nil {
			r.key.noted.Store(old.noted.Load())
		}
		b.keys[r.id] = r.key
	}
}

// Forget drops keys whose entries have ended.
func (b *Book) Forget(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.keys, func(id string, h *held) bool {
		until := h.record.KeptUntil()
		gone := !until.IsZero() && !now.Before(until)
		if gone {
			delete(b.changes, revokedEntry+id)
			delete(b.changes, endsEntry+id)
		}
		return gone
	})
}

// Len returns the number of keys.
func (b *Book) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.keys)
}

// All returns a copy of every record as it stands, in no particular order.
func (b *Book) All() []Record {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Record, 0, len(b.keys))
	for _, h := range b.keys {
		out = append(out, b.asItStands(h.record))
	}
	return out
}

// Get returns a copy of one record as it stands.
func (b *Book) Get(id string) (Record, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, ok := b.keys[id]
	if !ok {
		return Record{}, false
	}
	return b.asItStands(h.record), true
}

// asItStands joins a record with what became of it.
func (b *Book) asItStands(r *Record) Record {
	out := *r
	if c, ok := b.changes[revokedEntry+r.ID]; ok {
		out.Revoked, out.Reason = c.At, c.Reason
	}
	if c, ok := b.changes[endsEntry+r.ID]; ok {
		out.Ends = c.At
	}
	return out
}

// fresh reports whether the book may be believed.
func (b *Book) fresh(now time.Time) bool { return b.options.Fresh == nil || b.options.Fresh(now) }

// find returns a record and what became of it. What it costs does not depend on whether there is such a key.
func (b *Book) find(id string) (h *held, ends, revoked time.Time) {
	var name [len(revokedEntry) + idLength]byte
	b.mu.RLock()
	defer b.mu.RUnlock()
	h = b.keys[id]
	revoked = b.changes[string(append(append(name[:0], revokedEntry...), id...))].At
	ends = b.changes[string(append(append(name[:0], endsEntry...), id...))].At
	return h, ends, revoked
}

// note tells of a use of a key, unless one was told a short while ago.
func (b *Book) note(h *held, now time.Time) {
	if b.options.Used == nil {
		return
	}
	last, at := h.noted.Load(), now.UnixMilli()
	if at-last >= noteEvery.Milliseconds() && h.noted.CompareAndSwap(last, at) {
		b.options.Used(h.record, now)
	}
}
