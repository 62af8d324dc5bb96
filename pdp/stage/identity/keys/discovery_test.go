package keys

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocuments(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://idp.example.com":  {"https://idp.example.com/.well-known/openid-configuration", "https://idp.example.com/.well-known/oauth-authorization-server"},
		"https://idp.example.com/": {"https://idp.example.com/.well-known/openid-configuration", "https://idp.example.com/.well-known/oauth-authorization-server"},
		"https://idp.example.com:8443/realms/a%20b": {
			"https://idp.example.com:8443/realms/a%20b/.well-known/openid-configuration",
			"https://idp.example.com:8443/.well-known/oauth-authorization-server/realms/a%20b",
			"https://idp.example.com:8443/.well-known/openid-configuration/realms/a%20b",
		},
		"https://idp.example.com/one/": {
			"https://idp.example.com/one/.well-known/openid-configuration",
			"https://idp.example.com/.well-known/oauth-authorization-server/one",
			"https://idp.example.com/.well-known/openid-configuration/one",
		},
	} {
		u, err := ParseIssuer(issuer)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, documents(u)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", issuer, diff)
		}
	}
}

// testDiscovery: the document is found wherever it may be, and then asked for there first.
func testDiscovery(t *testing.T) {
	for path, at := range map[string]string{
		"":         "/.well-known/openid-configuration",
		"/":        "/.well-known/oauth-authorization-server",
		"/one":     "/one/.well-known/openid-configuration",
		"/two/":    "/.well-known/oauth-authorization-server/two",
		"/a/three": "/.well-known/openid-configuration/a/three",
	} {
		w := newWorld(t)
		w.issuer.says("/keys", set(t, "a"))
		w.issuer.says(at, w.metadata(path))
		s := w.byDiscovery(path)
		if got := w.settled(s); w.ids(s, 0) != "a" || got.Host != w.host() {
			t.Errorf("%q: %+v", path, got)
		}
		u, _ := url.Parse(w.issuer.server.URL + path)
		before := map[string]int{}
		for _, document := range documents(u) {
			before[document] = w.issuer.count(strings.TrimPrefix(document, w.issuer.server.URL))
		}
		if w.due(s); w.issuer.count("/keys") != 2 {
			t.Errorf("%q: %d requests for keys", path, w.issuer.count("/keys"))
		}
		for document, n := range before {
			name := strings.TrimPrefix(document, w.issuer.server.URL)
			if more := w.issuer.count(name) - n; (more == 1) != (name == at) || more > 1 {
				t.Errorf("%q: %d more requests for %s", path, more, name)
			}
		}
	}
}

// TestDiscoveryMoves: both the document and the set may move, and the tag of one set is not told to another.
func TestDiscoveryMoves(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"), "ETag", `"1"`)
	w.issuer.says("/x/.well-known/openid-configuration", w.metadata("/x"))
	s := w.byDiscovery("/x")
	w.settled(s)
	w.issuer.on("/x/.well-known/openid-configuration", nil)
	w.issuer.says("/.well-known/openid-configuration/x", strings.Replace(w.metadata("/x"), "/keys", "/moved", 1))
	w.issuer.says("/moved", set(t, "b"))
	if w.due(s); w.ids(s, 0) != "b" || w.issuer.last("/moved").Header.Get("If-None-Match") != "" {
		t.Errorf("keys %s, sent %v", w.ids(s, 0), w.issuer.last("/moved").Header)
	}
}

// testLyingIssuer: nothing is fetched because of a document that cannot be believed, and the last good keys serve on.
func testLyingIssuer(t *testing.T) {
	const document = "/.well-known/openid-configuration"
	w := newWorld(t)
	elsewhere := newIssuer(t)
	elsewhere.says("/keys", set(t, "evil"))
	w.issuer.says("/keys", set(t, "good"))
	good := w.metadata("")
	w.issuer.says(document, good)
	s := w.byDiscovery("")
	w.settled(s)
	base := w.issuer.server.URL
	for name, row := range map[string]struct{ body, trouble string }{
		"another issuer":               {strings.Replace(good, base+`"`, base+`/"`, 1), "another issuer"},
		"another case":                 {strings.Replace(good, `"https:`, `"HTTPS:`, 1), "another issuer"},
		"no issuer":                    {strings.Replace(good, `"issuer"`, `"iss"`, 1), "another issuer"},
		"an issuer that is none":       {strings.Replace(good, `"issuer":"`+base+`"`, `"issuer":1`, 1), "no strict JSON"},
		"two issuers":                  {strings.Replace(good, `{`, `{"issuer":"`+base+`",`, 1), "no strict JSON"},
		"plain keys":                   {strings.ReplaceAll(good, base+"/keys", "http://"+w.host()+"/keys"), "jwks_uri must be an https URL"},
		"keys of nowhere":              {strings.ReplaceAll(good, base+"/keys", ""), "jwks_uri must be an https URL"},
		"keys in a file":               {strings.ReplaceAll(good, base+"/keys", "file:///etc/passwd"), "jwks_uri must be an https URL"},
		"keys of another host":         {strings.ReplaceAll(good, base+"/keys", elsewhere.server.URL+"/keys"), "may not be fetched"},
		"keys of the metadata service": {strings.ReplaceAll(good, base+"/keys", "https://169.254.169.254/keys"), "may not be fetched"},
		"HTML":                         {"<html></html>", "no strict JSON"},
		"nothing":                      {"", "no strict JSON"},
		"null":                         {"null", "another issuer"},
		"10 MB":                        {good + strings.Repeat(" ", 10<<20), "larger than allowed"},
	} {
		w.issuer.says(document, row.body)
		before := w.issuer.count("/keys")
		got := w.due(s)
		if w.ids(s, hour) != "good" || !strings.Contains(got.Trouble, row.trouble) || w.issuer.count("/keys") != before {
			t.Errorf("%s: keys %s, trouble %q, %d requests for keys", name, w.ids(s, hour), got.Trouble, w.issuer.count("/keys")-before)
		}
	}
	if n := elsewhere.count("/keys"); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
	w.issuer.says(document, good)
	if got := w.due(s); got.Trouble != "" {
		t.Errorf("afterwards: %+v", got)
	}
}

// TestNoMetadata: where there is none, one fetch asks every place once.
func TestNoMetadata(t *testing.T) {
	w := newWorld(t)
	s := w.byDiscovery("/x")
	if got := w.settled(s); !strings.Contains(got.Trouble, "there is no metadata at /x/.well-known/openid-configuration: status 404") {
		t.Errorf("trouble %q", got.Trouble)
	}
	w.issuer.on("/x/.well-known/openid-configuration", func(a http.ResponseWriter, _ *http.Request) { a.WriteHeader(http.StatusBadGateway) })
	if got := w.due(s); !strings.Contains(got.Trouble, "502") {
		t.Errorf("trouble %q", got.Trouble)
	}
	for path, want := range map[string]int{
		"/x/.well-known/openid-configuration": 2, "/.well-known/oauth-authorization-server/x": 1, "/.well-known/openid-configuration/x": 1,
	} {
		if n := w.issuer.count(path); n != want {
			t.Errorf("%s: %d requests, want %d", path, n, want)
		}
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]bool{
		"https://idp.example.com": true, "https://idp.example.com:8443/a?b=c": true, "https://[2001:db8::1]/": true,
		"http://idp.example.com": false, "https://": false, "https:///a": false, "https:idp": false, "https://u@idp.example.com": false, "https://idp.example.com/#a": false,
		"https://idp.example.com/#": false, "https://idp.example.com/a b": false, "https://idp.example.com/ä": false, "https://idp.example.com\\a": false, "//idp.example.com": false,
		"https://:443/": false, "": false, "https://idp.example.com/\n": false, "https://idp.example.com/" + strings.Repeat("a", maxURL): false, "HTTPS://idp.example.com": true,
		"https://%C4%B0dp.example.com": false,
	} {
		if _, err := ParseURL(text); (err == nil) != want {
			t.Errorf("%.60q: error %v", text, err)
		}
	}
	if _, err := ParseIssuer("https://idp.example.com/?a"); err == nil {
		t.Error("an issuer with a query")
	}
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > '~' })
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"https://idp.example.com:8443/a?b=c", "https://u:p@h/#f", "https://[::1]/%2f", "https://h\\x", "https://%C4%B0dp.example.com/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseURL(text)
		if err != nil {
			return
		}
		again, err := ParseURL(u.String())
		if err != nil || again.Host != u.Host || !isASCII(u.Host) || u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Hostname() == "" {
			t.Errorf("%q is read as %q, and that as %v, error %v", text, u, again, err)
		}
		issuer, err := ParseIssuer(text)
		if err != nil {
			return
		}
		for _, document := range documents(issuer) {
			if d, err := ParseURL(document); err == nil && d.Host != u.Host {
				t.Errorf("the document of %q is at %q", text, d.Host)
			}
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://a","jwks_uri":"https://b/keys"}`))
	f.Add([]byte(`{"issuer":"https://a","issuer":"https://b","jwks_uri":"https://b/keys"}`))
	f.Add([]byte(`{"Issuer":"https://a","JWKS_URI":"http://b/keys"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := parseMetadata(data, "https://a")
		if err == nil && (u.Scheme != "https" || !strings.Contains(string(data), "issuer")) {
			t.Errorf("%q leads to %v", data, u)
		}
	})
}
