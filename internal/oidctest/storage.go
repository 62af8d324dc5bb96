package oidctest

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// errUnknown is what the storage says of all that it does not hold.
var errUnknown = errors.New("not found")

// storage is what the provider knows. It is op.Storage, op.ClientCredentialsStorage and op.CanGetPrivateClaimsFromRequest.
type storage struct {
	lifetime time.Duration
	clients  map[string]*client

	mu      sync.Mutex
	keys    []*signingKey
	signing *signingKey
	made    int
	logins  map[string]*login // by id
	codes   map[string]string // login ids by code
	access  map[string]*grant // by token id
	refresh map[string]*grant // by refresh token
}

// grant is an access token that was given out.
type grant struct {
	subject, client, session string
	audience, scopes         []string
	issued, expires          time.Time
	login                    *login // nil without one
}

func newStorage(tb testing.TB, o Options) *storage {
	tb.Helper()
	s := &storage{lifetime: o.Lifetime, clients: map[string]*client{}, logins: map[string]*login{}, codes: map[string]string{}, access: map[string]*grant{}, refresh: map[string]*grant{}}
	for _, c := range o.Clients {
		s.clients[c.ID] = &client{Client: c}
	}
	(&Provider{storage: s}).Publish(tb)
	return s
}

// Health implements op.Storage.
func (s *storage) Health(context.Context) error { return nil }

// GetClientByClientID implements op.Storage.
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if c := s.clients[id]; c != nil {
		return c, nil
	}
	return nil, errUnknown
}

// AuthorizeClientIDSecret implements op.Storage.
func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	c := s.clients[id]
	if c == nil || subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1 {
		return errUnknown
	}
	return nil
}

// ClientCredentials implements op.ClientCredentialsStorage.
func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

// ClientCredentialsTokenRequest implements op.ClientCredentialsStorage.
func (s *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &request{subject: id, client: s.clients[id], scopes: scopes}, nil
}

// request is a wish for a token that no login stands behind.
type request struct {
	subject string
	client  *client
	scopes  []string
}

func (r *request) GetSubject() string    { return r.subject }
func (r *request) GetAudience() []string { return r.client.audience() }
func (r *request) GetScopes() []string   { return r.scopes }

// CreateAccessToken implements op.Storage.
func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (id string, expires time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, g := s.grant(r)
	return id, g.expires, nil
}

// grant notes a token that is given out. The caller holds the lock.
func (s *storage) grant(r op.TokenRequest) (id string, g *grant) {
	g = &grant{subject: r.GetSubject(), audience: r.GetAudience(), scopes: r.GetScopes(), issued: time.Now(), expires: time.Now().Add(s.lifetime)}
	switch r := r.(type) {
	case *request:
		g.client = r.client.ID
	case *login:
		g.client, g.session, g.login = r.GetClientID(), r.session, r
	}
	id = rand.Text()
	s.access[id] = g
	return id, g
}

// CreateAccessAndRefreshTokens implements op.Storage.
func (s *storage) CreateAccessAndRefreshTokens(_ context.Context, r op.TokenRequest, current string) (id, refresh string, expires time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, g := s.grant(r)
	delete(s.refresh, current)
	refresh = rand.Text()
	s.refresh[refresh] = g
	return id, refresh, g.expires, nil
}

// TokenRequestByRefreshToken implements op.Storage.
func (s *storage) TokenRequestByRefreshToken(_ context.Context, refresh string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.refresh[refresh]; g != nil && g.login != nil {
		return g.login, nil
	}
	return nil, op.ErrInvalidRefreshToken
}

// GetRefreshTokenInfo implements op.Storage.
func (s *storage) GetRefreshTokenInfo(_ context.Context, _, refresh string) (subject, id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.refresh[refresh]; g != nil {
		return g.subject, refresh, nil
	}
	return "", "", op.ErrInvalidRefreshToken
}

// RevokeToken implements op.Storage.
func (s *storage) RevokeToken(_ context.Context, id, _, _ string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.access, id)
	delete(s.refresh, id)
	return nil
}

// TerminateSession implements op.Storage: all that the subject has from the client ends.
func (s *storage) TerminateSession(_ context.Context, subject, client string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := func(_ string, g *grant) bool { return g.subject == subject && g.client == client }
	maps.DeleteFunc(s.access, ended)
	maps.DeleteFunc(s.refresh, ended)
	return nil
}

// SetIntrospectionFromToken implements op.Storage. Its error makes the token inactive.
func (s *storage) SetIntrospectionFromToken(_ context.Context, out *oidc.IntrospectionResponse, id, _, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.access[id]
	if g == nil || !time.Now().Before(g.expires) {
		return errUnknown
	}
	out.Subject, out.ClientID, out.Audience, out.Scope, out.JWTID = g.subject, g.client, g.audience, g.scopes, id
	out.TokenType, out.IssuedAt, out.Expiration = oidc.BearerToken, oidc.FromTime(g.issued), oidc.FromTime(g.expires)
	out.Claims = s.claims(g.client, g.session, nil)
	return nil
}

// GetPrivateClaimsFromRequest implements op.CanGetPrivateClaimsFromRequest.
func (s *storage) GetPrivateClaimsFromRequest(_ context.Context, r op.TokenRequest, _ []string) (map[string]any, error) {
	switch r := r.(type) {
	case *request:
		return s.claims(r.client.ID, "", r.scopes), nil
	case *login:
		return s.claims(r.GetClientID(), r.session, r.GetScopes()), nil
	}
	return nil, errUnknown
}

// claims are those beside what every token holds.
func (s *storage) claims(client, session string, scopes []string) map[string]any {
	out := map[string]any{}
	maps.Copy(out, s.clients[client].Claims)
	if session != "" {
		out["sid"] = session
	}
	if len(scopes) > 0 {
		out["scope"] = strings.Join(scopes, " ")
	}
	return out
}

// GetPrivateClaimsFromScopes implements op.Storage; GetPrivateClaimsFromRequest is asked instead.
func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, errUnknown
}

// SetUserinfoFromScopes implements op.Storage.
func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

// SetUserinfoFromToken implements op.Storage.
func (s *storage) SetUserinfoFromToken(_ context.Context, out *oidc.UserInfo, _, subject, _ string) error {
	out.Subject = subject
	return nil
}

// GetKeyByIDAndClientID implements op.Storage: no client has keys.
func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnknown
}

// ValidateJWTProfileScopes implements op.Storage: no client has keys.
func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errUnknown
}

// client is a Client as op.Client.
type client struct{ Client }

func (c *client) audience() []string {
	if len(c.Audience) == 0 {
		return []string{c.ID}
	}
	return slices.Clone(c.Audience)
}

func (c *client) GetID() string                       { return c.ID }
func (c *client) RedirectURIs() []string              { return []string{callback} }
func (c *client) PostLogoutRedirectURIs() []string    { return []string{callback} }
func (c *client) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (c *client) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodBasic }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeClientCredentials, oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}
func (c *client) LoginURL(id string) string { return loginPage + "?id=" + id }
func (c *client) AccessTokenType() op.AccessTokenType {
	if c.Opaque {
		return op.AccessTokenTypeBearer
	}
	return op.AccessTokenTypeJWT
}
func (c *client) IDTokenLifetime() time.Duration { return time.Minute }
func (c *client) DevMode() bool                  { return false }
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c *client) IsScopeAllowed(scope string) bool     { return slices.Contains(c.Scopes, scope) }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return false }
func (c *client) ClockSkew() time.Duration             { return 0 }
