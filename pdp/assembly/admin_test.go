package assembly

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/route"
)

// adminServer runs the admin listener and returns what asks it.
func adminServer(t *testing.T, s settings.Settings, ready *atomic.Bool) func(path, authorization string) (int, string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "durward_test", Help: "A test."}))
	a, err := newAdmin(adminOptions{
		settings: &s, state: func() stateView { return stateView{Where: "memory"} }, registry: registry, ready: ready, version: Version{Version: "v1"}, clock: time.Now, logger: (&logged{}).logger(),
		snapshot: func() *pipeline.Snapshot {
			slow := &route.Service{Bundle: "acme", Name: "slow"}
			return &pipeline.Snapshot{
				Bundles:  []pipeline.BundleInfo{{Name: "acme", Revision: "r1", Load: pipeline.LoadInfo{Compiled: 1, Reused: 2, Took: time.Second}}},
				Services: map[*route.Service]*pipeline.Service{slow: {Route: slow, Report: []string{"tries each rule"}}},
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.serve() }()
	t.Cleanup(func() {
		if err := a.close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	address := a.listener.Addr()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, address.Network(), address.String())
	}}}
	return func(path, authorization string) (int, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://admin"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			q.Header.Set("Authorization", authorization)
		}
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
}

func TestAdmin(t *testing.T) {
	s := settings.Defaults()
	s.Admin.Address = "127.0.0.1:0"
	s.Redis.URL = "redis://:hunter2@127.0.0.1:1"
	var ready atomic.Bool
	ask := adminServer(t, s, &ready)
	if status, body := ask("/readyz", ""); status != http.StatusServiceUnavailable || body != "not ready\n" {
		t.Errorf("/readyz before: %d %q", status, body)
	}
	ready.Store(true)
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": "# TYPE durward_test gauge", "/debug/pprof/cmdline": "", "/debug/pprof/": "goroutine",
	} {
		if status, body := ask(path, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	for _, path := range []string{"/", "/metrics/x", "/configz/../x"} {
		if status, _ := ask(path, ""); status == http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
	}
	_, body := ask("/configz", "")
	var view struct {
		Version struct{ Version string }
		Ready   bool
		// Keys are durward.yaml's own.
		Settings struct {
			Budget string
			Redis  struct {
				URL      string
				Replicas int
			}
			Metrics map[string]any
		}
		Bundles []map[string]any
	}
	if err := json.Unmarshal([]byte(body), &view); err != nil {
		t.Fatal(err)
	}
	if view.Version.Version != "v1" || !view.Ready || view.Settings.Budget != "200ms" || view.Settings.Redis.URL != "***" || view.Settings.Redis.Replicas != 1 ||
		view.Settings.Metrics["max_routes"] != 200.0 || len(view.Bundles) != 1 || view.Bundles[0]["revision"] == nil ||
		fmt.Sprint(view.Bundles[0]["compiled"], view.Bundles[0]["reused"], view.Bundles[0]["took_seconds"], view.Bundles[0]["report"]) != "1 2 1 [slow: tries each rule]" || strings.Contains(body, "hunter2") {
		t.Errorf("/configz: %s", body)
	}
}

// TestAdminKnowsItsCallers: health is told to everybody, the rest to named callers.
func TestAdminKnowsItsCallers(t *testing.T) {
	s := settings.Defaults()
	s.Admin.Address = "127.0.0.1:0"
	s.Admin.Callers = []settings.Caller{{Name: "prometheus", TokenFile: tokenFile(t, tokenText)}}
	var ready atomic.Bool
	ask := adminServer(t, s, &ready)
	for _, path := range []string{"/metrics", "/configz", "/debug/pprof/", "/debug/pprof/cmdline"} {
		for authorization, want := range map[string]int{"": http.StatusForbidden, "Bearer " + tokenText + "x": http.StatusForbidden, "Bearer " + tokenText: http.StatusOK} {
			if status, body := ask(path, authorization); status != want || status == http.StatusForbidden && body != "unknown caller\n" {
				t.Errorf("%s with %q: %d %q", path, authorization, status, body)
			}
		}
	}
	if status, _ := ask("/healthz", ""); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
}

// TestNoProfilesBeyondThisMachine takes a name that is not known to mean this machine alone, though here it does.
func TestNoProfilesBeyondThisMachine(t *testing.T) {
	s := settings.Defaults()
	s.Admin.Address, s.Admin.Insecure = "LOCALHOST:0", true
	if settings.Local(s.Admin.Address) {
		t.Fatal("this address proves nothing")
	}
	var ready atomic.Bool
	ask := adminServer(t, s, &ready)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/trace", "/debug/pprof/symbol"} {
		if status, _ := ask(path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := ask("/metrics", ""); status != http.StatusOK {
		t.Errorf("/metrics: %d", status)
	}
}

func TestUnixSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "socket-") //nolint:usetesting // t.TempDir can be longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "durward.sock")
	first, err := listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	if l, err := listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a live socket: %v, %v", l, err)
	}
	// A server that was killed leaves its socket behind.
	unix, ok := first.(*net.UnixListener)
	if !ok {
		t.Fatalf("a %T", first)
	}
	unix.SetUnlinkOnClose(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := listen("unix:" + path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	// A file that is no socket is somebody's own.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listen("unix:" + path); err == nil {
		t.Errorf("a plain file was replaced: %v", l.Addr())
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the plain file holds %q, %v", data, err)
	}
}
