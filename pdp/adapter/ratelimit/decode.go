package ratelimit

import (
	"fmt"
	"strings"

	rlscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/durward-pdp/durward/pdp/request"
)

// Bounds of a message. Configurations nest far less deep, and no more than 32 limits are taken together.
const (
	maxDescriptors = 256
	maxPairs       = 64
)

// read turns a message into descriptors, or says what is wrong with it, without any text of it. The words for an empty
// domain and an empty list are those that users of envoyproxy/ratelimit search for.
func read(r *request.Request, in *rlsv3.RateLimitRequest) (mistake string) {
	switch n := len(in.GetDescriptors()); {
	case in.GetDomain() == "":
		return "rate limit domain must not be empty"
	case n == 0:
		return "rate limit descriptor list must not be empty"
	case n > maxDescriptors:
		return fmt.Sprintf("%d descriptors, at most %d are taken", n, maxDescriptors)
	}
	out := &request.Descriptors{Domain: in.GetDomain(), Hits: in.GetHitsAddend(), List: make([]request.Descriptor, len(in.GetDescriptors()))}
	for i, d := range in.GetDescriptors() {
		switch n := len(d.GetEntries()); {
		case n > maxPairs:
			return fmt.Sprintf("descriptor %d has %d entries, at most %d are taken", i, n, maxPairs)
		case d.GetIsNegativeHits():
			return fmt.Sprintf("descriptor %d: negative hits are not supported", i)
		}
		readDescriptor(&out.List[i], d)
	}
	r.Descriptors = out
	return ""
}

func readDescriptor(out *request.Descriptor, in *rlscommonv3.RateLimitDescriptor) {
	out.Pairs = make([]request.Pair, len(in.GetEntries()))
	for i, e := range in.GetEntries() {
		out.Pairs[i] = request.Pair{Key: e.GetKey(), Value: e.GetValue()}
	}
	if hits := in.GetHitsAddend(); hits != nil {
		n := hits.GetValue()
		out.Hits = &n
	}
	if limit := in.GetLimit(); limit != nil {
		out.Override = &request.Override{RequestsPerUnit: limit.GetRequestsPerUnit(), Unit: unitName(rlsv3.RateLimitResponse_RateLimit_Unit(limit.GetUnit()))}
	}
}

// unitName returns a unit's name; "unknown", or "" for a number without a name, are none. The units of answers have the
// numbers of those in overrides, and one more, the week.
func unitName(unit rlsv3.RateLimitResponse_RateLimit_Unit) string {
	return strings.ToLower(rlsv3.RateLimitResponse_RateLimit_Unit_name[int32(unit)])
}
