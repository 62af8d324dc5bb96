package identity

import (
	"time"

	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// proven is a subject that a credential established, with what the checks of a decision need to know of that credential.
type proven struct {
	subject.Subject
	// binding is the cnf of the credential (RFC 7800); nil where it is bound to nothing.
	binding any
	// issued is the iat, zero where there is none; session the sid, "" where there is none.
	issued  time.Time
	session string
	// possessed is set where the credential cannot be shown without its key, as a client certificate cannot.
	possessed bool
	// shown is the token as it came; use is the proof that came with it, once it was found sound.
	shown shown
	use   dpop.Verified
	// leeway is how far ahead the authenticator's clock may be.
	leeway time.Duration
	// blocked is what blocks the subject, found by checkRevoked; nil for nothing.
	blocked *blocks.Block
}

// check looks at a proven subject in the light of the request and its route. The order of checks is what a client learns
// first: whether the credential is good at all, then whether it is good enough.
type check func(p *part, c *pipeline.Case, route *requirement, who *proven) refusal

// goodChecks say whether the credential is good: who fails them is nobody.
var goodChecks = []check{(*part).checkSite, (*part).checkBinding, (*part).checkRevoked}

// enoughChecks say whether the subject may use the route: who fails them is known.
var enoughChecks = []check{(*part).checkBlocked, (*part).checkBound, (*part).checkScopes, (*part).checkAssurance}

func (p *part) checkScopes(_ *pipeline.Case, route *requirement, who *proven) refusal {
	if !holdsAll(who.Scopes, route.scopes) {
		return refusal{reason: verdict.ScopeMissing}
	}
	return refusal{}
}

// holdsAll says whether every wanted scope is held. Both lists are short: a token bounds one, a file the other.
func holdsAll(held, wanted []string) bool {
next:
	for _, w := range wanted {
		for _, h := range held {
			if h == w {
				continue next
			}
		}
		return false
	}
	return true
}
