package ratelimiter

import (
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/concurrency"
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// MaxWindow bounds the window of a limit.
const MaxWindow = 366 * 24 * time.Hour

const maxName = 128

// ErrLimit is wrapped by every error of NewLimit.
var ErrLimit = errors.New("invalid limit")

// Algorithm says how a limit counts.
type Algorithm uint8

// The algorithms. The zero value is GCRA. A store that does not know a limit's algorithm fails.
const (
	GCRA          Algorithm = iota // a bucket of Burst units that fills at the rate: Limit.Rate
	FixedWindow                    // Count units in each window, counted from 1970: Limit.Window
	SlidingWindow                  // the same, with the window before weighed in: Limit.Window
	SlidingLog                     // at most Count, up to 1,000, in any window: Limit.Log
	Quota                          // Count units in each window of a calendar: Limit.Window
	Distinct                       // Count different values in each window, counted from 1970: Limit.Distinct
	Concurrency                    // Count permits held at a time, each until it is released or Window is over: Limit.Concurrency
)

// closes reports whether a refusal holds until the wait that it names is over, whoever comes: another value may have been
// seen before, and a permit may be released.
func (a Algorithm) closes() bool { return a != Distinct && a != Concurrency }

// String returns the word of the bundle format, where it has one.
func (a Algorithm) String() string {
	return word(int(a), "gcra", "fixed_window", "sliding_window", "sliding_log", "quota", "distinct", "concurrency")
}

// Counting says which decisions a limit counts.
type Counting uint8

// What is counted. The zero value counts allowed decisions.
const (
	CountAllowed Counting = iota // charged when the decision's limits let it pass
	CountDenied                  // looked at by Take, charged by Settle
	CountAll                     // charged by Take if it has room, even where another limit refuses, and by Settle
)

// String returns the word of the bundle format.
func (c Counting) String() string { return word(int(c), "allowed", "denied", "all") }

// OnError says what a limit answers while the shared store does not.
type OnError uint8

// What to do without the shared store. The zero value is LocalShare.
const (
	LocalShare OnError = iota // this replica's part of the rate, counted in memory
	Allow                     // room for everything
	Deny                      // room for nothing
)

// String returns the word of the bundle format.
func (o OnError) String() string { return word(int(o), "local_share", "allow", "deny") }

func word(i int, words ...string) string {
	if i < len(words) {
		return words[i]
	}
	return "invalid"
}

// Definition is what an author writes about one limit.
type Definition struct {
	Name      string        // names the policy in headers, records and keys: 1 to 128 bytes
	Count     int64         // units per Window
	Window    time.Duration // whole microseconds, up to MaxWindow; 0 for Quota
	Burst     int64         // units that pass at once; 0 means Count, and only GCRA takes another; a lease sets a part aside
	Shadow    bool          // charged and reported, never refuses
	OnError   OnError
	Counting  Counting
	Algorithm Algorithm
	Calendar  window.Calendar // the windows of Quota
	Lease     int64           // units that a replica takes in advance; 0 for none
	By        string          // names what the values of its keys are, one a line, for whoever shows them; counts nothing
}

// Limit is a compiled Definition, immutable and safe for concurrent use.
type Limit struct {
	def   Definition
	grace int64 // microseconds that a unit of a lease is good for after the bucket has begun to drain of it
	// One of these, by the algorithm.
	rate   gcra.Rate
	window window.Rate
	log    slidinglog.Rate
	set    distinct.Rate
	held   concurrency.Rate

	weight int64 // of each unit in a counter; 0 means 1
}

// NewLimit checks and compiles a definition.
func NewLimit(d Definition) (*Limit, error) {
	switch {
	case d.Name == "" || len(d.Name) > maxName:
		return nil, fmt.Errorf("%w: a name has 1 to %d bytes", ErrLimit, maxName)
	case d.Window > MaxWindow:
		return nil, fmt.Errorf("%w %q: window %v is longer than %v", ErrLimit, d.Name, d.Window, MaxWindow)
	case d.OnError > Deny:
		return nil, fmt.Errorf("%w %q: unknown value %d for what to do on error", ErrLimit, d.Name, d.OnError)
	case d.Counting > CountAll:
		return nil, fmt.Errorf("%w %q: unknown value %d for what to count", ErrLimit, d.Name, d.Counting)
	case d.Algorithm > Concurrency:
		return nil, fmt.Errorf("%w %q: unknown algorithm %d", ErrLimit, d.Name, d.Algorithm)
	case d.Algorithm != GCRA && d.Burst != 0:
		return nil, fmt.Errorf("%w %q: only gcra has a burst; with %v all %d units of a window may pass at once", ErrLimit, d.Name, d.Algorithm, d.Count)
	case d.Algorithm == Concurrency && d.Counting != CountAllowed:
		return nil, fmt.Errorf("%w %q: permits are acquired by what is allowed, and counted for nothing else", ErrLimit, d.Name)
	case d.Algorithm == Quota && d.Window != 0, d.Algorithm != Quota && d.Calendar != window.None:
		return nil, fmt.Errorf("%w %q: a quota, and nothing else, takes a calendar in place of a window", ErrLimit, d.Name)
	}
	if d.Burst == 0 {
		d.Burst = d.Count
	}
	if d.Algorithm == Quota {
		d.Window = d.Calendar.Longest()
	}
	l, err := compile(d)
	if err == nil && d.Lease != 0 {
		l, err = l.leased()
	}
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrLimit, d.Name, err)
	}
	return l, nil
}

func compile(d Definition) (l *Limit, err error) {
	l = &Limit{def: d}
	switch d.Algorithm {
	case GCRA:
		l.rate, err = gcra.New(d.Count, d.Window, d.Burst)
	case FixedWindow:
		l.window, err = window.NewFixed(d.Count, d.Window)
	case SlidingWindow:
		l.window, err = window.NewSliding(d.Count, d.Window)
	case SlidingLog:
		l.log, err = slidinglog.New(d.Count, d.Window)
	case Quota:
		l.window, err = window.NewQuota(d.Count, d.Calendar)
	case Distinct:
		l.set, err = distinct.New(d.Count, d.Window)
	case Concurrency:
		l.held, err = concurrency.New(d.Count, d.Window)
	}
	return l, err
}

// Definition returns what the limit was made of, with the longest window of a quota and the burst filled in: what passes at once,
// without the part that a lease sets aside.
func (l *Limit) Definition() Definition { return l.def }

// Algorithm returns which of Rate, Window, Log, Distinct and Concurrency is the limit's arithmetic, for stores.
func (l *Limit) Algorithm() Algorithm { return l.def.Algorithm }

// Rate returns the arithmetic of GCRA.
func (l *Limit) Rate() gcra.Rate { return l.rate }

// Window returns the arithmetic of FixedWindow, SlidingWindow and Quota.
func (l *Limit) Window() window.Rate { return l.window }

// Log returns the arithmetic of SlidingLog.
func (l *Limit) Log() slidinglog.Rate { return l.log }

// Distinct returns the arithmetic of Distinct.
func (l *Limit) Distinct() distinct.Rate { return l.set }

// Concurrency returns the arithmetic of Concurrency.
func (l *Limit) Concurrency() concurrency.Rate { return l.held }

// Weight returns what one unit of a cost weighs in a counter: 1, and more in the share of one of several replicas.
func (l *Limit) Weight() int64 { return max(l.weight, 1) }

// share is the part of the limit that one of several replicas may give out alone: each unit weighs as much as one from
// each of them would, and at most all that passes at once, so that one passes. Another number of replicas changes what
// comes, and never what a counter holds already: a counter that is empty stays so when the number falls.
func (l *Limit) share(replicas int) *Limit {
	if replicas <= 1 {
		return l
	}
	part := *l
	part.weight = min(int64(replicas), l.def.Burst)
	return &part
}
