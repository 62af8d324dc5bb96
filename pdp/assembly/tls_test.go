package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// handshake connects to a server with the configuration and returns the certificate's first name.
func handshake(t *testing.T, server, client *tls.Config) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	near, far := net.Pipe()
	defer func() { _ = errors.Join(near.Close(), far.Close()) }()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(far, server)
		err := conn.HandshakeContext(ctx)
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		_ = far.Close()
		done <- err
	}()
	conn := tls.Client(near, client)
	name := ""
	err := conn.HandshakeContext(ctx)
	if err == nil {
		name = conn.ConnectionState().PeerCertificates[0].DNSNames[0]
		_, err = conn.Read(make([]byte, 1))
	}
	_ = near.Close()
	return name, errors.Join(err, <-done)
}

func TestCertificatesReload(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	ca.issue(t, dir, "server", "one.example.com")
	now, log := &clock{now: time.Now()}, &logged{}
	files := settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}
	c, err := newCertificates(files, now.Now, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	server := c.server("h2")
	connect := func(want string) {
		t.Helper()
		config := &tls.Config{RootCAs: ca.pool(), ServerName: want, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
		if name, err := handshake(t, server, config); name != want || err != nil {
			t.Errorf("certificate of %q, %v; want %q", name, err, want)
		}
	}
	connect("one.example.com")
	modified := time.Now().Add(time.Minute) // a stamp that differs, however coarse the file system's clock is
	touch := func() {
		t.Helper()
		modified = modified.Add(time.Minute)
		for _, path := range []string{files.Certificate, files.Key} {
			if err := os.Chtimes(path, modified, modified); err != nil {
				t.Fatal(err)
			}
		}
	}
	ca.issue(t, dir, "server", "two.example.com")
	touch()
	connect("one.example.com") // not looked at again yet
	now.advance(recheck)
	connect("two.example.com")

	if err := os.WriteFile(files.Certificate, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch()
	now.advance(recheck)
	connect("two.example.com")
	if text := log.String(); !strings.Contains(text, "the last good one stays") || !strings.Contains(text, "certificate reloaded") {
		t.Errorf("log: %s", text)
	}
	ca.issue(t, dir, "server", "three.example.com")
	touch()
	now.advance(recheck)
	connect("three.example.com")
}

func TestTLSVersionsAndClients(t *testing.T) {
	dir, ca, stranger := t.TempDir(), newAuthority(t), newAuthority(t)
	ca.issue(t, dir, "server", "one.example.com")
	ca.issue(t, dir, "client", "gw.example.com")
	other := t.TempDir()
	stranger.issue(t, other, "client", "gw.example.com")
	config := func(clientDir string, most uint16) *tls.Config {
		out := &tls.Config{RootCAs: ca.pool(), ServerName: "one.example.com", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS10, MaxVersion: most}
		if clientDir != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(clientDir, "client.crt"), filepath.Join(clientDir, "client.key"))
			if err != nil {
				t.Fatal(err)
			}
			out.Certificates = []tls.Certificate{pair}
		}
		return out
	}
	files := settings.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}
	for _, tt := range []struct {
		name      string
		version   string
		clientCA  bool
		client    *tls.Config
		connected bool
	}{
		{"1.3 is the default", "", false, config("", tls.VersionTLS13), true},
		{"1.2 is below the default", "", false, config("", tls.VersionTLS12), false},
		{"1.2 where it is permitted", "1.2", false, config("", tls.VersionTLS12), true},
		{"1.1 never", "1.2", false, config("", tls.VersionTLS11), false},
		{"a client of the authority", "", true, config(dir, tls.VersionTLS13), true},
		{"no certificate", "", true, config("", tls.VersionTLS13), false},
		{"a stranger's certificate", "", true, config(other, tls.VersionTLS13), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := files
			f.MinVersion = tt.version
			if tt.clientCA {
				f.ClientCA = filepath.Join(dir, "ca.crt")
			}
			c, err := newCertificates(f, time.Now, (&logged{}).logger())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := handshake(t, c.server("h2"), tt.client); (err == nil) != tt.connected {
				t.Errorf("error %v", err)
			}
		})
	}
	for name, broken := range map[string]settings.TLS{
		"no files":       {Certificate: "none", Key: "none"},
		"no authorities": {Certificate: files.Certificate, Key: files.Key, ClientCA: files.Key},
		"another's key":  {Certificate: files.Certificate, Key: filepath.Join(dir, "client.key")},
	} {
		if _, err := newCertificates(broken, time.Now, (&logged{}).logger()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
