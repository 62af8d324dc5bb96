package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestHealthcheckSaysWhatItFound: a server that is not ready is told from one that was not asked in its language.
func TestHealthcheckSaysWhatItFound(t *testing.T) {
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	for _, tt := range []struct {
		name   string
		server *httptest.Server
		want   error
	}{
		{"ready", httptest.NewServer(status(http.StatusOK)), nil},
		{"not ready", httptest.NewServer(status(http.StatusServiceUnavailable)), errNotReady},
		{"not Durward", httptest.NewServer(status(http.StatusNotFound)), errNoAnswer},
		{"TLS", httptest.NewTLSServer(status(http.StatusOK)), errNoAnswer},
	} {
		c := &healthcheckCommand{Admin: tt.server.Listener.Addr().String(), Timeout: 10 * time.Second}
		if err := c.Run(t.Context(), streams{out: io.Discard, err: io.Discard}); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		tt.server.Close()
	}
}
