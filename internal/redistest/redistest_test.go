package redistest_test

import (
	"net"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
)

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	if got := s.Do("SET", "k", "v w"); got != "OK" {
		t.Fatalf("SET: %q", got)
	}
	if got := s.Do("GET", "k"); got != "v w" {
		t.Fatalf("GET: %q", got)
	}
	addr := s.Addr()
	s.Restart()
	if s.Addr() != addr {
		t.Fatalf("moved from %s to %s", addr, s.Addr())
	}
	if got := s.Do("GET", "k"); got != "$-1" {
		t.Fatalf("after a restart: %q", got)
	}
	s.Kill()
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		_ = c.Close()
		t.Fatal("still listening after Kill")
	}
	s.Kill() // twice is fine
}

func TestStopAndCont(t *testing.T) {
	s := redistest.Start(t)
	s.Stop()
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 7)
	if _, err := c.Read(buf); err == nil {
		t.Fatalf("a stopped server answered %q", buf)
	}
	s.Cont()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); err != nil || string(buf) != "+PONG\r\n" {
		t.Fatalf("after Cont: %q, %v", buf, err)
	}
}

func TestPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	if got := s.Do("GET", "k"); got != "-NOAUTH Authentication required." {
		t.Fatalf("GET: %q", got)
	}
}
