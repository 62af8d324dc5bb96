// Package keyring keeps the keys with which servers sign tokens for the APIs behind them. Replicas make the keys themselves, one for
// each period, share them sealed through a table of package state, publish each before it signs, and the ones before as long as a
// token of theirs may live. Without the store a ring goes on with what it holds.
//
// Only the assembly imports it. It knows tokens' signatures and no claim.
package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/token"
)

const (
	// CacheFor is how long those who verify may keep the published keys.
	CacheFor = 5 * time.Minute
	// ahead is how long before its first signature a key is published: everybody has fetched the keys anew by then.
	ahead = 3 * CacheFor
	// keep is how long a key is published after its last signature: longer than the longest token.
	keep = 15 * time.Minute

	// MinPeriod is the shortest time for which a key signs.
	MinPeriod = time.Hour
	// MaxPeriod is the longest.
	MaxPeriod = 30 * 24 * time.Hour

	tick         = time.Second
	writeTimeout = 5 * time.Second
	maxTold      = 3 // records that cannot be opened and that an error names
)

// ErrNoKey is returned while a ring has no key to sign with.
var ErrNoKey = errors.New("no signing key")

// errUnread is why a ring makes no key yet: without what stands there it would take its own for the first, and sign at once.
var errUnread = errors.New("what replicas share was never read")

// Table is what a ring wants of a [state.Table].
type Table interface {
	// All returns the records that have not ended.
	All() []state.Record
	// Synced returns when the table was last known to hold all that the store does; the zero time for never.
	Synced() time.Time
	// Write writes to the store, and with ifAbsent only where nothing stands; then the table holds what stands there.
	Write(ctx context.Context, r state.Record, ifAbsent bool) (written bool, err error)
}

// Options configure a Ring. All are mandatory.
type Options struct {
	// Table is where replicas share the keys, sealed with Sealer.
	Table  Table
	Sealer *Sealer
	// Period is how long a key signs, from MinPeriod to MaxPeriod.
	Period time.Duration
	// Clock is the time by which keys change.
	Clock func() time.Time
}

// Ring holds the keys. It is safe for concurrent use.
type Ring struct {
	options Options

	refreshing sync.Mutex
	keys       []*key               // ordered by when they sign
	opened     map[string]uint64    // versions of records that were opened, by record
	refused    map[string]refusal   // records that could not be
	view       atomic.Pointer[view] // what signs and what is shown
}

type refusal struct {
	version uint64
	err     error
}

// view is immutable.
type view struct {
	signs *key
	set   []byte
	infos []Info
}

// Info is what may be told of a key.
type Info struct {
	// ID is the kid.
	ID string `json:"kid"`
	// Usable is from when on the key signs; Signs is set for the one that does now.
	Usable time.Time `json:"usable"`
	Signs  bool      `json:"signs"`
}

// New returns a ring without keys, which Run or Refresh brings.
func New(o Options) (*Ring, error) {
	if o.Table == nil || o.Sealer == nil || o.Clock == nil || o.Period < MinPeriod || o.Period > MaxPeriod {
		return nil, fmt.Errorf("a ring of keys needs a table, a sealer, a clock, and a period from %v to %v", MinPeriod, MaxPeriod)
	}
	r := &Ring{options: o, opened: map[string]uint64{}, refused: map[string]refusal{}}
	r.view.Store(&view{})
	return r, nil
}

// Sign makes a compact token of a typ from the claims, with the key of the time.
func (r *Ring) Sign(typ string, claims map[string]any) (string, error) {
	signs := r.view.Load().signs
	if signs == nil {
		return "", ErrNoKey
	}
	return signs.signer.Sign(typ, claims)
}

// KeySet returns the JWK set of the public keys; false while there is none. It must not be changed.
func (r *Ring) KeySet() ([]byte, bool) {
	v := r.view.Load()
	return v.set, v.set != nil
}

// Infos tells of the keys that are published, in the order in which they sign.
func (r *Ring) Infos() []Info { return r.view.Load().infos }

// Run keeps the ring fresh until ctx ends. Trouble, if not nil, is told of each round: nil when all was well.
func (r *Ring) Run(ctx context.Context, trouble func(error)) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		err := r.Refresh(ctx)
		if trouble != nil && ctx.Err() == nil {
			trouble(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// Refresh takes over what others made, makes what is due, and lets go what is over.
func (r *Ring) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	now := r.options.Clock()
	if r.options.Table.Synced().IsZero() {
		return errUnread
	}
	there := r.take(now)
	err := r.make(ctx, now, there)
	r.settle(now)
	return errors.Join(r.refusals(), err)
}

// take opens the records that are new, and returns the names of all.
func (r *Ring) take(now time.Time) (there map[string]bool) {
	there = map[string]bool{}
	for _, record := range r.options.Table.All() {
		there[record.ID] = true
		if r.opened[record.ID] == record.Version && record.Version != 0 {
			continue
		}
		if no, known := r.refused[record.ID]; known && no.version == record.Version {
			continue
		}
		k, err := openRecord(r.options.Sealer, &record)
		if err != nil {
			r.refused[record.ID] = refusal{record.Version, err}
			continue
		}
		delete(r.refused, record.ID)
		r.opened[record.ID] = record.Version
		r.add(k, now)
	}
	for id := range r.opened {
		if !there[id] {
			delete(r.opened, id)
		}
	}
	for id := range r.refused {
		if !there[id] {
			delete(r.refused, id)
		}
	}
	return there
}

// add takes a key over. Another one of its period that has signed nothing goes: the store lost it, and other replicas do not publish it.
func (r *Ring) add(k *key, now time.Time) {
	signs := r.view.Load().signs
	r.keys = slices.DeleteFunc(r.keys, func(other *key) bool {
		unused := other.usable.After(now) && (signs == nil || other.id != signs.id)
		return other.id == k.id || unused && other.begins.Equal(k.begins)
	})
	r.keys = append(r.keys, k)
}

// refusals tells of records that cannot be opened, in one order and no more of them than anybody reads.
func (r *Ring) refusals() error {
	ids := slices.Sorted(maps.Keys(r.refused))
	var errs []error
	for _, id := range ids[:min(len(ids), maxTold)] {
		errs = append(errs, r.refused[id].err)
	}
	if more := len(ids) - maxTold; more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}

// make writes the keys that are due and that nobody wrote: of many replicas, the first. Then all take what stands there. Who can open
// nothing of what stands there makes nothing: with another sealing key, its keys would be ones that no other replica can publish.
func (r *Ring) make(ctx context.Context, now time.Time, there map[string]bool) error {
	if len(r.keys) == 0 && len(r.refused) > 0 {
		return nil
	}
	begins := now.Truncate(r.options.Period)
	made := false
	for _, at := range []time.Time{begins, begins.Add(r.options.Period)} {
		if at.Add(-ahead).After(now) || there[recordID(at)] {
			continue
		}
		usable := now // nobody has fetched keys before the first
		if len(r.keys) > 0 || made {
			usable = later(at, now.Add(ahead))
		}
		record, err := newRecord(r.options.Sealer, at, usable, at.Add(2*r.options.Period+keep))
		if err != nil {
			return err
		}
		if _, err := r.options.Table.Write(ctx, record, true); err != nil {
			return fmt.Errorf("share a signing key: %w", err)
		}
		made = true
	}
	if made {
		r.take(now)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settle chooses the key that signs, and forgets those that signed last so long ago that no token of theirs lives.
func (r *Ring) settle(now time.Time) {
	slices.SortStableFunc(r.keys, func(a, b *key) int {
		return cmp.Or(a.usable.Compare(b.usable), a.begins.Compare(b.begins), cmp.Compare(a.id, b.id))
	})
	signs := 0 // the first of all, if the time of none has come
	for i, k := range r.keys {
		if !k.usable.After(now) {
			signs = i
		}
	}
	first := 0
	for first < signs && !now.Before(r.keys[first+1].usable.Add(keep)) {
		first++
	}
	r.keys = slices.Delete(r.keys, 0, first)
	r.show(signs - first)
}

func (r *Ring) show(signs int) {
	if len(r.keys) == 0 {
		r.view.Store(&view{})
		return
	}
	v := &view{signs: r.keys[signs]}
	signers := make([]*token.Signer, len(r.keys))
	for i, k := range r.keys {
		signers[i] = k.signer
		v.infos = append(v.infos, Info{ID: k.id, Usable: k.usable, Signs: i == signs})
	}
	set, err := token.MarshalKeySet(signers...)
	if err != nil {
		return // the view before stands
	}
	v.set = set
	r.view.Store(v)
}
