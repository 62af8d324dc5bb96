package ratelimit

import (
	"fmt"

	rlscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// metadataOf tells the gateway what it asked, and what the bundle hands on with the limits that have room. The names of
// fields are those of envoyproxy/ratelimit (ratelimitToMetadata in src/service/ratelimit.go).
func metadataOf(in *rlsv3.RateLimitRequest, states []verdict.DescriptorState) (*structpb.Struct, error) {
	asked := make([]any, 0, len(states))
	for _, d := range in.GetDescriptors() {
		asked = append(asked, describe(d))
	}
	fields := map[string]any{"domain": in.GetDomain(), "descriptors": asked}
	if hits := in.GetHitsAddend(); hits != 0 {
		fields["hitsAddend"] = float64(hits)
	}
	handed := map[string]any{}
	for i := range states {
		if !states[i].Over {
			merge(handed, states[i].Metadata)
		}
	}
	if len(handed) > 0 {
		fields["metadata"] = handed
	}
	return structpb.NewStruct(fields)
}

func describe(d *rlscommonv3.RateLimitDescriptor) map[string]any {
	entries := make([]any, 0, len(d.GetEntries()))
	for _, e := range d.GetEntries() {
		entries = append(entries, e.GetKey()+"="+e.GetValue())
	}
	out := map[string]any{"entries": entries}
	if limit := d.GetLimit(); limit != nil {
		out["limit"] = fmt.Sprintf("requests_per_unit:%d unit:%s", limit.GetRequestsPerUnit(), limit.GetUnit())
	}
	if hits := d.GetHitsAddend(); hits != nil {
		out["hitsAddend"] = float64(hits.GetValue())
	}
	return out
}

// merge adds what is not there yet; mappings that both have are merged. Neither keeps a part of the other: the bundle's
// values are shared by all requests.
func merge(into, from map[string]any) {
	for key, value := range from {
		mapping, isMapping := value.(map[string]any)
		present, there := into[key]
		switch {
		case !there && isMapping:
			fresh := map[string]any{}
			merge(fresh, mapping)
			into[key] = fresh
		case !there:
			into[key] = value
		case isMapping:
			if both, ok := present.(map[string]any); ok {
				merge(both, mapping)
			}
		}
	}
}
