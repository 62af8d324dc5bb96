package ratelimit

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// patience bounds how long a test waits for what must come.
const patience = 20 * time.Second

// server is a server that speaks the rate limit protocol, with its counters in memory.
type server struct {
	address, bundle string   // address is the first listener's
	addresses       []string // all of them
	conn            *grpc.ClientConn
	log, records    lines
	cancel          context.CancelFunc
	ended           chan error
}

// lines is what is written line by line.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen func(line string) // told of every line, if not nil
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen != nil {
		l.seen(string(p))
	}
	return l.text.Write(p)
}

// listen sets who is told of the lines from now on.
func (l *lines) listen(seen func(line string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = seen
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts a server with one file of limits and nothing else in its bundle.
func start(t *testing.T, limits string) *server {
	t.Helper()
	return startWith(t, map[string]string{"bundle.yaml": "format: 1\nname: acme\n", "ratelimits/edge.yaml": limits}, nil)
}

// startWith starts a server with a bundle, and waits until the health check that clients of envoyproxy/ratelimit make
// says that it is ready. change, if not nil, changes its settings.
func startWith(t *testing.T, bundle map[string]string, change func(*settings.Settings)) *server {
	t.Helper()
	s := &server{bundle: t.TempDir(), ended: make(chan error, 1)}
	for name, text := range bundle {
		path := filepath.Join(s.bundle, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configured := settings.Defaults()
	configured.Bundles = []settings.Bundle{{Dir: s.bundle}}
	configured.Listeners = []settings.Listener{{Address: "127.0.0.1:0", Protocols: []string{"ratelimit"}, ClientAddress: "peer", Select: "host"}}
	configured.Admin.Address, configured.Drain, configured.Poll = "off", 0, format.Duration(50*time.Millisecond)
	configured.RateLimit.ResponseHeaders, configured.RateLimit.DynamicMetadata = true, true
	configured.Budget = format.Duration(8 * time.Second) // a busy machine is not what is tested
	if change != nil {
		change(&configured)
	}
	server, err := assembly.New(assembly.Options{
		Settings: configured, Logger: slog.New(slog.NewJSONHandler(&s.log, nil)), Records: &s.records, Clock: time.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.addresses = server.Addresses()
	s.address = s.addresses[0]
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	t.Cleanup(cancel)
	go func() { s.ended <- server.Run(ctx) }()
	if s.conn, err = grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	for _, name := range []string{"ratelimit", "envoy.service.ratelimit.v3.RateLimitService"} {
		s.waitFor(t, name)
	}
	return s
}

// waitFor waits until a name is healthy.
func (s *server) waitFor(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := healthpb.NewHealthClient(s.conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			t.Fatalf("%q: %v; the log: %s", name, err, s.log.String())
		}
		if answer.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return
		}
	}
}

// stop ends the server, so that all its records are written.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	select {
	case err := <-s.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the server does not end")
	}
}
