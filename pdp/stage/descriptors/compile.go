package descriptors

import (
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// part is what the stage knows of a domain. It is immutable.
type part struct {
	domain *descriptor.Domain
	// chargeDenied is set by the bundle's compat.charge_denied.
	chargeDenied bool
}

// CompileDomain checks and compiles a file of ratelimits/. Counters belong to the bundle and the domain.
func (*Stage) CompileDomain(bundle string, file *format.File, source *ratelimits.File) (any, format.Problems) {
	domain, wrong := descriptor.Compile(bundle, descriptor.Config{Domain: string(source.Domain), Descriptors: nodes(source.Descriptors)})
	var problems format.Problems
	for _, w := range wrong {
		problems = append(problems, file.Problem(w.Path, w.Message))
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return &part{domain: domain, chargeDenied: source.Compat.ChargeDenied}, nil
}

// nodes takes the decoded descriptors over one by one. Their depth is bounded by the decoder's.
func nodes(decoded []ratelimits.Descriptor) []descriptor.Node {
	out := make([]descriptor.Node, len(decoded))
	for i := range decoded {
		d := &decoded[i]
		out[i] = descriptor.Node{
			Key: string(d.Key), Value: string(d.Value), Limit: limitOf(d.RateLimit), Shadow: d.ShadowMode, Quota: d.QuotaMode,
			DetailedMetric: d.DetailedMetric, ValueToMetric: d.ValueToMetric, ShareThreshold: d.ShareThreshold,
			Metadata: d.Metadata, Descriptors: nodes(d.Descriptors),
		}
	}
	return out
}

func limitOf(decoded *ratelimits.RateLimit) *descriptor.RateLimit {
	if decoded == nil {
		return nil
	}
	out := &descriptor.RateLimit{Unit: string(decoded.Unit), RequestsPerUnit: decoded.RequestsPerUnit, Unlimited: decoded.Unlimited, Name: string(decoded.Name)}
	for _, r := range decoded.Replaces {
		out.Replaces = append(out.Replaces, string(r.Name))
	}
	return out
}
