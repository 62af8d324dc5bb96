package reports

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/clients/authz"
)

// checker lets what it was told pass, and keeps the question.
type checker struct {
	decision authz.Decision
	err      error
	asked    []string
}

func (c *checker) Check(_ context.Context, r authz.Request) (authz.Decision, error) {
	c.asked = append(c.asked, r.HTTP.Method+" "+r.HTTP.Target)
	return c.decision, c.err
}

func TestAllowedRequestsAreAnswered(t *testing.T) {
	c := &checker{decision: authz.Decision{Allowed: true, Status: 200, ID: "d-1", SetUpstream: []authz.Field{{Name: "x-durward-subject", Value: "alice"}}}}
	r := httptest.NewRequest("GET", "https://reports.example.com/tenants/acme/reports/1", nil)
	r.Header.Set("X-Durward-Subject", "root")
	w := httptest.NewRecorder()
	New(c).ServeHTTP(w, r)
	if got, want := strings.TrimSpace(w.Body.String()), `{"tenant":"acme","report":"1","reader":"alice"}`; w.Code != 200 || got != want {
		t.Errorf("%d %s, want %s", w.Code, got, want)
	}
	if got := w.Header().Get("x-durward-decision-id"); got != "d-1" {
		t.Errorf("decision id %q", got)
	}
}

func TestNothingIsAnsweredWithoutAYes(t *testing.T) {
	for _, target := range []string{"/health", "/tenants/acme/reports/1", "//tenants/acme/reports/1", "/elsewhere"} {
		c := &checker{decision: authz.Decision{Status: http.StatusForbidden}, err: errors.New("denied")}
		r := httptest.NewRequest("GET", "https://reports.example.com"+target, nil)
		r.RequestURI = target
		w := httptest.NewRecorder()
		New(c).ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || len(c.asked) != 1 || c.asked[0] != "GET "+target {
			t.Errorf("%s: %d, asked %q", target, w.Code, c.asked)
		}
	}
}
