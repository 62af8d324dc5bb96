package descriptor

import "github.com/durward-pdp/durward/ratelimiter"

// MaxRequests bounds requests_per_unit and the hits of one request.
const MaxRequests = ratelimiter.MaxCost

// Request is what is asked of one domain.
type Request struct {
	// Hits are the hits of every descriptor that does not say its own; 0 is 1.
	Hits uint32
	// Descriptors are judged each by itself.
	Descriptors []Descriptor
}

// Descriptor is one descriptor of a request.
type Descriptor struct {
	// Entries lead from the outermost level inwards.
	Entries []Entry
	// Override is a limit that the request brings and that holds instead of the configuration's.
	Override *Override
	// Hits are the descriptor's own hits; 0 looks and counts nothing. Nil takes the request's.
	Hits *uint64
}

// Entry is one pair of a descriptor.
type Entry struct {
	Key, Value string
}

// Override is a limit that a request brings.
type Override struct {
	RequestsPerUnit uint32
	// Unit is the zero Unit where the request names one that nobody knows: Match refuses it.
	Unit Unit
}

// Rule is what a descriptor of a request meets. The zero Rule limits nothing.
type Rule struct {
	// Limit is the limit; nil where none was found, where it is unlimited, or where another rule replaces it.
	Limit *Limit
	// Unlimited is set where the limit is unlimited.
	Unlimited bool
	// Key is the counter. Two rules of one request have the same one where the request repeats itself.
	Key ratelimiter.Key
	// Hits are to be counted; 0 only looks.
	Hits uint64
	// Shadow counts and never refuses. Quota refuses a request only together with all its other quotas; one without a limit,
	// which only QuotaMode makes, always has room.
	Shadow, Quota bool
	// Path names the rule, as envoyproxy/ratelimit names its metrics: the keys and values of the configuration, and
	// values of the request only where the configuration asks for them. PathByRequest is set where the request has a part in
	// it: such a name has at most 256 bytes, and there are as many as clients come up with.
	Path          string
	PathByRequest bool
	// Metadata is handed on while the rule has room. It must not be changed.
	Metadata map[string]any
}

// Limit is a number of requests in a unit.
type Limit struct {
	// Name is the limit's name; "" for most.
	Name string
	// RequestsPerUnit is from 0, which refuses everything, to MaxRequests.
	RequestsPerUnit int64
	Unit            Unit
}

// Over reports whether a request is refused whose rules are over their limits as over says, in the same order: when one
// that is no quota is over, or every quota is. Shadows refuse nothing; quotas in shadow keep the others from refusing.
func Over(rules []Rule, over []bool) bool {
	quotas, exhausted := 0, 0
	for i := range rules {
		refuses := over[i] && !rules[i].Shadow
		switch {
		case rules[i].Quota:
			quotas++
			if refuses {
				exhausted++
			}
		case refuses:
			return true
		}
	}
	return quotas > 0 && quotas == exhausted
}
