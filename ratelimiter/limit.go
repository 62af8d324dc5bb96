package ratelimiter

import (
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

// MaxWindow bounds the window of a limit.
const MaxWindow = 366 * 24 * time.Hour

const maxName = 128

// ErrLimit is wrapped by every error of NewLimit.
var ErrLimit = errors.New("invalid limit")

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
	Name     string        // names the policy in headers, records and keys: 1 to 128 bytes
	Count    int64         // units per Window
	Window   time.Duration // whole microseconds, up to MaxWindow
	Burst    int64         // units that pass at once; 0 means Count
	Shadow   bool          // charged and reported, never refuses
	OnError  OnError
	Counting Counting
}

// Limit is a compiled Definition, immutable and safe for concurrent use.
type Limit struct {
	def  Definition
	rate gcra.Rate
}

// NewLimit checks and compiles a definition.
func NewLimit(d Definition) (*Limit, error) {
	if d.Burst == 0 {
		d.Burst = d.Count
	}
	switch {
	case d.Name == "" || len(d.Name) > maxName:
		return nil, fmt.Errorf("%w: a name has 1 to %d bytes", ErrLimit, maxName)
	case d.Window > MaxWindow:
		return nil, fmt.Errorf("%w %q: window %v is longer than %v", ErrLimit, d.Name, d.Window, MaxWindow)
	case d.OnError > Deny:
		return nil, fmt.Errorf("%w %q: unknown value %d for what to do on error", ErrLimit, d.Name, d.OnError)
	case d.Counting > CountAll:
		return nil, fmt.Errorf("%w %q: unknown value %d for what to count", ErrLimit, d.Name, d.Counting)
	}
	rate, err := gcra.New(d.Count, d.Window, d.Burst)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrLimit, d.Name, err)
	}
	return &Limit{def: d, rate: rate}, nil
}

// Definition returns what the limit was made of, with the burst filled in.
func (l *Limit) Definition() Definition { return l.def }

// Rate returns the limit's arithmetic, for stores.
func (l *Limit) Rate() gcra.Rate { return l.rate }

// share is the part of the limit that one of several replicas may give out alone: the same count in a window that is
// longer by their number, which divides the rate exactly. A burst is at least one unit.
func (l *Limit) share(replicas int) *Limit {
	if replicas <= 1 {
		return l
	}
	d := l.def
	d.Burst = max(1, d.Burst/int64(replicas))
	d.Window = gcra.MaxWindow
	if int64(replicas) < int64(gcra.MaxWindow/l.def.Window) {
		d.Window = l.def.Window * time.Duration(replicas)
	}
	rate, err := gcra.New(d.Count, d.Window, d.Burst)
	if err != nil { // cannot happen for a compiled limit; the zero rate admits nothing
		rate = gcra.Rate{}
	}
	return &Limit{def: d, rate: rate}
}
