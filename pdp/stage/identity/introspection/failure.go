package introspection

import "time"

// Outcome is how a question ended.
type Outcome string

// Outcomes. All but the first two are failures to learn anything.
const (
	// Active and Inactive are answers.
	Active   Outcome = "active"
	Inactive Outcome = "inactive"
	// Unauthorized means that the server does not know us: the client is misconfigured.
	Unauthorized Outcome = "unauthorized"
	// Forbidden means that the server, or a filter before it, does not let us ask (403).
	Forbidden Outcome = "forbidden"
	// Throttled means that the server asks to be left alone for a while.
	Throttled Outcome = "throttled"
	// Failed means that the server answered with another status than 200.
	Failed Outcome = "failed"
	// Refused means that it did not like the question (another status 4xx).
	Refused Outcome = "refused"
	// Malformed means that its answer is none of RFC 7662.
	Malformed Outcome = "malformed"
	// Unreachable means that it could not be reached, or is not to be.
	Unreachable Outcome = "unreachable"
	// Timeout means that it did not answer in time.
	Timeout Outcome = "timeout"
	// Unready means that the question could not be asked: no secret, or no way out.
	Unready Outcome = "unready"
	// Busy means that too many questions wait.
	Busy Outcome = "busy"
	// Open means that the server failed too often just before and is left alone.
	Open Outcome = "open"
)

// health says what an outcome tells of the server: 1 that it is well, -1 that it is not, 0 nothing. A refusal or an odd answer may be
// the fault of one odd token, which filters before servers answer with 403, so that nobody can have the server left alone by sending some.
func (o Outcome) health() int {
	switch o {
	case Active, Inactive, Forbidden, Refused, Malformed:
		return 1
	case Unauthorized, Failed, Unreachable, Timeout:
		return -1
	default:
		return 0
	}
}

// Error is why nobody knows whether a token is good. Its text holds nothing of the token, of secrets, or of what the server sent.
type Error struct {
	// Outcome is what happened.
	Outcome Outcome
	// Retry is how long to wait before it may be different; zero where nobody knows.
	Retry time.Duration

	detail string
	cause  error
}

// Error returns what happened, for operators.
func (e *Error) Error() string { return e.detail }

// Unwrap returns what the network said, nil where that was not the reason. It may hold what the server sent, as names in a
// certificate: it is for the server's own log, which escapes it.
func (e *Error) Unwrap() error { return e.cause }

// result is how one call ended.
type result struct {
	answer Answer
	err    *Error
}

func (r *result) outcome() Outcome {
	switch {
	case r.err != nil:
		return r.err.Outcome
	case r.answer.Active:
		return Active
	}
	return Inactive
}

func failed(o Outcome, detail string) result { return result{err: &Error{Outcome: o, detail: detail}} }
