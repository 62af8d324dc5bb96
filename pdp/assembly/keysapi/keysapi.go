// Package keysapi holds the JSON documents that the admin listener answers under /keys.
//
// The server writes them and the command reads them. It holds no logic. Times are RFC 3339, durations milliseconds. Only [Created] holds
// a secret, once.
package keysapi

import "time"

// Paths of the API, and its bounds.
const (
	ListPath   = "/keys"        // GET, with bundle, authenticator and owner in the query: List
	CreatePath = "/keys/create" // POST of a Create: Created
	RevokePath = "/keys/revoke" // POST of a Revoke: Revoked
	RotatePath = "/keys/rotate" // POST of a Rotate: Rotated

	// MaxOverlap is for how long a key that was replaced may go on at most, DefaultOverlap where nothing is said.
	MaxOverlap     = 7 * 24 * time.Hour
	DefaultOverlap = 24 * time.Hour
	// DefaultLifetime is how long a key lives where nothing is said, MaxLifetime at most; one that never expires is asked for by name.
	DefaultLifetime = 90 * 24 * time.Hour
	MaxLifetime     = 3660 * 24 * time.Hour
	// MaxKeys is how many keys the shared table holds at most, those that were revoked or have expired a short while ago among them.
	MaxKeys = 30_000
)

// Key is what is known of a key. Texts come from whoever made it: who prints them must escape them.
type Key struct {
	ID            string   `json:"id"`
	Bundle        string   `json:"bundle"`
	Authenticator string   `json:"authenticator"`
	Owner         string   `json:"owner"`
	Kind          string   `json:"kind"`
	Tenant        string   `json:"tenant,omitempty"`
	Scopes        []string `json:"scopes,omitempty"`
	Roles         []string `json:"roles,omitempty"`
	Addresses     []string `json:"addresses,omitempty"`
	// State is active, expired or revoked.
	State   string    `json:"state"`
	Created time.Time `json:"created"`
	// Expires is left out for a key that does not expire, Ends for one that was not replaced, Revoked for one that was not.
	Expires time.Time `json:"expires,omitzero"`
	Ends    time.Time `json:"ends,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	// Reason is why it was revoked.
	Reason string `json:"reason,omitempty"`
	// Replaces is the id of the key that this one was made for.
	Replaces string `json:"replaces,omitempty"`
	// Used is when the key was last used, to a minute; left out for never, as far as it was written down.
	Used time.Time `json:"used,omitzero"`
	// HashKey names the server's secret that the key is known by; Lost says that the server has none of that name, so that the key is
	// good for nothing.
	HashKey string `json:"hash_key"`
	Lost    bool   `json:"lost,omitempty"`
}

// List are the keys of the shared table, by bundle, authenticator, owner and time.
type List struct {
	// Synced is when the server last read the table.
	Synced time.Time `json:"synced"`
	Keys   []Key     `json:"keys"`
}

// Life says how long a new key lives.
type Life struct {
	// LifetimeMS is how long, or Never says that it does not expire. With neither there is a default.
	LifetimeMS int64 `json:"lifetime_ms,omitempty"`
	Never      bool  `json:"never,omitempty"`
}

// Create asks for a key. Bundle may be left out where the authenticator's name is unique.
type Create struct {
	Bundle        string   `json:"bundle,omitempty"`
	Authenticator string   `json:"authenticator"`
	Owner         string   `json:"owner"`
	Kind          string   `json:"kind,omitempty"`
	Tenant        string   `json:"tenant,omitempty"`
	Scopes        []string `json:"scopes,omitempty"`
	Roles         []string `json:"roles,omitempty"`
	Addresses     []string `json:"addresses,omitempty"`
	Life
}

// Created is a new key.
type Created struct {
	Key
	// Secret is the key itself. Nobody can show it again.
	Secret string `json:"secret"`
}

// Revoke asks for the end of a key.
type Revoke struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
}

// Revoked is a key that is revoked.
type Revoked struct {
	Key
	// Before says that it was revoked before.
	Before bool `json:"before,omitempty"`
}

// Rotate asks for a new key in the place of one. Its lifetime is that of the old one where nothing is said.
type Rotate struct {
	ID string `json:"id"`
	// OverlapMS is how long the old key goes on, nil for the default.
	OverlapMS *int64 `json:"overlap_ms,omitempty"`
	Life
}

// Rotated are the new key and the one that it replaces.
type Rotated struct {
	Created
	Old Key `json:"old"`
}
