// Package migrate explains what the configuration of other programs becomes here.
//
// The command imports it. It opens no file and changes nothing: it words what was read.
package migrate

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
)

// differences are what every user of envoyproxy/ratelimit should know; docs/design/limits.md has all of them.
var differences = []string{
	"Counters start anew: their keys are others, so both can run side by side on one Redis.",
	"A request that one limit refuses charges nothing. compat: {charge_denied: true} in a file charges its other limits; limits that are charged after the response need it.",
	"Hits of 0 look: over is a limit of which nothing is left.",
	"Keys and values are compared apart: {key: a_b} is not met by a=b.",
	"Errors have codes: InvalidArgument for what the gateway asks wrongly, Unavailable for outages.",
	"Modes belong to a domain: SHADOW_MODE is compat: {shadow_mode: true} in its file, QUOTA_MODE is quota_mode, MERGE_DOMAIN_CONFIG is merge_domain in each of its files.",
	"Without Redis this replica's part of a limit is counted in memory. compat: {on_error: deny} makes it an error of the call instead.",
	"xDS does not exist: the bundle is the configuration. LIMIT_RESPONSE_HEADERS_ENABLED is rate_limit.response_headers in durward.yaml, RESPONSE_DYNAMIC_METADATA is rate_limit.dynamic_metadata.",
}

// RateLimit writes what each rule of a file means, one a line, indented by its depth.
func RateLimit(w io.Writer, name string, file *ratelimits.File) error {
	if _, err := fmt.Fprintf(w, "%s: domain %s\n", name, file.Domain); err != nil {
		return err
	}
	for _, effect := range modes(&file.Compat) {
		if _, err := fmt.Fprintf(w, "  all: %s\n", effect); err != nil {
			return err
		}
	}
	return level(w, "  ", nil, file.Descriptors)
}

// modes words what compat says.
func modes(c *ratelimits.Compat) []string {
	var out []string
	add := func(set bool, effect string) {
		if set {
			out = append(out, effect)
		}
	}
	add(c.MergeDomain, "a part of the domain; other files may hold more")
	add(c.ShadowMode, "every request passes (shadow)")
	add(c.QuotaMode, "refused only when every descriptor is over a limit (quota)")
	add(c.ChargeDenied, "a refused request charges its other limits")
	add(c.OnError == "allow", "without Redis every request passes")
	add(c.OnError == "deny", "without Redis every request that needs a counter is an error")
	return out
}

// Differences writes what is not as it was.
func Differences(w io.Writer) error {
	_, err := fmt.Fprintf(w, "Different from envoyproxy/ratelimit (docs/design/limits.md has all):\n- %s\n", strings.Join(differences, "\n- "))
	return err
}

// way are the descriptors from the outermost level to one that is explained.
type way []*ratelimits.Descriptor

func (w way) last() *ratelimits.Descriptor { return w[len(w)-1] }

// to is the way to a descriptor below. Both ways stay what they are.
func (w way) to(d *ratelimits.Descriptor) way { return append(w[:len(w):len(w)], d) }

func level(w io.Writer, indent string, above way, descriptors []ratelimits.Descriptor) error {
	for i := range descriptors {
		d := &descriptors[i]
		here := above.to(d)
		if _, err := fmt.Fprintf(w, "%s%s: %s\n", indent, pair(d), strings.Join(here.effects(), "; ")); err != nil {
			return err
		}
		if err := level(w, indent+"  ", here, d.Descriptors); err != nil {
			return err
		}
	}
	return nil
}

func pair(d *ratelimits.Descriptor) string {
	if d.Value == "" {
		return string(d.Key)
	}
	return string(d.Key) + "=" + string(d.Value)
}

// effects words what a descriptor of a request meets that ends here.
func (w way) effects() []string {
	d := w.last()
	if d.RateLimit == nil {
		return []string{"no limit here"}
	}
	out := []string{w.quantity()}
	if d.ShadowMode {
		out = append(out, "counted and never refused (shadow)")
	}
	if d.QuotaMode {
		out = append(out, "refuses only when all quotas of the request are used up")
	}
	if name := d.RateLimit.Name; name != "" {
		out = append(out, "named "+string(name))
	}
	for _, r := range d.RateLimit.Replaces {
		out = append(out, "replaces "+string(r.Name))
	}
	if len(d.Metadata) > 0 && !d.RateLimit.Unlimited {
		out = append(out, "hands metadata to the gateway while there is room")
	}
	if d.DetailedMetric || slices.ContainsFunc(w, func(d *ratelimits.Descriptor) bool { return d.ValueToMetric }) {
		out = append(out, "named in metrics and records by values of requests")
	}
	return out
}

func (w way) quantity() string {
	l := w.last().RateLimit
	switch {
	case l.Unlimited:
		return "no limit (unlimited)"
	case l.RequestsPerUnit == 0:
		return "refuses everything"
	}
	return fmt.Sprintf("%d per %s%s", l.RequestsPerUnit, strings.ToLower(string(l.Unit)), w.counters())
}

// counters words which requests share a counter: every value on the way has its own, but for those of a shared wildcard.
func (w way) counters() string {
	var each, together []string
	for _, d := range w {
		switch {
		case d.ShareThreshold:
			together = append(together, "all of "+pair(d))
		case d.Value == "" || strings.Contains(string(d.Value), "*"):
			each = append(each, pair(d))
		}
	}
	text := ""
	if len(each) > 0 {
		text = " for each " + strings.Join(each, " and ")
	}
	if len(together) > 0 {
		text += ", " + strings.Join(together, " and ") + " together"
	}
	return text
}
