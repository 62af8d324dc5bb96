package token

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const logoutHeader = `{"alg":"ES256","kid":"k1","typ":"logout+jwt"}`

// logoutClaims are those of an acceptable logout token, with changes; a nil removes.
func logoutClaims(changes map[string]any) map[string]any {
	c := map[string]any{
		"client_id": nil, "sid": "s1", "exp": testNow.Unix() + 120,
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	for name, value := range changes {
		c[name] = value
	}
	return goodClaims(c)
}

func (i *issuer) logout(raw string) (Logout, error) {
	parsed, err := Parse(raw, 0)
	if err != nil {
		return Logout{}, err
	}
	verified, err := i.verifier.Verify(parsed, i.keys)
	if err != nil {
		return Logout{}, err
	}
	return i.verifier.CheckLogout(verified, i.audiences, testNow)
}

func TestLogoutToken(t *testing.T) {
	i := newIssuer(t)
	got, err := i.logout(i.mint(t, logoutHeader, logoutClaims(nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := Logout{Subject: "alice", Session: "s1", ID: "j1", Issued: testNow.Add(-10 * time.Second), Expires: testNow.Add(2 * time.Minute)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, changes := range map[string]map[string]any{
		"sub alone": {"sid": nil}, "sid alone": {"sub": nil}, "an array of audiences": {"aud": []string{"other", "refunds-api"}},
		"another event beside": {"events": map[string]any{logoutEvent: map[string]any{"x": 1}, "https://example.com/e": 1}},
		"claims of no matter":  {"client_id": "app", "x": []int{1}},
		"a clock ahead":        {"iat": testNow.Unix() + 30},
	} {
		if _, err := i.logout(i.mint(t, logoutHeader, logoutClaims(changes))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := i.logout(i.mint(t, `{"alg":"ES256","kid":"k1","typ":"application/Logout+JWT"}`, logoutClaims(nil))); err != nil {
		t.Error(err)
	}
}

// TestLogoutTokenAttacks: whatever is not a fresh logout token of the issuer for us ends nobody's session.
func TestLogoutTokenAttacks(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	legacy := newIssuer(t, func(c *Config) { c.Types = []string{"JWT", "at+jwt"} })
	legacy.signer, legacy.keys = i.signer, i.keys
	for name, row := range map[string]struct {
		header  string // "" is that of a logout token
		changes map[string]any
		reason  string
	}{
		"access token":               {goodHeader, map[string]any{"events": nil}, reasonType},
		"access token with events":   {goodHeader, nil, reasonType},
		"untyped":                    {`{"alg":"ES256","kid":"k1"}`, nil, reasonType},
		"JWT":                        {`{"alg":"ES256","kid":"k1","typ":"JWT"}`, nil, reasonType},
		"security event":             {`{"alg":"ES256","kid":"k1","typ":"secevent+jwt"}`, nil, reasonType},
		"nonce":                      {"", map[string]any{"nonce": "n"}, reasonType},
		"empty nonce":                {"", map[string]any{"nonce": ""}, reasonType},
		"no events":                  {"", map[string]any{"events": nil}, reasonClaim},
		"events is a list":           {"", map[string]any{"events": []string{logoutEvent}}, reasonClaim},
		"events is a string":         {"", map[string]any{"events": logoutEvent}, reasonClaim},
		"another event":              {"", map[string]any{"events": map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}}, reasonType},
		"event in another case":      {"", map[string]any{"events": map[string]any{"http://schemas.openid.net/event/BackChannel-Logout": map[string]any{}}}, reasonType},
		"event is true":              {"", map[string]any{"events": map[string]any{logoutEvent: true}}, reasonType},
		"event is a list":            {"", map[string]any{"events": map[string]any{logoutEvent: []string{}}}, reasonType},
		"neither sub nor sid":        {"", map[string]any{"sub": nil, "sid": nil}, reasonClaim},
		"empty sub":                  {"", map[string]any{"sub": "", "sid": nil}, reasonMalformed},
		"empty sid beside a sub":     {"", map[string]any{"sid": ""}, reasonMalformed},
		"sid is a number":            {"", map[string]any{"sid": 7}, reasonMalformed},
		"sub is a list":              {"", map[string]any{"sub": []string{"alice", "bob"}}, reasonMalformed},
		"control character":          {"", map[string]any{"sid": "s\u0000"}, reasonMalformed},
		"long sid":                   {"", map[string]any{"sid": string(make([]byte, maxIdentifier+1))}, reasonMalformed},
		"no jti":                     {"", map[string]any{"jti": nil}, reasonClaim},
		"empty jti":                  {"", map[string]any{"jti": ""}, reasonMalformed},
		"no aud":                     {"", map[string]any{"aud": nil}, reasonClaim},
		"another client":             {"", map[string]any{"aud": "other"}, reasonAudience},
		"audience as prefix":         {"", map[string]any{"aud": "orders-api-evil"}, reasonAudience},
		"audience is null in a list": {"", map[string]any{"aud": []any{nil, "orders-api"}}, reasonMalformed},
		"another issuer":             {"", map[string]any{"iss": testIssuer + "/"}, reasonIssuer},
		"no issuer":                  {"", map[string]any{"iss": nil}, reasonIssuer},
		"no iat":                     {"", map[string]any{"iat": nil}, reasonClaim},
		"iat as text":                {"", map[string]any{"iat": "1"}, reasonMalformed},
		"iat ahead":                  {"", map[string]any{"iat": testNow.Unix() + 31}, reasonNotYetValid},
		"nbf ahead":                  {"", map[string]any{"nbf": testNow.Unix() + 31}, reasonNotYetValid},
		"no exp":                     {"", map[string]any{"exp": nil}, reasonClaim},
		"exp has come":               {"", map[string]any{"exp": testNow.Unix()}, reasonExpired},
		"exp for ever":               {"", map[string]any{"exp": testNow.Unix() + 3600}, reasonLifetime},
		"old and still valid":        {"", map[string]any{"iat": testNow.Unix() - 3600, "exp": testNow.Unix() + 1}, reasonLifetime},
		"algorithm none":             {`{"alg":"none","typ":"logout+jwt"}`, nil, reasonAlgorithm},
		"algorithm of secrets":       {`{"alg":"HS256","kid":"k1","typ":"logout+jwt"}`, nil, reasonAlgorithm},
		"unknown key":                {`{"alg":"ES256","kid":"k2","typ":"logout+jwt"}`, nil, reasonKeyUnknown},
		"extension":                  {`{"alg":"ES256","kid":"k1","typ":"logout+jwt","crit":["x"]}`, nil, reasonCritical},
	} {
		header := row.header
		if header == "" {
			header = logoutHeader
		}
		raw := i.mint(t, header, logoutClaims(row.changes))
		for _, at := range []*issuer{i, legacy} {
			_, err := at.logout(raw)
			if wantReason(t, raw, err, row.reason); t.Failed() {
				t.Fatal(name)
			}
		}
	}
	raw := mint(t, other.signer, logoutHeader, text(t, logoutClaims(nil)))
	_, err := i.logout(raw)
	wantReason(t, raw, err, reasonSignature)
	// And no logout token is ever a credential.
	raw = i.mint(t, logoutHeader, logoutClaims(map[string]any{"client_id": "app"}))
	for _, at := range []*issuer{i, legacy} {
		_, err := at.accept(raw)
		wantReason(t, raw, err, reasonType)
	}
}

// FuzzCheckLogout: whatever verified claims hold, the check stands, and what passes names a subject or a session, once, for a time.
func FuzzCheckLogout(f *testing.F) {
	i := newIssuer(f)
	f.Add(text(f, logoutClaims(nil)))
	f.Add(text(f, logoutClaims(map[string]any{"sub": nil, "exp": 1e300, "aud": []int{1}})))
	f.Add(`{"events":{"` + logoutEvent + `":{}},"iat":-1}`)
	f.Fuzz(func(t *testing.T, payload string) {
		parsed, err := Parse(encode(logoutHeader)+"."+encode(payload)+".AAAA", 0)
		if err != nil {
			return
		}
		_, _ = parsed.Unverified("sid"), parsed.UnverifiedExpiry()
		got, err := i.verifier.CheckLogout(&Verified{header: parsed.header, claims: Claims{members: parsed.claims}}, i.audiences, testNow)
		if err == nil && (got.Subject == "" && got.Session == "" || got.ID == "" || !got.Expires.After(testNow) || got.Expires.Sub(got.Issued) > maxLogoutLife) {
			t.Errorf("%+v", got)
		}
	})
}

func TestUnverified(t *testing.T) {
	i := newIssuer(t)
	parsed, err := Parse(i.mint(t, goodHeader, goodClaims(map[string]any{"sid": "s1", "n": 1})), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{parsed.Unverified("jti"), parsed.Unverified("sid"), parsed.Unverified("n"), parsed.Unverified("none")}
	if diff := cmp.Diff([]string{"j1", "s1", "", ""}, got); diff != "" || !parsed.UnverifiedExpiry().Equal(testNow.Add(5*time.Minute)) {
		t.Error(diff, parsed.UnverifiedExpiry())
	}
}
