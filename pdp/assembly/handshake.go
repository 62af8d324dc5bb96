package assembly

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// handshakes reports connections whose TLS handshake fails. A gateway with a wrong certificate sees an outage, and
// nothing else would tell of it here.
type handshakes struct {
	credentials.TransportCredentials
	report *handshakeLog
}

// ServerHandshake implements credentials.TransportCredentials.
func (h *handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) { // who only looks whether the port is open goes without a word
		h.report.failed(conn.RemoteAddr().String(), err)
	}
	return secured, info, err
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{TransportCredentials: h.TransportCredentials.Clone(), report: h.report}
}

// handshakeEvery is how often the log tells of failed handshakes: anybody who reaches the port can make them.
const handshakeEvery = 10 * time.Second

// handshakeLog is the log of one listener.
type handshakeLog struct {
	logger  *slog.Logger
	clock   func() time.Time
	count   func()
	address string

	mu     sync.Mutex
	told   time.Time
	untold int
}

func (l *handshakeLog) failed(remote string, err error) {
	if l.count != nil {
		l.count()
	}
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.told) < handshakeEvery {
		l.untold++
		return
	}
	l.logger.Warn("TLS handshake failed: see the certificates of the gateway and of this listener",
		"listener", l.address, "remote", remote, "error", err.Error(), "others_since_the_last_line", l.untold)
	l.told, l.untold = now, 0
}
