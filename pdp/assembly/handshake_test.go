package assembly

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// TestHandshakeLog: a gateway with a stranger's certificate is told of, seldom; one that is fine and one that only looks
// are not.
func TestHandshakeLog(t *testing.T) {
	dir, other, ca := t.TempDir(), t.TempDir(), newAuthority(t)
	ca.issue(t, dir, "server", "one.example.com")
	ca.issue(t, dir, "client", "gw.example.com")
	newAuthority(t).issue(t, other, "client", "gw.example.com")
	now, log, failed := &clock{now: time.Now()}, &logged{}, 0
	files := settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key"), ClientCA: filepath.Join(dir, "ca.crt")}
	c, err := newCertificates(files, now.Now, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	var secured credentials.TransportCredentials = &handshakes{
		TransportCredentials: credentials.NewTLS(c.server("h2")),
		report:               &handshakeLog{logger: log.logger(), clock: now.Now, count: func() { failed++ }, address: "0.0.0.0:9191"},
	}
	secured = secured.Clone()
	// connect lets a client speak to the server, and waits for the server's end of it.
	connect := func(speak func(net.Conn)) {
		t.Helper()
		near, far := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			conn, _, err := secured.ServerHandshake(far)
			if err == nil {
				_ = conn.Close()
			}
			_ = far.Close()
		}()
		speak(near)
		_ = near.Close()
		<-ended
	}
	with := func(clientDir string) func(net.Conn) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(clientDir, "client.crt"), filepath.Join(clientDir, "client.key"))
		if err != nil {
			t.Fatal(err)
		}
		return func(conn net.Conn) {
			client := tls.Client(conn, &tls.Config{
				RootCAs: ca.pool(), ServerName: "one.example.com", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
			})
			_, _ = client.Read(make([]byte, 1)) // until the server has looked at the certificate
		}
	}
	connect(func(net.Conn) {})
	connect(with(dir))
	if failed != 0 || log.String() != "" {
		t.Errorf("%d failures, log: %s", failed, log.String())
	}
	for range 3 {
		connect(with(other))
	}
	now.advance(handshakeEvery)
	connect(with(other))
	text := log.String()
	if failed != 4 || strings.Count(text, "\n") != 2 || !strings.Contains(text, `"others_since_the_last_line":2`) ||
		!strings.Contains(text, `"listener":"0.0.0.0:9191"`) || !strings.Contains(text, "unknown authority") {
		t.Errorf("%d failures, log: %s", failed, text)
	}
}

// TestDates: a certificate that nobody will accept is told of when it is read.
func TestDates(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	ca.issue(t, dir, "server", "one.example.com")
	files := settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}
	for day, want := range map[int]bool{-1: true, 0: false, 1: true} {
		log := &logged{}
		now := &clock{now: time.Now().AddDate(0, 0, day)}
		if _, err := newCertificates(files, now.Now, log.logger()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "expired or not valid yet"); got != want {
			t.Errorf("day %d: %v, want %v", day, got, want)
		}
	}
}
