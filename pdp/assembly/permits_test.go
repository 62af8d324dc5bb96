package assembly

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// TestConcurrencyOfAService: a Go service behind the middleware runs one export at a time. What has ended makes room, whoever
// panics too; a caller that gives nothing back is denied.
func TestConcurrencyOfAService(t *testing.T) {
	r := newRunningWith(t, emptyBundle, func(bundle string) {
		service := "service: open\nmatch: [{host: open.example.com}]\nidentity: {mode: none}\ntls: optional\nlimit_definitions:\n  exports: {concurrency: 1, expires: 1h, by: []}\n" +
			"routes:\n  - {name: export, path: /export, methods: [GET], access: public, limits: [exports]}\n  - {name: health, path: /health, methods: [GET], access: public}\n"
		if err := os.WriteFile(filepath.Join(bundle, "services/open/service.yaml"), []byte(service), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	next := r.watch(t, "durward.v1.DecisionService")
	for next() != serving {
	}
	client, err := authz.New("unix:"+filepath.Join(r.dir, "l.sock"), authz.WithInsecure(), authz.WithTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	begun, end := make(chan struct{}), make(chan struct{})
	api := httptest.NewServer(httpauthz.New(client)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-end
		if r.URL.RawQuery == "panic" {
			panic(http.ErrAbortHandler)
		}
	})))
	t.Cleanup(api.Close)
	ask := func(query string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL+"/export"+query, nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		request.Host = "open.example.com"
		request.Close = true // a connection that was used before would be tried again
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for round, query := range []string{"", "?panic", "", ""} {
		done := make(chan int)
		go func() { done <- ask(query) }()
		select {
		case <-begun:
		case status := <-done:
			t.Fatalf("round %d: %d before the handler", round, status)
		case <-time.After(patience):
			t.Fatalf("round %d: nothing", round)
		}
		if got := ask(""); got != http.StatusTooManyRequests {
			t.Errorf("round %d: a second export at the same time: %d", round, got)
		}
		end <- struct{}{}
		if got := <-done; got != http.StatusOK && query == "" {
			t.Errorf("round %d: %d", round, got)
		}
	}

	service := durwardv1.NewDecisionServiceClient(r.conn)
	question := &durwardv1.CheckRequest{Question: &durwardv1.CheckRequest_Http{Http: &durwardv1.HTTPRequest{Method: "GET", Scheme: "https", Host: "open.example.com", Target: "/export", Protocol: "HTTP/2"}}}
	if out, err := service.Check(t.Context(), question); err != nil || out.GetReason() != "permits_unsupported" || out.GetHttpStatus() != 403 || len(out.GetPermits()) != 0 {
		t.Errorf("a caller that does not release: %v, %v", out, err)
	}
	question.Releases = true
	out, err := service.Check(t.Context(), question)
	if err != nil || out.GetEffect() != durwardv1.Effect_EFFECT_ALLOW || len(out.GetPermits()) != 1 {
		t.Fatalf("%v, %v", out, err)
	}
	if _, err := service.Release(t.Context(), &durwardv1.ReleaseRequest{Permits: []string{"guessed"}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a guess: %v", err)
	}
	if again, err := service.Check(t.Context(), question); err != nil || again.GetReason() != "limit_exceeded" {
		t.Errorf("%v, %v", again, err)
	}
	for range 2 {
		if _, err := service.Release(t.Context(), &durwardv1.ReleaseRequest{Permits: out.GetPermits()}); err != nil {
			t.Error(err)
		}
	}
	d, err := client.Check(t.Context(), authz.Request{Releases: true, HTTP: &authz.HTTP{Method: "GET", Scheme: "https", Host: "open.example.com", Target: "/export", Protocol: "HTTP/2"}})
	if err != nil || d.Permits == nil {
		t.Fatalf("%+v, %v", d, err)
	}
	_, refused := client.Check(t.Context(), authz.Request{Releases: true, HTTP: &authz.HTTP{Method: "GET", Scheme: "https", Host: "open.example.com", Target: "/export", Protocol: "HTTP/2"}})
	if !errors.Is(refused, authz.ErrLimited) || d.Release(t.Context()) != nil || d.Release(t.Context()) != nil {
		t.Errorf("%v", refused)
	}
}
