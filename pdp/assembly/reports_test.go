package assembly

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

const loginToken = "0123456789-0123456789-login"

// loginAPI is a log-in whose passwords are all wrong but one, behind the middleware of a client of a server of its own.
type loginAPI struct {
	*httptest.Server
	server  *Server
	client  *authz.Client
	log     *logged
	records *logged
	asked   atomic.Int64
	reports chan error
}

// newLoginAPI starts one: api, client and server share the counters of a Redis with others. The caller may do what it asserts.
func newLoginAPI(t *testing.T, redisURL string, asserts ...string) *loginAPI {
	t.Helper()
	dir, err := os.MkdirTemp("", "reports-") //nolint:usetesting // t.TempDir can be longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range map[string]string{
		"bundle/bundle.yaml": "format: 1\nrequires: \"1.0\"\nname: acme\n",
		"bundle/services/login/service.yaml": `service: login
match: [{host: login.example.com}]
identity: {mode: none}
tls: optional
limit_definitions:
  failures: {rate: 5/h, by: [client.network], count: denied, on_error: deny}
routes:
  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login, limits: [failures]}
`,
		"token": loginToken,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := settings.Defaults()
	s.Bundles = []settings.Bundle{{Dir: filepath.Join(dir, "bundle")}}
	s.Listeners = []settings.Listener{settings.DefaultListener()}
	s.Listeners[0].Address = "unix:" + filepath.Join(dir, "l.sock")
	s.Listeners[0].Callers = []settings.Caller{{Name: "login", TokenFile: filepath.Join(dir, "token"), Asserts: asserts}}
	s.Admin.Address, s.Drain = "off", 0
	s.Redis.URL, s.Redis.Timeout = settings.Secret(redisURL), 5_000_000_000
	s.Budget = 20_000_000_000
	a := &loginAPI{log: &logged{}, records: &logged{}, reports: make(chan error, 100)}
	if a.server, err = New(Options{Settings: s, Logger: a.log.logger(), Records: a.records, Clock: time.Now, Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if a.client, err = authz.New("unix:"+filepath.Join(dir, "l.sock"), authz.WithInsecure(), authz.WithToken(loginToken), authz.WithTimeout(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.client.Close() })
	failed := func(r *http.Request, status int) bool {
		return r.URL.Path == "/login" && status == http.StatusUnauthorized
	}
	a.Server = httptest.NewServer(httpauthz.New(a.client, httpauthz.WithReports(failed, func(_ *http.Request, err error) { a.reports <- err }))(a))
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP is the API's own handler.
func (a *loginAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	if password, _ := io.ReadAll(r.Body); string(password) != "right" {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// logIn tries a password and returns the status.
func (a *loginAPI) logIn(t *testing.T, password string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+"/login", strings.NewReader(password))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "login.example.com"
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// recorded returns the reasons of the records, and of the last one its stage.
func (a *loginAPI) recorded(t *testing.T) (reasons map[string]int, stage string, reported []string) {
	t.Helper()
	reasons = map[string]int{}
	for line := range strings.Lines(a.records.String()) {
		var record struct {
			Reason, Stage, Route string
			Report               *struct {
				ID string `json:"decision_id"`
			}
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		reasons[record.Reason]++
		stage = record.Stage
		if record.Report != nil {
			reported = append(reported, record.Report.ID)
		}
	}
	return reasons, stage, reported
}

// limited waits until a try would be denied: reports are charged behind the answers.
func (a *loginAPI) limited(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		d, err := a.client.Check(t.Context(), authz.Request{DryRun: true, HTTP: &authz.HTTP{
			Method: "POST", Scheme: "http", Host: "login.example.com", Target: "/login", Protocol: "HTTP/1.1", PeerAddress: "127.0.0.1:1",
		}})
		switch {
		case err != nil && d.Status == http.StatusTooManyRequests:
			return
		case err != nil || time.Now().After(end):
			t.Fatalf("not limited: %+v, %v", d, err)
		}
	}
}

// TestReportedFailuresStopAtTheGate: five wrong passwords, which only the API sees, and the sixth is denied before the API is asked, by
// every replica.
func TestReportedFailuresStopAtTheGate(t *testing.T) {
	server := redistest.Start(t)
	a := newLoginAPI(t, server.URL(), "client_address", "dry_run", "report")
	b := newLoginAPI(t, server.URL(), "client_address", "dry_run", "report")
	for range 2 {
		if got := a.logIn(t, "right"); got != http.StatusOK {
			t.Fatalf("the right password: %d", got)
		}
	}
	for range 5 {
		if got := a.logIn(t, "wrong"); got != http.StatusUnauthorized {
			t.Fatalf("a wrong password: %d", got)
		}
		if err := <-a.reports; err != nil {
			t.Fatal(err)
		}
	}
	a.limited(t)
	if got := a.logIn(t, "wrong"); got != http.StatusTooManyRequests || a.asked.Load() != 7 {
		t.Errorf("the sixth: %d, the API was asked %d times", got, a.asked.Load())
	}
	if got := b.logIn(t, "right"); got != http.StatusTooManyRequests || b.asked.Load() != 0 {
		t.Errorf("another replica: %d, its API was asked %d times", got, b.asked.Load())
	}

	if err := a.server.parts.audit.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	reasons, stage, reported := a.recorded(t)
	if reasons["reported_failure"] != 5 || reasons["allowed"] < 7 || stage != "limits.gate" {
		t.Errorf("records %v, the last at %q", reasons, stage)
	}
	for _, id := range reported {
		if len(id) != 32 || !strings.Contains(a.records.String(), `{"decision_id":"`+id+`"`) {
			t.Errorf("a report of decision %q, which has no record", id)
		}
	}
	f := families(t, a.server.metrics)
	if got := f["durward_reports_total"].samples["reason=reported_failure"]; got != 5 || len(reported) != 5 {
		t.Errorf("%v reports counted, %d recorded", got, len(reported))
	}
	for labels := range f["durward_decisions_total"].samples {
		if strings.Contains(labels, "reported_failure") {
			t.Errorf("a report counts as a decision: %s", labels)
		}
	}
}

// TestReportsNeedThePermission: a caller that may not report charges nobody.
func TestReportsNeedThePermission(t *testing.T) {
	a := newLoginAPI(t, redistest.Start(t).URL(), "client_address", "dry_run")
	for range 10 {
		if got := a.logIn(t, "wrong"); got != http.StatusUnauthorized {
			t.Fatalf("a wrong password: %d", got)
		}
		if err := <-a.reports; err == nil || !strings.Contains(err.Error(), "caller_not_trusted") {
			t.Fatalf("report: %v", err)
		}
	}
	if got := families(t, a.server.metrics)["durward_reports_total"].samples["reason=caller_not_trusted"]; got != 10 {
		t.Errorf("%v refused reports", got)
	}
}
