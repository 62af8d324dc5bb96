package identity

import (
	"context"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Inspection is what the checks of one service say of a token, for people who ask why it is refused.
type Inspection struct {
	// Authenticator is the one that the token's issuer chooses, "" for none.
	Authenticator string
	// Findings are those of each check of the token alone; empty where no authenticator is chosen.
	Findings []token.Finding
	// Reason is why the service refuses the token, "" where it would take it; Detail as records have it. What only a request can
	// show, as what the token is bound to, is not asked.
	Reason verdict.Reason
	Detail string
}

// Inspect says what each check of a compiled service would say of a token.
func (*Stage) Inspect(ctx context.Context, service *pipeline.Service, raw string, now time.Time) (Inspection, error) {
	c := &pipeline.Case{Facts: attribute.Facts{Request: &request.Request{}, Now: now}, Service: service}
	p, ok := pipeline.Part[*part](c, Name)
	if !ok {
		return Inspection{}, ErrNotCompiled
	}
	_, r := p.fromCredential(ctx, c, raw)
	out := Inspection{Reason: r.reason, Detail: r.detail}
	parsed, err := token.Parse(raw, 0)
	if err != nil {
		return out, nil //nolint:nilerr // the reason says it
	}
	if i := p.issuers[parsed.Issuer()]; i != nil {
		out.Authenticator = i.authenticator
		out.Findings = i.verifier.Inspect(parsed, i.keys.set(now), p.audiences, now)
	}
	return out, nil
}
