package assembly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/keysapi"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/subject"
)

// keysAdmin makes, shows, revokes and rotates the API keys of the shared table over the admin listener. The server makes the secrets: it
// alone has the hash key, and a key that it made has never been anywhere else than in its answer.
type keysAdmin struct {
	snapshot func() *pipeline.Snapshot
	keys     *apiKeys
	journal  journal
}

// register adds the paths. host is the listener's own.
func (a *keysAdmin) register(mux *http.ServeMux, known *callers, address string) {
	if a == nil {
		return
	}
	host, _, _ := net.SplitHostPort(address)
	able := func(handle func(*http.Request, caller) (any, *refusal), may func(*http.Request, caller) *refusal) http.Handler {
		return known.serve(func(r *http.Request, who caller) (any, *refusal) {
			if a.keys.table == nil {
				return nil, &refusal{http.StatusNotFound, "this server has no table of API keys: api_keys.hash_keys in its settings"}
			}
			if no := may(r, who); no != nil {
				return nil, no
			}
			switch {
			case a.snapshot() == nil:
				return nil, &refusal{http.StatusServiceUnavailable, "no bundle is in force yet, every request is denied: see the server's log"}
			case a.keys.table.Synced().IsZero():
				return nil, &refusal{http.StatusServiceUnavailable, "the table of API keys was never read: see the server's log"}
			}
			return handle(r, who)
		})
	}
	change := func(r *http.Request, _ caller) *refusal {
		if no := mayChange(r, host); no != nil {
			return no
		}
		return a.catchUp(r.Context())
	}
	mux.Handle("GET "+keysapi.ListPath, able(a.list, func(r *http.Request, who caller) *refusal { return mayRead(r, who, host) }))
	mux.Handle("POST "+keysapi.CreatePath, able(a.create, change))
	mux.Handle("POST "+keysapi.RevokePath, able(a.revoke, change))
	mux.Handle("POST "+keysapi.RotatePath, able(a.rotate, change))
}

// catchUp reads what other replicas changed: what is changed here must be known here.
func (a *keysAdmin) catchUp(ctx context.Context) *refusal {
	if err := a.keys.table.Sync(ctx); err != nil {
		return &refusal{http.StatusServiceUnavailable, "the table of API keys does not answer: nothing was changed"}
	}
	return nil
}

// list answers which keys there are. Who looked is recorded.
func (a *keysAdmin) list(r *http.Request, who caller) (any, *refusal) {
	query := r.URL.Query()
	bundle, authenticator, owner := query.Get("bundle"), query.Get("authenticator"), query.Get("owner")
	do, no := a.begin(r, who, "keys.list", bundle, audit.EventValue{Name: "authenticator", Value: authenticator}, audit.EventValue{Name: "owner", Value: owner})
	if no != nil {
		return nil, no
	}
	if no := do.record("done"); no != nil {
		return nil, no
	}
	_ = a.catchUp(r.Context()) // else the answer is as old as it says
	_ = a.keys.uses.Sync(r.Context())
	out := keysapi.List{Synced: a.keys.table.Synced().UTC(), Keys: []keysapi.Key{}}
	for _, k := range a.keys.book.All() {
		if (bundle == "" || k.Bundle == bundle) && (authenticator == "" || k.Authenticator == authenticator) && (owner == "" || k.Owner == owner) {
			out.Keys = append(out.Keys, a.view(&k))
		}
	}
	slices.SortFunc(out.Keys, func(x, y keysapi.Key) int {
		return cmp.Or(cmp.Compare(x.Bundle, y.Bundle), cmp.Compare(x.Authenticator, y.Authenticator), cmp.Compare(x.Owner, y.Owner), x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
	})
	return out, nil
}

// view shows a key.
func (a *keysAdmin) view(r *apikey.Record) keysapi.Key {
	out := keysapi.Key{
		ID: r.ID, Bundle: r.Bundle, Authenticator: r.Authenticator, Owner: r.Owner, Kind: r.Kind, Tenant: r.Tenant, Scopes: r.Scopes, Roles: r.Roles,
		State: "active", Created: r.Created.UTC(), Expires: r.Expires.UTC(), Ends: r.Ends.UTC(), Revoked: r.Revoked.UTC(), Reason: r.Reason,
		Replaces: r.Replaces, Used: a.keys.lastUse(r.ID), HashKey: r.HashKey, Lost: !a.keys.hasher.Knows(r.HashKey),
	}
	for _, p := range r.Addresses {
		out.Addresses = append(out.Addresses, p.String())
	}
	switch {
	case !r.Revoked.IsZero():
		out.State = "revoked"
	case r.HasEnded(a.journal.clock()):
		out.State = "expired"
	}
	return out
}

// create makes a key. It is recorded before, or not done.
func (a *keysAdmin) create(r *http.Request, who caller) (any, *refusal) {
	var want keysapi.Create
	if no := readDocument(r.Body, &want); no != nil {
		return nil, no
	}
	bundle, authenticator, no := a.authenticator(want.Bundle, want.Authenticator)
	if no != nil {
		return nil, no
	}
	record, no := newRecord(&want, bundle, authenticator.Name, a.journal.clock())
	if no != nil {
		return nil, no
	}
	secret, no := a.make(authenticator, &record)
	if no != nil {
		return nil, no
	}
	do, no := a.begin(r, who, "keys.create", bundle, keyValues(&record)...)
	if no != nil {
		return nil, no
	}
	if no := do.requested(); no != nil {
		return nil, no
	}
	if no := a.add(r.Context(), &record); no != nil {
		return nil, do.failed(no)
	}
	if no := do.done("the key " + record.ID + " is there, and nobody has its secret: revoke it"); no != nil {
		return nil, no
	}
	return keysapi.Created{Key: a.view(&record), Secret: secret}, nil
}

// newRecord returns what is asked for, without what a key has of its own.
func newRecord(want *keysapi.Create, bundle, authenticator string, now time.Time) (record apikey.Record, no *refusal) {
	now = now.UTC().Truncate(time.Second)
	record = apikey.Record{
		Bundle: bundle, Authenticator: authenticator, Owner: want.Owner, Kind: cmp.Or(want.Kind, subject.KindService), Tenant: want.Tenant,
		Scopes: want.Scopes, Roles: want.Roles, Created: now,
	}
	for _, text := range want.Addresses {
		p, err := apikey.ParseAddress(text)
		if err != nil {
			return record, &refusal{http.StatusBadRequest, "addresses: " + err.Error()}
		}
		record.Addresses = append(record.Addresses, p)
	}
	record.Expires, no = endOfLife(&want.Life, now, keysapi.DefaultLifetime)
	return record, no
}

// make makes a key for a record of the table.
func (a *keysAdmin) make(authenticator *identity.KeyAuthenticator, record *apikey.Record) (secret string, no *refusal) {
	if a.keys.book.Len() >= keysapi.MaxKeys {
		return "", &refusal{http.StatusConflict, fmt.Sprintf("the table holds %d keys, as many as it may", keysapi.MaxKeys)}
	}
	return makeKey(a.journal.random, a.keys.hasher, authenticator, record)
}

// makeKey fills in what a new key has of its own.
func makeKey(random io.Reader, hasher *apikey.Hasher, authenticator *identity.KeyAuthenticator, record *apikey.Record) (secret string, no *refusal) {
	for _, role := range record.Roles {
		if !slices.Contains(authenticator.Roles, role) && !slices.Contains(authenticator.Roles, "*") {
			return "", &refusal{http.StatusBadRequest, fmt.Sprintf("roles: the authenticator %q may not assert %.64q, only: %s", authenticator.Name, role, listOf(authenticator.Roles))}
		}
	}
	secret, k, err := apikey.New(random, authenticator.Prefix)
	if err != nil {
		return "", &refusal{http.StatusServiceUnavailable, "no random number for the key"}
	}
	record.ID = k.ID
	record.Hash, record.HashKey = hasher.Hash(record.Bundle, record.Authenticator, secret)
	if err := record.Check(); err != nil {
		return "", &refusal{http.StatusBadRequest, err.Error()}
	}
	return secret, nil
}

// add writes a new key.
func (a *keysAdmin) add(ctx context.Context, record *apikey.Record) *refusal {
	e, err := apikey.NewEntry(record)
	added, no := a.put(ctx, e, err)
	if no == nil && !added {
		return &refusal{http.StatusServiceUnavailable, "the table has a key with the id of the new one: try again"}
	}
	return no
}

// put writes an entry of a key, unless it could not be made or stands already.
func (a *keysAdmin) put(ctx context.Context, e apikey.Entry, problem error) (written bool, no *refusal) {
	if problem != nil {
		return false, &refusal{http.StatusBadRequest, problem.Error()}
	}
	written, err := a.keys.put(ctx, e)
	switch {
	case errors.Is(err, state.ErrRecord):
		return false, &refusal{http.StatusBadRequest, fmt.Sprintf("the key takes more than %d bytes: give it fewer or shorter scopes and roles", state.MaxValue)}
	case errors.Is(err, state.ErrFull):
		return false, &refusal{http.StatusConflict, "the table of API keys is full: nothing was changed"}
	case err != nil:
		return false, &refusal{http.StatusServiceUnavailable, "the table of API keys did not answer: it may be done or not; look at the list, and try again"}
	}
	return written, nil
}

// withdraw revokes a key that nobody was given, and says in a refusal what became of it.
func (a *keysAdmin) withdraw(r *http.Request, record *apikey.Record, no *refusal) *refusal {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout) // who asked may have gone
	defer cancel()
	e, err := apikey.RevokedEntry(record, a.journal.clock(), "nobody was given this key")
	if _, failed := a.put(ctx, e, err); failed != nil {
		return &refusal{no.status, fmt.Sprintf("%s. The new key %s was made and nobody has it: revoke it", no.text, record.ID)}
	}
	return no
}

// endOfLife returns when a key that is made now expires; the zero time for never.
func endOfLife(life *keysapi.Life, now time.Time, preset time.Duration) (time.Time, *refusal) {
	length := preset
	switch {
	case life.Never && life.LifetimeMS == 0:
		return time.Time{}, nil
	case life.Never || life.LifetimeMS < 0 || life.LifetimeMS > keysapi.MaxLifetime.Milliseconds() || life.LifetimeMS != 0 && life.LifetimeMS < 1000:
		return time.Time{}, &refusal{http.StatusBadRequest, fmt.Sprintf("a key lives from a second to %d days, or never expires", keysapi.MaxLifetime/(24*time.Hour))}
	case life.LifetimeMS != 0:
		length = time.Duration(life.LifetimeMS) * time.Millisecond
	case preset == 0:
		return time.Time{}, nil
	}
	return now.Add(length).Truncate(time.Second), nil
}

// revoke ends a key at once.
func (a *keysAdmin) revoke(r *http.Request, who caller) (any, *refusal) {
	var want keysapi.Revoke
	if no := readDocument(r.Body, &want); no != nil {
		return nil, no
	}
	record, no := a.find(want.ID)
	if no != nil {
		return nil, no
	}
	do, no := a.begin(r, who, "keys.revoke", record.Bundle, keyValues(&record)...)
	if no != nil {
		return nil, no
	}
	do.event.Detail = want.Reason
	if no := do.requested(); no != nil {
		return nil, no
	}
	e, err := apikey.RevokedEntry(&record, a.journal.clock().Truncate(time.Second), want.Reason)
	revoked, no := a.put(r.Context(), e, err)
	if no != nil {
		return nil, do.failed(no)
	}
	if no := do.done("the key is revoked"); no != nil {
		return nil, no
	}
	record, no = a.find(want.ID)
	if no != nil {
		return nil, no
	}
	return keysapi.Revoked{Key: a.view(&record), Before: !revoked}, nil
}

// rotate makes a key in the place of another one, which goes on for a while.
func (a *keysAdmin) rotate(r *http.Request, who caller) (any, *refusal) {
	var want keysapi.Rotate
	if no := readDocument(r.Body, &want); no != nil {
		return nil, no
	}
	old, authenticator, ends, no := a.replaceable(&want)
	if no != nil {
		return nil, no
	}
	now := a.journal.clock().UTC().Truncate(time.Second)
	record := old
	record.Created, record.Replaces = now, old.ID
	preset := time.Duration(0)
	if !old.Expires.IsZero() {
		preset = old.Expires.Sub(old.Created)
	}
	if record.Expires, no = endOfLife(&want.Life, now, preset); no != nil {
		return nil, no
	}
	secret, no := a.make(authenticator, &record)
	if no != nil {
		return nil, no
	}
	do, no := a.begin(r, who, "keys.rotate", record.Bundle, append(keyValues(&record), audit.EventValue{Name: "replaces", Value: old.ID})...)
	if no != nil {
		return nil, no
	}
	if no := do.requested(); no != nil {
		return nil, no
	}
	if no := a.replace(r, &old, &record, ends); no != nil {
		return nil, do.failed(no)
	}
	if no := do.done("the key is replaced by " + record.ID + ", and nobody has its secret: rotate that one"); no != nil {
		return nil, no
	}
	if old, no = a.find(want.ID); no != nil {
		return nil, no
	}
	return keysapi.Rotated{Created: keysapi.Created{Key: a.view(&record), Secret: secret}, Old: a.view(&old)}, nil
}

// replace adds a key and lets another one end. Where that cannot be, or somebody replaced or revoked it meanwhile, the new key is good for
// nothing.
func (a *keysAdmin) replace(r *http.Request, old, record *apikey.Record, ends time.Time) *refusal {
	if no := a.add(r.Context(), record); no != nil {
		return no
	}
	e, err := apikey.EndsEntry(old, ends)
	ended, no := a.put(r.Context(), e, err)
	switch {
	case no != nil:
		return a.withdraw(r, record, &refusal{no.status, "the old key may go on as before: " + no.text})
	case !ended:
		return a.withdraw(r, record, &refusal{http.StatusConflict, "somebody else replaced the key at the same time; rotate the one that replaced it"})
	}
	if now, ok := a.keys.book.Get(old.ID); !ok || !now.Revoked.IsZero() {
		return a.withdraw(r, record, &refusal{http.StatusConflict, "somebody revoked the key at the same time; make a new one"})
	}
	return nil
}

// replaceable returns a key that may be replaced, and when it then ends.
func (a *keysAdmin) replaceable(want *keysapi.Rotate) (old apikey.Record, authenticator *identity.KeyAuthenticator, ends time.Time, no *refusal) {
	overlap := keysapi.DefaultOverlap
	if want.OverlapMS != nil {
		if *want.OverlapMS < 0 || *want.OverlapMS > keysapi.MaxOverlap.Milliseconds() {
			return old, nil, ends, &refusal{http.StatusBadRequest, fmt.Sprintf("the overlap is at most %d days", keysapi.MaxOverlap/(24*time.Hour))}
		}
		overlap = time.Duration(*want.OverlapMS) * time.Millisecond
	}
	if old, no = a.find(want.ID); no != nil {
		return old, nil, ends, no
	}
	switch {
	case !old.Revoked.IsZero():
		return old, nil, ends, &refusal{http.StatusConflict, "the key is revoked; make a new one"}
	case !old.Ends.IsZero():
		return old, nil, ends, &refusal{http.StatusConflict, "the key was replaced before; rotate the one that replaced it"}
	case old.HasEnded(a.journal.clock()):
		return old, nil, ends, &refusal{http.StatusConflict, "the key has expired; make a new one"}
	}
	_, authenticator, no = a.authenticator(old.Bundle, old.Authenticator)
	return old, authenticator, a.journal.clock().Add(overlap).Truncate(time.Second), no
}

// find returns a key of the table.
func (a *keysAdmin) find(id string) (apikey.Record, *refusal) {
	if !apikey.IsID(id) {
		return apikey.Record{}, &refusal{http.StatusBadRequest, "an id of a key is 16 letters and digits: the part between the prefix and the last underscore"}
	}
	record, ok := a.keys.book.Get(id)
	if !ok {
		return apikey.Record{}, &refusal{http.StatusNotFound, "the table has no such key; one that a bundle ships is revoked in the bundle's file"}
	}
	return record, nil
}

// authenticator returns the one that is meant, and its bundle.
func (a *keysAdmin) authenticator(bundle, name string) (string, *identity.KeyAuthenticator, *refusal) {
	found := map[string]*identity.KeyAuthenticator{}
	var all []string
	for at, compiled := range a.snapshot().Services {
		for _, k := range identity.KeyAuthenticators(compiled) {
			if bundle == "" || at.Bundle == bundle {
				all = append(all, at.Bundle+"/"+k.Name)
				if k.Name == name {
					found[at.Bundle] = &k
				}
			}
		}
	}
	if len(found) == 1 {
		for in, k := range found {
			return in, k, nil
		}
	}
	if len(found) > 1 {
		return "", nil, &refusal{http.StatusBadRequest, "several bundles have this authenticator: name one"}
	}
	slices.Sort(all)
	return "", nil, &refusal{http.StatusNotFound, "no service accepts such an authenticator with keys: {table: true}; there are: " + listOf(slices.Compact(all))}
}

// keyValues are what records of an action say of a key.
func keyValues(r *apikey.Record) []audit.EventValue {
	out := []audit.EventValue{{Name: "id", Value: r.ID}, {Name: "authenticator", Value: r.Authenticator}, {Name: "owner", Value: r.Owner}}
	for _, v := range []audit.EventValue{
		{Name: "tenant", Value: r.Tenant}, {Name: "scopes", Value: strings.Join(r.Scopes, " ")}, {Name: "roles", Value: strings.Join(r.Roles, ",")}, {Name: "addresses", Value: joinPrefixes(r.Addresses)},
	} {
		if v.Value != "" {
			out = append(out, v)
		}
	}
	if !r.Expires.IsZero() {
		return append(out, audit.EventValue{Name: "expires", Value: r.Expires.UTC().Format(time.RFC3339)})
	}
	return append(out, audit.EventValue{Name: "expires", Value: "never"})
}

func joinPrefixes(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// begin returns an action, of which nothing is recorded yet.
func (a *keysAdmin) begin(r *http.Request, who caller, what, bundle string, key ...audit.EventValue) (*action, *refusal) {
	do, no := a.journal.begin(r, who.name, what)
	if no != nil {
		return nil, no
	}
	do.event.Bundle, do.event.Key = bundle, slices.DeleteFunc(key, func(v audit.EventValue) bool { return v.Value == "" })
	return do, nil
}
