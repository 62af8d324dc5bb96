// Package blocksapi holds the JSON documents that the admin listener answers under /blocks.
//
// The server writes them and the command reads them. It holds no logic. Times are RFC 3339. Values are names of subjects, sessions and
// tokens as issuers gave them: who prints them must escape them.
package blocksapi

import "time"

// Paths of the API.
const (
	ListPath = "/blocks"      // GET, with kind, bundle and n in the query: List
	PutPath  = "/blocks"      // POST of a Put: Result
	LiftPath = "/blocks/lift" // POST of a Lift: Result
)

// Block is one thing that is blocked.
type Block struct {
	// ID names the block.
	ID string `json:"id"`
	// Kind is token, session, subject, client, key, network or issuer.
	Kind string `json:"kind"`
	// Bundle bounds the block to the credentials of a bundle's authenticators, "" for all.
	Bundle string `json:"bundle,omitempty"`
	// Issuer is the iss of tokens, or an authenticator's name for keys and for credentials without an issuer.
	Issuer string `json:"issuer,omitempty"`
	// Value is a jti, a sid, a subject's key or its sub, a client_id, the id of a key, or a network.
	Value string `json:"value,omitempty"`
	// Before bounds the block to what was issued before it.
	Before *time.Time `json:"before,omitempty"`
	// Reason is why, By who blocked, Made when.
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Made   time.Time `json:"made"`
	// Until is when it ends by itself, nil for never.
	Until *time.Time `json:"until,omitempty"`
}

// List is what is blocked, the latest first.
type List struct {
	Blocks []Block `json:"blocks"`
	// Total is how many fit the question, Held how many there are of each kind, Most how many there may be of all together.
	Total int            `json:"total"`
	Held  map[string]int `json:"held"`
	Most  int            `json:"most"`
	// Synced is when the server was last known to have all that is shared, nil for never.
	Synced *time.Time `json:"synced,omitempty"`
}

// Put wants something blocked.
type Put struct {
	Kind   string `json:"kind"`
	Bundle string `json:"bundle,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	Value  string `json:"value,omitempty"`
	// Before is "now" or a time in RFC 3339; mandatory for issuers, possible for subjects.
	Before string `json:"before,omitempty"`
	Reason string `json:"reason"`
	// Until is "never", a time in RFC 3339, or a length of time as "24h" or "30d". It may be left out where tokens end by themselves:
	// for tokens, sessions and everything with Before, unless they are opaque tokens, API keys or certificates.
	Until string `json:"until,omitempty"`
	// DryRun only says what would be done.
	DryRun bool `json:"dry_run,omitempty"`
	// Anyway blocks what hits nothing in force, and networks that are very wide.
	Anyway bool `json:"anyway,omitempty"`
}

// Lift wants a block taken away.
type Lift struct {
	ID string `json:"id"`
	// DryRun only says what would be done.
	DryRun bool `json:"dry_run,omitempty"`
}

// Result is what became of a wish.
type Result struct {
	Block Block `json:"block"`
	// Known says that the same thing was blocked before; where that block holds as far, it stands as it was.
	Known bool `json:"known,omitempty"`
	// DryRun says that nothing was done.
	DryRun bool `json:"dry_run,omitempty"`
	// Hits are the services, BUNDLE/SERVICE, that take credentials of the kind that is blocked; all services for a network.
	Hits []string `json:"hits"`
	// Remarks are worth knowing before one goes to bed.
	Remarks []string `json:"remarks,omitempty"`
	// WithinMS is how long other servers may take to follow, as long as they reach what is shared.
	WithinMS int64 `json:"within_ms"`
}
