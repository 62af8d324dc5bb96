package oidctest

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	callback  = "https://app.example.com/callback" // of every client; nobody goes there
	loginPage = "https://login.example.com/"       // nor there
)

// login is a person who logs in at a client. It is op.AuthRequest and op.RefreshTokenRequest.
type login struct {
	*oidc.AuthRequest
	id, session, subject string
	client               *client
	at                   time.Time // zero before
}

func (l *login) GetID() string    { return l.id }
func (l *login) GetACR() string   { return "urn:example:password" }
func (l *login) GetAMR() []string { return []string{"pwd"} }
func (l *login) GetAuthTime() time.Time {
	return l.at
}
func (l *login) GetAudience() []string              { return l.client.audience() }
func (l *login) GetClientID() string                { return l.ClientID }
func (l *login) GetNonce() string                   { return l.Nonce }
func (l *login) GetRedirectURI() string             { return l.RedirectURI }
func (l *login) GetResponseType() oidc.ResponseType { return l.ResponseType }
func (l *login) GetScopes() []string                { return l.Scopes }
func (l *login) GetState() string                   { return l.State }
func (l *login) GetSubject() string                 { return l.subject }
func (l *login) Done() bool                         { return !l.at.IsZero() }
func (l *login) SetCurrentScopes(scopes []string)   { l.Scopes = scopes }
func (l *login) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: l.CodeChallenge, Method: l.CodeChallengeMethod}
}

// CreateAuthRequest implements op.Storage.
func (s *storage) CreateAuthRequest(_ context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &login{AuthRequest: r, id: rand.Text(), session: rand.Text(), subject: r.LoginHint, client: s.clients[r.ClientID]}
	s.logins[l.id] = l
	return l, nil
}

// AuthRequestByID implements op.Storage. Who is asked for is logged in.
func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logins[id]
	if l == nil {
		return nil, errUnknown
	}
	l.at = time.Now()
	return l, nil
}

// AuthRequestByCode implements op.Storage.
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.logins[s.codes[code]]; l != nil {
		return l, nil
	}
	return nil, errUnknown
}

// SaveAuthCode implements op.Storage.
func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = id
	return nil
}

// DeleteAuthRequest implements op.Storage.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, id)
	for code, of := range s.codes {
		if of == id {
			delete(s.codes, code)
		}
	}
	return nil
}
