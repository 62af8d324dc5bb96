package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxIdentifier bounds each name that a token gives: the subject, its tenant, a role.
const maxIdentifier = 256

var errNoName = errors.New("a claim is empty, too long for a name, or holds control characters")

// issuer is an authenticator of tokens: of kind jwt, or without keys the part of another kind. It is immutable.
type issuer struct {
	authenticator string
	verifier      *token.Verifier
	keys          issuerKeys
	claims        claimPaths
	roles         roleFilter
	logout        *logoutRule // nil where no logout tokens are taken
	maxLifetime   time.Duration
}

// claimPaths says where the parts of a subject stand. The zero path is never present.
type claimPaths struct {
	id, tenant, scopes, roles, acr, amr, authTime, binding, session token.Path
}

// fromToken makes a subject of a raw token, of which a verified one may be kept. What the cache knows is judged anew each time.
func (p *part) fromToken(ctx context.Context, c *pipeline.Case, raw string, sum [sha256.Size]byte) (proven, refusal) {
	if p.cache == nil || !mayBeKept(raw) {
		return p.verify(ctx, c, raw, nil)
	}
	key := keyOf(p.definitions, sum)
	if known := p.cache.get(key); known != nil {
		if i, ok := p.issuers[known.issuer]; ok && i.verifier.Confirm(known.verified, i.keys.set(c.Now)) == nil {
			return p.again(c, i, known)
		}
		p.cache.drop(key) // its key is gone; the same token may have another one by now
	}
	return p.verify(ctx, c, raw, &key)
}

// again judges a known token: all that a signature does not prove for good.
func (p *part) again(c *pipeline.Case, i *issuer, known *cached) (proven, refusal) {
	if _, err := i.verifier.Check(known.verified, p.audiences, c.Now); err != nil {
		r := refuseToken(err)
		r.detail = about(i.authenticator, known.who.KeyID) + r.detail
		return proven{}, r
	}
	if len(known.verified.Header().IgnoredKeys) > 0 && p.keyOffered != nil {
		p.keyOffered()
	}
	who := known.who
	who.leeway = i.verifier.Leeway() // the one setting that has the same definition when it is left out and when it is zero
	return who, refusal{}
}

// verify reads and verifies a token, and keeps it under a key that is not nil.
func (p *part) verify(ctx context.Context, c *pipeline.Case, raw string, key *cacheKey) (proven, refusal) {
	parsed, err := token.Parse(raw, 0)
	if err != nil {
		return proven{}, refuseToken(err)
	}
	if len(parsed.Header().IgnoredKeys) > 0 && p.keyOffered != nil {
		p.keyOffered()
	}
	// The issuer is chosen before any key is looked at (RFC 8725, section 3.8).
	i, ok := p.issuers[parsed.Issuer()]
	if !ok {
		return proven{}, refusal{reason: verdict.TokenIssuer}
	}
	verified, set, err := i.keys.verify(ctx, i.verifier, parsed, c.Now)
	if err != nil {
		return proven{}, i.refuse(parsed, set, refuseToken(err))
	}
	claims, err := i.verifier.Check(verified, p.audiences, c.Now)
	if err != nil {
		return proven{}, i.refuse(parsed, set, refuseToken(err))
	}
	who, ok := i.prove(claims)
	if !ok {
		return proven{}, i.refuse(parsed, set, refusal{verdict.TokenClaim, "a claim that describes the subject is missing or of another type"})
	}
	who.KeyID = verified.Header().KeyID
	if key != nil {
		p.cache.put(*key, &cached{issuer: strings.Clone(parsed.Issuer()), verified: verified, who: who, size: sizeOf(raw, claims.Members())})
	}
	return who, refusal{}
}

// refuseToken takes over the reason of a token's refusal. The words are the same; a test compares the lists.
func refuseToken(err error) refusal {
	if refused, ok := errors.AsType[*token.Error](err); ok {
		return refusal{reason: verdict.Reason(refused.Reason()), detail: refused.Error()}
	}
	if errors.Is(err, errNoKeys) {
		return refusal{verdict.KeysUnavailable, err.Error()}
	}
	return refusal{reason: verdict.TokenMalformed}
}

// refuse adds to a refusal which authenticator and key it is about. The key's id is taken from the key set: that of the
// token is a stranger's text until it has been found there.
func (i *issuer) refuse(t *token.Token, set *token.KeySet, r refusal) refusal {
	id := ""
	if key, err := i.verifier.SelectKey(t, set); err == nil {
		id = key.ID()
	}
	r.detail = about(i.authenticator, id) + r.detail
	return r
}

// prove reads the subject and what checks need from verified claims; false when a claim has another type than it must have.
func (i *issuer) prove(claims token.Claims) (proven, bool) {
	who, ok := i.subject(claims)
	if !ok {
		return proven{}, false
	}
	out := proven{Subject: who, leeway: i.verifier.Leeway()}
	if binding, present := claims.Lookup(i.claims.binding); present {
		if out.binding = binding; binding == nil {
			return proven{}, false // null is no binding and not the lack of one
		}
	}
	out.issued, _ = claims.IssuedAt()
	if out.session, ok = ifPresent(claims, i.claims.session, name(claims)); !ok {
		return proven{}, false
	}
	return out, true
}

// subject reads the subject from verified claims; false when a claim is missing or of another type than it must be.
func (i *issuer) subject(claims token.Claims) (subject.Subject, bool) {
	paths := &i.claims
	id, err := name(claims)(paths.id)
	if err != nil {
		return subject.Subject{}, false
	}
	s := subject.Subject{
		Key:           subject.Key(subject.KindUser, i.authenticator, id),
		Kind:          subject.KindUser,
		Authenticator: i.authenticator,
		ID:            id,
		Issuer:        claims.Issuer(),
		Claims:        claims.Members(),
		TokenID:       claims.ID(),
	}
	var ok [6]bool
	var roles []string
	s.Tenant, ok[0] = ifPresent(claims, paths.tenant, name(claims))
	s.ACR, ok[1] = ifPresent(claims, paths.acr, name(claims))
	s.AMR, ok[2] = ifPresent(claims, paths.amr, claims.Strings)
	s.AuthTime, ok[3] = ifPresent(claims, paths.authTime, claims.Time)
	roles, ok[4] = ifPresent(claims, paths.roles, claims.Strings)
	s.Scopes, ok[5] = readScopes(claims, paths.scopes)
	if slices.Contains(ok[:], false) {
		return subject.Subject{}, false
	}
	s.Roles, s.DroppedRoles = i.roles.filter(roles)
	return s, true
}

// ifPresent reads a claim that may be absent; false when it is there and cannot be read.
func ifPresent[T any](claims token.Claims, path token.Path, read func(token.Path) (T, error)) (T, bool) {
	if _, present := claims.Lookup(path); !present {
		var none T
		return none, true
	}
	value, err := read(path)
	return value, err == nil
}

// name reads a claim that is a name.
func name(claims token.Claims) func(token.Path) (string, error) {
	return func(path token.Path) (string, error) {
		text, err := claims.String(path)
		if err == nil && !isIdentifier(text) {
			err = errNoName
		}
		return text, err
	}
}

// filter keeps the roles that the authenticator may assert and counts the others. A role that looks like the key of a
// subject would make this subject that other one, so it is dropped whatever the list says.
func (f *roleFilter) filter(roles []string) (kept []string, dropped int) {
	for _, role := range roles {
		if (f.any || f.allowed[role]) && isIdentifier(role) && !subject.IsKeyShaped(role) {
			kept = append(kept, role)
		} else {
			dropped++
		}
	}
	return kept, dropped
}

// readScopes reads scopes from one string, separated by single spaces (RFC 6749, section 3.3), or from an array.
func readScopes(claims token.Claims, path token.Path) ([]string, bool) {
	value, present := claims.Lookup(path)
	if !present || value == "" {
		return nil, true
	}
	scopes, err := claims.Strings(path)
	if text, ok := value.(string); ok {
		scopes = strings.Split(text, " ")
	}
	if err != nil {
		return nil, false
	}
	for _, s := range scopes {
		if !isScope(s) {
			return nil, false
		}
	}
	return scopes, true
}

// isScope says whether text is a scope-token of RFC 6749, section 3.3.
func isScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return text != ""
}

func isIdentifier(text string) bool {
	return text != "" && len(text) <= maxIdentifier && !strings.ContainsFunc(text, unicode.IsControl)
}
