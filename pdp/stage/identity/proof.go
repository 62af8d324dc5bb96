package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// nonceField tells a client what to put into its next proof (RFC 9449, section 8).
const nonceField = "dpop-nonce"

var errNoMarks = errors.New("there is nothing that remembers proofs")

// proofs is how a service takes DPoP proofs. It is immutable.
type proofs struct {
	verifier *dpop.Verifier
	// lenient lets a sound proof pass while nobody knows whether it was used before.
	lenient bool
	// offer is the challenge that offers the scheme; algs is the parameter that every challenge of the scheme has.
	offer, algs string
}

// proofs reads how a service takes proofs.
func (c *compiler) proofs() {
	written := c.service.Identity.DPoP
	if written == nil {
		return
	}
	const at = "$.identity.dpop"
	o := dpop.Options{Algorithms: written.Algorithms, Window: duration(written.Window), Ahead: duration(written.Ahead)}
	for _, one := range []struct {
		path   string
		option dpop.Options
	}{
		{".algorithms", dpop.Options{Algorithms: o.Algorithms}}, {".window", dpop.Options{Window: o.Window}}, {".ahead", dpop.Options{Ahead: o.Ahead}},
	} {
		if _, err := dpop.New(one.option); err != nil {
			c.inService(at+one.path, err.Error())
		}
	}
	switch {
	case written.Nonce != "required":
	case c.options.Nonces == nil:
		c.inService(at+".nonce", "nonces need a key that all servers share: identity.nonce_key_file in their settings")
	default:
		o.Nonces = c.options.Nonces.For(c.bundle.Name + "/" + c.service.Name)
	}
	if !c.takes("jwt", "introspection") {
		c.inService(at, "no token is accepted here, so there is nothing that a proof could be for")
	}
	if c.part.places.elsewhere {
		c.inService(at, "proofs belong to tokens in the field Authorization, and credentials does not name it")
	}
	verifier, err := dpop.New(o)
	if err != nil {
		return // said above
	}
	p := &proofs{verifier: verifier, lenient: written.OnError == "allow"}
	p.algs = ", algs=\"" + strings.Join(verifier.Algorithms(), " ") + "\""
	p.offer = p.inScheme(c.part.challenges.missing)
	c.part.proofs = p
}

func duration(d *format.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	length := time.Duration(*d)
	return &length
}

// inScheme turns a Bearer challenge into one of the scheme DPoP (RFC 9449, section 7.1).
func (p *proofs) inScheme(bearer string) string {
	return "DPoP" + strings.TrimPrefix(bearer, "Bearer") + p.algs
}

// challenge makes of a Bearer challenge what a client is told where both schemes are taken (RFC 9449, section 7.2): what was wrong
// stands with the scheme that it used, and the other one is offered unless it could not help.
func (p *proofs) challenge(c *pipeline.Case, route *requirement, reason verdict.Reason, bearer, bearerOffer string) string {
	switch {
	case reason == verdict.BindingRequired, route.bound && (reason == verdict.TokenMissing || showsDPoP(c)):
		return p.inScheme(bearer)
	case showsDPoP(c):
		return p.inScheme(bearer) + ", " + bearerOffer
	}
	return bearer + ", " + p.offer
}

// checkProof checks that whoever shows a token holds the key that it is bound to.
func (p *part) checkProof(c *pipeline.Case, key any, who *proven) refusal {
	thumbprint, ok := key.(string)
	switch {
	case !ok || thumbprint == "":
		return refusal{verdict.TokenBinding, "jkt is not a thumbprint"}
	case p.proofs == nil:
		return refusal{verdict.TokenBinding, "the token is bound to a key, and the service takes no proofs"}
	case !who.shown.dpop:
		return refusal{verdict.TokenBinding, "the token is bound to a key, and came as a bearer token"}
	}
	var err error
	who.use, err = p.proofs.verifier.Verify(&dpop.Use{Request: c.Request, Token: who.shown.raw, Thumbprint: thumbprint, Now: c.Now})
	if refused, is := errors.AsType[*dpop.Refusal](err); is {
		return refusal{refused.Reason, refused.Detail}
	}
	if err != nil {
		return refusal{verdict.ProofInvalid, ""}
	}
	who.KeyThumbprint = thumbprint
	return refusal{}
}

// use marks the proof of a subject whose credential is good, and good enough, as used: the last step, so that nothing else is looked
// up for. A dry run changes nothing, and a report comes with the proof of the call that it is about.
func (s *Stage) use(ctx context.Context, p *part, c *pipeline.Case, who *proven) refusal {
	if who == nil || who.use.Mark == "" {
		return refusal{}
	}
	if c.Request.Mode == request.Enforce && c.Request.Failure == nil {
		first, err := s.mark(ctx, &who.use)
		switch {
		case err != nil && p.proofs.lenient:
			c.Verdict.Degraded = true
		case err != nil:
			c.Subject = subject.Anonymous()
			return refusal{verdict.ProofUnavailable, about(who.Authenticator, who.KeyID) + "the proof cannot be marked as used"}
		case !first:
			c.Subject = subject.Anonymous()
			return refusal{verdict.ProofReplayed, about(who.Authenticator, who.KeyID) + "the proof was used before"}
		}
	}
	if who.use.Nonce != "" {
		setNonce(c, who.use.Nonce)
	}
	return refusal{}
}

func (s *Stage) mark(ctx context.Context, use *dpop.Verified) (first bool, err error) {
	if s.options.Marks == nil {
		return false, errNoMarks
	}
	if s.options.MarkTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.options.MarkTimeout)
		defer cancel()
	}
	return s.options.Marks.Mark(ctx, use.Mark, use.Lasts)
}

func setNonce(c *pipeline.Case, nonce string) {
	c.Verdict.Obligations.SetResponse = append(c.Verdict.Obligations.SetResponse, verdict.Field{Name: nonceField, Value: nonce})
}
