package oidctest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

var clients = []Client{
	{ID: "app", Secret: "s", Audience: []string{"orders-api"}, Scopes: []string{"orders:read"}, Claims: map[string]any{"tenant": "acme"}},
	{ID: "old", Secret: "t", Audience: []string{"orders-api"}, Opaque: true},
}

// part returns one of the parts of a JWT.
func part(t *testing.T, raw string, n int) map[string]any {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(raw+"...", ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return out
}

func get(t *testing.T, p *Provider, url string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := p.do(t, r)
	defer func() { _ = answer.Body.Close() }()
	var out map[string]any
	body, _ := io.ReadAll(answer.Body)
	_ = json.Unmarshal(body, &out)
	return answer.StatusCode, out
}

func TestDiscoveryAndKeys(t *testing.T) {
	for _, path := range []string{"", "/realms/acme"} {
		p := Start(t, Options{Path: path})
		_, document := get(t, p, p.Issuer+"/.well-known/openid-configuration")
		if document["issuer"] != p.Issuer || document["jwks_uri"] != p.KeysURL() || document["introspection_endpoint"] != p.IntrospectionURL() ||
			document["token_endpoint"] != p.TokenURL() || document["revocation_endpoint"] != p.RevocationURL() {
			t.Errorf("%v", document)
		}
		p.Rotate(t)
		p.Withdraw("key-1")
		_, set := get(t, p, p.KeysURL())
		if keys, _ := set["keys"].([]any); len(keys) != 1 || keys[0].(map[string]any)["kid"] != "key-2" {
			t.Errorf("%v", set)
		}
		if n := p.Requests("/keys"); n != 1 {
			t.Errorf("%d requests", n)
		}
	}
}

func TestTokens(t *testing.T) {
	p := Start(t, Options{Clients: clients})
	raw := p.ClientToken(t, "app", "orders:read")
	if c := part(t, raw, 1); c["iss"] != p.Issuer || c["sub"] != "app" || c["client_id"] != "app" || c["scope"] != "orders:read" || c["tenant"] != "acme" || c["aud"].([]any)[0] != "orders-api" {
		t.Errorf("%v", c)
	}
	if h := part(t, raw, 0); h["kid"] != "key-1" || h["typ"] != "JWT" || h["alg"] != "ES256" {
		t.Errorf("%v", h)
	}
	tokens := p.Login(t, "app", "alice", "orders:read")
	if c := part(t, tokens.Access, 1); c["sub"] != "alice" || c["sid"] != tokens.Session || tokens.Session == "" || !strings.Contains(c["scope"].(string), "orders:read") {
		t.Errorf("%v", c)
	}
	if again := p.Refresh(t, "app", tokens.Refresh); part(t, again.Access, 1)["sid"] != tokens.Session {
		t.Error("another session")
	}
	logout := p.LogoutToken(t, "app", "alice", tokens.Session)
	if h, c := part(t, logout, 0), part(t, logout, 1); h["typ"] != "logout+jwt" || c["sid"] != tokens.Session || c["events"] == nil || c["nonce"] != nil {
		t.Errorf("%v %v", h, c)
	}
}

func TestIntrospectionAndRevocation(t *testing.T) {
	p := Start(t, Options{Clients: clients})
	introspect := func(raw string) (out map[string]any) {
		if err := json.Unmarshal(p.post(t, p.IntrospectionURL(), "app", url.Values{"token": {raw}}), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, client := range []string{"app", "old"} {
		raw := p.Login(t, client, "alice").Access
		if client == "old" == (strings.Count(raw, ".") == 2) {
			t.Errorf("%s has %q", client, raw)
		}
		if got := introspect(raw); got["active"] != true || got["sub"] != "alice" || got["client_id"] != client || got["sid"] == "" {
			t.Errorf("%v", got)
		}
		p.Revoke(t, client, raw)
		if got := introspect(raw); got["active"] != false {
			t.Errorf("%v", got)
		}
	}
}

func TestDown(t *testing.T) {
	p := Start(t, Options{})
	p.SetDown(true)
	if _, err := p.server.Client().Get(p.KeysURL()); err == nil { //nolint:bodyclose // there is no answer
		t.Error("it answers")
	}
	p.SetDown(false)
	if status, _ := get(t, p, p.KeysURL()); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}
