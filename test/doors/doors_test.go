package doors

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
)

// field is a header line.
type field struct{ name, value string }

// question is one HTTP request of a client.
type question struct {
	method, host, target string
	header               []field
	body                 string
	chunked              bool
	plain                bool   // the client's connection has no TLS
	cert, key            []byte // of the client, in PEM
	service              string // named by the caller
}

// lines are the header lines as they come over the wire; doorName stands in for the text "DOOR" in values.
func (q *question) lines(doorName string) []field {
	out := slices.Clone(q.header)
	for i := range out {
		out[i].value = strings.ReplaceAll(out[i].value, "DOOR", doorName)
	}
	switch {
	case q.chunked:
		out = append(out, field{"transfer-encoding", "chunked"})
	case q.body != "":
		out = append(out, field{"content-length", strconv.Itoa(len(q.body))})
	}
	return out
}

func (q *question) size() int64 {
	if q.chunked {
		return -1
	}
	return int64(len(q.body))
}

func (q *question) scheme() string {
	if q.plain {
		return "http"
	}
	return "https"
}

// answer is what a door says. Members that a door does not show are left as the first door's by compare.
type answer struct {
	Status                                                  int
	Reason, Stage, Policy, Rule, RuleID, Limit, Bundle, Rev string
	Degraded                                                bool
	Set, Removed                                            []string // what the API behind receives and does not
	Response                                                []string // headers of the client's response
	Body                                                    string   // without the decision's id
	decision                                                string
}

// door answers questions.
type door struct {
	name string
	ask  func(ctx context.Context, q *question) (answer, error)
}

// moving are response headers whose values change with time.
var moving = []string{"retry-after", "ratelimit"}

// upstreamLine and responseLine write a header without what differs from decision to decision.
func upstreamLine(name, value string) string {
	if name == "x-durward-decision-id" && value != "" {
		value = "*"
	}
	return name + ": " + value
}

func responseLine(name, value string) string {
	if slices.Contains(moving, name) {
		value = "*"
	}
	return name + ": " + value
}

var decisionID = regexp.MustCompile(`"decision_id":"([0-9a-f]+)"`)

// anonymous takes the decision's id, which must be there, out of a body.
func anonymous(body, id string) (string, error) {
	if body == "" {
		return "", nil
	}
	found := decisionID.FindStringSubmatch(body)
	if len(found) != 2 || id != "" && found[1] != id {
		return "", fmt.Errorf("the body %s does not name the decision %q", body, id)
	}
	return decisionID.ReplaceAllString(body, `"decision_id":"*"`), nil
}

func dial(t *testing.T, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// extAuthz is the gateway's door: Envoy's message, with the header lines in the list or joined in the map.
func extAuthz(t *testing.T, target, name string, joined bool, token string) door {
	client := authv3.NewAuthorizationClient(dial(t, target))
	return door{name: name, ask: func(ctx context.Context, q *question) (answer, error) {
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		in := gatewayMessage(q, name, joined)
		out, err := client.Check(ctx, in)
		if err != nil {
			return answer{}, err
		}
		return readGateway(out)
	}}
}

func gatewayMessage(q *question, doorName string, joined bool) *authv3.CheckRequest {
	h := &authv3.AttributeContext_HttpRequest{
		Id: "1", Method: q.method, Host: q.host, Path: q.target, Scheme: q.scheme(), Protocol: "HTTP/1.1", Size: q.size(),
	}
	pseudo := []field{{":method", q.method}, {":authority", q.host}, {":path", q.target}, {":scheme", q.scheme()}}
	for _, f := range append(pseudo, q.lines(doorName)...) {
		if f.value == "" && f.name[0] == ':' {
			continue
		}
		if !joined {
			if h.HeaderMap == nil {
				h.HeaderMap = &corev3.HeaderMap{}
			}
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: f.name, RawValue: []byte(f.value)})
			continue
		}
		if h.Headers == nil {
			h.Headers = map[string]string{}
		}
		if before, twice := h.Headers[f.name]; twice {
			f.value = before + "," + f.value
		}
		h.Headers[f.name] = f.value
	}
	a := &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: h},
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4242}}}}},
	}
	if q.cert != nil {
		a.Source.Certificate = strings.ReplaceAll(url.QueryEscape(string(q.cert)), "+", "%20")
	}
	if q.service != "" {
		a.ContextExtensions = map[string]string{"durward.service": q.service}
	}
	return &authv3.CheckRequest{Attributes: a}
}

func readGateway(out *authv3.CheckResponse) (answer, error) {
	var a answer
	text := func(name string) string { return out.GetDynamicMetadata().GetFields()[name].GetStringValue() }
	a.Reason, a.Stage, a.Policy, a.Rule, a.RuleID, a.Limit = text("reason"), text("stage"), text("policy"), text("rule"), text("rule_id"), text("limit")
	a.Bundle, a.Rev, a.decision = text("bundle"), text("revision"), text("decision_id")
	a.Degraded = out.GetDynamicMetadata().GetFields()["degraded"].GetBoolValue()
	if ok := out.GetOkResponse(); ok != nil && out.GetStatus().GetCode() == 0 {
		a.Status = http.StatusOK
		for _, h := range ok.GetHeaders() {
			a.Set = append(a.Set, upstreamLine(h.GetHeader().GetKey(), h.GetHeader().GetValue()))
		}
		a.Removed = ok.GetHeadersToRemove()
		for _, h := range ok.GetResponseHeadersToAdd() {
			a.Response = append(a.Response, responseLine(h.GetHeader().GetKey(), h.GetHeader().GetValue()))
		}
		return a, nil
	}
	denied := out.GetDeniedResponse()
	if denied == nil || out.GetStatus().GetCode() == 0 {
		return a, fmt.Errorf("neither an allow nor a denial: %v", out)
	}
	a.Status = int(denied.GetStatus().GetCode())
	for _, h := range denied.GetHeaders() {
		// These belong to the adapter and to the middleware; authz.Client shows decisions without them.
		switch name := h.GetHeader().GetKey(); name {
		case "cache-control", "content-type", "x-durward-decision-id":
		default:
			a.Response = append(a.Response, responseLine(name, h.GetHeader().GetValue()))
		}
	}
	var err error
	a.Body, err = anonymous(denied.GetBody(), a.decision)
	return a, err
}

func newClient(t *testing.T, target, token string) *authz.Client {
	t.Helper()
	options := []authz.Option{authz.WithInsecure(), authz.WithTimeout(10 * time.Second)}
	if token != "" {
		options = append(options, authz.WithToken(token))
	}
	client, err := authz.New(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// readDecision is what the SDK makes of a decision; an error must go with a denial, and with a denial alone.
func readDecision(d authz.Decision, err error) (answer, error) {
	if d.Allowed != (err == nil) || err != nil && !errors.Is(err, authz.ErrDenied) || d.Reason == "unanswered" {
		return answer{}, fmt.Errorf("allowed %v with the error %w", d.Allowed, err)
	}
	a := answer{
		Status: d.Status, Reason: d.Reason, Stage: d.Stage, Policy: d.Explanation.Policy, Rule: d.Explanation.Rule, RuleID: d.Explanation.RuleID,
		Limit: d.Explanation.Limit, Bundle: d.Explanation.Bundle, Rev: d.Explanation.Revision, Degraded: d.Degraded, Removed: d.RemoveUpstream, decision: d.ID,
	}
	for _, f := range d.SetUpstream {
		a.Set = append(a.Set, upstreamLine(f.Name, f.Value))
	}
	for _, f := range d.SetResponse {
		a.Response = append(a.Response, responseLine(f.Name, f.Value))
	}
	return a, nil
}

// sdk is the door of a Go program that asks for itself.
func sdk(t *testing.T, target, token string) door {
	const name = "sdk"
	client := newClient(t, target, token)
	return door{name: name, ask: func(ctx context.Context, q *question) (answer, error) {
		address := "127.0.0.1:4242"
		if token != "" {
			address = "" // this caller may not assert it
		}
		return readDecision(client.Check(ctx, sdkRequest(q, name, address)))
	}}
}

func sdkRequest(q *question, doorName, address string) authz.Request {
	h := &authz.HTTP{
		Method: q.method, Host: q.host, Target: q.target, Scheme: q.scheme(), Protocol: "HTTP/1.1",
		BodySize: q.size(), Service: q.service, PeerAddress: address,
	}
	for _, f := range q.lines(doorName) {
		h.Header = append(h.Header, authz.Field{Name: f.name, Value: f.value})
	}
	if block, _ := pem.Decode(q.cert); block != nil {
		h.Certificate = block.Bytes
	}
	return authz.Request{HTTP: h}
}

// middleware is the door of an HTTP server that httpauthz protects. Requests reach it over real connections.
type middleware struct {
	mu      sync.Mutex
	answers []answer
	failed  error
	tls     *httptest.Server
	plain   *httptest.Server
}

func (m *middleware) observe(_ *http.Request, d authz.Decision, err error) {
	a, failed := readDecision(d, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers, m.failed = append(m.answers, a), errors.Join(m.failed, failed)
}

func (m *middleware) last() (a answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.answers) != 1 || m.failed != nil {
		return a, fmt.Errorf("%d decisions, want 1: %w", len(m.answers), m.failed)
	}
	a, m.answers = m.answers[0], nil
	return a, nil
}

func httpDoor(t *testing.T, target string) door {
	m := &middleware{}
	handler := httpauthz.New(newClient(t, target, ""), httpauthz.WithObserver(m.observe))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "the API")
	}))
	m.plain = httptest.NewServer(handler)
	t.Cleanup(m.plain.Close)
	m.tls = httptest.NewUnstartedServer(handler)
	m.tls.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: shared.authority.Pool(), MinVersion: tls.VersionTLS12}
	m.tls.StartTLS()
	t.Cleanup(m.tls.Close)
	return door{name: "httpauthz", ask: m.ask}
}

func (m *middleware) ask(ctx context.Context, q *question) (answer, error) {
	conn, err := m.connect(ctx, q)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = conn.Close() }()
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nhost: %s\r\n", q.method, q.target, q.host)
	for _, f := range q.lines("httpauthz") {
		text.WriteString(f.name + ": " + f.value + "\r\n")
	}
	text.WriteString("\r\n")
	if q.chunked {
		fmt.Fprintf(&text, "%x\r\n%s\r\n0\r\n\r\n", len(q.body), q.body)
	} else {
		text.WriteString(q.body)
	}
	if _, err := io.WriteString(conn, text.String()); err != nil {
		return answer{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: q.method})
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return m.read(q, response, string(body))
}

// read holds what the client of the middleware sees against the decision that the middleware was given.
func (m *middleware) read(q *question, response *http.Response, body string) (answer, error) {
	a, err := m.last()
	if err != nil {
		return a, err
	}
	if response.StatusCode != a.Status {
		return a, fmt.Errorf("the client sees status %d, the decision says %d", response.StatusCode, a.Status)
	}
	for _, line := range a.Response {
		name, value, _ := strings.Cut(line, ": ")
		if got := response.Header.Values(name); !slices.Contains(got, value) && value != "*" || len(got) == 0 {
			return a, fmt.Errorf("the client sees %s: %q, the decision says %q", name, got, value)
		}
	}
	if a.Status == http.StatusOK {
		if body != "the API" && q.method != http.MethodHead {
			return a, fmt.Errorf("an allowed request got %q", body)
		}
		return a, nil
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Durward-Decision-Id": a.decision, "Content-Type": "application/problem+json"} {
		if got := response.Header.Get(name); got != want && (name != "Content-Type" || q.method != http.MethodHead) {
			return a, fmt.Errorf("the client sees %s: %q, want %q", name, got, want)
		}
	}
	a.Body, err = anonymous(body, a.decision)
	return a, err
}

func (m *middleware) connect(ctx context.Context, q *question) (net.Conn, error) {
	if q.plain {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp", m.plain.Listener.Addr().String())
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if q.cert != nil {
		pair, err := tls.X509KeyPair(q.cert, q.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	dialer := tls.Dialer{Config: config}
	return dialer.DialContext(ctx, "tcp", m.tls.Listener.Addr().String())
}
