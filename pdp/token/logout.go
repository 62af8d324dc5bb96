package token

import "time"

const (
	typeLogout = "logout+jwt"
	// logoutEvent is the member of events that makes a token one of OpenID Connect Back-Channel Logout 1.0, section 2.4.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutLife bounds how long a logout token may be sent: two minutes are recommended.
	maxLogoutLife = time.Hour
)

// Logout is what a logout token says: the sessions of a subject at its issuer, or one of them, have ended.
type Logout struct {
	// Subject is the sub, Session the sid; one of them may be "".
	Subject, Session string
	// ID is the jti.
	ID string
	// Issued is the iat, Expires the exp.
	Issued, Expires time.Time
}

// CheckLogout checks what a verified token says if it is a logout token for one of the audiences (OpenID Connect Back-Channel Logout
// 1.0, section 2.6), and refuses every other kind of token. Whether its ID was seen before is for the caller to check. The token must
// bear the type logout+jwt, which the standard only recommends: without it other tokens of the issuer could be taken for one.
func (v *Verifier) CheckLogout(t *Verified, audiences Audiences, now time.Time) (Logout, error) {
	if t.header.Type != typeLogout {
		return Logout{}, refuse(reasonType, "not a logout token")
	}
	members := t.claims.members
	if t.claims.Issuer() != v.issuer {
		return Logout{}, refuse(reasonIssuer, "not the configured issuer")
	}
	if err := checkLogoutEvent(members); err != nil {
		return Logout{}, err
	}
	var out Logout
	for _, row := range []struct {
		name      string
		value     *string
		mandatory bool
	}{{"sub", &out.Subject, false}, {"sid", &out.Session, false}, {"jti", &out.ID, true}} {
		value, present := members[row.name]
		text, ok := value.(string)
		switch {
		case !present && row.mandatory:
			return Logout{}, refuse(reasonClaim, "jti is missing")
		case present && (!ok || text == "" || len(text) > maxIdentifier || hasControl(text)):
			return Logout{}, refuse(reasonMalformed, "sub, sid or jti is not a string of 1 to 256 bytes without control characters")
		}
		*row.value = text
	}
	if out.Subject == "" && out.Session == "" {
		return Logout{}, refuse(reasonClaim, "neither sub nor sid is there")
	}
	if err := checkAudience(members, audiences); err != nil {
		return Logout{}, err
	}
	return v.checkLogoutTimes(t, out, now)
}

// checkLogoutEvent wants the event and no nonce, which would make the token one of a login.
func checkLogoutEvent(members map[string]any) error {
	if _, ok := members["nonce"]; ok {
		return refuse(reasonType, "a logout token has no nonce")
	}
	events, ok := members["events"].(map[string]any)
	if !ok {
		return refuse(reasonClaim, "events is missing or not an object")
	}
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return refuse(reasonType, "events does not hold a logout, or not as an object")
	}
	return nil
}

func (v *Verifier) checkLogoutTimes(t *Verified, out Logout, now time.Time) (Logout, error) {
	var hasExp, hasIat bool
	var err error
	if out.Expires, hasExp, err = timeOf(t.claims.members, "exp"); err != nil {
		return Logout{}, err
	}
	if out.Issued, hasIat, err = timeOf(t.claims.members, "iat"); err != nil {
		return Logout{}, err
	}
	nbf, hasNbf, err := timeOf(t.claims.members, "nbf")
	if err != nil {
		return Logout{}, err
	}
	latest := now.Add(v.leeway)
	switch {
	case !hasExp || !hasIat:
		return Logout{}, refuse(reasonClaim, "exp or iat is missing")
	case !out.Expires.After(now):
		return Logout{}, refuse(reasonExpired, "exp has come")
	case out.Issued.After(latest) || hasNbf && nbf.After(latest):
		return Logout{}, refuse(reasonNotYetValid, "iat or nbf lies ahead")
	case out.Expires.Sub(out.Issued) > maxLogoutLife:
		return Logout{}, refuse(reasonLifetime, "exp lies too far behind iat")
	}
	return out, nil
}

// Unverified returns a claim that is a text, "" for any other, for somebody who has the token and wants it blocked. Nothing vouches for it.
func (t *Token) Unverified(claim string) string { return Claims{members: t.claims}.textOf(claim) }

// UnverifiedExpiry returns the exp, the zero time for none. Nothing vouches for it.
func (t *Token) UnverifiedExpiry() time.Time { return Claims{members: t.claims}.Expires() }
