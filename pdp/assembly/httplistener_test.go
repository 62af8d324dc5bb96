package assembly

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
)

// nobody is an engine without a policy.
func nobody(t *testing.T) *pdp.Engine {
	t.Helper()
	own := stages{}
	line, err := pipeline.New(pipeline.Options{Steps: own.descriptorTable(), Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := pdp.New(pdp.Options{Pipeline: line, Descriptors: line, Recorder: forgetful{}, Clock: time.Now, Random: strings.NewReader(strings.Repeat("x", 1<<10)), Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// TestHTTPListener: callers are known by certificate or token as on every listener, and health follows readiness.
func TestHTTPListener(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	ca.issue(t, dir, "server", "localhost")
	ca.issue(t, dir, "edge", "edge.example.com")
	log := &logged{}
	l, err := newListener(&settings.Listener{
		Address: "127.0.0.1:0", Protocols: []string{"ratelimit_json"},
		TLS: &settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key"), ClientCA: filepath.Join(dir, "ca.crt")},
		Callers: []settings.Caller{
			{Name: "edge", SANs: []string{"edge.example.com"}, TokenFile: tokenFile(t, tokenText)},
		},
	}, listenerOptions{engine: nobody(t), panics: func() {}, budget: time.Second, clock: time.Now, logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.serve() }()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "edge.crt"), filepath.Join(dir, "edge.key"))
	if err != nil {
		t.Fatal(err)
	}
	client := func(certificates ...tls.Certificate) *http.Client {
		return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", Certificates: certificates, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}}
	}
	ask := func(method, path string, authorization ...string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+l.address.Addr().String()+path, strings.NewReader(`{"domain":"edge","descriptors":[{}]}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Authorization"] = authorization
		answer, err := client(pair).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, strings.TrimSpace(string(body))
	}
	const right = "Bearer " + tokenText
	for name, c := range map[string]struct {
		method, path  string
		authorization []string
		status        int
		body          string
	}{
		"not ready":      {http.MethodGet, "/healthcheck", nil, 500, "not ready"},
		"known":          {http.MethodPost, "/json", []string{right}, 500, "no rate limit configuration loaded"},
		"no token":       {http.MethodPost, "/json", nil, 403, "caller_not_trusted"},
		"another token":  {http.MethodPost, "/json", []string{"Bearer " + secondText}, 403, "caller_not_trusted"},
		"two tokens":     {http.MethodPost, "/json", []string{right, right}, 403, "caller_not_trusted"},
		"another method": {http.MethodGet, "/json", []string{right}, 405, "Method Not Allowed"},
		"another path":   {http.MethodPost, "/rlconfig", []string{right}, 404, "404 page not found"},
	} {
		if status, body := ask(c.method, c.path, c.authorization...); status != c.status || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", name, status, body, c.status, c.body)
		}
	}
	if answer, err := client().Get("https://" + l.address.Addr().String() + "/healthcheck"); err == nil {
		_ = answer.Body.Close()
		t.Error("a client without a certificate is let in")
	}
	l.setReady(true)
	if status, body := ask(http.MethodGet, "/healthcheck"); status != http.StatusOK || body != "OK" {
		t.Errorf("ready: %d %q", status, body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.close(ctx)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestAddressesOfClients: a listener that brings descriptors alone has no clients, and need not say how they are found.
func TestAddressesOfClients(t *testing.T) {
	gateway := settings.Listener{Protocols: []string{"ext_authz"}, ClientAddress: "peer"}
	for name, c := range map[string]struct {
		second settings.Listener
		want   bool
	}{
		"descriptors":            {settings.Listener{Protocols: []string{"ratelimit"}}, true},
		"descriptors over HTTP":  {settings.Listener{Protocols: []string{"ratelimit_json"}}, true},
		"descriptors and others": {settings.Listener{Protocols: []string{"ratelimit", "native"}}, false},
		"others, who say how":    {gateway, true},
	} {
		own := stagesWith(nil, identity.Options{})
		configured := settings.Settings{Listeners: []settings.Listener{gateway, c.second}}
		if got := bundleOptions(&own, &configured, time.Now).ClientAddress; got != c.want {
			t.Errorf("%s: clients have an address: %v, want %v", name, got, c.want)
		}
	}
}
