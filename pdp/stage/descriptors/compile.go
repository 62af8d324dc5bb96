package descriptors

import (
	"fmt"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// part is what the stage knows of a domain. It is immutable.
type part struct {
	domain *descriptor.Domain
	compat ratelimits.Compat
	// base is what all its limits have in common.
	base ratelimiter.Definition
	// limits are those of the configuration.
	limits map[*descriptor.Limit]variants
}

// variants are the forms in which a limit is charged: it may refuse, or only counts.
type variants struct {
	enforced, shadow *ratelimiter.Limit
}

var onErrors = map[string]ratelimiter.OnError{"": ratelimiter.LocalShare, "local_share": ratelimiter.LocalShare, "allow": ratelimiter.Allow, "deny": ratelimiter.Deny}

// CompileDomain checks and compiles the files of a domain. Counters belong to the bundle and the domain.
func (*Stage) CompileDomain(bundle string, files []*format.File, sources []*ratelimits.File) (any, format.Problems) {
	configs := make([]descriptor.Config, len(sources))
	for i, source := range sources {
		configs[i] = descriptor.Config{Domain: string(source.Domain), Descriptors: nodes(source.Descriptors), QuotaMode: source.Compat.QuotaMode}
	}
	domain, wrong := descriptor.Compile(bundle, configs[0], configs[1:]...)
	var problems format.Problems
	for _, w := range wrong {
		problems = append(problems, files[w.Part].Problem(w.Path, w.Message))
	}
	compat := sources[0].Compat
	onError, known := onErrors[compat.OnError]
	if !known {
		problems = append(problems, files[0].Problem("$.compat.on_error", fmt.Sprintf("on_error is local_share, allow or deny, not %q", compat.OnError)))
	}
	if len(problems) > 0 {
		return nil, problems
	}
	p := &part{domain: domain, compat: compat, base: ratelimiter.Definition{OnError: onError, Algorithm: ratelimiter.FixedWindow}}
	if compat.ChargeDenied {
		p.base.Counting = ratelimiter.CountAll
	}
	if err := p.prepare(); err != nil {
		return nil, format.Problems{files[0].Problem("$", err.Error())}
	}
	return p, nil
}

// prepare compiles the limits of the configuration, once for all requests.
func (p *part) prepare() (err error) {
	p.limits = make(map[*descriptor.Limit]variants, len(p.domain.Limits()))
	for limit, name := range p.domain.Limits() {
		if limit.RequestsPerUnit == 0 {
			continue // it refuses without being counted
		}
		var v variants
		if v.enforced, err = p.limit(limit, name, limit.RequestsPerUnit, false); err != nil {
			return err
		}
		if v.shadow, err = p.limit(limit, name, limit.RequestsPerUnit, true); err != nil {
			return err
		}
		p.limits[limit] = v
	}
	return nil
}

// limit turns a rule's limit into one of the rate limiter. As envoyproxy/ratelimit does, it counts in fixed windows that begin
// at multiples of the unit since the epoch.
func (p *part) limit(l *descriptor.Limit, name string, count int64, shadow bool) (*ratelimiter.Limit, error) {
	const longest = 128 // bytes of a limit's name
	d := p.base
	d.Name, d.Count, d.Window, d.Shadow = name[:min(len(name), longest)], count, l.Unit.Duration(), shadow
	return ratelimiter.NewLimit(d)
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
