package assembly

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// recheck is how often certificate files are looked at, at most; they are looked at when somebody connects.
const recheck = time.Second

var errNoAuthority = errors.New("holds no certificate")

// certificates is a listener's TLS configuration that follows its files. A change that cannot be read keeps the
// last good state, so that a half-written file closes no door.
type certificates struct {
	files  settings.TLS
	clock  func() time.Time
	logger *slog.Logger

	mu      sync.Mutex
	current *tls.Config
	stamps  [3]stamp
	checked time.Time
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

// newCertificates reads the files once, so that a server with bad files does not start.
func newCertificates(files settings.TLS, clock func() time.Time, logger *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, clock: clock, logger: logger, checked: clock()}
	config, stamps, err := c.read()
	if err != nil {
		return nil, err
	}
	c.current, c.stamps = config, stamps
	c.checkDates()
	return c, nil
}

// server returns the configuration for a listener that speaks the given ALPN protocols.
func (c *certificates) server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: minVersion(c.files.MinVersion),
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := c.config().Clone()
			config.NextProtos = protocols
			return config, nil
		},
	}
}

// config returns the state of the files, at most recheck old.
func (c *certificates) config() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock(); now.Sub(c.checked) >= recheck {
		c.checked = now
		c.refresh()
	}
	return c.current
}

func (c *certificates) refresh() {
	if c.stat() == c.stamps {
		return
	}
	config, stamps, err := c.read()
	if err != nil {
		c.logger.Error("certificate not reloaded, the last good one stays", "certificate", c.files.Certificate, "error", err.Error())
		return
	}
	c.current, c.stamps = config, stamps
	c.logger.Info("certificate reloaded", "certificate", c.files.Certificate)
	c.checkDates()
}

// checkDates tells of a certificate that clients refuse for its dates. It is shown all the same: the clock may be wrong.
func (c *certificates) checkDates() {
	leaf, now := c.current.Certificates[0].Leaf, c.clock()
	if leaf != nil && (now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)) {
		c.logger.Error("certificate is expired or not valid yet: nobody will accept it", "certificate", c.files.Certificate,
			"not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
}

func (c *certificates) stat() (stamps [3]stamp) {
	for i, path := range []string{c.files.Certificate, c.files.Key, c.files.ClientCA} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

func (c *certificates) read() (*tls.Config, [3]stamp, error) {
	// The stamps are taken first: a file that changes while it is read is then read again.
	stamps := c.stat()
	pair, err := tls.LoadX509KeyPair(c.files.Certificate, c.files.Key)
	if err != nil {
		return nil, stamps, fmt.Errorf("reading TLS certificate %s: %w", c.files.Certificate, err)
	}
	config := &tls.Config{MinVersion: minVersion(c.files.MinVersion), Certificates: []tls.Certificate{pair}}
	if c.files.ClientCA != "" {
		pool, err := readPool(c.files.ClientCA)
		if err != nil {
			return nil, stamps, err
		}
		config.ClientCAs, config.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return config, stamps, nil
}

func readPool(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("reading authorities: %s %w", path, errNoAuthority)
	}
	return pool, nil
}

// minVersion is 1.3 unless the operator asked for 1.2, the floor.
func minVersion(s string) uint16 {
	if s == "1.2" {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}
