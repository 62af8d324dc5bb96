package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// concurrent is the number of clients, each with a connection of its own.
const concurrent = 64

// TestReplicasShareLimits sends 64 clients at once through Envoy at one limit of 100 in a day.
func TestReplicasShareLimits(t *testing.T) {
	const limit, each = 100, 6
	g := start(t, stack.Options{Settings: patient(t)})
	answers := make([]answer, concurrent*each)
	var clients sync.WaitGroup
	begin := make(chan struct{})
	for i := range concurrent {
		client := g.Client(nil)
		clients.Go(func() {
			<-begin
			for n := range each {
				answers[i*each+n] = g.send(client, http.MethodGet, "/orders/the-same")
			}
		})
	}
	close(begin)
	clients.Wait()

	passed := 0
	for _, a := range answers {
		switch {
		case a.status == http.StatusOK:
			passed++
		case a.status != http.StatusTooManyRequests || a.code != "quota_exceeded" || a.header.Get("Retry-After") == "":
			t.Errorf("status %d, %v, %s", a.status, a.err, a.body)
		}
	}
	if passed != limit || g.API.Calls() != limit {
		t.Errorf("%d of %d requests passed and %d reached the API, want %d", passed, len(answers), g.API.Calls(), limit)
	}
	allowed, served := 0, map[int]int{}
	for _, r := range g.recordsOf(t, answers) {
		if r.Degraded {
			t.Errorf("decision %s was made without Redis: %s", r.Decision, r.Reason)
		}
	}
	for _, r := range g.records(t) {
		if r.Route != "share" {
			continue
		}
		if r.Effect == "allow" {
			allowed++
			served[r.replica]++
		}
	}
	if allowed != limit || served[0] == 0 || served[1] == 0 {
		t.Errorf("the replicas recorded %d allows, %d and %d; want %d, some of each", allowed, served[0], served[1], limit)
	}
	if decided := g.checkEnvoy(t); decided != int64(len(answers)) {
		t.Errorf("Envoy got %d decisions for %d requests", decided, len(answers))
	}
}

func list(int, int) call { return call{http.MethodGet, "/orders"} }

// crash kills a replica while so many questions wait for its answer that Envoy's default circuit breaker would not
// let all of them be asked again.
func crash(t *testing.T, g *gateway, r *stack.Replica) {
	t.Helper()
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	// Both replicas have some of what is in flight; the other one answers, so what stays is this one's. Envoy's
	// deadline goes on meanwhile: it is not waited for long.
	for range 20 {
		stats, err := g.Stats(within(t, 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if stats["cluster.durward.upstream_rq_active"] >= concurrent/4 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
}

// TestReplicaKilledUnderLoad kills a replica (SIGKILL) under 64 connections: Envoy asks the other one.
func TestReplicaKilledUnderLoad(t *testing.T) {
	g := start(t, stack.Options{Settings: patient(t)})
	l := g.load(concurrent, 20*time.Millisecond, list)
	ended := sync.OnceValue(l.end)
	defer ended()
	for i, r := range g.Replicas {
		awaitService(t, g, i, time.Now())
		if i == 0 {
			if err := r.Kill(); err != nil { // in the midst of whatever it does
				t.Fatal(err)
			}
		} else {
			crash(t, g, r)
		}
		gone := time.Now()
		awaitService(t, g, 1-i, gone)
		if err := r.Restart(within(t, 30*time.Second)); err != nil {
			t.Fatal(err)
		}
		awaitService(t, g, i, gone)
	}
	answers := ended()
	checkAll(t, answers)
	g.checkEnvoy(t)
	stats, err := g.Stats(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if stats["cluster.durward.upstream_rq_retry"] == 0 {
		t.Error("Envoy asked nothing again: no replica was killed while it was asked")
	}
	t.Logf("%d requests, %d asked again, %d of them with success", len(answers),
		stats["cluster.durward.upstream_rq_retry"], stats["cluster.durward.upstream_rq_retry_success"])
}

// awaitService waits for a decision of a replica that began after an instant.
func awaitService(t *testing.T, g *gateway, replica int, after time.Time) {
	t.Helper()
	eventually(t, fmt.Sprintf("a decision of replica %d", replica), func() bool {
		return slices.ContainsFunc(g.records(t), func(r record) bool { return r.replica == replica && r.Time.After(after) })
	})
}

// TestDefaultCircuitBreakersAreNotEnough shows that the test above can fail: without circuit_breakers in envoy.yaml
// three questions at a time are asked again, and the others fail.
func TestDefaultCircuitBreakersAreNotEnough(t *testing.T) {
	const shipped = "      circuit_breakers:\n        thresholds: [{max_retries: 1024, max_requests: 4096, max_pending_requests: 4096}]\n"
	g := start(t, stack.Options{Settings: patient(t), Envoy: func(text string) string {
		if !strings.Contains(text, shipped) {
			t.Errorf("envoy.yaml does not hold %q", shipped)
		}
		return strings.Replace(text, shipped, "", 1)
	}})
	l := g.load(concurrent, 0, list)
	ended := sync.OnceValue(l.end)
	defer ended()
	awaitService(t, g, 0, time.Now())
	crash(t, g, g.Replicas[0])
	awaitService(t, g, 1, time.Now())
	answers := ended()
	failed, _, _ := g.asked(t)
	if bad := refused(answers); len(bad) == 0 || failed == 0 {
		t.Errorf("%d of %d requests failed, %d questions", len(bad), len(answers), failed)
	}
}

// TestReplicaTerminatedUnderLoad ends a replica (SIGTERM): it says that it goes, answers on, and leaves nothing undone.
func TestReplicaTerminatedUnderLoad(t *testing.T) {
	g := start(t, stack.Options{Settings: patient(t)})
	leaving := g.Replicas[0]
	conn := g.dial(t, leaving)
	ask := func(ctx context.Context) (healthv1.HealthCheckResponse_ServingStatus, bool) {
		answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
		if err != nil {
			t.Fatalf("health: %v", err)
		}
		checked, err := authv3.NewAuthorizationClient(conn).Check(ctx, checkRequest("/health"))
		if err != nil {
			t.Fatalf("check: %v", err)
		}
		return answer.GetStatus(), checked.GetStatus().GetCode() == 0 && checked.GetOkResponse() != nil
	}
	if status, allowed := ask(within(t, 10*time.Second)); status != healthv1.HealthCheckResponse_SERVING || !allowed {
		t.Fatalf("before: health %s, allowed %v", status, allowed)
	}
	l := g.load(concurrent, 20*time.Millisecond, list)
	ended := sync.OnceValue(l.end)
	defer ended()
	awaitService(t, g, 0, time.Now())

	ending := make(chan error, 1)
	go func() { ending <- leaving.Terminate(within(t, 30*time.Second)) }()
	eventually(t, "503 of /readyz", func() bool {
		status, _, err := fetch(within(t, 5*time.Second), leaving.Admin, "/readyz")
		return err == nil && status == http.StatusServiceUnavailable
	})
	// It is leaving, and whoever asks all the same is answered, until the gateway knows.
	eventually(t, "Envoy to see that a replica leaves", func() bool {
		stats, err := g.Stats(within(t, 10*time.Second))
		return err == nil && stats["cluster.durward.membership_healthy"] == 1
	})
	if status, allowed := ask(within(t, 10*time.Second)); status != healthv1.HealthCheckResponse_NOT_SERVING || !allowed {
		t.Errorf("while it leaves: health %s, allowed %v", status, allowed)
	}
	if err := <-ending; err != nil { // the exit code is in it
		t.Error(err)
	}
	gone := time.Now()
	awaitService(t, g, 1, gone)
	answers := ended()
	checkAll(t, answers)
	g.recordsOf(t, answers) // of both replicas: nothing that it decided is lost
	g.checkEnvoy(t)
	t.Logf("%d requests", len(answers))
}

// dial connects to a replica as Envoy does.
func (g *gateway) dial(t *testing.T, r *stack.Replica) *grpc.ClientConn {
	t.Helper()
	certificate, err := g.Certificate("gateway")
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, r.Address, credentials.NewTLS(&tls.Config{
		RootCAs: g.Authority.Pool(), Certificates: []tls.Certificate{certificate}, ServerName: "durward.example.com", MinVersion: tls.VersionTLS13,
	}))
}
