package identity

import (
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// fromGiven makes the case's subject of one that needs no credentials. It must be one that an accepted authenticator
// could have established: of its kind, under its own key, and with the roles that it may assert.
func (p *part) fromGiven(given *subject.Subject) (proven, refusal) {
	who := *given
	if who.ID == "" || who.Key != subject.Key(who.Kind, who.Authenticator, who.ID) {
		return proven{}, refusal{verdict.TokenClaim, "the given subject has no id, or another key than kind, authenticator and id make"}
	}
	var dropped int
	ring := p.keyringOf(who.Authenticator)
	switch {
	case ring != nil && (who.Kind == subject.KindUser || who.Kind == subject.KindService):
		who.Roles, dropped = ring.roles.filter(given.Roles)
	case who.Kind == subject.KindUser:
		i := p.issuerOf(who.Authenticator)
		if i == nil {
			return proven{}, refusal{verdict.TokenIssuer, "the given subject's authenticator is none that the service accepts for tokens"}
		}
		who.Roles, dropped = i.roles.filter(given.Roles)
	case who.Kind == subject.KindService:
		if !p.takesCertificatesOf(who.Authenticator) {
			return proven{}, refusal{verdict.CertificateBad, "the given subject's authenticator is none that the service accepts for certificates"}
		}
		who.Roles, dropped = nil, len(given.Roles)
	default:
		return proven{}, refusal{verdict.TokenClaim, "the given subject is of no known kind"}
	}
	who.DroppedRoles += dropped
	return proven{Subject: who}, refusal{}
}

// issuerOf returns the accepted authenticator of tokens with that name; nil when there is none.
func (p *part) issuerOf(authenticator string) *issuer {
	if p.opaque != nil && p.opaque.authenticator == authenticator {
		return p.opaque.issuer
	}
	for _, i := range p.issuers {
		if i.authenticator == authenticator {
			return i
		}
	}
	return nil
}

func (p *part) takesCertificatesOf(authenticator string) bool {
	for _, c := range p.certificates {
		if c.authenticator == authenticator {
			return true
		}
	}
	return false
}
