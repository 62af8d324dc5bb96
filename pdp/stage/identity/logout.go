package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// ErrNoLogout is returned for an authenticator that takes no logout tokens.
var ErrNoLogout = errors.New("the authenticator takes no logout tokens")

// defaultLifetime is how far the exp of a token may lie ahead where the bundle does not say.
const defaultLifetime = 24 * time.Hour

func lifetimeOf(a *format.Authenticator) time.Duration {
	if a.MaxLifetime > 0 {
		return time.Duration(a.MaxLifetime)
	}
	return defaultLifetime
}

// logout reads whom logout tokens of an issuer must be meant for.
func (c *compiler) logout(path string, a *format.Authenticator) *logoutRule {
	if a.Logout == nil {
		return nil
	}
	audiences, err := token.NewAudiences(a.Logout.Audiences...)
	if err != nil {
		c.inBundle(path+".logout", "audiences are mandatory for logout tokens, the client ids that users log in at: "+err.Error())
	}
	switch a.Logout.Ends {
	case "", "session", "subject":
	default:
		c.inBundle(path+".logout.ends", fmt.Sprintf("%q cannot be ended; write session or subject", a.Logout.Ends))
	}
	return &logoutRule{audiences: audiences, wholeSubject: a.Logout.Ends == "subject"}
}

// logoutRule is which logout tokens of an issuer are taken, and what they end.
type logoutRule struct {
	audiences    token.Audiences
	wholeSubject bool
}

// Logout is a logout that an issuer told of.
type Logout struct {
	token.Logout
	// Issuer is the iss, MaxLifetime how far the exp of its access tokens may lie ahead.
	Issuer      string
	MaxLifetime time.Duration
	// WholeSubject says that all sessions of the subject are to end, and not the one that the token names alone.
	WholeSubject bool
}

// RefusedError is why a logout token was refused. Its text holds nothing of the token.
type RefusedError struct {
	// Reason is the exact reason, Detail more of it, for records.
	Reason verdict.Reason
	Detail string
}

// IsOutage says that the token may be good: it could not be judged now.
func (e *RefusedError) IsOutage() bool { return e.Reason.Public() == verdict.Unavailable }

// Error returns the reason.
func (e *RefusedError) Error() string { return string(e.Reason) }

// CheckLogout verifies a logout token with the keys of an authenticator that the compiled service accepts (OpenID Connect Back-Channel
// Logout 1.0, section 2.6). It returns [ErrNoLogout] where the service has no such authenticator or takes no logout tokens of it, and a
// [*RefusedError] for a token that is no good, or that nobody can judge while the issuer's keys are not there. Within ctx it may wait
// for keys. Whether the token was seen before is for the caller to check.
func CheckLogout(ctx context.Context, s *pipeline.Service, authenticator, raw string, now time.Time) (Logout, error) {
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return Logout{}, ErrNoLogout
	}
	i := p.issuerOf(authenticator)
	if i == nil || i.logout == nil {
		return Logout{}, ErrNoLogout
	}
	parsed, err := token.Parse(raw, 0)
	if err != nil {
		return Logout{}, refusedLogout(refuseToken(err))
	}
	verified, set, err := i.keys.verify(ctx, i.verifier, parsed, now)
	if err != nil {
		return Logout{}, refusedLogout(i.refuse(parsed, set, refuseToken(err)))
	}
	out, err := i.verifier.CheckLogout(verified, i.logout.audiences, now)
	if err != nil {
		return Logout{}, refusedLogout(i.refuse(parsed, set, refuseToken(err)))
	}
	return Logout{out, parsed.Issuer(), i.maxLifetime, i.logout.wholeSubject}, nil
}

func refusedLogout(r refusal) error { return &RefusedError{r.reason, r.detail} }
