package assembly

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// TestPublicListener: it has what was put there and nothing else, and reads no body without end.
func TestPublicListener(t *testing.T) {
	var log logged
	p, err := newPublic(publicOptions{
		settings: &settings.HTTP{Address: "127.0.0.1:0"}, clock: time.Now, logger: log.logger(),
		handlers: map[string]http.Handler{"POST /echo": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			data, err := io.ReadAll(r.Body)
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				answer(w, http.StatusRequestEntityTooLarge, "too large")
				return
			}
			answer(w, http.StatusOK, string(data))
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.serve() }()
	base := "http://" + p.listener.Addr().String()
	for _, tc := range []struct {
		method, path string
		body         []byte
		want         int
	}{
		{"POST", "/echo", []byte("x"), 200},
		{"POST", "/echo", make([]byte, maxPublicBody+1), 413},
		{"GET", "/echo", nil, 405},
		{"GET", "/metrics", nil, 404},
		{"GET", "/", nil, 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tc.method, base+tc.path, bytes.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = got.Body.Close()
		if got.StatusCode != tc.want {
			t.Errorf("%s %s with %d bytes: %d, want %d", tc.method, tc.path, len(tc.body), got.StatusCode, tc.want)
		}
	}
	if err := errors.Join(p.close(t.Context()), <-served); err != nil {
		t.Error(err)
	}
	if p, err := newPublic(publicOptions{settings: &settings.HTTP{}}); p != nil || err != nil {
		t.Errorf("without an address: %v, error %v", p, err)
	}
}
