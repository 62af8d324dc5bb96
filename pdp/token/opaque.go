package token

import (
	"errors"
	"slices"
	"time"
)

// ParseClaims reads claims from one strict JSON object that somebody who is trusted vouches for, as an authorization server does in
// its answer about an opaque token (RFC 7662). It checks their form alone. Errors hold nothing of the data.
func ParseClaims(data []byte) (Claims, error) {
	members, syntax := parseObject(data)
	if syntax != nil {
		return Claims{}, refuse(reasonMalformed, "not one strict JSON object")
	}
	return Claims{members: members}, nil
}

// newOpaque makes the verifier of an issuer whose tokens are opaque.
func newOpaque(v *Verifier, c Config) (*Verifier, error) {
	if len(c.Algorithms) > 0 || len(c.Types) > 0 || c.MaxLifetime != 0 {
		return nil, errors.New("opaque tokens have no algorithms, types or longest lifetime")
	}
	v.withoutAudience = c.WithoutAudience
	return v, nil
}

// CheckAnswer applies to what an issuer says of an active opaque token what depends on the use and the instant: kind of token,
// issuer, audience and times. It is due on every use. The verifier must be one of opaque tokens; errors are those of [Verifier.Check].
func (v *Verifier) CheckAnswer(claims Claims, audiences Audiences, now time.Time) error {
	if err := checkKind(claims.members); err != nil {
		return err
	}
	// iss is optional, as the answer is the issuer's own (RFC 7662, section 2.2).
	if iss, present := claims.members["iss"]; present && iss != v.issuer {
		return refuse(reasonIssuer, "not the configured issuer")
	}
	if err := checkNames(claims.members); err != nil {
		return err
	}
	if _, present := claims.members["aud"]; present || !v.withoutAudience {
		if err := checkAudience(claims.members, audiences); err != nil {
			return err
		}
	}
	return v.checkAnswerTimes(claims.members, now)
}

// kinds are what tells an access token from others that are active too: token_type (RFC 7662) is the scheme that it is for, and by
// token_use and typ common servers tell refresh tokens and ID tokens apart.
var kinds = []struct {
	claim string
	allow []string
}{
	{"token_type", []string{"bearer", "dpop", "access_token"}},
	{"token_use", []string{"access_token", "access"}},
	{"typ", []string{"bearer", "dpop", typeAccess, typeLegacy}},
}

func checkKind(members map[string]any) error {
	for _, kind := range kinds {
		value, present := members[kind.claim]
		if !present {
			continue
		}
		text, ok := value.(string)
		if !ok {
			return refuse(reasonMalformed, "token_type, token_use or typ is not a string")
		}
		if !slices.Contains(kind.allow, normaliseType(text)) {
			return refuse(reasonType, "not an access token")
		}
	}
	return nil
}

// checkAnswerTimes checks the times that are there. None has to be: the issuer itself says when a token has ended.
func (v *Verifier) checkAnswerTimes(members map[string]any, now time.Time) error {
	exp, hasExp, err := timeOf(members, "exp")
	if err != nil {
		return err
	}
	nbf, hasNbf, err := timeOf(members, "nbf")
	if err != nil {
		return err
	}
	iat, hasIat, err := timeOf(members, "iat")
	if err != nil {
		return err
	}
	latest := now.Add(v.leeway)
	switch {
	case hasExp && !exp.After(now):
		return refuse(reasonExpired, "exp has come")
	case hasNbf && nbf.After(latest), hasIat && iat.After(latest):
		return refuse(reasonNotYetValid, "nbf or iat lies ahead")
	}
	return nil
}
