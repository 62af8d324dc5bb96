package assembly

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
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

// TestPublicConnectionsAreBounded: who connects beyond the bound waits, and is served when another has gone.
func TestPublicConnectionsAreBounded(t *testing.T) {
	p, err := newPublic(publicOptions{settings: &settings.HTTP{Address: "127.0.0.1:0"}, clock: time.Now, logger: (&logged{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.listener.Close() })
	accepted := make(chan net.Conn, maxPublicConnections+2)
	go func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range maxPublicConnections + 1 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	var first net.Conn
	for range maxPublicConnections {
		if c := <-accepted; first == nil {
			first = c
		}
	}
	select {
	case <-accepted:
		t.Fatal("one more than the bound")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	<-accepted
}

// TestStrangersLog: failed handshakes, which anybody can make, are few lines; whatever else goes wrong is told.
func TestStrangersLog(t *testing.T) {
	var out logged
	c := &clock{now: instant()}
	l := slog.NewLogLogger(&strangersLog{Handler: out.logger().Handler(), clock: c.Now}, slog.LevelWarn)
	for range 100 {
		l.Print("http: TLS handshake error from 203.0.113.9:1: EOF")
	}
	l.Print("http: panic serving 203.0.113.9:1: x\n")
	c.advance(handshakeEvery)
	l.Print("http: TLS handshake error from 203.0.113.9:2: EOF")
	if text := out.String(); strings.Count(text, "\n") != 3 || !strings.Contains(text, `"others_since_the_last_line":99`) || !strings.Contains(text, "panic serving") {
		t.Error(text)
	}
}
