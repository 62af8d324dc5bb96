package verdict

import "time"

// DescriptorState is what one descriptor of a request met. The zero state is that of a descriptor that no limit holds for.
type DescriptorState struct {
	// Unlimited is set where the descriptor meets a limit that lets everything pass.
	Unlimited bool
	// Limit is the limit that was looked at; nil where none was.
	Limit *DescriptorLimit
	// Over is set when the limit had no room and is no shadow. Quota is set where that alone refuses nothing.
	Over, Quota bool
	// Remaining is what is left of the limit, Reset the time until it is whole again, or until the request would fit.
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
