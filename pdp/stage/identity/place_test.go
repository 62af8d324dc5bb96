package identity

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// placed compiles the service with places for credentials.
func placed(t testing.TB, list string) *world {
	t.Helper()
	w := newWorld(t)
	w.files = replaced(t, w.files, "services/orders/service.yaml", "audiences: [", "credentials: "+list+", audiences: [")
	w.service.Parts = compiledBy(t, w.stage, w.files).Parts
	return w
}

// TestPlaces: a credential comes from where the service says, from one place, once.
func TestPlaces(t *testing.T) {
	w := placed(t, `[authorization, "header:x-api-token", "cookie:__Host-session"]`)
	apart := placed(t, `["header:x-api-token"]`)
	good := w.mint(t, nil)
	other := apart.mint(t, nil)
	line := func(name, value string) request.Field { return request.Field{Name: name, Value: value} }
	for _, tc := range []struct {
		name   string
		fields request.Header
		reason verdict.Reason // "" goes on as alice
	}{
		{"authorization", request.Header{line("authorization", "Bearer "+good)}, ""},
		{"the header", request.Header{line("x-api-token", good)}, ""},
		{"the header with space around", request.Header{line("x-api-token", " "+good+"\t")}, ""},
		{"the cookie", request.Header{line("cookie", "__Host-session="+good)}, ""},
		{"the cookie among others", request.Header{line("cookie", "a=1; b=2;__Host-session="+good+"; c=\"3\"")}, ""},
		{"the cookie in the second field", request.Header{line("cookie", "a=1"), line("cookie", "__Host-session="+good)}, ""},
		{"a cookie of another case", request.Header{line("cookie", "__host-session="+good)}, verdict.TokenMissing},
		{"another cookie", request.Header{line("cookie", "session="+good)}, verdict.TokenMissing},
		{"a cookie whose value looks like it", request.Header{line("cookie", "a=__Host-session="+good)}, verdict.TokenMissing},
		{"another header", request.Header{line("x-token", good)}, verdict.TokenMissing},
		{"another scheme beside the header", request.Header{line("authorization", "Basic YTpi"), line("x-api-token", good)}, ""},

		{"two places", request.Header{line("authorization", "Bearer "+good), line("x-api-token", good)}, verdict.CredentialsClash},
		{"two places of which one is bad", request.Header{line("authorization", "Bearer "+good), line("x-api-token", "x")}, verdict.CredentialsClash},
		{"header and cookie", request.Header{line("x-api-token", good), line("cookie", "__Host-session="+good)}, verdict.CredentialsClash},
		{"two headers", request.Header{line("x-api-token", good), line("x-api-token", good)}, verdict.CredentialsClash},
		{"another spelling", request.Header{line("x_api_token", good)}, verdict.CredentialsClash},
		{"another spelling beside it", request.Header{line("x-api-token", good), line("x-api_token", "x")}, verdict.CredentialsClash},
		{"two values", request.Header{line("x-api-token", good+","+good)}, verdict.CredentialsMalformed},
		{"a scheme", request.Header{line("x-api-token", "Bearer "+good)}, verdict.CredentialsMalformed},
		{"an empty header", request.Header{line("x-api-token", "")}, verdict.CredentialsMalformed},
		{"the cookie twice", request.Header{line("cookie", "__Host-session="+good+"; __Host-session="+good)}, verdict.CredentialsClash},
		{"the cookie in two fields", request.Header{line("cookie", "__Host-session="+good), line("cookie", "__Host-session=x")}, verdict.CredentialsClash},
		{"the cookie behind a comma", request.Header{line("cookie", "a=1,__Host-session="+good)}, verdict.CredentialsClash},
		{"the cookie behind two commas", request.Header{line("cookie", "a=1,,__Host-session = "+good)}, verdict.CredentialsClash},
		{"an empty cookie", request.Header{line("cookie", "__Host-session=")}, verdict.CredentialsMalformed},
		{"a cookie without a value", request.Header{line("cookie", "__Host-session")}, verdict.CredentialsMalformed},
		{"a cookie in quotes", request.Header{line("cookie", `__Host-session="`+good+`"`)}, verdict.CredentialsMalformed},
		{"a bad token", request.Header{line("x-api-token", good+"x")}, verdict.TokenMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.newCase(routeRead)
			c.Request.Header = tc.fields
			if tc.reason == "" {
				w.wantSubject(t, c, alice)
			} else {
				w.wantDenied(t, c, tc.reason)
			}
		})
	}
	t.Run("not in authorization", func(t *testing.T) {
		c := apart.newCase(routeRead)
		c.Request.Header = request.Header{line("x-api-token", other)}
		apart.wantSubject(t, c, alice)
		for _, fields := range []request.Header{{line("authorization", "Bearer "+other)}, {line("authorization", "Bearer "+other), line("x-api-token", other)}} {
			c := apart.newCase(routeRead)
			c.Request.Header = fields
			apart.wantDenied(t, c, verdict.CredentialsClash)
		}
	})
}

// TestCrossSite: a cookie's credential counts for what its own site asks for.
func TestCrossSite(t *testing.T) {
	w := placed(t, `[authorization, "cookie:session"]`)
	good := w.mint(t, claims{"scope": "orders:read orders:write"})
	for _, tc := range []struct {
		name, method string
		fields       request.Header
		refused      bool
	}{
		{"no browser", "POST", nil, false},
		{"the same origin", "POST", request.Header{{Name: "sec-fetch-site", Value: "same-origin"}}, false},
		{"typed by the user", "POST", request.Header{{Name: "sec-fetch-site", Value: "none"}}, false},
		{"the same site only", "POST", request.Header{{Name: "sec-fetch-site", Value: "same-site"}}, true},
		{"another site", "POST", request.Header{{Name: "sec-fetch-site", Value: "cross-site"}}, true},
		{"another site deletes", "DELETE", request.Header{{Name: "sec-fetch-site", Value: "cross-site"}}, true},
		{"an unknown method", "FOO", request.Header{{Name: "sec-fetch-site", Value: "cross-site"}}, true},
		{"two words", "POST", request.Header{{Name: "sec-fetch-site", Value: "same-origin"}, {Name: "sec-fetch-site", Value: "cross-site"}}, true},
		{"words joined", "POST", request.Header{{Name: "sec-fetch-site", Value: "same-origin,cross-site"}}, true},
		{"another site follows a link", "GET", request.Header{{Name: "sec-fetch-site", Value: "cross-site"}}, false},
		{"another site opens a socket", "GET", request.Header{{Name: "upgrade", Value: "websocket"}, {Name: "origin", Value: "https://evil.example.com"}}, true},
		{"its own socket", "GET", request.Header{{Name: "upgrade", Value: "websocket"}, {Name: "origin", Value: "https://orders.example.com"}}, false},
		{"an older browser", "POST", request.Header{{Name: "origin", Value: "https://orders.example.com"}}, false},
		{"an older browser elsewhere", "POST", request.Header{{Name: "origin", Value: "https://evil.example.com"}}, true},
		{"a longer name", "POST", request.Header{{Name: "origin", Value: "https://orders.example.com.evil.example.com"}}, true},
		{"without TLS", "POST", request.Header{{Name: "origin", Value: "http://orders.example.com"}}, true},
		{"nowhere", "POST", request.Header{{Name: "origin", Value: "null"}}, true},
		{"two origins", "POST", request.Header{{Name: "origin", Value: "https://orders.example.com"}, {Name: "origin", Value: "https://evil.example.com"}}, true},
		{"both say something", "POST", request.Header{{Name: "sec-fetch-site", Value: "cross-site"}, {Name: "origin", Value: "https://orders.example.com"}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, inCookie := range []bool{true, false} {
				c := w.newCase(routeRead)
				c.Request.Method, c.Request.Host, c.Request.Header = tc.method, "orders.example.com", tc.fields
				if inCookie {
					c.Request.Header = append(c.Request.Header[:len(tc.fields):len(tc.fields)], request.Field{Name: "cookie", Value: "session=" + good})
				} else {
					c.Request.Header = append(c.Request.Header[:len(tc.fields):len(tc.fields)], request.Field{Name: "authorization", Value: "Bearer " + good})
				}
				outcome := w.evaluate(t, c)
				if refused := outcome == pipeline.Stop; refused != (tc.refused && inCookie) || refused && c.Verdict.Reason != verdict.CrossSite {
					t.Errorf("in a cookie %v: outcome %d, %s", inCookie, outcome, c.Verdict.Reason)
				}
				if outcome == pipeline.Stop && (!c.Subject.IsAnonymous() || c.Verdict.HTTPStatus() != 403 || len(c.Verdict.Obligations.SetResponse) > 0) {
					t.Errorf("subject %q, status %d, fields %v", c.Subject.Key, c.Verdict.HTTPStatus(), c.Verdict.Obligations.SetResponse)
				}
			}
		})
	}
}

func TestPlacesAreChecked(t *testing.T) {
	w := newWorld(t)
	for list, want := range map[string]string{
		`[body]`:                   `"body" is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME`,
		`["header:"]`:              `"header:" is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME`,
		`["header:X-Api-Key"]`:     `"header:X-Api-Key" is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME`,
		`["header:cookie"]`:        `"header:cookie" is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME`,
		`["header:authorization"]`: `"header:authorization" is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME`,
		`["header:x-who"]`:         `the name "x-who" does not say that it holds a credential, so records would show it; choose one with token, api-key or the like in it`,
		`["cookie:a b"]`:           `"cookie:a b" is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME`,
		`["cookie:a", "cookie:a"]`: `"cookie:a" twice`,
		`["cookie:a", "cookie:b", "cookie:c", "cookie:d", "cookie:e"]`: `more than four places beside authorization`,
	} {
		got := problemsOf(t, replaced(t, w.files, "services/orders/service.yaml", "audiences: [", "credentials: "+list+", audiences: ["))
		if len(got) != 1 || !strings.HasSuffix(got[0], ": "+want) || !strings.HasPrefix(got[0], "services/orders/service.yaml:4:") {
			t.Errorf("%s: %q", list, got)
		}
	}
}

// FuzzCookie: what is found is one of the pairs, and a name that stands once is found once.
func FuzzCookie(f *testing.F) {
	f.Add("a=1; session=x", "session")
	f.Add("session=x,session=y;;=", "session")
	f.Fuzz(func(t *testing.T, text, name string) {
		if !request.ValidName(name) {
			return
		}
		value, count := cookie(request.Header{{Name: "cookie", Value: text}}, name)
		if count > 0 && !strings.Contains(text, name) || count == 0 && value != "" || !strings.Contains(text, value) {
			t.Errorf("%q %d", value, count)
		}
		if again, n := cookie(request.Header{{Name: "cookie", Value: text}, {Name: "cookie", Value: "z=1"}}, name); name != "z" && (n != count || again != value) {
			t.Errorf("%q %d, then %q %d", value, count, again, n)
		}
	})
}
