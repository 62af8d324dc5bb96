package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// server is a durward that is asked without a gateway, in the clear, on loopback.
type server struct {
	conn    *grpc.ClientConn
	admin   string
	public  string // "" without one
	process *os.Process
	log     *output
	done    chan struct{}
	exit    error // read after done
}

// output is what a process wrote until now.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps the text.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns what was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// run starts durward with what is to stand in its settings besides listeners. stdout may be nil.
func run(t *testing.T, text string, stdout *os.File) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "durward.yaml")
	text = "listeners:\n  - {address: 127.0.0.1:0, protocols: [ext_authz], client_address: peer}\nadmin: {address: 127.0.0.1:0}\ndrain: 100ms\n" + text
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{log: &output{}, done: make(chan struct{})}
	command := exec.Command(durward(t), "serve", "--config", path)
	command.Stderr = s.log
	if stdout != nil {
		command.Stdout = stdout
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = command.Process
	go func() {
		s.exit = command.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		_ = s.process.Kill()
		<-s.done
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.log)
		}
	})
	var addresses []string
	eventually(t, "the server's addresses", func() bool {
		select {
		case <-s.done:
			t.Fatalf("it ended: %v", s.exit)
		default:
		}
		for _, line := range s.lines() {
			if line["msg"] == "listening" {
				addresses = nil
				for _, address := range line["addresses"].([]any) {
					addresses = append(addresses, fmt.Sprint(address))
				}
			}
		}
		return len(addresses) >= 2
	})
	if s.admin = addresses[1]; len(addresses) > 2 {
		s.public = addresses[2]
	}
	s.conn = dial(t, addresses[0], insecure.NewCredentials())
	return s
}

// ready waits until the server says that it is.
func (s *server) ready(t *testing.T) {
	t.Helper()
	eventually(t, "readiness", func() bool { return s.readiness(t) == http.StatusOK })
}

func (s *server) readiness(t *testing.T) int {
	t.Helper()
	status, _, err := fetch(within(t, 10*time.Second), s.admin, "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// lines are the lines of the server's log.
func (s *server) lines() []map[string]any {
	var out []map[string]any
	for line := range strings.Lines(s.log.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil {
			out = append(out, fields)
		}
	}
	return out
}

// logged reports whether a line whose message begins so gives an error that holds the text.
func (s *server) logged(message, text string) bool {
	for _, line := range s.lines() {
		if strings.HasPrefix(fmt.Sprint(line["msg"]), message) && strings.Contains(fmt.Sprint(line["error"]), text) {
			return true
		}
	}
	return false
}

// terminate asks the server to end and returns how it did. It must, within a minute.
func (s *server) terminate(t *testing.T) error {
	t.Helper()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
		return s.exit
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
		return nil
	}
}

func dial(t *testing.T, address string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// checkRequest is what a gateway sends for a GET of the orders' host.
func checkRequest(path string) *authv3.CheckRequest {
	return checkRequestAt("orders.example.com", path)
}

func checkRequestAt(host, path string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}}}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: http.MethodGet, Host: host, Path: path, Scheme: "https", Protocol: "HTTP/1.1", Size: -1,
			Headers: map[string]string{":method": http.MethodGet, ":authority": host, ":path": path, ":scheme": "https", "x-forwarded-for": "198.51.100.7"},
		}},
	}}
}

// ask asks for a decision and returns its HTTP status, and the problem's code of a denial.
func (s *server) ask(t *testing.T, request *authv3.CheckRequest) (status int, code string) {
	t.Helper()
	answer, err := authv3.NewAuthorizationClient(s.conn).Check(within(t, 20*time.Second), request)
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	if answer.GetStatus() == nil || (answer.GetStatus().GetCode() == 0) != (answer.GetOkResponse() != nil) {
		t.Fatalf("no verdict: %v", answer)
	}
	if answer.GetOkResponse() != nil {
		return http.StatusOK, ""
	}
	denied := answer.GetDeniedResponse()
	var problem struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal([]byte(denied.GetBody()), &problem); err != nil || denied.GetStatus().GetCode() == typev3.StatusCode_Empty {
		t.Fatalf("denied: %v, %v", denied, err)
	}
	return int(denied.GetStatus().GetCode()), problem.Code
}

// fetch asks an admin listener.
func fetch(ctx context.Context, address, path string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return response.StatusCode, string(data), err
}

// metrics returns the values of an admin listener's metrics, by name and labels as they are written.
func metrics(t *testing.T, admin string) map[string]float64 {
	t.Helper()
	status, body, err := fetch(within(t, 10*time.Second), admin, "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("metrics: %d, %v", status, err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && name != "#" {
			out[name] = n
		}
	}
	return out
}
