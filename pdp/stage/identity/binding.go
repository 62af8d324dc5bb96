package identity

import (
	"crypto/subtle"
	"encoding/base64"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// The members of a cnf (RFC 7800) that can be checked here: the thumbprints of a key (RFC 9449, section 6.1) and of a certificate
// (RFC 8705, section 3.1).
const (
	boundToKey         = "jkt"
	boundToCertificate = "x5t#S256"
)

// checkBinding checks what a credential is bound to. One that is bound in a way that nobody here can check is no bearer token, and
// is refused; one that is bound twice must be shown with both.
func (p *part) checkBinding(c *pipeline.Case, _ *requirement, who *proven) refusal {
	if who.binding == nil {
		return unboundToKey(who)
	}
	binding, ok := who.binding.(map[string]any)
	certificate, hasCertificate := binding[boundToCertificate]
	key, hasKey := binding[boundToKey]
	known := 0
	for _, has := range []bool{hasCertificate, hasKey} {
		if has {
			known++
		}
	}
	switch {
	case !ok || known == 0 || known != len(binding):
		return refusal{verdict.TokenBinding, "cnf is no object of jkt and x5t#S256"}
	case hasCertificate && !isThumbprintOf(certificate, c.Request.Certificate):
		return refusal{verdict.TokenBinding, "cnf names a certificate that was not shown"}
	case !hasKey:
		who.Binding = "certificate"
		return unboundToKey(who)
	}
	if r := p.checkProof(c, key, who); r.is() {
		return r
	}
	who.Binding = "dpop"
	if hasCertificate {
		who.Binding = "certificate+dpop"
	}
	return refusal{}
}

// unboundToKey refuses the scheme DPoP for a token that no proof could be for.
func unboundToKey(who *proven) refusal {
	if who.shown.dpop {
		return refusal{verdict.TokenBinding, "the token came with the scheme DPoP and is bound to no key"}
	}
	return refusal{}
}

// isThumbprintOf says whether a member of cnf is the thumbprint of a certificate.
func isThumbprintOf(member any, c *request.Certificate) bool {
	thumbprint, ok := member.(string)
	if !ok || c == nil {
		return false
	}
	want := base64.RawURLEncoding.EncodeToString(c.Thumbprint[:])
	return subtle.ConstantTimeCompare([]byte(thumbprint), []byte(want)) == 1
}

// checkBound refuses, where the route wants it, a credential that whoever finds it could use. A client certificate is shown with
// proof of its key; a subject that is given stands for any credential.
func (p *part) checkBound(c *pipeline.Case, route *requirement, who *proven) refusal {
	if route.bound && who.binding == nil && !who.possessed && c.Given == nil {
		return refusal{verdict.BindingRequired, "the credential is bound to nothing"}
	}
	return refusal{}
}
