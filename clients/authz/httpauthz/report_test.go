package httpauthz_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"net"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// server allows every call and keeps the reports.
type server struct {
	durwardv1.UnimplementedDecisionServiceServer
	reports chan *durwardv1.ReportRequest
	refuse  bool
}

func (*server) Check(context.Context, *durwardv1.CheckRequest) (*durwardv1.CheckResponse, error) {
	return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW, DecisionId: "d1"}, nil
}

func (s *server) Report(_ context.Context, in *durwardv1.ReportRequest) (*durwardv1.ReportResponse, error) {
	s.reports <- in
	return &durwardv1.ReportResponse{Accepted: !s.refuse}, nil
}

func (s *server) client(t *testing.T) *authz.Client {
	t.Helper()
	s.reports = make(chan *durwardv1.ReportRequest, 10)
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	durwardv1.RegisterDecisionServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
	c, err := authz.New("passthrough:///test", authz.WithInsecure(), authz.WithDialOptions(dial), authz.WithTimeout(20_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func unauthorized(_ *http.Request, status int) bool { return status == http.StatusUnauthorized }

// What the handler answers decides, once, and the report is there before the answer is.
func TestReports(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    int
	}{
		"a failure":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, 1},
		"a failure with a body": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) }, 1},
		"after an interim":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(401) }, 1},
		"a success":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 0},
		"nothing":               {func(http.ResponseWriter, *http.Request) {}, 0},
		"a body alone":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "yes"); w.WriteHeader(401) }, 0},
		"another failure":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 0},
		"a failure said twice":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401); w.WriteHeader(401) }, 1},
		"reported by itself too": {func(w http.ResponseWriter, r *http.Request) {
			d, _ := authz.DecisionFrom(r.Context())
			_ = d.Report(r.Context(), authz.Failed)
			w.WriteHeader(401)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{}
			var heard []error
			h := httpauthz.New(s.client(t), httpauthz.WithReports(unauthorized, func(_ *http.Request, err error) { heard = append(heard, err) }))(c.handler)
			raw(t, h, "POST /login HTTP/1.1\nHost: a.example\nContent-Length: 0\nConnection: close\n\n")
			if len(s.reports) != c.want || len(heard) != c.want || slices.ContainsFunc(heard, func(err error) bool { return err != nil }) {
				t.Fatalf("%d reports, heard of %v", len(s.reports), heard)
			}
			if c.want > 0 {
				if in := <-s.reports; in.GetDecisionId() != "d1" || in.GetCheck().GetHttp().GetTarget() != "/login" || in.GetOutcome() != durwardv1.Outcome_OUTCOME_FAILED {
					t.Errorf("report %v", in)
				}
			}
		})
	}
}

func TestRefusedReportsAreHeard(t *testing.T) {
	s := &server{refuse: true}
	var heard error
	h := httpauthz.New(s.client(t), httpauthz.WithReports(unauthorized, func(_ *http.Request, err error) { heard = err }))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }))
	if got, _ := raw(t, h, "GET / HTTP/1.1\nHost: a.example\nConnection: close\n\n"); got.StatusCode != 401 || !errors.Is(heard, authz.ErrReport) {
		t.Errorf("%d, heard of %v", got.StatusCode, heard)
	}
	quiet := httpauthz.New(s.client(t), httpauthz.WithReports(unauthorized, nil))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }))
	if got, _ := raw(t, quiet, "GET / HTTP/1.1\nHost: a.example\nConnection: close\n\n"); got.StatusCode != 401 {
		t.Errorf("without an observer: %d", got.StatusCode)
	}
}

// A client that leaves before the answer does not escape the report.
func TestReportsOfClientsThatLeft(t *testing.T) {
	s := &server{}
	left, done := make(chan struct{}), make(chan error, 1)
	h := httpauthz.New(s.client(t), httpauthz.WithReports(unauthorized, func(_ *http.Request, err error) { done <- err }))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(left)
		<-r.Context().Done()
		w.WriteHeader(401)
	}))
	api := httptest.NewServer(h)
	defer api.Close()
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-left
		leave()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(r); err == nil {
		_ = response.Body.Close()
		t.Fatal("answered")
	}
	if err := <-done; err != nil || len(s.reports) != 1 {
		t.Errorf("%v, %d reports", err, len(s.reports))
	}
}

// A handler still streams and takes connections over.
func TestReportingWriterIsWhole(t *testing.T) {
	s := &server{}
	h := httpauthz.New(s.client(t), httpauthz.WithReports(unauthorized, nil))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "streamed")
			return
		}
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprint(buffer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken")
		_ = buffer.Flush()
	}))
	for path, want := range map[string]string{"/stream": "streamed", "/take": "taken"} {
		if _, body := raw(t, h, "GET "+path+" HTTP/1.1\nHost: a.example\nConnection: close\n\n"); !strings.Contains(body, want) {
			t.Errorf("%s: %q", path, body)
		}
	}
}
