// Package upstream is the stage that says what the API behind receives: identity headers made of attributes, and
// none of what a client could forge in their place.
//
// It runs last, for public routes too. Only the assembly imports it. It grants nothing, and it never puts a name
// both in the headers to set and in those to remove, since some gateways remove after they set. It can only remove
// what it sees or knows the name of: a gateway must show it all header fields of the client.
package upstream

import (
	"context"
	"errors"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// name is the stage's name and its point.
const name = "upstream"

// DecisionHeader carries the decision's id to the API behind, so that its log can name it.
const DecisionHeader = "x-durward-decision-id"

// ownPrefix begins the headers that only Durward sets: client-sent ones never pass, configured or not.
const ownPrefix = "x-durward-"

// maxValue bounds a header's value, in bytes.
const maxValue = 8 << 10

// errPart is reported when a service holds nothing that this stage compiled.
var errPart = errors.New("upstream: no compiled part for the service")

// Options configure a Stage.
type Options struct {
	// Minter signs tokens for APIs; without one a bundle that wants tokens does not load.
	Minter Minter
}

// Stage compiles and runs the stage. It is immutable.
type Stage struct {
	minter Minter
}

// New returns the stage.
func New(o Options) *Stage { return &Stage{minter: o.Minter} }

// Name returns the name under which services keep the compiled part.
func (*Stage) Name() string { return name }

// part is what the stage knows of a service. It is immutable.
type part struct {
	headers []header
	token   *tokenPart // nil: the API gets none
	// remove are names that are removed from every request, in canonical form; none of them is set.
	remove []string
	// guarded holds the folded names of these: true for those that are set, false for those that are only removed.
	guarded map[string]bool
}

// header is one header to set.
type header struct {
	name      string
	attribute attribute.Accessor
	missing   string // in place of a missing value; "" removes the header
}

// Evaluate appends the obligations for the API behind.
func (s *Stage) Evaluate(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	p, ok := pipeline.Part[*part](c, name)
	if !ok {
		return pipeline.Stop, errPart
	}
	if p.nominated(c.Request.Header) {
		return c.Deny(verdict.HeaderInvalid), nil
	}
	set := make([]verdict.Field, 0, len(p.headers)+2)
	remove := make([]string, 0, len(p.remove)+len(p.headers)+2)
	remove = append(remove, p.remove...)
	for i := range p.headers {
		value, reason := p.headers[i].value(&c.Facts)
		switch {
		case reason != "":
			c.Verdict.Explanation.Detail = "upstream header " + p.headers[i].name
			return c.Deny(reason), nil
		case value == "":
			remove = append(remove, p.headers[i].name)
		default:
			set = append(set, verdict.Field{Name: p.headers[i].name, Value: value})
		}
	}
	if p.token != nil {
		value, reason, outage := p.token.mint(s.minter, c)
		switch {
		case outage:
			return c.Outage(reason), nil
		case reason != "":
			return c.Deny(reason), nil
		case value == "":
			remove = append(remove, p.token.header)
		default:
			set = append(set, verdict.Field{Name: p.token.header, Value: value})
		}
	}
	if id := c.Verdict.DecisionID; id != "" {
		set = append(set, verdict.Field{Name: DecisionHeader, Value: id})
	} else {
		remove = append(remove, DecisionHeader)
	}
	remove = p.aliases(c.Request.Header, set, remove)
	o := &c.Verdict.Obligations
	o.SetUpstream = joined(o.SetUpstream, set)
	o.RemoveUpstream = joined(o.RemoveUpstream, remove)
	return pipeline.Continue, nil
}

// joined appends, without a copy in the usual case that no stage before had anything.
func joined[T any](have, more []T) []T {
	if len(have) == 0 {
		return more
	}
	return append(have, more...)
}

// nominated reports whether the client asks hops on the way to drop a header of ours (RFC 9110, section 7.6.1).
func (p *part) nominated(h request.Header) bool {
	for i := range h {
		if h[i].Name != "connection" && h[i].Name != "proxy-connection" {
			continue
		}
		for option := range strings.SplitSeq(h[i].Value, ",") {
			if ours, _ := p.look(strings.Trim(option, " \t\"")); ours {
				return true
			}
		}
	}
	return false
}

// aliases adds to remove the client's own headers that an API could take for one of ours, in the spelling that the
// client chose. A header that is set replaces the client's of exactly the same name.
func (p *part) aliases(h request.Header, set []verdict.Field, remove []string) []string {
	for i := range h {
		sent := h[i].Name
		if _, guarded := p.look(sent); guarded && !isSet(set, sent) && !contains(remove, sent) {
			remove = append(remove, sent)
		}
	}
	return remove
}

// look reports whether some server could take the name for a header that is set here or that only Durward may set
// (ours), and whether it could take it for one that is set or removed here (guarded).
func (p *part) look(sent string) (ours, guarded bool) {
	var buffer [maxName]byte
	folded := fold(buffer[:0], sent)
	ours, guarded = p.guarded[string(folded)]
	if len(folded) >= len(ownPrefix) && string(folded[:len(ownPrefix)]) == ownPrefix {
		return true, true
	}
	return ours, guarded
}

// fold writes the form that all spellings of a name share in CGI-style environments: letters in one case, and
// everything that is neither letter nor digit the same. It is cut at maxName, which no name of ours reaches.
func fold(to []byte, s string) []byte {
	for i := 0; i < len(s) && i < maxName; i++ {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z':
			to = append(to, c+('a'-'A'))
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			to = append(to, c)
		default:
			to = append(to, '-')
		}
	}
	return to
}

// isSet compares without case: the gateway's names know none.
func isSet(set []verdict.Field, sent string) bool {
	for i := range set {
		if strings.EqualFold(set[i].Name, sent) {
			return true
		}
	}
	return false
}

func contains(names []string, sent string) bool {
	for _, n := range names {
		if strings.EqualFold(n, sent) {
			return true
		}
	}
	return false
}
