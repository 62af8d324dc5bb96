package migrate

import (
	"fmt"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
)

// Rule is where a rule of a file of limits stands, and what it says.
type Rule struct {
	// Name is the rule's name in records and metrics, as far as no values of requests stand in it.
	Name string `json:"name"`
	// Place is file:line:column in the bundle, Says what the rule means.
	Place string `json:"place"`
	Says  string `json:"says"`
	// RequestsPerUnit is the rule's number.
	RequestsPerUnit int64 `json:"requests_per_unit"`
}

// Rules returns the rules of a bundle's domain in the order of its files.
func Rules(b *format.Bundle, domain string) []Rule {
	var out []Rule
	for _, name := range b.Files.Paths() {
		if !strings.HasPrefix(name, "ratelimits/") || !strings.HasSuffix(name, ".yaml") {
			continue
		}
		file, _ := b.Files.Get("", name)
		source := &ratelimits.File{}
		if problems := format.Decode(file, source); len(problems) > 0 || string(source.Domain) != domain {
			continue
		}
		out = appendRules(out, file, "$", domain, nil, source.Descriptors)
	}
	return out
}

func appendRules(out []Rule, file *format.File, at, above string, over way, descriptors []ratelimits.Descriptor) []Rule {
	for i := range descriptors {
		d, place := &descriptors[i], fmt.Sprintf("%s.descriptors[%d]", at, i)
		here := over.to(d)
		name := above + "." + string(d.Key)
		if d.Value != "" {
			name += "_" + string(d.Value)
		}
		if d.RateLimit != nil {
			out = append(out, Rule{
				Name: name, Place: file.At(place).String(), Says: strings.Join(here.effects(), "; "), RequestsPerUnit: d.RateLimit.RequestsPerUnit,
			})
		}
		out = appendRules(out, file, place, name, here, d.Descriptors)
	}
	return out
}
