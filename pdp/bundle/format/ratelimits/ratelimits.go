// Package ratelimits holds the decoded form of the files ratelimits/*.yaml of a policy bundle: envoyproxy/ratelimit's
// configuration, with its names of fields.
//
// The structs mirror the files key for key; docs/schema/ratelimits.schema.json is generated from them. pdp/bundle
// decodes them, and the descriptors stage says what they mean. It imports nothing of this module and has no logic.
package ratelimits

// File is one file: a domain and its descriptors.
type File struct {
	// Domain is the name by which requests name the file's limits. A domain stands in one file, or in several that all say
	// merge_domain.
	Domain Text `yaml:"domain"`
	// Descriptors are the outermost level, in order.
	Descriptors []Descriptor `yaml:"descriptors"`
	// Compat keeps behaviour of envoyproxy/ratelimit that Durward does not have by itself. It is Durward's own key.
	Compat Compat `yaml:"compat"`
}

// Descriptor is a key, or a key with a value, and what a descriptor of a request that ends there meets.
type Descriptor struct {
	// Key is mandatory.
	Key Text `yaml:"key"`
	// Value is empty for the default of all values; * stands for any run of characters.
	Value Text `yaml:"value"`
	// RateLimit is the limit; without it nothing is limited here.
	RateLimit *RateLimit `yaml:"rate_limit"`
	// Descriptors are the next level.
	Descriptors []Descriptor `yaml:"descriptors"`
	// ShadowMode counts and never refuses.
	ShadowMode bool `yaml:"shadow_mode"`
	// QuotaMode refuses a request only together with all its other quotas.
	QuotaMode bool `yaml:"quota_mode"`
	// DetailedMetric names the rule by all values of the request.
	DetailedMetric bool `yaml:"detailed_metric"`
	// ValueToMetric names the rule by the request's value here.
	ValueToMetric bool `yaml:"value_to_metric"`
	// ShareThreshold makes all values that the wildcard matches share one counter.
	ShareThreshold bool `yaml:"share_threshold"`
	// Metadata is handed to the gateway while the limit has room.
	Metadata map[string]any `yaml:"metadata"`
}

// RateLimit is a limit.
type RateLimit struct {
	// Unit is second, minute, hour, day, week (7 days from the epoch), month (30 days) or year (365 days), in any case.
	Unit Text `yaml:"unit"`
	// RequestsPerUnit is from 0, which refuses everything and is the default, to 1000000000.
	RequestsPerUnit int64 `yaml:"requests_per_unit"`
	// Unlimited lets everything pass and counts nothing; it has no unit.
	Unlimited bool `yaml:"unlimited"`
	// Name is the limit's name, for limits that replace it.
	Name Text `yaml:"name"`
	// Replaces lists limits that do not hold for a request that meets this one.
	Replaces []replaces `yaml:"replaces"`
}

// Replaces names a limit.
type replaces struct {
	// Name is the limit's name.
	Name Text `yaml:"name"`
}

// Compat keeps behaviour of envoyproxy/ratelimit that is there an environment variable of the whole service. It is the
// same in all files of a domain.
type Compat struct {
	// ChargeDenied charges the other limits of a request that one of them refuses, and leaves empty what has no room, also a
	// quota or a shadow of a request that passes.
	ChargeDenied bool `yaml:"charge_denied"`
	// ShadowMode lets every request of the domain pass, and says in the statuses what would have refused it.
	ShadowMode bool `yaml:"shadow_mode"`
	// QuotaMode makes a quota of every rule of the domain: a request is refused when all its descriptors that are not unlimited
	// are over a limit.
	QuotaMode bool `yaml:"quota_mode"`
	// MergeDomain lets several files hold descriptors of the domain.
	MergeDomain bool `yaml:"merge_domain"`
	// OnError is what limits do while Redis does not answer: local_share (default), allow, or deny, which makes an error of
	// the call, so that the gateway does what its failure mode says.
	OnError string `yaml:"on_error"`
}

// Text is text, or a whole number, true or false as it stands in the file: envoyproxy/ratelimit's reader takes those
// for text too, so that "value: 404" needs no quotes. A number with a fraction does.
type Text string

// SetScalar takes the text of a scalar.
func (t *Text) SetScalar(text string) { *t = Text(text) }
