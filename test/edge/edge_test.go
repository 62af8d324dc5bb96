package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// common is what most tests share: a gateway with all variants in front of two replicas and Redis.
var common *edge

// binary is the durward program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "durward-edge-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "durward")
	build := exec.Command("go", "build", "-o", binary, "github.com/durward-pdp/durward/cmd/durward")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building durward: %v\n%s", err, out)
		return 1
	}
	common, err = startCommon(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := common.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// edge is a stack and what the tests know of it.
type edge struct {
	*stack.Stack
	issuer    *issuer
	doors     map[string]string
	strangers bool         // some listeners are not let in by Durward
	decided   atomic.Int64 // answers through the gateway with a decision
	numbers   atomic.Int64

	arrivals sync.Mutex
	compared int64 // the requests that checkArrivals knows of

	mu      sync.Mutex
	offsets map[string]int64
	records map[string][]record // by decision
}

func startCommon(dir string) (*edge, error) {
	backends, err := serveBackends()
	if err != nil {
		return nil, err
	}
	if err := writeForeign(dir); err != nil {
		return nil, err
	}
	e, err := start(stack.Options{
		Bundle: bundleFiles(), Envoy: gateway(backends, dir),
		Settings: func(text string) string { return patientServer(text) + "log: {level: debug}\n" },
		// Everything that grpc-go can say is looked through, too.
		Environment: []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99"},
	})
	if err != nil {
		return nil, err
	}
	e.strangers = true
	return e, nil
}

// patientServer and patientGateway give decisions all the time that a busy machine may need, where time is not what is
// tested. The gateway waits longer than the server takes, as in the shipped files.
func patientServer(text string) string {
	text = strings.Replace(text, "redis: {url:", "redis: {timeout: 2s, url:", 1) // where there is a Redis
	return text + "budget: 8s\n"
}

func patientGateway(text string) string {
	for pattern, with := range map[string]string{
		`(authority: durward\}\n +timeout: )\S+\n`: "${1}10s\n",
		// Envoy takes the longest pause for the time of each try, too.
		`max_interval: [0-9.]+s`: "max_interval: 9s",
	} {
		re := regexp.MustCompile(pattern)
		if n := len(re.FindAllString(text, -1)); n != 1 {
			panic(fmt.Sprintf("envoy.yaml holds %s %d times", pattern, n))
		}
		text = re.ReplaceAllString(text, with)
	}
	return text
}

// start starts a stack with keys of its own.
func start(o stack.Options) (*edge, error) {
	i, err := newIssuer()
	if err != nil {
		return nil, err
	}
	o.Binary, o.FreePorts, o.KeySet = binary, true, i.keys
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	found, err := doors(ctx, s.EnvoyAdmin)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &edge{Stack: s, issuer: i, doors: found, offsets: map[string]int64{}, records: map[string][]record{}}, nil
}

// own starts a stack for one test, with the tests' services in its bundle.
func own(t *testing.T, o stack.Options) *edge {
	t.Helper()
	o.Bundle = bundleFiles()
	e, err := start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// watch makes the end of the test check what the gateway counted and what reached the API.
func (e *edge) watch(t *testing.T) *edge {
	t.Helper()
	t.Cleanup(func() {
		e.checkStats(t)
		e.checkArrivals(t)
	})
	return e
}

func soon(t testing.TB) context.Context {
	t.Helper()
	// Not the test's own context: it has ended when the test cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// number returns another number every time: whose limits are counted must be new when tests run again.
func (e *edge) number() int64 { return e.numbers.Add(1) }

// record is the record of a decision.
type record map[string]any

// text returns a member by its dotted name, "" where there is none.
func (r record) text(name string) string {
	var value any = map[string]any(r)
	for part := range strings.SplitSeq(name, ".") {
		object, _ := value.(map[string]any)
		value = object[part]
	}
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// recordsOf returns the records of a decision that are there.
func (e *edge) recordsOf(id string) ([]record, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.Replicas {
		if err := e.readOn(r.Records); err != nil {
			return nil, err
		}
	}
	return e.records[id], nil
}

// readOn reads the lines of a record file that are new and complete.
func (e *edge) readOn(name string) error {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.NewSectionReader(file, e.offsets[name], 1<<30))
	if err != nil {
		return err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	e.offsets[name] += int64(len(data))
	for line := range bytes.Lines(data) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		id := r.text("decision_id")
		e.records[id] = append(e.records[id], r)
	}
	return nil
}

// record waits for the record of a decision.
func (e *edge) record(t testing.TB, id string) record {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		found, err := e.recordsOf(id)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[0]
		}
	}
	t.Fatalf("no record of decision %q", id)
	return nil
}

// request returns the text of an HTTP/1.1 request without a body. Fields are whole lines.
func request(method, host, target string, fields ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nhost: " + host + "\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text + "connection: close\r\n\r\n"
}

func bearer(token string) string { return "authorization: Bearer " + token }

// reply is what came back from the gateway.
type reply struct {
	status int
	header http.Header
	body   []byte
	// id is the decision's, "" when there was none.
	id string
	// arrived holds what the API says that it got; nil when it did not answer.
	arrived *arrived
}

type arrived struct {
	Answer      string              `json:"answer"`
	Identity    map[string][]string `json:"identity"`
	Credentials bool                `json:"credentials_arrived"`
}

const decisionHeader = "x-durward-decision-id"

// send sends text as it is to a listener, over a connection of its own.
func (e *edge) send(t testing.TB, door, text string, certificate ...tls.Certificate) *reply {
	t.Helper()
	r, err := e.trySend(t, door, text, certificate...)
	if err != nil {
		t.Fatalf("%s: %.200q: %v", door, text, err)
	}
	return r
}

func (e *edge) trySend(t testing.TB, door, text string, certificate ...tls.Certificate) (*reply, error) {
	t.Helper()
	conn, err := e.dial(t, door, certificate...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return nil, err
	}
	method, _, _ := strings.Cut(text, " ")
	r, err := readReply(bufio.NewReader(conn), method)
	if err == nil && r.id != "" {
		e.decided.Add(1)
	}
	return r, err
}

func (e *edge) dial(t testing.TB, door string, certificate ...tls.Certificate) (io.ReadWriteCloser, error) {
	t.Helper()
	address, ok := e.doors[door]
	if !ok {
		t.Fatalf("the gateway has no listener %s", door)
	}
	return dial(soon(t), address, door != clearDoor, &tls.Config{
		RootCAs: e.Authority.Pool(), ServerName: "edge.example.com", Certificates: certificate, MinVersion: tls.VersionTLS12,
	})
}

func readReply(from *bufio.Reader, method string) (*reply, error) {
	response, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return takeReply(response, method)
}

func takeReply(response *http.Response, method string) (*reply, error) {
	r := &reply{status: response.StatusCode, header: response.Header, id: response.Header.Get(decisionHeader)}
	if r.status == http.StatusSwitchingProtocols {
		return r, nil
	}
	var err error
	if r.body, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return nil, err
	}
	if method != http.MethodHead && r.id == "" && bytes.Contains(r.body, []byte(`"credentials_arrived"`)) {
		r.arrived = &arrived{}
		if err := json.Unmarshal(r.body, r.arrived); err != nil {
			return nil, err
		}
		if ids := r.arrived.Identity[decisionHeader]; len(ids) == 1 {
			r.id = ids[0]
		}
	}
	return r, nil
}

// problem is the body of a denial.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Code     string `json:"code"`
	Decision string `json:"decision_id"`
}

// denied checks a denial: what the client is told, and what the record knows. It returns the record.
func (e *edge) denied(t testing.TB, r *reply, status int, reason, public string) record {
	t.Helper()
	if r.status != status || r.arrived != nil || r.id == "" {
		t.Errorf("status %d, decision %q, want a denial with %d; body %.300s", r.status, r.id, status, r.body)
		return nil
	}
	var told problem
	if err := json.Unmarshal(r.body, &told); err != nil {
		t.Errorf("body %.300q: %v", r.body, err)
	}
	if got := r.header.Get("content-type"); got != "application/problem+json" {
		t.Errorf("content-type %q", got)
	}
	if told.Status != status || told.Code != public || told.Decision != r.id {
		t.Errorf("body %s, want status %d, code %s, decision %s", r.body, status, public, r.id)
	}
	if reason != public && strings.Contains(string(r.body), reason) {
		t.Errorf("the body tells the exact reason: %s", r.body)
	}
	found := e.record(t, r.id)
	if found.text("effect") != "deny" || found.text("reason") != reason || found.text("status") != fmt.Sprint(status) {
		t.Errorf("record %s %s %s (%s), want deny %d %s", found.text("effect"), found.text("status"), found.text("reason"), found.text("detail"), status, reason)
	}
	return found
}

// allowed checks that a request reached the API and that its record says why. It returns the record.
func (e *edge) allowed(t testing.TB, r *reply) record {
	t.Helper()
	if r.arrived == nil || r.id == "" {
		t.Errorf("status %d, want the API's answer; body %.300s", r.status, r.body)
		return record{}
	}
	found := e.record(t, r.id)
	if found.text("effect") != "allow" || found.text("reason") != "allowed" {
		t.Errorf("record %v, want allow", found)
	}
	return found
}

// checkArrivals compares what reached the API with the records: every request there was allowed, once, by a decision
// about the same method and host, and nothing that some server could read as a path below /admin was allowed to
// anybody but root.
func (e *edge) checkArrivals(t *testing.T) {
	t.Helper()
	e.arrivals.Lock()
	defer e.arrivals.Unlock()
	calls, all := e.API.Calls(), e.API.Requests()
	if calls-e.compared > int64(len(all)) {
		t.Errorf("%d requests reached the API since the last look, and it remembers %d", calls-e.compared, len(all))
	}
	e.compared = calls
	twice := map[string]bool{}
	for _, seen := range all {
		ids := seen.Header.Values(decisionHeader)
		if len(ids) != 1 || twice[ids[0]] {
			t.Errorf("%s %s %s reached the API with decisions %q, or one of another request", seen.Method, seen.Host, seen.Target, ids)
			continue
		}
		twice[ids[0]] = true
		found := e.record(t, ids[0])
		switch {
		case found.text("effect") != "allow":
			t.Errorf("%s %s reached the API and was denied: %v", seen.Method, seen.Target, found)
		case found.text("request.method") != seen.Method:
			t.Errorf("%s %s reached the API, decided was %s", seen.Method, seen.Target, found.text("request.method"))
		case found.text("request.host") != plainHost(seen.Host):
			t.Errorf("%s reached the API, decided was host %s", seen.Host, found.text("request.host"))
		case strings.HasPrefix(laxest(seen.Target)+"/", "/admin/") && found.text("subject.key") != "user:corp:root":
			t.Errorf("%s reached the API for %s, by route %s", seen.Target, found.text("subject.key"), found.text("route"))
		}
	}
}

func plainHost(host string) string {
	host, _, _ = strings.Cut(host, ":")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

var parameters = regexp.MustCompile(`;[^/]*`)

// laxest reads a target as the most obliging of servers would.
func laxest(target string) string {
	p, _, _ := strings.Cut(target, "?")
	for range 4 {
		if decoded, err := url.PathUnescape(p); err == nil {
			p = decoded
		}
	}
	p = strings.ReplaceAll(p, `\`, "/")
	return strings.ToLower(path.Clean("/" + parameters.ReplaceAllString(p, "")))
}

// stackRecord is a record as the stack reads it.
type stackRecord = stack.Record
