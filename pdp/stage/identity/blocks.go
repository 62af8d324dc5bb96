package identity

import (
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	defaultMaxAge = time.Minute
	longestMaxAge = 24 * time.Hour
)

// staleMode is what to do where this replica's copy of the blocks is too old. The zero mode denies.
type staleMode uint8

const (
	staleDenies staleMode = iota
	staleCounts           // what was known counts, and who never knew denies
	staleAllows           // what was known counts, also when it is nothing
)

// revocation is a route's failure mode for blocks.
type revocation struct {
	mode   staleMode
	maxAge time.Duration
}

// serviceRevocation is the failure mode of a service's routes that write none.
func (c *compiler) serviceRevocation() revocation {
	preset := revocation{mode: staleCounts, maxAge: defaultMaxAge}
	if written := c.service.Identity.Revocation; written != nil {
		return c.revocation("$.identity.revocation", written.OnError, written.MaxAge, preset)
	}
	return preset
}

// routeRevocation is the failure mode of a route: what it leaves out is the service's.
func (c *compiler) routeRevocation(at string, r *format.Route, m mode, preset revocation) revocation {
	written := r.Revocation
	if written == nil {
		return preset
	}
	at += ".revocation"
	if r.Access == "public" || m == modeNone {
		c.inService(at, "no credential is looked at here, so none could be blocked")
	}
	return c.revocation(at, written.OnError, written.MaxAge, preset)
}

// revocation reads a failure mode; what is left out is preset.
func (c *compiler) revocation(at, onError string, maxAge *format.Duration, preset revocation) revocation {
	out := preset
	if maxAge != nil {
		if out.maxAge = time.Duration(*maxAge); out.maxAge < time.Second || out.maxAge > longestMaxAge {
			c.inService(at+".max_age", "max_age is from 1s to 24h")
		}
	}
	switch onError {
	case "":
	case "stale":
		out.mode = staleCounts
	case "deny":
		out.mode = staleDenies
	case "allow":
		out.mode = staleAllows
	default:
		c.inService(at+".on_error", fmt.Sprintf("%q is no failure mode; write stale, deny or allow", onError))
	}
	return out
}

// checkRevoked refuses what is revoked, and notes what blocks the subject for checkBlocked.
func (p *part) checkRevoked(c *pipeline.Case, route *requirement, who *proven) refusal {
	if p.blocks == nil {
		return refusal{}
	}
	credential := blocks.Credential{
		Authenticator: who.Authenticator, Issuer: who.Issuer, Subject: who.Key, Name: claimOf(who, "sub"),
		Token: who.TokenID, Session: who.session, Client: clientOf(who), Key: who.KeyID, Issued: who.issued,
	}
	if c.Match.Service != nil {
		credential.Bundle = c.Match.Service.Bundle
	}
	var revoked *blocks.Block
	if revoked, who.blocked = p.blocks.Credential(&credential, c.Now); revoked != nil {
		return refusal{verdict.TokenRevoked, revoked.Detail()}
	}
	if who.blocked != nil {
		return refusal{} // what is known suffices
	}
	return p.checkFresh(c, route.revocation)
}

// checkFresh says what a copy of the blocks that is too old means.
func (p *part) checkFresh(c *pipeline.Case, r revocation) refusal {
	synced := p.blocks.Synced()
	if !synced.IsZero() && c.Now.Sub(synced) <= r.maxAge {
		return refusal{}
	}
	if r.mode == staleAllows || r.mode == staleCounts && !synced.IsZero() {
		c.Verdict.Degraded = true
		return refusal{}
	}
	if synced.IsZero() {
		return refusal{verdict.RevocationsUnavailable, "what is blocked was never known since the start"}
	}
	return refusal{verdict.RevocationsUnavailable, "what is blocked was last known at " + synced.UTC().Format(time.RFC3339)}
}

// checkBlocked refuses a subject that is blocked, or that comes with a client that is.
func (p *part) checkBlocked(_ *pipeline.Case, _ *requirement, who *proven) refusal {
	if who.blocked == nil {
		return refusal{}
	}
	return refusal{verdict.SubjectBlocked, about(who.Authenticator, who.KeyID) + who.blocked.Detail()}
}

// clientOf returns the client that a token was issued to (RFC 9068, section 2.2; azp in tokens older than it).
func clientOf(who *proven) string {
	if id := claimOf(who, "client_id"); id != "" {
		return id
	}
	return claimOf(who, "azp")
}

func claimOf(who *proven, name string) string {
	text, _ := who.Claims[name].(string)
	return text
}

// Source is an authenticator that a compiled service takes credentials from.
type Source struct {
	Authenticator string
	// Issuer is the exact iss of tokens, "" for other credentials.
	Issuer string
	// MaxLifetime is how far the exp of tokens may lie ahead; zero where nothing here bounds how long credentials live: opaque tokens,
	// API keys and certificates.
	MaxLifetime time.Duration
}

// Sources returns the authenticators of a compiled service, in no particular order; nil for a service that this stage did not compile.
func Sources(s *pipeline.Service) []Source {
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return nil
	}
	var out []Source
	for iss, i := range p.issuers {
		out = append(out, Source{i.authenticator, iss, i.maxLifetime})
	}
	if p.opaque != nil {
		out = append(out, Source{Authenticator: p.opaque.authenticator, Issuer: p.opaque.name})
	}
	for _, k := range p.keyrings {
		out = append(out, Source{Authenticator: k.verifier.Authenticator})
	}
	for _, a := range p.certificates {
		out = append(out, Source{Authenticator: a.authenticator})
	}
	return out
}
