package decisiontest

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
)

const (
	// maxExtends bounds the chain of tokens that extend each other.
	maxExtends = 16
	// lifetime is how long a token lives that does not say it.
	lifetime = 5 * time.Minute
	// validity is how far around now a certificate is valid that does not say it.
	validity = time.Hour
)

// tokenClaim is a token before it is signed.
type tokenClaim struct {
	at             string // its YAML path
	authenticator  string
	header, claims map[string]any
}

func (l *loader) loadToken(at, name string) {
	p := &person{name: name}
	l.suite.people[name] = p
	written := l.suite.written.Tokens[name]
	if written.Raw != "" {
		if written.Extends != "" || written.Authenticator != "" || written.Claims != nil || written.Omit != nil || written.Header != nil ||
			written.Exp != nil || written.Nbf != nil || written.Iat != nil || written.DPoP || written.Certificate != "" {
			l.add(at+".raw", "", "a raw token is sent as it is; remove the other keys")
		}
		if strings.ContainsFunc(written.Raw, func(c rune) bool { return c < '!' || c > '~' }) {
			l.add(at+".raw", "", "a token is made of visible ASCII characters")
		}
		p.raw = written.Raw
		return
	}
	if slices.Contains(written.Omit, "iss") {
		l.add(at+".omit", "", "iss chooses the authenticator; claim another one to see what a token of a stranger gets")
	}
	for _, twice := range slices.Sorted(maps.Keys(instants(&written))) {
		if _, claimed := written.Claims[twice]; claimed {
			l.add(at+"."+twice, "", "%s stands here and among the claims; remove one", twice)
		}
	}
	merged, ok := l.merge(at, written)
	if !ok {
		return
	}
	switch a, known := l.bundle.Authenticators[merged.Authenticator]; {
	case merged.Authenticator == "":
		l.add(at, "", "a token needs an authenticator, or the raw text")
		return
	case !known:
		l.unknown(at+".authenticator", "the bundle has no authenticator %q", merged.Authenticator, slices.Collect(maps.Keys(l.bundle.Authenticators)))
		return
	case a.Kind == "api_key":
		l.checkKey(at, &merged)
	case a.Kind != "jwt" && a.Kind != "introspection":
		l.add(at+".authenticator", "", "%q is of kind %s, which takes no tokens", merged.Authenticator, a.Kind)
		return
	case a.Kind == "introspection" && len(merged.Header) > 0:
		l.add(at, "", "an opaque token has no header")
		return
	}
	if merged.DPoP {
		if p.key = l.newProofKey(at); p.key == nil {
			return
		}
	}
	p.token = &tokenClaim{at: at, authenticator: merged.Authenticator, header: merged.Header, claims: l.claimsOf(name, &merged)}
}

// checkKey checks what an API key cannot have. Its claims are members of its record, which whoever makes it knows.
func (l *loader) checkKey(at string, t *suite.Token) {
	if len(t.Header) > 0 {
		l.add(at+".header", "", "an API key has no header")
	}
	if t.Nbf != nil {
		l.add(at+".nbf", "", "an API key is good from the beginning")
	}
}

// merge returns a token with what it takes from those that it extends.
func (l *loader) merge(at string, t suite.Token) (suite.Token, bool) {
	for depth := 0; t.Extends != ""; depth++ {
		below, ok := l.suite.written.Tokens[t.Extends]
		switch {
		case !ok:
			l.unknown(at+".extends", "the suite has no token %q", t.Extends, l.namesOf("tokens"))
			return t, false
		case below.Raw != "":
			l.add(at+".extends", "", "%q is a raw token, which cannot be extended", t.Extends)
			return t, false
		case depth == maxExtends:
			l.add(at+".extends", "", "the tokens extend each other in a circle, or more than %d times", maxExtends)
			return t, false
		}
		t = overlay(below, t)
	}
	return t, true
}

// overlay returns the token below with what the one above says.
func overlay(below, above suite.Token) suite.Token {
	out := suite.Token{
		Extends: below.Extends, Authenticator: orDefault(above.Authenticator, below.Authenticator),
		DPoP: above.DPoP || below.DPoP, Certificate: orDefault(above.Certificate, below.Certificate),
		Claims: maps.Clone(below.Claims), Header: maps.Clone(below.Header),
	}
	if out.Claims == nil {
		out.Claims = map[string]any{}
	}
	if out.Header == nil {
		out.Header = map[string]any{}
	}
	said := instants(&above)
	for name := range said {
		delete(out.Claims, name) // the same claim in its other form
	}
	maps.Copy(out.Claims, above.Claims)
	maps.Copy(out.Header, above.Header)
	for _, name := range below.Omit {
		if _, claimed := above.Claims[name]; !claimed && said[name] == nil {
			out.Omit = append(out.Omit, name)
		}
	}
	out.Omit = append(out.Omit, above.Omit...)
	out.Exp, out.Nbf, out.Iat = cmp.Or(above.Exp, below.Exp), cmp.Or(above.Nbf, below.Nbf), cmp.Or(above.Iat, below.Iat)
	return out
}

// instants returns the claims that a token says as instants, by name.
func instants(t *suite.Token) map[string]*suite.Moment {
	out := map[string]*suite.Moment{"exp": t.Exp, "nbf": t.Nbf, "iat": t.Iat}
	maps.DeleteFunc(out, func(_ string, m *suite.Moment) bool { return m == nil })
	return out
}

// claimsOf returns the claims to sign, with those of a sound access token (RFC 9068) that the suite left out.
func (l *loader) claimsOf(name string, t *suite.Token) map[string]any {
	now := l.suite.now
	claims := map[string]any{"iat": t.Iat.After(now).Unix(), "exp": now.Add(lifetime).Unix()}
	if a := l.bundle.Authenticators[t.Authenticator]; a.Kind != "api_key" {
		maps.Copy(claims, map[string]any{"jti": name, "client_id": "durward-test", "iss": a.Issuer})
	}
	if l.bundle.Authenticators[t.Authenticator].Kind == "introspection" {
		claims["active"] = true
	}
	if t.Exp != nil {
		claims["exp"] = t.Exp.After(now).Unix()
	}
	if t.Nbf != nil {
		claims["nbf"] = t.Nbf.After(now).Unix()
	}
	if binding := l.bindingOf(name, t); len(binding) > 0 {
		claims["cnf"] = binding
	}
	maps.Copy(claims, t.Claims)
	for _, omitted := range t.Omit {
		delete(claims, omitted)
	}
	return claims
}

func (l *loader) loadCertificate(at, name string) {
	written, now := l.suite.written.Certificates[name], l.suite.now
	c := &request.Certificate{
		Subject: orDefault(written.Subject, "CN="+name), NotBefore: now.Add(-validity), NotAfter: now.Add(validity),
		Thumbprint: certificateThumbprint(name),
	}
	if written.NotBefore != nil {
		c.NotBefore = written.NotBefore.After(now)
	}
	if written.NotAfter != nil {
		c.NotAfter = written.NotAfter.After(now)
	}
	if len(written.SANs) == 0 {
		l.add(at, "", "a certificate needs sans: the names that it vouches for")
	}
	for _, san := range written.SANs {
		switch {
		case strings.Contains(san, "://"):
			c.URIs = append(c.URIs, san)
		case strings.Contains(san, "@"):
			c.Emails = append(c.Emails, san)
		default:
			c.DNSNames = append(c.DNSNames, san)
		}
	}
	l.suite.people[name] = &person{name: name, certificate: c}
}

func (l *loader) loadSubject(at, name string) {
	written := l.suite.written.Subjects[name]
	s := &subject.Subject{
		Kind: written.Kind, Authenticator: written.Authenticator, ID: written.ID, Tenant: written.Tenant, Roles: written.Roles, Scopes: written.Scopes,
		Issuer: written.Issuer, ACR: written.ACR, AMR: written.AMR, Claims: plain(written.Claims),
	}
	l.suite.people[name] = &person{name: name, subject: s}
	if written.AuthTime != nil {
		s.AuthTime = written.AuthTime.After(l.suite.now)
	}
	if written.Key != "" {
		parts := strings.SplitN(written.Key, ":", 3)
		switch {
		case written.Kind != "" || written.Authenticator != "" || written.ID != "":
			l.add(at+".key", "", "a key holds kind, authenticator and id; remove them or it")
			return
		case written.Key == subject.AnonymousKey:
			parts = []string{subject.KindAnonymous, "", ""}
		case len(parts) != 3:
			l.add(at+".key", "", "%q is no key; write KIND:AUTHENTICATOR:ID", written.Key)
			return
		}
		s.Kind, s.Authenticator, s.ID = parts[0], parts[1], parts[2]
	}
	s.Kind = orDefault(s.Kind, subject.KindUser)
	l.checkSubject(at, s)
}

func (l *loader) checkSubject(at string, s *subject.Subject) {
	if s.Kind == subject.KindAnonymous {
		if anybody := (&subject.Subject{Kind: s.Kind}); !reflect.DeepEqual(s, anybody) {
			l.add(at, "", "an anonymous subject has nothing: neither authenticator and id nor roles, scopes and the like")
		}
		s.Key = subject.AnonymousKey
		return
	}
	if s.Kind != subject.KindUser && s.Kind != subject.KindService {
		l.add(at, "", "the kind of a subject is user, service or anonymous, not %q", s.Kind)
	}
	a, ok := l.bundle.Authenticators[s.Authenticator]
	switch {
	case s.ID == "":
		l.add(at, "", "a subject needs an id")
	case !ok:
		l.unknown(at, "the subject's authenticator %q is none of the bundle's", s.Authenticator, slices.Collect(maps.Keys(l.bundle.Authenticators)))
	case s.Issuer == "":
		s.Issuer = a.Issuer
	}
	s.Key = subject.Key(s.Kind, s.Authenticator, s.ID)
}

// plain returns values as a verified token would hold them, where every number is a float64.
func plain(values map[string]any) map[string]any {
	if values == nil {
		return nil
	}
	out := make(map[string]any, len(values))
	for name, v := range values {
		out[name] = plainValue(v)
	}
	return out
}

func plainValue(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case map[string]any:
		return plain(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainValue(v[i])
		}
		return out
	}
	return v
}

// mint returns the raw token of a person; "" for one without.
func (p *person) mint(lab Lab, file *format.File) (string, error) {
	if p.token == nil || p.raw != "" {
		return p.raw, nil
	}
	raw, err := lab.Mint(p.token.authenticator, p.token.header, p.token.claims)
	if err != nil {
		return "", format.Problems{file.Problem(p.token.at, fmt.Sprintf("the token cannot be made: %v", err))}
	}
	p.raw = raw
	return raw, nil
}
