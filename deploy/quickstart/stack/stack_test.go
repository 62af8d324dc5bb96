package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestWholeStack(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Binary: self(t), Envoy: func(text string) string {
		return strings.Replace(text, "stat_prefix: edge", "stat_prefix: door", 1)
	}})
	answer, err := s.Send(soon(t), Message{
		Method: "GET", Host: "orders.example.com", Target: "/orders/%37?a=%20b",
		Header: []Field{{"X-Durward-Subject", "mallory"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != 200 || answer.Lines[0] != "HTTP/1.1 200 OK" || !strings.Contains(string(answer.Body), "mallory") {
		t.Errorf("answer %d %q %s", answer.Status, answer.Lines, answer.Body)
	}
	if seen := s.API.Requests(); len(seen) != 1 || seen[0].Host != "orders.example.com" {
		t.Errorf("the API saw %+v", seen)
	}
	record, err := s.Await(soon(t), func(r Record) bool { return r.Fields["decision_id"] != nil })
	if err != nil || record.Fields["decision_id"] != "/envoy.service.auth.v3.Authorization/Check" {
		t.Errorf("record %s, %v", record.Line, err)
	}
	stats, err := s.Stats(soon(t))
	if err != nil || stats["http.door.downstream_rq_2xx"] != 1 || stats["cluster.durward.membership_healthy"] != 2 {
		t.Errorf("stats %v, %v", stats, err)
	}

	batch, err := s.Certificate("batch")
	if err != nil {
		t.Fatal(err)
	}
	request := &http.Request{Method: "GET", Host: "orders.example.com:8443", URL: &url.URL{Scheme: "https", Host: "orders.example.com:8443", Opaque: "/orders/%2e"}}
	response, err := s.Client(&batch).Do(request.WithContext(soon(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusNotFound {
		t.Errorf("client: %s %s", response.Proto, response.Status)
	}
}

func TestReplicaComesAndGoes(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Binary: self(t), Replicas: 1, WithoutRedis: true})
	r := s.Replicas[0]
	first := r.PID()
	if err := r.Kill(); err != nil || r.Running() {
		t.Fatalf("kill: %v, running %v", err, r.Running())
	}
	if err := r.Kill(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("second kill: %v", err)
	}
	answer, err := s.Send(soon(t), Message{Method: "GET", Host: "orders.example.com", Target: "/orders/7"})
	if err != nil || answer.Status != http.StatusServiceUnavailable || s.API.Calls() != 0 {
		t.Errorf("without a replica: %v, %v, %d calls", answer, err, s.API.Calls())
	}
	if err := r.Restart(soon(t)); err != nil || r.PID() == first {
		t.Fatalf("restart: %v, process %d", err, r.PID())
	}
	if err := s.Envoy.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(soon(t)); err == nil {
		t.Error("a running program was started")
	}
	if err := r.Terminate(soon(t)); err != nil {
		t.Errorf("terminate: %v", err)
	}
}

func TestRedisPausesAndForgets(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	ask := func(command string) (string, error) {
		conn, err := net.Dial("tcp", s.Redis.Address)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
		fmt.Fprintf(conn, "%s\r\n", command)
		return bufio.NewReader(conn).ReadString('\n')
	}
	stranger := &Redis{Program: &Program{}, Address: s.Redis.Address}
	if err := stranger.ping(soon(t)); err == nil || !strings.Contains(err.Error(), "another Redis") {
		t.Errorf("somebody else's Redis: %v", err)
	}
	if got, err := ask("SET k 1"); got != "+OK\r\n" {
		t.Fatalf("set: %q, %v", got, err)
	}
	if err := s.Redis.Pause(); err != nil {
		t.Fatal(err)
	}
	if got, err := ask("GET k"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a paused Redis answers %q, %v", got, err)
	}
	if err := s.Redis.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Redis.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got, err := ask("GET k"); got != "$1\r\n" {
		t.Errorf("resumed: %q, %v", got, err)
	}
	if err := s.Redis.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got, err := ask("GET k"); got != "$-1\r\n" {
		t.Errorf("restarted: %q, %v", got, err)
	}
	if err := s.Redis.Pause(); err != nil { // Close must end it all the same
		t.Fatal(err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Binary: self(t)})
	if _, err := s.Serve(soon(t), "reports.example.com", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	if answer, err := s.Send(soon(t), Message{Method: "GET", Host: "reports.example.com", Target: "/"}); err != nil || answer.Status != 404 {
		t.Errorf("reports: %v, %v", answer, err)
	}
	pids := []int{s.Envoy.PID(), s.Redis.PID(), s.Replicas[0].PID(), s.Replicas[1].PID()}
	ports := s.ports.used(2)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is there: %v", pid, err)
		}
	}
	if taken := taken(soon(t), ports); len(taken) > 0 {
		t.Errorf("still listening: %v", taken)
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("run directory: %v", err)
	}
}

func TestStartSaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"a replica that fails":   {Options{Binary: self(t), Environment: []string{"FAKE_FAILURE=it would not"}}, "durward-1: it ended: exit status 3\nend of durward-1.log:\nfake: it would not"},
		"a bad Envoy":            {Options{Binary: self(t), Envoy: func(string) string { return "nonsense: 1\n" }}, "end of envoy.log:\n"},
		"no such binary":         {Options{Binary: filepath.Join(empty, "durward")}, "starting durward-1: "},
		"too many replicas":      {Options{Binary: self(t), Replicas: 13}, "at most 12"},
		"a used run directory":   {Options{Dir: full}, "is not empty"},
		"a file beyond a bundle": {Options{Bundle: map[string]string{"../x": "y"}}, "leaves it"},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.FreePorts = true
			s, err := Start(soon(t), c.options)
			if err == nil {
				s.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %q", err, c.want)
			}
		})
	}
}

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("DURWARD_TOOLS", filepath.Join(dir, "tools"))
	t.Chdir(dir)
	if _, err := find("envoy", ""); !errors.Is(err, ErrNoProgram) || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("nowhere: %v", err)
	}
	// From the last resort to the first choice.
	for _, place := range []string{".tools/bin", ".", "tools", "named"} {
		path := filepath.Join(dir, place, "envoy")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o700), os.WriteFile("go.mod", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		named := ""
		if place == "named" {
			named = filepath.Join(dir, "named")
		}
		if got, err := find("envoy", named); err != nil || got != path {
			t.Errorf("found %s, %v, want %s", got, err, path)
		}
	}
}
