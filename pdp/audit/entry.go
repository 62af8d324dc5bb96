package audit

import (
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Entry is what the engine knows of a decision when it is over. A recorder must not keep it or what it points to
// after Record returns, except for strings.
type Entry struct {
	// Time is the instant of the decision, Took how long it took.
	Time time.Time
	Took time.Duration
	// Request, Match, Subject and Verdict are the decision's own; Subject is anonymous when nobody was established.
	Request *request.Request
	Match   *route.Match
	Subject *subject.Subject
	Verdict *verdict.Verdict
	// Action, ResourceType and ResourceID are what was asked for; "" when the route is unknown.
	Action, ResourceType, ResourceID string
	// Headers, Query and Params name the request parts that may appear in the record, Claims the dotted paths of claims.
	Headers, Query, Params, Claims []string
	// Steps are the stages that ran, in order.
	Steps []Step
}

// Step is one stage's time.
type Step struct {
	// Point names the row of the stage table.
	Point string
	Took  time.Duration
}
