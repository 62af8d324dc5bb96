// Package doors asks one running server the same questions through each of its doors: ext_authz as a gateway speaks it,
// the Go SDK, and the SDK's HTTP and gRPC middleware. Whoever asks, status, reason and rule must be the same.
//
// It holds tests alone and runs the real program.
package doors

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/durward-pdp/durward/deploy/quickstart"
	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	"github.com/durward-pdp/durward/pdp/token"
)

const (
	callerToken = "a-token-of-a-caller-for-tests-only"
	startTime   = 30 * time.Second
)

// world is what all tests share.
type world struct {
	dir       string
	authority *stack.Authority
	signer    *token.Signer // corp's key
	stranger  *token.Signer // another key of the same name
	unknown   *token.Signer // a key that corp does not have
	servers   []*exec.Cmd
}

var shared world // set by TestMain alone

func TestMain(m *testing.M) {
	if err := shared.start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		shared.stop()
		os.Exit(1)
	}
	defer shared.stop()
	m.Run()
}

// socket is where a listener of the world is; restricted listeners know one caller, who may assert nothing.
func (w *world) socket(name string) string { return "unix://" + filepath.Join(w.dir, name+".sock") }

// start builds the program and runs three servers: main; dead, whose Redis is gone; and empty, which has no policy.
func (w *world) start() (err error) {
	if w.dir, err = os.MkdirTemp("", "doors-"); err != nil {
		return err
	}
	binary := filepath.Join(w.dir, "durward")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/durward")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building durward: %w\n%s", err, out)
	}
	if err := errors.Join(w.keys(), w.bundle(), w.write("caller.token", callerToken)); err != nil {
		return err
	}
	if w.authority, err = stack.NewAuthority(time.Now()); err != nil {
		return err
	}
	const tail = "admin: {address: \"off\"}\nbudget: 10s\ndrain: 0s\n"
	for name, config := range map[string]string{
		"main": "bundles: [{dir: bundle}]\nlisteners:\n" +
			"  - {address: \"unix:main.sock\", protocols: [ext_authz, native], client_address: peer}\n" +
			"  - {address: \"unix:restricted.sock\", protocols: [ext_authz, native], client_address: peer, callers: [{name: edge, token_file: caller.token}]}\n" +
			"  - {address: \"unix:extension.sock\", protocols: [ext_authz, native], client_address: peer, select: extension}\n",
		"dead": "bundles: [{dir: bundle}]\nredis: {url: \"redis://127.0.0.1:1/0\", timeout: 200ms}\nlisteners:\n" +
			"  - {address: \"unix:dead.sock\", protocols: [ext_authz, native], client_address: peer}\n",
		"empty": "bundles: [{dir: nowhere}]\nlisteners:\n" +
			"  - {address: \"unix:empty.sock\", protocols: [ext_authz, native], client_address: peer}\n",
	} {
		if err := w.write(name+".yaml", config+"audit: {sink: file, path: "+name+".jsonl}\n"+tail); err != nil {
			return err
		}
		if err := w.serve(binary, name); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) write(name, text string) error {
	path := filepath.Join(w.dir, name)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
}

// bundle writes the quickstart's bundle, the tests' own services beside it, and the issuer's keys.
func (w *world) bundle() error {
	for _, from := range []fs.FS{quickstart.Files, os.DirFS("testdata")} {
		err := fs.WalkDir(from, "bundle", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := fs.ReadFile(from, path)
			if err != nil {
				return err
			}
			// All examples together ask more often than the quickstart allows one subject.
			return w.write(path, strings.Replace(string(data), "burst: 5,", "burst: 1000,", 1))
		})
		if err != nil {
			return err
		}
	}
	keys, err := token.MarshalKeySet(w.signer)
	if err != nil {
		return err
	}
	return w.write("bundle/keys/corp.jwks.json", string(keys))
}

func (w *world) keys() error {
	for _, one := range []struct {
		to *(*token.Signer)
		id string
	}{{&w.signer, "k1"}, {&w.stranger, "k1"}, {&w.unknown, "k2"}} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if *one.to, err = token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: one.id, Random: rand.Reader}); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a server and waits until its first listener answers health checks; main and dead must be ready too.
func (w *world) serve(binary, name string) error {
	cmd := exec.Command(binary, "serve", "--config", name+".yaml")
	cmd.Dir = w.dir
	log, err := os.Create(filepath.Join(w.dir, name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DURWARD_") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.servers = append(w.servers, cmd)
	conn, err := grpc.NewClient(w.socket(name), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("waiting for %s: %w\n%s", name, err, text)
		}
		if answer.GetStatus() == healthpb.HealthCheckResponse_SERVING || name == "empty" {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop ends the servers and removes what start made.
func (w *world) stop() {
	for _, cmd := range w.servers {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
	}
	_ = os.RemoveAll(w.dir)
}

// claims are a token's claims.
type claims map[string]any

// claimsOf are the claims of a good token for the orders service.
func claimsOf(sub string, roles ...string) claims {
	now := time.Now()
	return claims{
		"iss": "https://idp.example.com", "sub": sub, "jti": "1", "client_id": "tests", "aud": "orders-api", "tenant": "acme",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "realm_access": map[string]any{"roles": roles},
	}
}

// with returns the claims with some changed; nil removes one.
func (c claims) with(name string, value any) claims {
	out := claims{}
	for k, v := range c {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

// bearer is the Authorization field with a token of corp's.
func (c claims) bearer() field { return c.signedBy(shared.signer, "at+jwt") }

func (c claims) signedBy(s *token.Signer, typ string) field {
	signed, err := s.Sign(typ, c)
	if err != nil {
		signed = "cannot-be-signed: " + err.Error()
	}
	return field{"authorization", "Bearer " + signed}
}

// headed is a bearer token with another header and a signature that verifies nothing.
func (c claims) headed(header map[string]any) field {
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return field{"authorization", "Bearer " + part(header) + "." + part(c) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64))}
}

// certificate issues a client certificate and returns it with its key, in PEM.
func certificate(t *testing.T, names ...string) (cert, key []byte) {
	t.Helper()
	now := time.Now()
	cert, key, err := shared.authority.Issue(stack.Wanted{Names: names, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
