package redistest

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// handshake is the first byte of TLS.
const handshake = 22

// Front stands before a server: it passes on what comes and delays the answers, and speaks TLS with those who do.
type Front struct {
	to    string
	addr  string
	conf  *tls.Config
	delay atomic.Int64
}

// StartFront returns a front of the server at an address. conf may be nil.
func StartFront(tb testing.TB, to string, conf *tls.Config) *Front {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	f := &Front{to: to, addr: l.Addr().String(), conf: conf}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(in)
		}
	}()
	return f
}

// Addr returns host:port.
func (f *Front) Addr() string { return f.addr }

// Delay makes each answer come so much later.
func (f *Front) Delay(d time.Duration) { f.delay.Store(int64(d)) }

// peeked is a connection of which the first bytes were looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

func (f *Front) serve(in net.Conn) {
	defer func() { _ = in.Close() }()
	r := bufio.NewReader(in)
	first, err := r.Peek(1)
	if err != nil {
		return
	}
	in = peeked{in, r}
	if f.conf != nil && first[0] == handshake {
		in = tls.Server(in, f.conf)
	}
	out, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := out.Read(buf)
		if err != nil {
			return
		}
		time.Sleep(time.Duration(f.delay.Load()))
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}
