package upstream

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	authorization = "authorization"
	bearer        = "Bearer "
	// tokenType is that of RFC 9068, whose claims the tokens have: libraries for access tokens know it.
	tokenType = "at+jwt"

	defaultTTL = time.Minute
	minTTL     = 5 * time.Second
	maxTTL     = 10 * time.Minute

	maxClaims    = 32
	maxClaimName = 128
)

// ownClaims are those that the stage sets itself, and registered ones whose meaning a value of a bundle could not have.
var ownClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "scope", "orig_iss", "cnf", "act", "may_act", "nonce", "at_hash", "c_hash", "events", "sid",
}

// Minter signs tokens for the APIs behind.
type Minter interface {
	// Issuer is the iss of the tokens.
	Issuer() string
	// Sign makes a compact token of a typ from claims, without I/O.
	Sign(typ string, claims map[string]any) (string, error)
}

// tokenPart is what a service's token is made of. It is immutable.
type tokenPart struct {
	header    string
	audience  string
	ttl       time.Duration
	anonymous bool
	claims    []tokenClaim
	scopes    []string // by route index: those that the route wants, joined by spaces
}

type tokenClaim struct {
	name      string
	attribute attribute.Accessor
	missing   *string
}

// token compiles what a service says of its token.
func (c *compiler) token(minter Minter, params []string) {
	t := c.service.Upstream.Token
	if t == nil {
		return
	}
	const at = "$.upstream.token"
	if minter == nil {
		c.problem(at, "wants an issuer of such tokens: tokens in the operator's durward.yaml")
		return
	}
	p := &tokenPart{header: t.Header, audience: t.Audience, ttl: time.Duration(t.TTL), anonymous: t.Anonymous}
	if p.header == "" {
		p.header = authorization
	}
	if message := refuseName(p.header); message != "" {
		c.problem(at+".header", message)
	} else if _, taken := c.part.guarded[folded(p.header)]; taken {
		c.problem(at+".header", p.header+" is set by upstream.headers already")
	}
	if p.audience == "" {
		p.audience = c.service.Name
		if len(c.service.Identity.Audiences) > 0 {
			p.audience = c.service.Identity.Audiences[0]
		}
	}
	if !utf8.ValidString(p.audience) || len(p.audience) > maxName {
		c.problem(at+".audience", "an audience is at most 128 bytes of text")
	}
	if p.ttl == 0 {
		p.ttl = defaultTTL
	}
	if p.ttl < minTTL || p.ttl > maxTTL || p.ttl%time.Second != 0 {
		c.problem(at+".ttl", "a token lives from 5s to 10min, in whole seconds")
	}
	c.claims(p, t.Claims, params)
	for i := range c.service.Routes {
		p.scopes = append(p.scopes, strings.Join(c.service.Routes[i].Scopes, " "))
	}
	c.part.guarded[folded(p.header)] = true
	c.part.token = p
}

func (c *compiler) claims(p *tokenPart, claims map[string]format.Attribute, params []string) {
	const at = "$.upstream.token.claims"
	if len(claims) > maxClaims {
		c.problem(at, "more than 32 claims")
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		claim := tokenClaim{name: name, missing: claims[name].Missing}
		switch {
		case name == "" || len(name) > maxClaimName || !visible(name):
			c.problem(at, "a claim's name is visible ASCII of at most 128 bytes")
		case slices.Contains(ownClaims, name):
			c.problem(at+"."+name, name+" has a meaning of its own in a token and cannot be set")
		}
		var err error
		if claim.attribute, err = attribute.Compile(claims[name].Name, params); err != nil {
			c.problem(at+"."+name, err.Error())
			continue
		}
		if claim.attribute.IsObject() {
			c.problem(at+"."+name, claims[name].Name+" is a whole object; name what the API needs of it")
		}
		p.claims = append(p.claims, claim)
	}
}

// mint returns the header's value, "" when the request gets no token, or the reason to deny. outage says that it is our fault.
func (p *tokenPart) mint(m Minter, c *pipeline.Case) (value string, reason verdict.Reason, outage bool) {
	subject := &c.Subject
	// Whoever asks what would be decided does not get what proves that it was.
	if c.Request.Mode == request.Dry || subject.IsAnonymous() && !p.anonymous {
		return "", "", false
	}
	claims := make(map[string]any, len(p.claims)+9)
	for i := range p.claims {
		v, reason := p.claims[i].value(&c.Facts)
		if reason != "" {
			c.Verdict.Explanation.Detail = "upstream token claim " + p.claims[i].name
			return "", reason, false
		}
		if v != nil {
			claims[p.claims[i].name] = v
		}
	}
	issued := c.Now.Unix()
	claims["iss"], claims["aud"], claims["sub"] = m.Issuer(), p.audience, subject.Key
	claims["iat"], claims["exp"] = issued, p.expires(subject.Claims, issued)
	claims["jti"] = c.Verdict.DecisionID
	claims["client_id"] = clientOf(subject.Claims, subject.Key)
	if subject.Issuer != "" {
		claims["orig_iss"] = subject.Issuer
	}
	if r := c.Match.Route; r != nil && r.Index < len(p.scopes) && p.scopes[r.Index] != "" {
		claims["scope"] = p.scopes[r.Index]
	}
	token, err := m.Sign(tokenType, claims)
	switch {
	case err != nil:
		return "", verdict.UpstreamToken, true
	case len(token)+len(bearer) > maxValue:
		c.Verdict.Explanation.Detail = "upstream token"
		return "", verdict.HeaderUnsafe, false
	case p.header == authorization:
		token = bearer + token
	}
	return token, "", false
}

// expires is when the token ends: no later than the credential that the client showed, and after it was issued.
func (p *tokenPart) expires(shown map[string]any, issued int64) int64 {
	at := issued + int64(p.ttl/time.Second)
	if end, ok := shown["exp"].(float64); ok && end < float64(at) {
		at = max(int64(end), issued+1)
	}
	return at
}

// clientOf is the client that the credential was issued to; who came without one is its own.
func clientOf(shown map[string]any, key string) string {
	for _, name := range []string{"client_id", "azp"} {
		if id, ok := shown[name].(string); ok && id != "" {
			return id
		}
	}
	return key
}

// value returns the claim's value: text, number, boolean or a list of them; nil when there is none.
func (t *tokenClaim) value(f *attribute.Facts) (any, verdict.Reason) {
	v, presence := t.attribute.Get(f)
	if t.attribute.UsesSubject() && f.Subject.IsAnonymous() {
		presence = attribute.Missing
	}
	switch presence {
	case attribute.Ambiguous:
		return nil, verdict.AttributeMany
	case attribute.Missing:
		if t.missing != nil {
			return *t.missing, ""
		}
		return nil, ""
	case attribute.Present:
	}
	out, ok := plain(v.Any(), true)
	if !ok {
		return nil, verdict.HeaderUnsafe
	}
	return out, ""
}

// plain returns a value that every reader of JSON takes for the same, or false.
func plain(v any, lists bool) (any, bool) {
	switch x := v.(type) {
	case string:
		return x, utf8.ValidString(x)
	case bool:
		return x, true
	case float64:
		if x == float64(int64(x)) {
			return int64(x), true
		}
		return x, true
	case json.Number:
		return exact(x), true
	case []any:
		out := make([]any, len(x))
		for i := range x {
			member, ok := plain(x[i], false)
			if !ok || !lists {
				return nil, false
			}
			out[i] = member
		}
		return out, true
	}
	return nil, false
}

// exact is a number as a token wrote it.
type exact json.Number

// MarshalJSON writes the number.
func (e exact) MarshalJSON() ([]byte, error) {
	if _, err := strconv.ParseFloat(string(e), 64); err != nil {
		return nil, err
	}
	return []byte(e), nil
}
