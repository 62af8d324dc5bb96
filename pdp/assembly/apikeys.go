package assembly

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/state"
)

const (
	// apiKeysTable holds the keys, apiKeyUsesTable when they were last used.
	apiKeysTable    = "api_keys"
	apiKeyUsesTable = "api_key_uses"

	// useQueue bounds the uses that wait to be written down.
	useQueue = 1024
	// useEvery is how often a use is written down; replicas see each other's.
	useEvery = time.Minute
	// forgetEvery is how often ended keys are forgotten.
	forgetEvery = time.Minute
)

// apiKeys are the keys of the shared table, and what all API keys are checked with.
type apiKeys struct {
	hasher *apikey.Hasher // nil where the settings name no hash key; there is no table then
	book   *apikey.Book
	table  *state.Table
	uses   *state.Table

	used    chan use
	dropped func() // told of a use that is not written down
	clock   func() time.Time
	logger  *slog.Logger
	leave   func()
}

// use is that of one key.
type use struct {
	id       string
	at, kept time.Time // kept is until when
}

// newAPIKeys reads the hash keys and, where there are some, the table, and keeps its copy fresh until it is closed.
func newAPIKeys(o *Options, shared *shared, m *metrics) (*apiKeys, error) {
	k := &apiKeys{used: make(chan use, useQueue), dropped: m.keyUsesDropped.Inc, clock: o.Clock, logger: o.Logger, leave: func() {}}
	maxAge := time.Duration(o.Settings.APIKeys.MaxAge)
	k.book = apikey.NewBook(apikey.BookOptions{
		Fresh: func(now time.Time) bool { return k.isFresh(now, maxAge) },
		Used:  k.note,
	})
	if len(o.Settings.APIKeys.HashKeys) == 0 {
		return k, nil
	}
	var open []string
	var err error
	if k.hasher, open, err = readHashKeys(o.Settings.APIKeys.HashKeys); err != nil {
		return nil, err
	}
	for _, name := range open {
		o.Logger.Warn("hash key of API keys can be read by others than its owner; give its file the mode 0600", "hash_key", name)
	}
	if k.table, err = shared.table(apiKeysTable, k.changed); err != nil {
		return nil, err
	}
	if k.uses, err = shared.table(apiKeyUsesTable, nil); err != nil {
		return nil, err
	}
	if !o.Settings.Redis.Shared() {
		o.Logger.Warn("no Redis: API keys that are made here are kept in memory and end with the server")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.write(ctx) })
	k.leave = func() {
		cancel()
		running.Wait()
	}
	return k, nil
}

// forStage is what the stage needs.
func (k *apiKeys) forStage() *identity.APIKeys {
	return &identity.APIKeys{Hasher: k.hasher, Table: k.book}
}

// readHashKeys returns the hasher, and the names of those keys that others than the owner of the file can read.
func readHashKeys(configured []settings.HashKey) (h *apikey.Hasher, open []string, err error) {
	keys := make([]apikey.HashKey, len(configured))
	for i, c := range configured {
		text, _, readable, err := readSecret(c.File, stamp{})
		if err != nil {
			return nil, nil, fmt.Errorf("%w: api_keys.hash_keys[%d].file: %w", settings.ErrInvalid, i, err)
		}
		if readable {
			open = append(open, c.Name)
		}
		keys[i] = apikey.HashKey{Name: c.Name, Secret: []byte(text)}
	}
	if h, err = apikey.NewHasher(keys...); err != nil {
		return nil, nil, fmt.Errorf("%w: api_keys.hash_keys: %w", settings.ErrInvalid, err)
	}
	return h, open, nil
}

// isFresh reports whether the copy of the table may be believed.
func (k *apiKeys) isFresh(now time.Time, maxAge time.Duration) bool {
	if k.table == nil {
		return false
	}
	synced := k.table.Synced()
	return !synced.IsZero() && now.Sub(synced) <= maxAge
}

// changed takes over what the table says.
func (k *apiKeys) changed(records []state.Record, whole bool) {
	entries := make([]apikey.Entry, len(records))
	for i, r := range records {
		entries[i] = apikey.Entry{ID: r.ID, Value: r.Value, Expires: r.Expires, Deleted: r.Deleted}
	}
	if n := k.book.Apply(entries, whole); n > 0 {
		k.logger.Error("entries of the table of API keys cannot be read: such keys are not taken", "entries", n)
	}
}

// put writes an entry where none stands.
func (k *apiKeys) put(ctx context.Context, e apikey.Entry) (written bool, err error) {
	return k.table.Write(ctx, state.Record{ID: e.ID, Value: e.Value, Expires: e.Expires}, true)
}

// note lets the use of a key be written down. It is called by decisions, and waits for nothing.
func (k *apiKeys) note(r *apikey.Record, now time.Time) {
	select {
	case k.used <- use{id: r.ID, at: now, kept: r.KeptUntil()}:
	default:
		k.dropped()
	}
}

// write writes uses down, one after the other, and forgets what has ended.
func (k *apiKeys) write(ctx context.Context) {
	forget := time.NewTicker(forgetEvery)
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-forget.C:
			k.book.Forget(k.clock())
		case u := <-k.used:
			if u.at.Sub(k.lastUse(u.id)) < useEvery {
				continue // another replica's
			}
			if _, err := k.uses.Write(ctx, state.Record{ID: u.id, Value: []byte(u.at.UTC().Format(time.RFC3339)), Expires: u.kept}, false); err != nil {
				k.dropped()
			}
		}
	}
}

// lastUse returns when a key was last used, as far as it was written down; the zero time for never.
func (k *apiKeys) lastUse(id string) time.Time {
	r, ok := k.uses.Get(id)
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, string(r.Value))
	if err != nil {
		return time.Time{}
	}
	return at
}
