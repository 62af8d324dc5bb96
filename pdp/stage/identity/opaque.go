package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// What holds where a bundle says nothing.
const (
	presetCache         = 30 * time.Second
	presetNegativeCache = 5 * time.Second
	presetTimeout       = 500 * time.Millisecond
)

// opaque is an authenticator of kind introspection: its issuer has no keys here, and is asked instead. It is immutable.
type opaque struct {
	*issuer
	name     string // the issuer's own
	endpoint *introspection.Endpoint
}

// fromOpaque makes a subject of what the issuer says of a token. All checks run on every use, of a remembered answer too.
func (p *part) fromOpaque(ctx context.Context, c *pipeline.Case, raw string) (proven, refusal) {
	o := p.opaque
	if r := checkOpaque(raw); r.is() {
		return proven{}, o.about(r)
	}
	answer, err := o.endpoint.Introspect(ctx, raw)
	if err != nil {
		return proven{}, o.unknown(c, err)
	}
	if !answer.Active {
		return proven{}, o.about(refusal{verdict.TokenInactive, "the issuer says that the token is not active"})
	}
	if err := o.verifier.CheckAnswer(answer.Claims, p.audiences, c.Now); err != nil {
		return proven{}, o.about(refuseToken(err))
	}
	who, ok := o.prove(answer.Claims)
	if !ok {
		return proven{}, o.about(refusal{verdict.TokenClaim, "a claim that describes the subject is missing or of another type"})
	}
	if who.binding == nil && isForDPoP(answer.Claims) {
		return proven{}, o.about(refusal{verdict.TokenBinding, "the token is for DPoP, and no key is named"})
	}
	who.Issuer = o.name
	return who, refusal{}
}

// isForDPoP says whether a token is to be shown with a proof (RFC 9449, section 6.2).
func isForDPoP(claims token.Claims) bool {
	kind, ok := claims.Members()["token_type"].(string)
	return ok && strings.EqualFold(kind, "dpop")
}

func (o *opaque) about(r refusal) refusal {
	r.detail = about(o.authenticator, "") + r.detail
	return r
}

// unknown is the refusal where nobody knows whether the token is good.
func (o *opaque) unknown(c *pipeline.Case, err error) refusal {
	if errors.Is(err, context.Canceled) {
		return refusal{reason: verdict.Cancelled}
	}
	if why, ok := errors.AsType[*introspection.Error](err); ok {
		c.Verdict.RetryAfter = why.Retry
	}
	return o.about(refusal{verdict.IntrospectionUnavailable, err.Error()})
}

// introspection builds an authenticator of opaque tokens. One alone can be accepted: nothing in a token tells whose it is.
func (c *compiler) introspection(name string, a *format.Authenticator, accepted string) {
	path := "$.authenticators." + name
	o := &opaque{name: a.Issuer, issuer: &issuer{authenticator: name, verifier: c.opaqueVerifier(name, a), claims: c.claims(path, a)}}
	o.roles.allowed, o.roles.any = c.roles(path, a)
	config := c.introspectionConfig(name, a)
	endpoint, problems := c.options.Introspector.Open(config)
	for _, p := range problems {
		c.inBundle(path+".introspection."+p.Key, p.Text)
	}
	o.endpoint = endpoint
	if other := c.part.opaque; other != nil {
		c.inService(accepted, fmt.Sprintf("the authenticators %q and %q are both for opaque tokens: a token would have two meanings",
			other.authenticator, name))
		return
	}
	c.part.opaque = o
}

func (c *compiler) opaqueVerifier(name string, a *format.Authenticator) *token.Verifier {
	path := "$.authenticators." + name
	config := token.Config{Issuer: a.Issuer, Opaque: true, WithoutAudience: a.Introspection.WithoutAudience == "allow"}
	if a.Leeway != 0 || c.isWritten("authenticators", name, "leeway") {
		leeway := time.Duration(a.Leeway)
		config.Leeway = &leeway
	}
	at := path + ".leeway"
	if a.Issuer == "" {
		at = path + ".issuer"
	}
	v, err := token.NewVerifier(config)
	if err != nil {
		c.inBundle(at, err.Error())
	}
	return v
}

func (c *compiler) introspectionConfig(name string, a *format.Authenticator) introspection.Config {
	in := &a.Introspection
	config := introspection.Config{
		Bundle: c.bundle.Name, Authenticator: name, URL: in.URL, Issuer: a.Issuer,
		ClientID: in.Client.ID, Authentication: introspection.Method(in.Client.Authentication), Secret: in.Client.Secret, KeyID: in.Client.KeyID,
		TTL: orPreset(in.Cache, presetCache), NegativeTTL: orPreset(in.NegativeCache, presetNegativeCache), Timeout: orPreset(in.Timeout, presetTimeout),
	}
	switch {
	case in.Client.Audience == "endpoint":
		config.Audience = in.URL
	case config.Authentication == introspection.PrivateKeyJWT:
		config.Audience = a.Issuer // one that is known to be the server's alone
	case in.Client.Audience != "":
		config.Audience = in.Client.Audience // which is refused
	}
	return config
}

func orPreset(written *format.Duration, preset time.Duration) time.Duration {
	if written == nil {
		return preset
	}
	return time.Duration(*written)
}

// Endpoint returns where a compiled service has opaque tokens introspected; nil where it takes none.
func Endpoint(s *pipeline.Service) *introspection.Endpoint {
	if p, ok := s.Parts[Name].(*part); ok && p.opaque != nil {
		return p.opaque.endpoint
	}
	return nil
}
