package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for durward: what is tested here is the stack, whatever becomes of the server.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		if err := fakeServe(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "fake:", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "hold" {
		hold()
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// hold starts a stack, says which process it started, and waits to be killed.
func hold() {
	s, err := Start(context.Background(), Options{FreePorts: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "hold:", err)
		return
	}
	fmt.Println(s.Redis.PID())
	time.Sleep(time.Minute)
	s.Close()
}

// fakeServe allows everything: it speaks just enough gRPC for health checks and an empty CheckResponse, which to
// Envoy means yes. It writes a record for each.
func fakeServe(path string) error {
	settings, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if reason := os.Getenv("FAKE_FAILURE"); reason != "" {
		return errors.New(reason)
	}
	pick := func(pattern string) string {
		if found := regexp.MustCompile(pattern).FindSubmatch(settings); found != nil {
			return string(found[1])
		}
		return ""
	}
	records, err := os.OpenFile(pick(`path: (\S+\.jsonl)`), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	authority, err := os.ReadFile("tls/ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	decisions := &http.Server{Addr: pick(`- address: (\S+)`), Handler: grpcHandler(func(r *http.Request) {
		fmt.Fprintf(records, "{\"decision_id\":%q}\n", r.URL.Path)
	}), TLSConfig: &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}}
	admin := &http.Server{Addr: pick(`admin: \{address: ([0-9.:]+)`), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ready")
	})}
	ended := make(chan error, 2)
	go func() { ended <- decisions.ListenAndServeTLS("tls/durward.crt", "tls/durward.key") }()
	go func() { ended <- admin.ListenAndServe() }()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

func grpcHandler(decided func(*http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		message := []byte{0, 0, 0, 0, 0} // a message without fields
		if strings.HasPrefix(r.URL.Path, "/grpc.health.v1.Health/") {
			message = []byte{0, 0, 0, 0, 2, 0x08, 1} // SERVING
		} else {
			decided(r)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "grpc-status")
		_, _ = w.Write(message)
		w.Header().Set("grpc-status", "0")
	})
}

// start starts a stack with the fake on free ports and closes it with the test.
func start(t *testing.T, o Options) *Stack {
	t.Helper()
	o.FreePorts = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
