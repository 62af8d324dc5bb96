package blocks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp/state"
)

const (
	// Table is the name of the table of blocks in the store.
	Table = "blocks"
	// Most is how many blocks there may be.
	Most = 100_000
	// traceLasts is how long a lifted block leaves a trace, for replicas that were cut off meanwhile.
	traceLasts = 24 * time.Hour
	sweepEvery = time.Minute
	// attempts is how often a block is written where others write the same block.
	attempts = 8
)

// Options say where a list is kept. Both are mandatory.
type Options struct {
	// Open opens the table of the blocks, which [Most] bounds, and has the list told of its changes. Whoever opens it keeps it fresh.
	Open  func(changed func(records []state.Record, whole bool)) (*state.Table, error)
	Clock func() time.Time
}

// List is a replica's copy of the blocks. It is safe for concurrent use.
type List struct {
	table      *state.Table
	clock      func() time.Time
	unreadable atomic.Int64

	mu    sync.RWMutex
	view  *view
	swept time.Time
}

// New returns a list over its table.
func New(o Options) (*List, error) {
	if o.Open == nil || o.Clock == nil {
		return nil, errors.New("a list of blocks needs a table and a clock")
	}
	l := &List{clock: o.Clock, view: newView(0)}
	var err error
	if l.table, err = o.Open(l.changed); err != nil {
		return nil, fmt.Errorf("opening the table of blocks: %w", err)
	}
	return l, nil
}

// Synced returns when the store was last known to hold nothing else than this copy; the zero time for never.
func (l *List) Synced() time.Time { return l.table.Synced() }

// Room returns how many blocks more there may be, at least.
func (l *List) Room() int { return max(0, Most-l.table.Len()) }

// Unreadable counts what the store held and this version could not read. It blocks nobody.
func (l *List) Unreadable() int64 { return l.unreadable.Load() }

// change is one record of the table as this version reads it; the block is nil where there is none any more.
type change struct {
	id    string
	block *Block
}

// changed takes over what changed in the table. What takes long is done aside: questions go on meanwhile.
func (l *List) changed(records []state.Record, whole bool) {
	changes := l.read(records)
	if whole {
		next := newView(len(changes))
		next.apply(changes)
		l.mu.Lock()
		l.view = next
		l.mu.Unlock()
		return
	}
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view.apply(changes)
	if now.Sub(l.swept) >= sweepEvery {
		l.swept = now
		l.view.sweep(now)
	}
}

func (l *List) read(records []state.Record) []change {
	out := make([]change, len(records))
	for i := range records {
		r := &records[i]
		out[i].id = r.ID
		if r.Deleted {
			continue
		}
		b, err := decode(r.ID, r.Value)
		if err != nil {
			l.unreadable.Add(1)
			continue
		}
		out[i].block = b
	}
	return out
}

// Put blocks, and returns the block that is in force. To block again never shortens: of two ends, and of two times before which
// things were issued, the later holds. Nothing is written, and known is set, where what is there holds as far already. The error
// wraps [ErrBlock] for what is no block, and [state.ErrFull] at the bound; any other means that it is unknown whether the store has
// it.
func (l *List) Put(ctx context.Context, b Block) (in Block, known bool, err error) {
	if err := b.Check(); err != nil {
		return Block{}, false, err
	}
	if err := l.table.Sync(ctx); err != nil { // so that a block that another replica made is not shortened
		return Block{}, false, err
	}
	for range attempts {
		in, known, written, err := l.put(ctx, b)
		if err != nil {
			return Block{}, known, err
		}
		if written {
			return in, known, nil
		}
	}
	return Block{}, true, errors.New("others change the block again and again")
}

// put writes the block where the store still has what this copy has of it.
func (l *List) put(ctx context.Context, b Block) (in Block, known, written bool, err error) {
	id := b.ID()
	r := state.Record{ID: id}
	if stored, ok := l.table.Get(id); ok {
		r.Version = stored.Version + 1 // gives way to whatever was written since
	}
	if old, ok := l.Get(id); ok {
		until, before := later(&old, &b)
		if until.Equal(old.Until) && before.Equal(old.Before) {
			return old, true, true, nil
		}
		b.Until, b.Before, known = until, before, true
	}
	if r.Value, err = b.encode(); err != nil {
		return Block{}, known, false, err
	}
	r.Expires = b.Until
	written, err = l.table.Write(ctx, r, r.Version == 0)
	return b, known, written, err
}

// later returns the later end, where the zero time is never, and the later time of issue.
func later(a, b *Block) (until, before time.Time) {
	until, before = a.Until, a.Before
	if !until.IsZero() && (b.Until.IsZero() || b.Until.After(until)) {
		until = b.Until
	}
	if b.Before.After(before) {
		before = b.Before
	}
	return until, before
}

// Lift takes a block away and returns it; false where there is none. Errors are those of Put.
func (l *List) Lift(ctx context.Context, id string) (Block, bool, error) {
	if err := l.table.Sync(ctx); err != nil {
		return Block{}, false, err
	}
	b, ok := l.Get(id)
	if !ok {
		return Block{}, false, nil
	}
	_, err := l.table.Write(ctx, state.Record{ID: id, Deleted: true, Expires: l.clock().Add(traceLasts)}, false)
	return b, true, err
}

// Get returns the block with an id, if it has not ended.
func (l *List) Get(id string) (Block, bool) {
	l.mu.RLock()
	b := l.view.byID[id]
	l.mu.RUnlock()
	if b == nil || b.endsBy(l.clock()) {
		return Block{}, false
	}
	return *b, true
}

// All returns the blocks that have not ended, the latest first.
func (l *List) All() []Block {
	now := l.clock()
	l.mu.RLock()
	out := make([]Block, 0, len(l.view.byID))
	for _, b := range l.view.byID {
		if !b.endsBy(now) {
			out = append(out, *b)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(out, func(a, b Block) int {
		if c := b.Made.Compare(a.Made); c != 0 {
			return c
		}
		return strings.Compare(a.ID(), b.ID())
	})
	return out
}

// Counts returns how many blocks there are, by the names of all kinds.
func (l *List) Counts() map[string]int {
	out := make(map[string]int, len(kinds)-1)
	for _, name := range kinds[1:] {
		out[name] = 0
	}
	now := l.clock()
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, b := range l.view.byID {
		if !b.endsBy(now) {
			out[b.Kind.String()]++
		}
	}
	return out
}

// Credential is what blocks can be about of a credential that was verified. What it does not have is "".
type Credential struct {
	// Bundle is whose authenticator took the credential; Authenticator and Issuer say which. Without an issuer the authenticator's
	// name stands for it.
	Bundle, Authenticator, Issuer string
	// Subject is the subject's key, Name its sub.
	Subject, Name string
	// Token is the jti, Session the sid, Client the client_id, Key the id of the API key or of the key that signed.
	Token, Session, Client, Key string
	// Issued is when it was issued; the zero time is before every other.
	Issued time.Time
}

// Credential returns what revokes a credential, which a new one would mend, and what blocks whoever it is for; nil for nothing.
func (l *List) Credential(c *Credential, now time.Time) (revoked, blocked *Block) {
	issuer := c.Issuer
	if issuer == "" {
		issuer = c.Authenticator
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	v := l.view
	if len(v.byID) == 0 {
		return nil, nil
	}
	for _, bundle := range [...]string{"", c.Bundle} {
		for _, at := range [...]place{
			{Token, bundle, issuer, c.Token},
			{Session, bundle, issuer, c.Session},
			{Key, bundle, c.Authenticator, c.Key},
		} {
			if at.value == "" {
				continue
			}
			if b := v.find(at, now).all; b != nil {
				return b, blocked
			}
		}
		for _, at := range [...]place{
			{Subject, bundle, "", c.Subject},
			{Subject, bundle, issuer, c.Name},
			{Client, bundle, issuer, c.Client},
			{Issuer, bundle, issuer, ""},
		} {
			if at.value == "" && at.kind != Issuer {
				continue
			}
			e := v.find(at, now)
			if e.before != nil && c.Issued.Before(e.before.Before) {
				return e.before, blocked
			}
			if e.all != nil {
				blocked = e.all
			}
		}
	}
	return nil, blocked
}

// Network returns a block that a client's address is in; nil for none, and for the zero address.
func (l *List) Network(address netip.Addr, now time.Time) *Block {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.view.held[Network][0] == 0 {
		return nil
	}
	return l.view.network(address.Unmap(), now)
}
