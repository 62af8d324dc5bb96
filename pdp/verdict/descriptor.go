package verdict

import "time"

// DescriptorState is what one descriptor of a request met. The zero state is that of a descriptor that no limit holds for.
type DescriptorState struct {
	// Unlimited is set where the descriptor meets a limit that lets everything pass.
	Unlimited bool
	// Rule names the rule that the descriptor met, "" for none, and Hits is what the request costs there. RuleByRequest is set where
	// the request has a part in the name.
	Rule          string
	RuleByRequest bool
	Hits          uint64
	// Limit is the limit that was looked at; nil where none was.
	Limit *DescriptorLimit
	// Exceeded is set when the limit had no room, Over when it had none and is itself no shadow. Shadow is set where no room
	// refuses nothing, Quota where that alone refuses nothing. Charged is set when the hits were counted.
	Exceeded, Over, Shadow, Quota, Charged bool
	// Remaining is what is left of the limit, Reset the time until its window ends, in whole seconds.
	Remaining int64
	Reset     time.Duration
	// Metadata is what the bundle hands on with the limit. It must not be changed.
	Metadata map[string]any
}

// DescriptorLimit is a number of requests in a unit, "minute".
type DescriptorLimit struct {
	Name            string
	RequestsPerUnit int64
	Unit            string
}
