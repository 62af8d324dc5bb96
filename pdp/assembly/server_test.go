package assembly

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
)

// patience bounds how long a test waits for what must come.
const patience = 20 * time.Second

// running is a server whose bundle a test edits.
type running struct {
	*Server
	dir, bundle string
	log         *logged
	stop        context.CancelFunc
	ended       chan error
	conn        *grpc.ClientConn
}

const (
	emptyBundle  = "format: 1\nrequires: \"1.0\"\nname: acme\n"
	brokenBundle = "format: 1\nrequires: \"1.0\"\nnme: acme\n"
)

func (r *running) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.bundle, "bundle.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newRunning(t *testing.T, text string) *running {
	t.Helper()
	return newRunningWith(t, text, func(string) {})
}

// newRunningWith starts a server after prepare has added to its bundle.
func newRunningWith(t *testing.T, text string, prepare func(bundle string)) *running {
	t.Helper()
	return newRunningAs(t, text, prepare, func(*Options) {})
}

// newRunningAs starts a server after adjust has changed its options too.
func newRunningAs(t *testing.T, text string, prepare func(bundle string), adjust func(*Options)) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "assembly-") //nolint:usetesting // t.TempDir can be longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &running{dir: dir, bundle: filepath.Join(dir, "bundle"), log: &logged{}, ended: make(chan error, 1)}
	if err := os.MkdirAll(filepath.Join(r.bundle, "services/open"), 0o700); err != nil {
		t.Fatal(err)
	}
	const service = "service: open\nmatch: [{host: open.example.com}]\nidentity: {mode: none}\nroutes:\n  - {name: health, path: /health, methods: [GET], access: public}\n"
	if err := os.WriteFile(filepath.Join(r.bundle, "services/open/service.yaml"), []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(t, text)
	prepare(r.bundle)
	s := settings.Defaults()
	s.Bundles = []settings.Bundle{{Dir: r.bundle}}
	s.Listeners = []settings.Listener{settings.DefaultListener()}
	s.Listeners[0].Address = "unix:" + filepath.Join(dir, "l.sock")
	s.Admin.Address, s.Drain, s.Poll = "off", format.Duration(500*time.Millisecond), format.Duration(50*time.Millisecond)
	options := Options{Settings: s, Logger: r.log.logger(), Records: &bytes.Buffer{}, Clock: time.Now, Random: rand.Reader}
	adjust(&options)
	if r.Server, err = New(options); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	t.Cleanup(stop)
	go func() { r.ended <- r.Run(ctx) }()
	if r.conn, err = grpc.NewClient("unix://"+filepath.Join(dir, "l.sock"), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

// watch returns what tells the next status of a name.
func (r *running) watch(t *testing.T, name string) func() healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(r.conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return func() healthpb.HealthCheckResponse_ServingStatus {
		t.Helper()
		answer, err := stream.Recv()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		return answer.GetStatus()
	}
}

const serving, notServing = healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING

// TestLife: not ready without a policy, ready with the first one, ready with the last good one, and not ready before it ends.
func TestLife(t *testing.T) {
	r := newRunning(t, brokenBundle)
	names := []string{"", "durward", "ext_authz", "native", "envoy.service.auth.v3.Authorization", "durward.v1.DecisionService"}
	next := map[string]func() healthpb.HealthCheckResponse_ServingStatus{}
	for _, name := range names {
		next[name] = r.watch(t, name)
		if got := next[name](); got != notServing {
			t.Errorf("%q without a policy: %v", name, got)
		}
	}
	r.write(t, emptyBundle)
	for _, name := range names {
		if got := next[name](); got != serving {
			t.Errorf("%q with a policy: %v", name, got)
		}
	}
	r.write(t, brokenBundle)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for strings.Count(r.log.String(), "bundle refused") < 2 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	answer, err := healthpb.NewHealthClient(r.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != serving || r.engine.Snapshot() == nil {
		t.Errorf("with the last good policy: %v, %v", answer, err)
	}
	_, err = healthpb.NewHealthClient(r.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("an unknown name: %v", err)
	}
	readyAtDrain := make(chan bool, 1)
	r.log.listen(func(line string) {
		if strings.Contains(line, `"draining"`) {
			readyAtDrain <- r.ready.Load()
		}
	})
	r.stop()
	for _, name := range names {
		if got := next[name](); got != notServing {
			t.Errorf("%q at the end: %v", name, got)
		}
	}
	if err := <-r.ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	if <-readyAtDrain || r.ready.Load() {
		t.Error("ready while it drains, or after the end")
	}
	// A snapshot that comes late does not bring readiness back.
	r.publish(&pipeline.Snapshot{})
	if r.ready.Load() {
		t.Error("a late snapshot made a stopping server ready")
	}
	if text := r.log.String(); strings.Count(text, "limits are kept in memory") != 1 || !strings.Contains(text, "bundle.yaml:3:1") {
		t.Errorf("log: %s", text)
	}
}

// TestNobodyIsAnsweredBeforeTheFirstLoad: a gateway that finds a replica again at once must not be denied for want of a policy.
func TestNobodyIsAnsweredBeforeTheFirstLoad(t *testing.T) {
	r := newRunningWith(t, emptyBundle, func(bundle string) {
		for i := range 300 { // so that the load takes longer than a connection
			dir := filepath.Join(bundle, "services", fmt.Sprintf("s%d", i))
			service := fmt.Sprintf("service: s%d\nmatch: [{host: s%d.example.com}]\nidentity: {mode: none}\nroutes:\n  - {name: health, path: /health, methods: [GET], access: public}\n", i, i)
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "service.yaml"), []byte(service), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got := r.watch(t, "")(); got != serving {
		t.Errorf("the first answer of a server: %v", got)
	}
}

// TestWatchersDoNotHoldTheEnd: whoever watches health in a stream would keep a server from ending.
func TestWatchersDoNotHoldTheEnd(t *testing.T) {
	r := newRunning(t, emptyBundle)
	configured := settings.DefaultListener()
	configured.Address = "unix:" + filepath.Join(r.dir, "second.sock")
	l, err := newListener(&configured, listenerOptions{engine: r.engine, panics: func() {}, clock: time.Now, logger: r.log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	served, closed := make(chan error, 1), make(chan struct{})
	go func() { served <- l.serve() }()
	if r.conn, err = grpc.NewClient(configured.Address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.conn.Close() }()
	if got := r.watch(t, "")(); got != notServing {
		t.Errorf("a listener that nobody called ready: %v", got)
	}
	go func() {
		l.close(context.Background())
		close(closed)
	}()
	timer := time.NewTimer(patience / 2) // the watcher itself gives up after all of it
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
		l.server.Stop()
		t.Fatal("a watcher holds the listener open")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestStartFails: settings that cannot work end the start, and nothing stays open.
func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	good := settings.Defaults()
	good.Bundles, good.Admin.Address = []settings.Bundle{{Dir: dir}}, "127.0.0.1:0"
	good.Listeners = []settings.Listener{settings.DefaultListener(), settings.DefaultListener()}
	good.Listeners[0].Address, good.Listeners[1].Address = "127.0.0.1:0", "127.0.0.1:0"
	for name, spoil := range map[string]func(*settings.Settings){
		"a certificate": func(s *settings.Settings) { s.Listeners[1].TLS = &settings.TLS{Certificate: "none", Key: "none"} },
		"a caller's token": func(s *settings.Settings) {
			s.Listeners[1].Callers = []settings.Caller{{Name: "edge", TokenFile: "none"}}
		},
		"admin's token":    func(s *settings.Settings) { s.Admin.Callers = []settings.Caller{{Name: "edge", TokenFile: "none"}} },
		"admin's TLS":      func(s *settings.Settings) { s.Admin.TLS = &settings.TLS{Certificate: "none", Key: "none"} },
		"Redis' URL":       func(s *settings.Settings) { s.Redis.URL = "http://:hunter2@127.0.0.1:1" },
		"Redis' authority": func(s *settings.Settings) { s.Redis.URL, s.Redis.CA = "rediss://127.0.0.1:1", "none" },
	} {
		t.Run(name, func(t *testing.T) {
			s, log := good, &logged{}
			s.Listeners = append([]settings.Listener(nil), good.Listeners...)
			spoil(&s)
			server, err := New(Options{Settings: s, Logger: log.logger(), Records: &bytes.Buffer{}, Clock: time.Now, Random: rand.Reader})
			if err == nil {
				server.abandon()
				t.Fatal("the server started")
			}
			if !errors.Is(err, settings.ErrInvalid) || strings.Contains(err.Error()+log.String(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestAddresses shows where a server listens.
func TestAddresses(t *testing.T) {
	r := newRunning(t, emptyBundle)
	if got := r.Addresses(); len(got) != 1 || !strings.HasSuffix(got[0], "l.sock") {
		t.Errorf("addresses %q", got)
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// TestValidateBundle reads a bundle as a server does.
func TestValidateBundle(t *testing.T) {
	info, report, err := ValidateBundle("../../deploy/quickstart/bundle")
	if err != nil || info.Name != "acme" || info.Revision == "" || info.Load.Compiled != 2 || len(report) > 0 && !strings.Contains(report[0], ": policy ") {
		t.Errorf("%+v, %q, %v", info, report, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bundle.yaml"), []byte(brokenBundle), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ValidateBundle(dir); err == nil || !strings.Contains(err.Error(), "bundle.yaml:3:1") {
		t.Errorf("a broken bundle: %v", err)
	}
}
