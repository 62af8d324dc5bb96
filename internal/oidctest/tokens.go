package oidctest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/crypto"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// Tokens are what a grant gave.
type Tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	// Session is the sid of a login.
	Session string `json:"-"`
}

// ClientToken asks for an access token with the client credentials grant. Its subject is the client. It is a JWT with the typ JWT, unless
// the client has opaque ones.
func (p *Provider) ClientToken(tb testing.TB, client string, scopes ...string) string {
	tb.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return p.tokens(tb, client, form).Access
}

// Login logs a person in at a client (authorization code with PKCE). Access and refresh tokens are those of one session, which the access
// token and introspection name as sid.
func (p *Provider) Login(tb testing.TB, client, person string, scopes ...string) Tokens {
	tb.Helper()
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	at := p.redirect(tb, p.Issuer+"/authorize?"+url.Values{
		"client_id": {client}, "redirect_uri": {callback}, "response_type": {"code"}, "login_hint": {person}, "state": {"s"},
		"scope":          {strings.Join(append([]string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess}, scopes...), " ")},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	id := at.Query().Get("id") // the login page would ask for a password here
	p.storage.mu.Lock()
	session := ""
	if l := p.storage.logins[id]; l != nil {
		session = l.session
	}
	p.storage.mu.Unlock()
	at = p.redirect(tb, p.Issuer+"/authorize/callback?id="+url.QueryEscape(id))
	out := p.tokens(tb, client, url.Values{"grant_type": {"authorization_code"}, "code": {at.Query().Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifier}})
	out.Session = session
	return out
}

// Refresh trades a refresh token for new tokens.
func (p *Provider) Refresh(tb testing.TB, client, refresh string) Tokens {
	tb.Helper()
	return p.tokens(tb, client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
}

// Revoke revokes a token (RFC 7009): introspection says that it is inactive from now on.
func (p *Provider) Revoke(tb testing.TB, client, token string) {
	tb.Helper()
	p.post(tb, p.RevocationURL(), client, url.Values{"token": {token}})
}

// LogoutToken makes a logout token (OpenID Connect Back-Channel Logout) for a session of a person at a client; either may be "".
func (p *Provider) LogoutToken(tb testing.TB, client, person, session string) string {
	tb.Helper()
	p.storage.mu.Lock()
	key := p.storage.signing
	p.storage.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.SignatureAlgorithm(), Key: jose.JSONWebKey{Key: key.Key(), KeyID: key.ID()}},
		(&jose.SignerOptions{}).WithType("logout+jwt"))
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := crypto.Sign(oidc.NewLogoutTokenClaims(p.Issuer, person, oidc.Audience{client}, time.Now().Add(time.Minute), rand.Text(), session, 0), signer)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func (p *Provider) tokens(tb testing.TB, client string, form url.Values) Tokens {
	tb.Helper()
	var out Tokens
	if err := json.Unmarshal(p.post(tb, p.TokenURL(), client, form), &out); err != nil || out.Access == "" {
		tb.Fatalf("no access token, error %v", err)
	}
	return out
}

// post sends a form as a client.
func (p *Provider) post(tb testing.TB, to, client string, form url.Values) []byte {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	secret := ""
	if c := p.storage.clients[client]; c != nil {
		secret = c.Secret
	}
	r.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(secret))
	answer := p.do(tb, r)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		tb.Fatalf("%s: status %d, %s, error %v", to, answer.StatusCode, body, err)
	}
	return body
}

// redirect returns where a page leads.
func (p *Provider) redirect(tb testing.TB, from string) *url.URL {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, from, nil)
	if err != nil {
		tb.Fatal(err)
	}
	answer := p.do(tb, r)
	defer func() { _ = answer.Body.Close() }()
	to, err := answer.Location()
	if err != nil {
		body, _ := io.ReadAll(answer.Body)
		tb.Fatalf("%s: status %d, %s, error %v", from, answer.StatusCode, body, err)
	}
	return to
}

func (p *Provider) do(tb testing.TB, r *http.Request) *http.Response {
	tb.Helper()
	browser := *p.server.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := browser.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	return answer
}
