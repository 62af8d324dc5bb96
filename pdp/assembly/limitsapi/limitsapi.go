// Package limitsapi holds the JSON documents that the admin listener answers under /limits.
//
// The server writes them and the command reads them. It holds no logic. Times are RFC 3339, durations milliseconds. Values of
// keys are texts of requests: who prints them must escape them.
package limitsapi

import "time"

// Paths of the API, and the bound of a body in bytes.
const (
	ListPath    = "/limits"         // GET: List
	TopPath     = "/limits/top"     // GET, with bundle, service, domain, limit and n in the query: Top
	PeekPath    = "/limits/peek"    // GET, with a Target in the query, key=NAME=VALUE or key=NAME for a missing one: Peek
	UnblockPath = "/limits/unblock" // POST of a Target: Unblock
	MaxBody     = 16 << 10
	MaxTop      = 1000
)

// List is what a server limits.
type List struct {
	// Limits are those of services, Domains those of descriptors.
	Limits  []Limit  `json:"limits"`
	Domains []Domain `json:"domains"`
	// LeftOut is how many answers of limits were counted nowhere, because there are too many limits.
	LeftOut uint64 `json:"left_out,omitempty"`
}

// Limit is one limit of a service, or, without one, of all services of a bundle.
type Limit struct {
	Bundle  string `json:"bundle"`
	Service string `json:"service,omitempty"`
	Name    string `json:"name"`
	Rate
	Algorithm string `json:"algorithm"`
	// Distinct is the attribute whose different values are counted in the place of requests, with the algorithm distinct.
	Distinct string `json:"distinct,omitempty"`
	// WithoutRelease is deny or expire with the algorithm concurrency: what becomes of requests whose end nobody tells.
	WithoutRelease string `json:"without_release,omitempty"`
	// ClassOf tells the Classes apart; Rate is then that of requests in none of them.
	ClassOf string  `json:"class_of,omitempty"`
	Classes []Class `json:"classes,omitempty"`
	// By are the attributes that it counts by, When those that say to which requests it applies, CostOf holds the cost.
	By     []string `json:"by"`
	When   []string `json:"when,omitempty"`
	CostOf string   `json:"cost_of,omitempty"`
	// Counts is allowed, denied or all; OnError local_share, allow or deny; At gate or "".
	Counts  string `json:"counts"`
	OnError string `json:"on_error"`
	At      string `json:"at,omitempty"`
	Shadow  bool   `json:"shadow,omitempty"`
	// Lease is the number of units that a replica takes in advance, 0 for none.
	Lease  int64    `json:"lease,omitempty"`
	Routes []string `json:"routes"`
	// Usage is nil before the limit was met on this replica.
	Usage *Usage `json:"usage,omitempty"`
}

// Rate is what passes: Count units in a window, of which Burst at once. With the algorithm concurrency Count are requests at a
// time, and the window is how long each counts at most.
type Rate struct {
	Count    int64 `json:"count"`
	WindowMS int64 `json:"window_ms"`
	Burst    int64 `json:"burst"`
}

// Class is one class of a limit.
type Class struct {
	Name string `json:"name"`
	Rate
}

// Usage is how often one replica's decisions had room in a limit, and how often not.
type Usage struct {
	Allowed uint64    `json:"allowed"`
	Refused uint64    `json:"refused"`
	Since   time.Time `json:"since"`
}

// Domain is one domain of rate limit descriptors.
type Domain struct {
	Bundle string `json:"bundle"`
	Name   string `json:"name"`
	Rules  []Rule `json:"rules"`
	Usage  *Usage `json:"usage,omitempty"`
}

// Rule is one limit of a domain.
type Rule struct {
	Path            string `json:"path"`
	Name            string `json:"name,omitempty"`
	RequestsPerUnit int64  `json:"requests_per_unit"`
	Unit            string `json:"unit,omitempty"`
	Unlimited       bool   `json:"unlimited,omitempty"`
	Shadow          bool   `json:"shadow,omitempty"`
	Quota           bool   `json:"quota,omitempty"`
}

// Top are the keys that were near a limit or over it on one replica, those first that were refused most.
type Top struct {
	// WindowMS is how long keys are remembered at least; they are forgotten after twice that.
	WindowMS int64 `json:"window_ms"`
	Keys     []Key `json:"keys"`
}

// Key is one such key.
type Key struct {
	Bundle  string `json:"bundle"`
	Service string `json:"service,omitempty"`
	Domain  string `json:"domain,omitempty"`
	Limit   string `json:"limit,omitempty"`
	// Values are what the counter is for; without them, Hashed says that they are too long to be kept.
	Values []Value `json:"values"`
	Hashed bool    `json:"hashed,omitempty"`
	// Counter is the SHA-256 of the counter's key in the store.
	Counter string `json:"counter"`
	// Near and Refused are exact since the key was noticed; before that it had at most Missed of both together.
	Near    uint64 `json:"near"`
	Refused uint64 `json:"refused"`
	Missed  uint64 `json:"missed"`
	// Percent is the highest part of the limit that was used.
	Percent int `json:"percent"`
}

// Value is one value that a counter is for, by attribute or descriptor key.
type Value struct {
	Name    string `json:"name"`
	Value   string `json:"value,omitempty"`
	Missing bool   `json:"missing,omitempty"`
}

// Target names one counter: a limit of a service, or of a whole bundle, and the value of each attribute that it counts by; or
// a domain and the keys and values of a descriptor, in order. Bundle and Service may be left out where the limit's name is unique.
type Target struct {
	Bundle  string `json:"bundle,omitempty"`
	Service string `json:"service,omitempty"`
	Domain  string `json:"domain,omitempty"`
	Limit   string `json:"limit,omitempty"`
	// Class is the class of requests whose rate a peek goes by; it never chooses the counter.
	Class string  `json:"class,omitempty"`
	Key   []Value `json:"key,omitempty"`
}

// Place says which counter was found.
type Place struct {
	Bundle  string `json:"bundle"`
	Service string `json:"service,omitempty"`
	Domain  string `json:"domain,omitempty"`
	Limit   string `json:"limit"`
	Counter string `json:"counter"`
}

// Peek is what a counter says of one unit more.
type Peek struct {
	Place
	Rate
	Algorithm string `json:"algorithm"`
	Room      bool   `json:"room"`
	Used      int64  `json:"used"`
	Remaining int64  `json:"remaining"`
	// RetryAfterMS is when one unit passes, 0 for now, and at most a second with concurrency, where it may pass at any moment; FullMS when nothing is left of what was counted.
	RetryAfterMS int64 `json:"retry_after_ms"`
	FullMS       int64 `json:"full_ms"`
	// Degraded says that the shared counters did not answer, and this replica's share did.
	Degraded bool `json:"degraded,omitempty"`
}

// Unblock is what became of a counter.
type Unblock struct {
	Place
	// Cleared says whether there was a counter.
	Cleared bool `json:"cleared"`
	// StaleMS is how long replicas may still refuse from memory.
	StaleMS int64 `json:"stale_ms"`
}

// Error is the answer with a status other than 200.
type Error struct {
	Error string `json:"error"`
}
