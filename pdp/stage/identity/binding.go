package identity

import (
	"crypto/subtle"
	"encoding/base64"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// checkBinding checks what a credential is bound to (RFC 7800). One that is bound in a way that nobody here can check is no bearer
// token, and is refused.
func (p *part) checkBinding(c *pipeline.Case, _ *requirement, who *proven) refusal {
	if who.binding == nil || isBoundTo(who.binding, c.Request.Certificate) {
		return refusal{}
	}
	return refusal{verdict.TokenBinding, "cnf names a key or certificate that was not shown"}
}

// isBoundTo checks the binding of a token to a client certificate (RFC 8705, section 3.1).
func isBoundTo(confirmation any, certificate *request.Certificate) bool {
	binding, ok := confirmation.(map[string]any)
	if !ok || len(binding) != 1 || certificate == nil {
		return false
	}
	thumbprint, ok := binding["x5t#S256"].(string)
	if !ok {
		return false
	}
	want := base64.RawURLEncoding.EncodeToString(certificate.Thumbprint[:])
	return subtle.ConstantTimeCompare([]byte(thumbprint), []byte(want)) == 1
}
