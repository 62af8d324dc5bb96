package assembly

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// TestLimitsGuard: who may look and who may change is decided by the connection; headers only ever take rights away.
func TestLimitsGuard(t *testing.T) {
	const body = `{"limit": "everybody"}`
	look := func(w *limitsWorld, h http.Header) int {
		status, _ := w.do("GET", limitsapi.TopPath, "", h, nil)
		return status
	}
	change := func(w *limitsWorld, h http.Header) int {
		status, _ := w.do("POST", limitsapi.UnblockPath, body, h, nil)
		return status
	}
	expect := func(t *testing.T, w *limitsWorld, h http.Header, looks, changes int) {
		t.Helper()
		if a, b := look(w, h), change(w, h); a != looks || b != changes {
			t.Errorf("with %v: look %d, change %d; want %d and %d", h, a, b, looks, changes)
		}
	}
	t.Run("loopback", func(t *testing.T) {
		w := newLimitsWorld(t, nil, nil)
		_, port, _ := net.SplitHostPort(w.admin.listener.Addr().String())
		expect(t, w, nil, 200, 200)
		for _, h := range []http.Header{{"Host": {"localhost:" + port}}, {"Host": {"127.0.0.1"}}, {"Host": {"[::1]:" + port}}} {
			expect(t, w, h, 200, 200)
		}
		for _, h := range []http.Header{
			{"Host": {"evil.example:" + port}}, {"Host": {"evil.example"}}, {"Host": {"127.0.0.1.evil.example"}}, {"Host": {"localhost.evil.example"}},
			{"Origin": {"http://127.0.0.1:" + port}}, {"Origin": {"null"}}, {"Sec-Fetch-Site": {"same-origin"}}, {"Sec-Fetch-Site": {"none"}},
			{"X-Forwarded-For": {"127.0.0.1"}}, {"Forwarded": {"for=127.0.0.1"}}, {"Via": {"1.1 proxy"}}, {"X-Real-Ip": {"127.0.0.1"}},
			{"X-Forwarded-Proto": {"http"}}, {"X-Forwarded-Host": {""}}, {"X-Request-Id": {"1"}}, {"X-Envoy-Expected-Rq-Timeout-Ms": {"15000"}}, {"x-envoy-original-host": {"edge"}},
			{"X-Client-Ip": {"192.0.2.1"}}, {"True-Client-Ip": {"192.0.2.1"}}, {"Cf-Connecting-Ip": {"192.0.2.1"}},
		} {
			expect(t, w, h, 403, 403)
		}
		for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", "application/jsonx"} {
			if status := change(w, http.Header{"Content-Type": {media}}); status != http.StatusUnsupportedMediaType {
				t.Errorf("a body of type %q: %d", media, status)
			}
		}
		if status := change(w, http.Header{"Content-Type": {"application/json; charset=utf-8"}}); status != 200 {
			t.Errorf("with a charset: %d", status)
		}
		if status, _ := w.do("OPTIONS", limitsapi.UnblockPath, "", http.Header{"Origin": {"http://evil.example"}, "Access-Control-Request-Method": {"POST"}}, nil); status < 400 {
			t.Errorf("a browser that asks first: %d", status)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) { // as a proxy speaks that adds no header
		w := newLimitsWorld(t, nil, nil)
		for protocol, want := range map[string]string{"HTTP/1.0": "HTTP/1.0 403 ", "HTTP/1.1": "HTTP/1.1 200 "} {
			var d net.Dialer
			c, err := d.DialContext(t.Context(), "tcp", w.admin.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err = io.WriteString(c, "GET "+limitsapi.TopPath+" "+protocol+"\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(answer), want) {
				t.Errorf("%s: %s, %v", protocol, answer, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("unix", func(t *testing.T) {
		dir := t.TempDir()
		w := newLimitsWorld(t, nil, func(s *settings.Settings) { s.Admin.Address = "unix:" + filepath.Join(dir, "a") })
		expect(t, w, nil, 200, 200)
		expect(t, w, http.Header{"Origin": {"x"}}, 403, 403)
	})
	t.Run("far", func(t *testing.T) {
		w := newLimitsWorld(t, nil, nil)
		w.far.Store(true)
		for _, h := range []http.Header{nil, {"X-Forwarded-For": {"127.0.0.1"}}, {"Host": {"localhost"}}, {"X-Client-Cert": {"x"}}} {
			expect(t, w, h, 403, 403)
		}
	})
	t.Run("far with a token", func(t *testing.T) {
		w := newLimitsWorld(t, nil, func(s *settings.Settings) {
			s.Admin.Callers = []settings.Caller{{Name: "ops", TokenFile: tokenFile(t, tokenText)}}
		})
		expect(t, w, nil, 403, 403)
		expect(t, w, http.Header{"Authorization": {"Bearer " + tokenText}}, 200, 200)
		w.far.Store(true)
		expect(t, w, http.Header{"Authorization": {"Bearer " + tokenText}}, 200, 403)
		expect(t, w, nil, 403, 403)
	})
	t.Run("far with a certificate", func(t *testing.T) {
		dir, ca := t.TempDir(), newAuthority(t)
		ca.issue(t, dir, "server", "durward.lab")
		ca.issue(t, dir, "ops", "ops.lab")
		ca.issue(t, dir, "other", "other.lab")
		w := newLimitsWorld(t, nil, func(s *settings.Settings) {
			s.Admin.TLS = &settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key"), ClientCA: filepath.Join(dir, "ca.crt")}
			s.Admin.Callers = []settings.Caller{{Name: "ops", SANs: []string{"ops.lab"}}}
		})
		w.far.Store(true)
		as := func(name string) {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			transport := w.client.Transport.(*http.Transport).Clone()
			transport.TLSClientConfig = &tls.Config{RootCAs: ca.pool(), ServerName: "durward.lab", Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
			w.client = &http.Client{Timeout: patience, Transport: transport}
			w.base = "https://durward.lab"
		}
		as("ops")
		expect(t, w, nil, 200, 200)
		w.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
		expect(t, w, nil, 200, 200)
		w.far.Store(false)
		expect(t, w, nil, 200, 200)
		w.far.Store(true)
		expect(t, w, http.Header{"Host": {"evil.example"}}, 403, 403)
		as("other")
		expect(t, w, nil, 403, 403)
		events := w.events()
		if len(events) != 9 { // three looks and three changes
			t.Fatalf("%d events", len(events))
		}
		certificate, _ := events[1]["certificate"].(map[string]any)
		if events[1]["caller"] != "ops" || events[1]["peer_address"] != "203.0.113.9" || len(certificate["sans"].([]any)) != 1 || certificate["sans"].([]any)[0] != "ops.lab" {
			t.Errorf("%v", events[1])
		}
	})
	t.Run("no certificate is verified without an authority", func(t *testing.T) {
		dir, ca := t.TempDir(), newAuthority(t)
		ca.issue(t, dir, "server", "durward.lab")
		w := newLimitsWorld(t, nil, func(s *settings.Settings) {
			s.Admin.TLS = &settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}
			s.Admin.Insecure = true
		})
		w.far.Store(true)
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
		if err != nil {
			t.Fatal(err)
		}
		transport := w.client.Transport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.pool(), ServerName: "durward.lab", Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
		w.client, w.base = &http.Client{Timeout: patience, Transport: transport}, "https://durward.lab"
		expect(t, w, nil, 403, 403)
	})
}
