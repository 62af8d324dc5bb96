package ratelimit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// envoyConfig is an Envoy that asks for limits by the header x-user and a key for all. It has to have an API behind it: it
// asks for no limit where it answers itself. An outage of the rate limit service would show as 500.
const envoyConfig = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
    - name: edge
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: edge
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {prefix: /}
                          route: {cluster: api}
                      rate_limits:
                        - actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]
                        - actions: [{generic_key: {descriptor_key: all, descriptor_value: edge}}]
                http_filters:
                  - name: envoy.filters.http.ratelimit
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
                      domain: edge
                      timeout: 10s
                      failure_mode_deny: true
                      enable_x_ratelimit_headers: DRAFT_VERSION_03
                      rate_limit_service:
                        transport_api_version: V3
                        grpc_service: {envoy_grpc: {cluster_name: durward}}
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: api
      type: STATIC
      connect_timeout: 5s
      load_assignment:
        cluster_name: api
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: API}}}}]}]
    - name: durward
      type: STATIC
      connect_timeout: 5s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: durward
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: HOST, port_value: PORT}}}}]}]
`

// program returns the path of a program of $DURWARD_TOOLS or the PATH.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{filepath.Join(os.Getenv("DURWARD_TOOLS"), name), name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("no %s: make tools, and set DURWARD_TOOLS", name)
	return ""
}

// startEnvoy starts a real Envoy in front of servers and an API and returns its listener's URL. In its configuration API,
// HOST and PORT stand for the API's port and the first server's address, HOST2 and PORT2 for the second's.
func startEnvoy(t *testing.T, config string, api http.HandlerFunc, servers ...*server) string {
	t.Helper()
	behind := httptest.NewServer(api)
	t.Cleanup(behind.Close)
	_, apiPort := split(t, behind.Listener.Addr().String())
	places := []string{"API", apiPort}
	for i := len(servers) - 1; i >= 0; i-- { // PORT2 before PORT, of which it begins with
		suffix := ""
		if i > 0 {
			suffix = strconv.Itoa(i + 1)
		}
		host, port := split(t, servers[i].address)
		places = append(places, "HOST"+suffix, host, "PORT"+suffix, port)
	}
	dir := t.TempDir()
	path, admin := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "admin")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(places...).Replace(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	command := exec.CommandContext(ctx, program(t, "envoy"), "-c", path, "--concurrency", "1", "--disable-hot-restart", "--admin-address-path", admin, "-l", "warning")
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = command.Wait() // killed
		if t.Failed() {
			t.Logf("Envoy said:\n%s", log.String())
		}
	})
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if address, err := os.ReadFile(admin); err == nil {
			if url := listenerOf(t, strings.TrimSpace(string(address))); url != "" {
				return url
			}
		}
	}
	t.Fatal("Envoy does not come up")
	return ""
}

func split(t *testing.T, address string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// passed is an API that answers every request.
func passed(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("passed")) }

// listenerOf asks a ready Envoy where it listens; "" while it is not ready.
func listenerOf(t *testing.T, admin string) string {
	t.Helper()
	if status, _, _ := get(t, "http://"+admin+"/ready", nil); status != http.StatusOK {
		return ""
	}
	_, _, body := get(t, "http://"+admin+"/listeners?format=json", nil)
	var decoded struct {
		Statuses []struct {
			Address struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &decoded); err != nil || len(decoded.Statuses) != 1 {
		return ""
	}
	return fmt.Sprintf("http://127.0.0.1:%d/", decoded.Statuses[0].Address.Socket.Port)
}

// get returns 0 where nobody answers.
func get(t *testing.T, url string, header http.Header) (status int, answered http.Header, body string) {
	t.Helper()
	return send(t, http.MethodGet, url, header)
}

// send sends a request; a Host among the header fields is the request's host. It returns 0 where nobody answers.
func send(t *testing.T, method, url string, header http.Header) (status int, answered http.Header, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header, request.Host = header, header.Get("Host")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, ""
	}
	defer response.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(response.Body)
	return response.StatusCode, response.Header, text.String()
}

// TestEnvoy sends requests through a real Envoy: exactly the limit passes, each user has a counter, and clients read
// Durward's headers and Envoy's own, which it makes of the statuses.
func TestEnvoy(t *testing.T) {
	s := start(t, edgeLimits)
	url := startEnvoy(t, envoyConfig, passed, s)
	as := func(user string) http.Header {
		return http.Header{"X-User": {user}}
	}
	for i, want := range []struct {
		status    int
		remaining string
	}{{200, "2"}, {200, "1"}, {200, "0"}, {429, "0"}, {429, "0"}} {
		status, header, body := get(t, url, as("alice"))
		if status != want.status || header.Get("RateLimit-Limit") != "3" || header.Get("RateLimit-Remaining") != want.remaining || header.Get("RateLimit-Reset") == "" {
			t.Errorf("request %d: %d, want %d, with %v and %q", i, status, want.status, header, body)
		}
		if own := header.Get("x-ratelimit-limit"); !strings.HasPrefix(own, "3, 3;w=31536000") || header.Get("x-ratelimit-remaining") != want.remaining {
			t.Errorf("request %d: Envoy makes %q of the status: %v", i, own, header)
		}
		if over := header.Get("x-envoy-ratelimited"); (over != "") != (want.status == 429) {
			t.Errorf("request %d: x-envoy-ratelimited %q", i, over)
		}
	}
	if status, header, _ := get(t, url, as("bob")); status != http.StatusOK || header.Get("RateLimit-Remaining") != "2" {
		t.Errorf("bob: %d, %v", status, header)
	}
	// Without the header Envoy sends the other descriptor alone. Of its 100, alice's 3, bob's and this one are gone.
	if status, header, _ := get(t, url, nil); status != http.StatusOK || header.Get("RateLimit-Remaining") != "95" {
		t.Errorf("nobody: %d, %v", status, header)
	}
	// Text that is no UTF-8 must not bring an outage about, which an Envoy that fails open would let pass.
	if status, _, _ := get(t, url, as("\xff\xfe")); status != http.StatusOK && status != http.StatusTooManyRequests {
		t.Errorf("no UTF-8: %d", status)
	}
	// A new file holds for the next request.
	if err := os.WriteFile(filepath.Join(s.bundle, "ratelimits/edge.yaml"), []byte("domain: edge\ndescriptors: [{key: all, rate_limit: {unit: day, requests_per_unit: 0}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if status, _, _ := get(t, url, nil); status == http.StatusTooManyRequests {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the new limit does not hold")
		}
	}
}
