package quickstart

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ask(t *testing.T, api *API, method, target string, header http.Header) (*httptest.ResponseRecorder, reply) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	var out reply
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s %s: body %q: %v", method, target, w.Body, err)
	}
	return w, out
}

func TestAPIAnswers(t *testing.T) {
	for _, c := range []struct {
		method, target, answer, order string
		status                        int
	}{
		{"GET", "/health", "healthy", "", 200},
		{"GET", "/orders", "all orders", "", 200},
		{"GET", "/orders/7", "order", "7", 200},
		{"HEAD", "/orders/7", "order", "7", 200},
		{"PUT", "/orders/7", "order changed", "7", 200},
		{"POST", "/orders/7/refund", "order refunded", "7", 200},
		{"POST", "/login", "logged in", "", 200},
		{"GET", "/login", undeclared, "", 404},
		{"DELETE", "/orders/7", undeclared, "", 404},
		{"GET", "/orders/", undeclared, "", 404},
		{"GET", "/orders/7/refund/now", undeclared, "", 404},
		// What slips past a gateway is answered as it is, never redirected to a clean path.
		{"GET", "/orders/../admin", undeclared, "", 404},
		{"GET", "//orders/7", undeclared, "", 404},
		{"GET", "/admin", undeclared, "", 404},
	} {
		w, out := ask(t, NewAPI(), c.method, c.target, nil)
		if w.Code != c.status || out.Answer != c.answer || out.Order != c.order || out.Call != 1 {
			t.Errorf("%s %s: %d %+v, want %d %q %q", c.method, c.target, w.Code, out, c.status, c.answer, c.order)
		}
	}
}

func TestAPIShowsWhatArrived(t *testing.T) {
	_, out := ask(t, NewAPI(), "GET", "/orders/7", http.Header{
		"X-Durward-Subject": {"alice"}, "X_durward_subject": {"mallory"}, "Authorization": {"Bearer secret"}, "Accept": {"*/*"},
	})
	want := map[string][]string{"x-durward-subject": {"alice"}, "x_durward_subject": {"mallory"}}
	if diff := cmp.Diff(want, out.Identity); diff != "" || !out.Credentials {
		t.Errorf("credentials %v, identity (-want +got):\n%s", out.Credentials, diff)
	}
}

func TestAPIEchoesOneRequestID(t *testing.T) {
	w, _ := ask(t, NewAPI(), "GET", "/health", http.Header{"X-Request-Id": {"r-1"}})
	if got := w.Header().Get("X-Request-Id"); got != "r-1" {
		t.Errorf("x-request-id = %q", got)
	}
	w, _ = ask(t, NewAPI(), "GET", "/health", http.Header{"X-Request-Id": {"r-1", "r-2"}})
	if got := w.Header().Values("X-Request-Id"); len(got) != 0 {
		t.Errorf("x-request-id = %q for two", got)
	}
}

func TestAPIRemembersTheLatest(t *testing.T) {
	api := NewAPI()
	for i := range maxSeen + 3 {
		ask(t, api, "GET", fmt.Sprintf("/orders/%d?raw=%%2e", i), nil)
	}
	seen := api.Requests()
	if len(seen) != maxSeen || api.Calls() != maxSeen+3 {
		t.Fatalf("remembers %d of %d calls", len(seen), api.Calls())
	}
	if first, last := seen[0].Target, seen[maxSeen-1].Target; first != "/orders/3?raw=%2e" || last != fmt.Sprintf("/orders/%d?raw=%%2e", maxSeen+2) {
		t.Errorf("remembers %s to %s", first, last)
	}
}

func TestFilesAreAllThere(t *testing.T) {
	for _, name := range []string{"envoy.yaml", "durward.yaml", "bundle/bundle.yaml", "bundle/keys/corp.jwks.json", "bundle/services/orders/policy.csv"} {
		if _, err := fs.Stat(Files, name); err != nil {
			t.Error(err)
		}
	}
}
