package egress

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAllows(t *testing.T) {
	c, err := New([]Host{
		{Name: "idp.example.com"}, {Name: "*.login.example.com"}, {Name: "odd.example.com:8443"}, {Name: "mine.example.com", Bundles: []string{"acme"}},
		{Name: "[2001:db8::1]"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"https://idp.example.com/keys": true, "https://IDP.example.com:443/keys?a=b": true, "https://eu.login.example.com": true,
		"https://odd.example.com:8443/": true, "https://mine.example.com/": true, "https://[2001:db8::1]/": true,
		"http://idp.example.com/keys": false, "https://user@idp.example.com/": false, "https://idp.example.com/#x": false, "https://idp.example.com:444/": false,
		"https://idp.example.com./": false, "https://login.example.com/": false, "https://a.b.login.example.com/": false, "https://odd.example.com/": false,
		"https://\u0130dp.example.com/": false, "https://%C4%B0dp.example.com/": false, "https://e\u0130.login.example.com/": false, "https://%E2%84%AAx.login.example.com/": false,
		"https://evil.example.com/": false, "https:///x": false, "file:///etc/passwd": false, "https://.login.example.com/": false,
	} {
		if err := c.Allows("acme", parse(t, text)); (err == nil) != want || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: error %v, want allowed: %v", text, err, want)
		}
	}
	if c.Allows("other", parse(t, "https://mine.example.com/")) == nil {
		t.Error("another bundle may fetch too")
	}
	for _, name := range []string{"", "*", "*.", "https://x", "A.example", "x:", "a*b", "x/y", "x.", "b\u00fccher.example"} {
		if _, err := New([]Host{{Name: name}}); err == nil {
			t.Errorf("%q is taken for a host", name)
		}
	}
}

func TestIsPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true, "127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "fe80::1": false, "fd00::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "0.0.0.0": false, "::": false,
		"100.64.0.1": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "fe80::1%eth0": false,
		"::127.0.0.1": false, "fec0::1": false, "::ffff:0:127.0.0.1": false, "64:ff9b:1::a00:1": false, "100::1": false, "5f00::1": false, "4000::1": false,
		"3fff::1": false, "2001:db8::1": false, "2001:0:7f00:1::1": false, "192.0.0.8": false, "198.18.0.1": false, "203.0.113.1": false, "240.0.0.1": false,
		"::ffff:93.184.216.34": true, "2a00:1450::1": true,
	} {
		if got := isPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// server answers over TLS on this machine; the client knows its certificate.
func server(t *testing.T, private bool, handler http.HandlerFunc) (*Client, string) {
	t.Helper()
	s := httptest.NewTLSServer(handler)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c, err := New([]Host{{Name: strings.TrimPrefix(s.URL, "https://"), Private: private, Roots: roots}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, s.URL
}

func get(t *testing.T, c *Client, url string, limit int64, timeout time.Duration) (*Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(r, "acme", limit)
}

func TestFetch(t *testing.T) {
	var elsewhere int
	release := make(chan struct{})
	c, base := server(t, true, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/sized":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
		case "/streamed":
			for range 100 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
				w.(http.Flusher).Flush()
			}
		case "/redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/elsewhere":
			elsewhere++
		case "/slow":
			<-release // and not until the request's context ends: its last answer can outrun the end
		}
	})
	defer close(release)
	if r, err := get(t, c, base+"/sized", 100, time.Minute); err != nil || r.Status != 200 || len(r.Body) != 100 {
		t.Errorf("%v, error %v", r, err)
	}
	for _, path := range []string{"/sized", "/streamed"} {
		if _, err := get(t, c, base+path, 99, time.Minute); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if r, err := get(t, c, base+"/redirect", 100, time.Minute); err != nil || r.Status != http.StatusFound || elsewhere != 0 {
		t.Errorf("%v, error %v, followed %d times", r, err, elsewhere)
	}
	if r, err := get(t, c, base+"/slow?secret=x", 100, 50*time.Millisecond); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, error %v", r, err)
	}
}

func TestPrivateAddressIsRefused(t *testing.T) {
	c, base := server(t, false, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	if _, err := get(t, c, base, 100, time.Minute); !errors.Is(err, ErrRefused) {
		t.Errorf("error %v", err)
	}
}

func TestUnknownAuthority(t *testing.T) {
	_, base := server(t, true, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	c, err := New([]Host{{Name: strings.TrimPrefix(base, "https://"), Private: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, c, base, 100, time.Minute); err == nil {
		t.Error("an authority that nobody knows is believed")
	}
}
