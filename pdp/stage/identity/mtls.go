package identity

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity/spiffe"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxCertificateName bounds the name that a certificate gives, by the longest SPIFFE id.
const maxCertificateName = 2048

// certificates is an authenticator of kind mtls. It is immutable.
type certificates struct {
	authenticator string
	patterns      []namePattern
	workloads     []spiffe.Pattern
	// tenant and rolesFrom name parameters of the workloads' paths; "" for none.
	tenant, rolesFrom string
	roles             roleFilter
}

// mtls reads an authenticator of kind mtls.
func (c *compiler) mtls(name string, a *format.Authenticator) {
	path := "$.authenticators." + name
	out := &certificates{authenticator: name, tenant: a.Subject.Tenant}
	if len(a.SANs) == 0 && a.SPIFFE == nil {
		c.inBundle(path, "sans and spiffe are missing: they list the subject alternative names to accept")
	}
	if a.SPIFFE != nil {
		c.workloads(path+".spiffe", a.SPIFFE.TrustDomain, a.SPIFFE.Paths, out)
	}
	if out.tenant != "" && !out.has(out.tenant) {
		c.inBundle(path+".subject.tenant", fmt.Sprintf("no path under spiffe has {%s}", out.tenant))
	}
	if a.Roles != nil {
		out.rolesFrom = a.Roles.From
		out.roles.allowed, out.roles.any = c.roles(path, a)
		if out.rolesFrom != "" && !out.has(out.rolesFrom) {
			c.inBundle(path+".roles.from", fmt.Sprintf("no path under spiffe has {%s}", out.rolesFrom))
		}
	}
	for i, text := range a.SANs {
		if problem := out.accept(text); problem != "" {
			c.inBundle(fmt.Sprintf("%s.sans[%d]", path, i), problem)
		}
	}
	c.part.certificates = append(c.part.certificates, out)
}

// workloads reads the accepted SPIFFE ids. Two patterns that fit one id would give its parameters two meanings.
func (c *compiler) workloads(at, trustDomain string, paths []string, out *certificates) {
	if len(paths) == 0 {
		c.inBundle(at, "paths is missing: it lists the paths of the SPIFFE ids to accept, /* for all of the trust domain")
	}
	for i, text := range paths {
		here := fmt.Sprintf("%s.paths[%d]", at, i)
		pattern, err := spiffe.ParsePattern(trustDomain, text)
		if err != nil {
			c.inBundle(here, err.Error())
			continue
		}
		if slices.ContainsFunc(out.workloads, pattern.Overlaps) {
			c.inBundle(here, "a SPIFFE id can fit this path and one above it")
		}
		out.workloads = append(out.workloads, pattern)
	}
}

// has says whether a path of the workloads has a parameter.
func (a *certificates) has(name string) bool {
	return slices.ContainsFunc(a.workloads, func(p spiffe.Pattern) bool { return p.Has(name) })
}

// accept takes a pattern of sans; a problem is why it cannot be one.
func (a *certificates) accept(text string) (problem string) {
	if rest, ok := strings.CutPrefix(text, "spiffe://"); ok {
		if strings.ContainsAny(rest, "{}") {
			return "a name under sans has no parameters; paths under spiffe have"
		}
		domain, _, _ := strings.Cut(rest, "/")
		pattern, err := spiffe.ParsePattern(domain, rest[len(domain):])
		if err != nil {
			return err.Error()
		}
		a.workloads = append(a.workloads, pattern)
		return ""
	}
	pattern, problem := newNamePattern(text)
	if problem == "" {
		a.patterns = append(a.patterns, pattern)
	}
	return problem
}

// namePattern is an accepted subject alternative name, or a part of some.
type namePattern struct {
	text string
	kind nameKind
	open bool // text is the beginning of a URI, or all but the first label of a DNS name
}

// nameKind keeps kinds of names apart: an authority that vouches for host names may sign as a "host" what reads like a URI.
type nameKind uint8

const (
	dnsName nameKind = iota
	emailName
	uriName
)

// newNamePattern reads a pattern; a problem is why it cannot be one.
func newNamePattern(text string) (pattern namePattern, problem string) {
	p := namePattern{text: text}
	switch {
	case strings.Contains(text, "://"):
		p.kind = uriName
		p.text, p.open = strings.CutSuffix(text, "*")
	case strings.Contains(text, "@"):
		p.kind = emailName
	default:
		if rest, ok := strings.CutPrefix(text, "*."); ok {
			p.text, p.open = "."+rest, true
		}
	}
	_, path, _ := strings.Cut(p.text, "://")
	switch {
	case strings.Trim(text, "*.") == "":
		return p, "the pattern would accept every certificate"
	case len(text) > maxCertificateName:
		return p, "the pattern is longer than 2048 bytes"
	case strings.Contains(p.text, "*"):
		return p, "a * stands at the end of a URI, or as *. for the first label of a DNS name; an e-mail name has none"
	case p.kind == uriName && p.open && !strings.Contains(path, "/"):
		return p, "the * of a URI must stand in its path, or the host could be anybody's"
	}
	return p, ""
}

// names returns the names of a certificate that a pattern is about.
func (p namePattern) names(c *request.Certificate) []string {
	switch p.kind {
	case uriName:
		return c.URIs
	case emailName:
		return c.Emails
	default:
		return c.DNSNames
	}
}

func (p namePattern) matches(name string) bool {
	switch {
	case !p.open:
		return name == p.text
	case p.kind == uriName:
		rest, ok := strings.CutPrefix(name, p.text)
		return ok && rest != "" && len(name) <= maxCertificateName && !strings.ContainsAny(rest, "%?#\\") && !hasDotSegment(name)
	default:
		label, ok := strings.CutSuffix(name, p.text)
		return ok && len(name) <= maxCertificateName && isLabel(label)
	}
}

// isLabel says whether text is one label of a host name: what else stands in its place could make the name read like one of another kind.
func isLabel(text string) bool {
	for i := range len(text) {
		if c := text[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return text != ""
}

// hasDotSegment says whether a path leads elsewhere than its beginning says.
func hasDotSegment(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// workload returns the SPIFFE id of an X.509-SVID (X509-SVID, sections 2 and 5.2): the only URI of a certificate that signs no
// others. The zero id is none.
func workload(c *request.Certificate) spiffe.ID {
	if len(c.URIs) != 1 || c.Authority {
		return spiffe.ID{}
	}
	id, err := spiffe.ParseID(c.URIs[0])
	if err != nil {
		return spiffe.ID{}
	}
	return id
}

// named is a subject that a certificate may mean.
type named struct {
	by     *certificates
	id     string
	params []spiffe.Param
}

// fromCertificate makes a subject of a client certificate that the gateway verified. Exactly one of its names must be
// accepted, by one authenticator: which of two subjects it means is not for us to guess.
func (p *part) fromCertificate(c *request.Certificate, now time.Time) (proven, refusal) {
	if !c.Unseen && (now.Before(c.NotBefore) || now.After(c.NotAfter)) {
		return proven{}, refusal{verdict.CertificateBad, "the certificate is not valid at this time"}
	}
	id := workload(c)
	var found named
	for _, a := range p.certificates {
		for _, one := range a.find(c, id) {
			if found.by != nil && (found.by != one.by || found.id != one.id) {
				return proven{}, refusal{verdict.CertificateBad, "more than one subject fits the certificate's names"}
			}
			found = one
		}
	}
	if found.by == nil {
		return proven{}, refusal{verdict.CertificateBad, p.unnamed(c, id)}
	}
	who, ok := found.subject()
	if !ok {
		return proven{}, refusal{verdict.CertificateBad, "the tenant in the SPIFFE id is longer than 256 bytes"}
	}
	return proven{possessed: true, issued: c.NotBefore, Subject: who}, refusal{}
}

// find returns the subjects that the certificate means to the authenticator.
func (a *certificates) find(c *request.Certificate, id spiffe.ID) []named {
	var out []named
	for _, pattern := range a.workloads {
		if params, ok := pattern.Match(id); ok {
			out = append(out, named{a, id.String(), params})
			break // another that fits is one of sans, which have no parameters
		}
	}
	for _, pattern := range a.patterns {
		for _, name := range pattern.names(c) {
			if pattern.matches(name) {
				out = append(out, named{by: a, id: name})
			}
		}
	}
	return out
}

// unnamed says why nobody takes a certificate.
func (p *part) unnamed(c *request.Certificate, id spiffe.ID) string {
	wanted := slices.ContainsFunc(p.certificates, func(a *certificates) bool { return len(a.workloads) > 0 })
	switch {
	case !wanted || id != (spiffe.ID{}) || len(c.URIs) == 0:
		return "no accepted authenticator takes a name of the certificate"
	case len(c.URIs) > 1:
		return "no accepted authenticator takes a name of the certificate, which has more than one URI and so no SPIFFE id"
	case c.Authority:
		return "no accepted authenticator takes a name of the certificate, which is an authority's and so has no SPIFFE id"
	default:
		return "no accepted authenticator takes a name of the certificate, whose URI is no SPIFFE id"
	}
}

// subject makes the subject; false when its tenant is too long for a name. What stands in the place of parameters are the
// certificate's claims.
func (n *named) subject() (subject.Subject, bool) {
	s := subject.Subject{
		Key:           subject.Key(subject.KindService, n.by.authenticator, n.id),
		Kind:          subject.KindService,
		Authenticator: n.by.authenticator,
		ID:            n.id,
	}
	if len(n.params) > 0 {
		s.Claims = make(map[string]any, len(n.params))
	}
	for _, param := range n.params {
		s.Claims[param.Name] = param.Value
		if param.Name == n.by.tenant {
			s.Tenant = param.Value
		}
		if param.Name == n.by.rolesFrom {
			s.Roles, s.DroppedRoles = n.by.roles.filter([]string{param.Value})
		}
	}
	return s, isIdentifier(s.Tenant) || s.Tenant == ""
}
