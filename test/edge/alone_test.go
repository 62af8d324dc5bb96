package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/durward-pdp/durward/deploy/quickstart"
)

// quickBundle writes the quickstart's bundle into a new directory and puts files over it; an empty text removes one.
func quickBundle(t *testing.T, over map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	tree, err := fs.Sub(quickstart.Files, "bundle")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, tree); err != nil {
		t.Fatal(err)
	}
	for name, text := range over {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if text == "" {
			err = os.Remove(path)
		} else {
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// plainEnvironment is this process' environment without what would change a setting.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "DURWARD_") })
}

// result is how a program that ended by itself ended.
type result struct {
	code   int
	output string
}

// durward runs the program until it ends, for ten seconds at most; code is -1 when it did not end by itself.
func durward(t *testing.T, environment []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, binary, args...)
	command.Env = append(plainEnvironment(), environment...)
	out, err := command.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		return result{exit.ExitCode(), string(out)}
	}
	return result{0, string(out)}
}

// alone is a server without gateway and Redis, on Unix sockets.
type alone struct {
	dir    string
	output *bytes.Buffer // read it after stop
	stop   func()
	client authv3.AuthorizationClient
	admin  *http.Client
}

// serveAlone starts a server, which need not become ready. It waits until it answers at all.
func serveAlone(t *testing.T, bundle string, environment []string, args ...string) *alone {
	t.Helper()
	dir, err := os.MkdirTemp("", "edge-") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listen, admin := filepath.Join(dir, "listen"), filepath.Join(dir, "admin")
	args = append([]string{"serve", "--bundle", bundle, "--listen", "unix:" + listen, "--admin", "unix:" + admin}, args...)
	a := &alone{dir: dir, output: &bytes.Buffer{}}
	command := exec.Command(binary, args...)
	command.Env = append(plainEnvironment(), environment...)
	command.Stdout, command.Stderr = a.output, a.output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	a.stop = func() {
		_ = command.Process.Kill() // it may have ended
		<-ended
	}
	t.Cleanup(a.stop)
	conn, err := grpc.NewClient("unix:"+listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	a.client = authv3.NewAuthorizationClient(conn)
	a.admin = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", admin)
	}}}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if response, err := a.admin.Get("http://admin/healthz"); err == nil {
			_ = response.Body.Close()
			return a
		}
		select {
		case <-ended:
			t.Fatalf("the server ended: %s", a.output)
		default:
		}
		if time.Now().After(end) {
			a.stop()
			t.Fatalf("the server does not answer: %s", a.output)
		}
	}
}

// get asks the admin listener.
func (a *alone) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	response, err := a.admin.Get("http://admin" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// reason puts a question and returns the reason of the answer.
func (a *alone) reason(t *testing.T, q question) (reason string, allowed bool) {
	t.Helper()
	out, err := a.client.Check(soon(t), q.message(true), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), out.GetStatus() == nil || out.GetStatus().GetCode() == 0 || strings.TrimSpace(out.String()) == ""
}
