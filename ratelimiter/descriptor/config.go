package descriptor

// Config is one domain as its author writes it, or a part of one.
type Config struct {
	// Domain names the domain; requests name it too.
	Domain string
	// Descriptors are the outermost level, in file order.
	Descriptors []Node
	// QuotaMode makes a quota of every rule that is not unlimited, also where nothing is limited.
	QuotaMode bool
}

// Node is one descriptor of the configuration: a key, or a key with a value, at one level.
type Node struct {
	// Key is mandatory. Value may be empty, for the default of all values, or hold "*" for any run of characters.
	Key, Value string
	// Limit is what a descriptor that ends here meets; nil limits nothing.
	Limit *RateLimit
	// Shadow counts and never refuses. Quota refuses a request only together with all its other quotas.
	Shadow, Quota bool
	// DetailedMetric and ValueToMetric put values of requests into the rule's name.
	DetailedMetric, ValueToMetric bool
	// ShareThreshold makes all values that a wildcard matches share one counter.
	ShareThreshold bool
	// Metadata is handed to whoever asked, while the rule has room.
	Metadata map[string]any
	// Descriptors are the next level.
	Descriptors []Node
}

// RateLimit is the rate_limit of a descriptor.
type RateLimit struct {
	// Unit is the name of a Unit, in any case.
	Unit string
	// RequestsPerUnit is from 0, which refuses everything, to MaxRequests.
	RequestsPerUnit int64
	// Unlimited lets everything pass and counts nothing.
	Unlimited bool
	// Name names the limit, for others that replace it.
	Name string
	// Replaces are the names of limits that do not hold for a request that meets this one.
	Replaces []string
}

// Problem is one thing that is wrong in a Config. Part is its place among those that were compiled, Path the YAML path of
// its place there: "$.descriptors[0].rate_limit.unit".
type Problem struct {
	Part          int
	Path, Message string
}
