// Package policies asks real servers, and one behind a real Envoy, what becomes of policies while they are changed:
// candidates, observed routes, explanations, and rules that are too slow or hostile to rules.
//
// It holds tests alone and runs the real program.
package policies

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/token"
)

// What all tests share, set by TestMain alone: the program, and the key of the tokens' issuer.
var (
	program string
	signer  *token.Signer
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "policies-")
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func prepare(dir string) error {
	program = filepath.Join(dir, "durward")
	build := exec.Command("go", "build", "-o", program, "../../cmd/durward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building durward: %w\n%s", err, out)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	signer, err = token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "k1", Random: rand.Reader})
	return err
}

// bearer is a token for the orders API. Each change names a claim and its value; nil removes it.
func bearer(t *testing.T, sub string, roles []string, changes ...any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": "https://idp.example.com", "sub": sub, "jti": "1", "client_id": "tests", "aud": "orders-api", "tenant": "acme",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "roles": roles,
	}
	for i := 0; i < len(changes); i += 2 {
		name := fmt.Sprint(changes[i])
		if claims[name] = changes[i+1]; changes[i+1] == nil {
			delete(claims, name)
		}
	}
	signed, err := signer.Sign("at+jwt", claims)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + signed
}

// keySet is the issuer's.
func keySet(t *testing.T) []byte {
	t.Helper()
	keys, err := token.MarshalKeySet(signer)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const (
	servicePath = "services/orders/service.yaml"
	modelPath   = "services/orders/model.conf"
	rulesPath   = "services/orders/policy.csv"
)

// sample returns the bundle of testdata with the issuer's keys.
func sample(t *testing.T) map[string][]byte {
	t.Helper()
	root := os.DirFS("testdata/bundle")
	out := map[string][]byte{"keys/corp.jwks.json": keySet(t)}
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		out[path], err = fs.ReadFile(root, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// edited returns the bundle with texts replaced in a file, in pairs; each must stand there once.
func edited(t *testing.T, contents map[string][]byte, path string, pairs ...string) map[string][]byte {
	t.Helper()
	text := string(contents[path])
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%s does not hold %q once", path, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return with(contents, path, text)
}

// with returns the bundle with a file added or replaced.
func with(contents map[string][]byte, path, text string) map[string][]byte {
	out := maps.Clone(contents)
	out[path] = []byte(text)
	return out
}

// server is a durward on sockets of its own. It keeps no limits in Redis.
type server struct {
	dir, admin string
	versions   int
	log        output
	records    map[string]map[string]any // by the decision's id, as far as they were read
}

// options change how a server is started.
type options struct {
	bundle      string // more of its entry in durward.yaml
	environment []string
}

// run starts a server with a bundle and waits until it is ready.
func run(t *testing.T, contents map[string][]byte, o options) *server {
	t.Helper()
	s := &server{records: map[string]map[string]any{}}
	var err error
	if s.dir, err = os.MkdirTemp("", "policies-"); err != nil { //nolint:usetesting // sockets need short paths
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	s.publish(t, contents)
	for name, text := range map[string]string{
		"app.token": appToken, "support.token": supportToken,
		"durward.yaml": `bundles: [{dir: bundle` + o.bundle + `}]
listeners:
  - {address: "unix:open.sock", protocols: [ext_authz, native], client_address: peer}
  - address: "unix:named.sock"
    protocols: [ext_authz, native]
    client_address: peer
    callers:
      - {name: app, token_file: app.token, asserts: [dry_run]}
      - {name: support, token_file: support.token, asserts: [explain]}
admin: {address: 127.0.0.1:0}
audit: {sink: file, path: records.jsonl, on_full: wait}
budget: 10s
drain: 0s
`,
	} {
		put(t, filepath.Join(s.dir, name), text)
	}
	s.start(t, o.environment)
	return s
}

// start starts the process; it ends with the test.
func (s *server) start(t *testing.T, environment []string) {
	t.Helper()
	command := exec.Command(program, "serve", "--config", "durward.yaml")
	command.Dir, command.Stdout, command.Stderr = s.dir, &s.log, &s.log
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DURWARD_") {
			command.Env = append(command.Env, entry)
		}
	}
	command.Env = append(command.Env, environment...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.log.String())
		}
	})
	eventually(t, "readiness", func() bool {
		select {
		case <-ended:
			t.Fatal("the server ended")
		default:
		}
		for _, line := range s.lines("listening") {
			if all, ok := line["addresses"].([]any); ok {
				s.admin = fmt.Sprint(all[len(all)-1])
			}
		}
		if s.admin == "" {
			return false
		}
		status, _ := s.fetch(t, "/readyz")
		return status == http.StatusOK
	})
}

// publish makes the bundle's link lead to a new version, at once, and returns its revision.
func (s *server) publish(t *testing.T, contents map[string][]byte) (revision string) {
	t.Helper()
	s.versions++
	version := "version-" + strconv.Itoa(s.versions)
	for name, data := range contents {
		put(t, filepath.Join(s.dir, version, name), string(data))
	}
	link := filepath.Join(s.dir, "bundle")
	if err := errors.Join(os.Symlink(version, link+".next"), os.Rename(link+".next", link)); err != nil {
		t.Fatal(err)
	}
	return bundle.Revision(contents)
}

// reload publishes a bundle and waits until it is in force.
func (s *server) reload(t *testing.T, contents map[string][]byte) {
	t.Helper()
	revision := s.publish(t, contents)
	eventually(t, "revision "+revision, func() bool {
		return s.metrics(t)[`durward_bundle_info{bundle="shop",revision="`+revision+`"}`] == 1
	})
}

// refuses publishes a bundle and returns why the server refuses it.
func (s *server) refuses(t *testing.T, contents map[string][]byte) (why string) {
	t.Helper()
	const message = "bundle refused, the last good one stays in force"
	before := len(s.lines(message))
	s.publish(t, contents)
	eventually(t, "a refusal", func() bool { return len(s.lines(message)) > before })
	lines := s.lines(message)
	return fmt.Sprint(lines[len(lines)-1]["error"])
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
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

// lines are the lines of the server's log with a message.
func (s *server) lines(message string) (out []map[string]any) {
	for line := range strings.Lines(s.log.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == message {
			out = append(out, fields)
		}
	}
	return out
}

// fetch asks the admin listener.
func (s *server) fetch(t *testing.T, path string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// metrics returns the server's metrics, by name and labels as they are written.
func (s *server) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	_, body := s.fetch(t, "/metrics")
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && name != "#" {
			out[name] = n
		}
	}
	return out
}

// family returns the metrics of one name.
func (s *server) family(t *testing.T, name string) map[string]float64 {
	t.Helper()
	out := s.metrics(t)
	maps.DeleteFunc(out, func(k string, _ float64) bool { return !strings.HasPrefix(k, name+"{") })
	return out
}

// record waits for the record of a decision.
func (s *server) record(t *testing.T, id string) map[string]any {
	t.Helper()
	eventually(t, "the record of "+id, func() bool {
		data, err := os.ReadFile(filepath.Join(s.dir, "records.jsonl"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
			var fields map[string]any
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s.records[fmt.Sprint(fields["decision_id"])] = fields
		}
		return s.records[id] != nil
	})
	return s.records[id]
}

// The tokens of the named listener's callers: app may ask, support may ask why besides.
const (
	appToken     = "a-token-of-an-app-for-tests-only"
	supportToken = "a-token-of-the-support-for-tests-only"
)

// client returns the SDK's client of a listener: open, or named with a caller's token.
func (s *server) client(t *testing.T, listener, callerToken string) *authz.Client {
	t.Helper()
	o := []authz.Option{authz.WithInsecure(), authz.WithTimeout(20 * time.Second)}
	if callerToken != "" {
		o = append(o, authz.WithToken(callerToken))
	}
	client, err := authz.New("unix://"+filepath.Join(s.dir, listener+".sock"), o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// question is about the orders API.
func question(method, target, authorization string) authz.Request {
	h := &authz.HTTP{Method: method, Host: "orders.example.com", Target: target, Scheme: "https", Protocol: "HTTP/1.1"}
	if authorization != "" {
		h.Header = []authz.Field{{Name: "authorization", Value: authorization}}
	}
	return authz.Request{HTTP: h}
}

// ask asks, and wants the error to fit the decision.
func ask(t *testing.T, client *authz.Client, q authz.Request) authz.Decision {
	t.Helper()
	d, err := client.Check(t.Context(), q)
	if d.Allowed != (err == nil) || err != nil && !errors.Is(err, authz.ErrDenied) || d.Reason == "unanswered" {
		t.Fatalf("%+v with the error %v", d, err)
	}
	return d
}

// eventually asks until the answer is yes, and fails the test with what was waited for when it never is.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !yes() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain waited for: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
