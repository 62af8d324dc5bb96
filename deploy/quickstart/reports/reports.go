// Package reports is a sample Go service that asks Durward itself, through the SDK, without a gateway in front. It
// shows how little that takes.
//
// The demo and end-to-end tests import it. It decides nothing: its policy is bundle/services/reports.
package reports

import (
	"encoding/json"
	"net/http"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
)

// report is the body of an answer.
type report struct {
	Tenant string `json:"tenant"`
	Report string `json:"report"`
	// Reader is who Durward says is reading.
	Reader string `json:"reader"`
}

// New returns the service. Every request is put to checker before a handler sees it.
func New(checker httpauthz.Checker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"answer": "healthy"})
	})
	mux.HandleFunc("GET /tenants/{tenant}/reports/{id}", func(w http.ResponseWriter, r *http.Request) {
		if d, ok := authz.DecisionFrom(r.Context()); ok {
			w.Header().Set("X-Durward-Decision-Id", d.ID)
		}
		answer(w, report{Tenant: r.PathValue("tenant"), Report: r.PathValue("id"), Reader: r.Header.Get("X-Durward-Subject")})
	})
	// The question comes first, so that not even the mux answers to somebody who may not ask.
	return httpauthz.New(checker)(mux)
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // a client that went away
}
