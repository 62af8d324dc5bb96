// Package redistest runs a real redis-server for a test: on a free port of the loopback interface, without persistence,
// gone when the test ends. Only tests import it. It never skips: without a server the test fails and says what to do.
package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 15 * time.Second
	startTries   = 5 // another program may take the port between finding and using it
)

// Server is a running redis-server. Its methods fail the test that started it.
type Server struct {
	tb   testing.TB
	bin  string
	dir  string
	args func(port int) []string
	port int
	cmd  *exec.Cmd
	log  *bytes.Buffer // read only after the process ended
}

// Start starts a server with additional arguments, such as "--requirepass", "x", and waits until it answers.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return start(tb, freePort, func(dir string, port int) []string {
		return append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "no", "--daemonize", "no",
		}, args...)
	})
}

// start starts a server on a port of its choice with the arguments for it.
func start(tb testing.TB, pick func() (int, error), args func(dir string, port int) []string) *Server {
	tb.Helper()
	s := &Server{tb: tb, bin: find(tb), dir: tb.TempDir()}
	s.args = func(port int) []string { return args(s.dir, port) }
	tb.Cleanup(s.Kill)
	var err error
	for range startTries {
		if s.port, err = pick(); err == nil {
			err = s.launch()
		}
		if err == nil {
			return s
		}
		s.Kill()
	}
	tb.Fatalf("start redis-server: %v", err)
	return nil
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the server's redis:// URL, without credentials.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Kill ends the process at once, as a crash would, and waits for it. A server that is not running stays so.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // reports the kill
	s.cmd = nil
}

// Stop suspends the process: it accepts connections, through the kernel, and answers nothing.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Cont resumes a suspended process.
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

// BeginLoading makes the server load what it holds anew, as one with persistence does after a restart, for about five seconds
// unless EndLoading comes before. Meanwhile it answers LOADING, ten times a second.
func (s *Server) BeginLoading() {
	s.tb.Helper()
	// It looks at its connections whenever it has read two megabytes, which is one of these keys.
	for _, command := range []string{"CONFIG SET rdbcompression no", "DEBUG POPULATE 48 filler 2097152", "CONFIG SET key-load-delay 100000"} {
		if got := s.Do(strings.Fields(command)...); got != "OK" {
			s.tb.Fatalf("redis command %s: %s", command, got)
		}
	}
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("DEBUG RELOAD\r\n")); err != nil { // answered when it is over
		s.tb.Fatal(err)
	}
	await(s.tb, "redis-server loads", func() bool { return strings.HasPrefix(s.Do("PING"), "-LOADING") })
}

// EndLoading lets the server load quickly what it has yet to load.
func (s *Server) EndLoading() {
	s.tb.Helper()
	s.Do("CONFIG", "SET", "key-load-delay", "0")
	await(s.tb, "redis-server has loaded", func() bool { return s.Do("PING") == "PONG" })
}

// Restart kills the server if it runs and starts an empty one on the same port.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.launch(); err != nil {
		s.tb.Fatalf("restart redis-server: %v", err)
	}
}

// Do sends one command over a connection of its own and returns the reply as text: an error with its '-', "$-1" for none,
// and "*" and the length for a list.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.do(args...)
	if err != nil {
		s.tb.Fatalf("redis command %s: %v", args[0], err)
	}
	return reply
}

// Calls returns how often the server has run a command, in scripts too.
func (s *Server) Calls(command string) int {
	s.tb.Helper()
	_, line, found := strings.Cut(s.Do("INFO", "commandstats"), "cmdstat_"+command+":calls=")
	if !found {
		return 0
	}
	number, _, _ := strings.Cut(line, ",")
	calls, err := strconv.Atoi(number)
	if err != nil {
		s.tb.Fatalf("redis counts the calls of %s as %q", command, number)
	}
	return calls
}

// List sends one command whose reply is a list, and returns its items as Do would.
func (s *Server) List(args ...string) []string {
	s.tb.Helper()
	var items []string
	reply, err := s.exchange(args, func(r *bufio.Reader, n int) error {
		for range n {
			item, err := read(r, nil)
			if err != nil {
				return err
			}
			items = append(items, item)
		}
		return nil
	})
	if err != nil || !strings.HasPrefix(reply, "*") {
		s.tb.Fatalf("redis command %s: no list but %q, %v", args[0], reply, err)
	}
	return items
}

// Role returns "master" or "slave", and "" where the server does not say, as while a sentinel changes its role.
func (s *Server) Role() string {
	text, _ := s.do("INFO", "replication")
	_, rest, _ := strings.Cut(text, "role:")
	role, _, _ := strings.Cut(rest, "\r")
	return role
}

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if s.cmd == nil {
		s.tb.Fatalf("send %v: redis-server is not running", sig)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("send %v to redis-server: %v", sig, err)
	}
}

func (s *Server) launch() error {
	s.log = new(bytes.Buffer)
	s.cmd = exec.Command(s.bin, s.args(s.port)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	end := time.Now().Add(startTimeout)
	for {
		reply, err := s.do("PING")
		if err == nil && (reply == "PONG" || strings.HasPrefix(reply, "-NOAUTH")) {
			return s.own()
		}
		if time.Now().After(end) {
			s.Kill()
			return fmt.Errorf("no answer on %s within %v (%w); its output:\n%s", s.Addr(), startTimeout, err, s.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// own makes sure that it was our process that answered: with a port that another server took, ours has ended.
func (s *Server) own() error {
	if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		return fmt.Errorf("the process ended: %w", err)
	}
	return nil
}

func (s *Server) do(args ...string) (string, error) { return s.exchange(args, nil) }

// exchange sends one command and reads the reply; list, if set, reads the items of one that is a list.
func (s *Server) exchange(args []string, list func(*bufio.Reader, int) error) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		return "", err
	}
	return read(bufio.NewReader(conn), list)
}

func read(r *bufio.Reader, list func(*bufio.Reader, int) error) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	if line == "" || line == "$-1" {
		return line, nil
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return "", err
		}
		text := make([]byte, n+len("\r\n"))
		_, err = io.ReadFull(r, text)
		return string(text[:n]), err
	case '*':
		n, err := strconv.Atoi(line[1:])
		if err == nil && list != nil {
			err = list(r, n)
		}
		return line, err
	}
	return line, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// find looks in PATH and then in the directory of the project's own tools.
func find(tb testing.TB) string {
	tb.Helper()
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path
	}
	dir := os.Getenv("DURWARD_TOOLS")
	if dir == "" {
		root, err := moduleRoot()
		if err != nil {
			tb.Fatalf("look for redis-server: %v", err)
		}
		dir = filepath.Join(root, ".tools", "bin")
	}
	path := filepath.Join(dir, "redis-server")
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("no redis-server in PATH or %s: run `make tools`", dir)
	}
	return path
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = parent
	}
}
