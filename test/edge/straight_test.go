package edge

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// question is a request that goes straight to a replica, as a gateway would put it.
type question struct {
	method, host, path string
	lines              [][2]string
	peer               string // the address that the gateway saw; "" for 127.0.0.1
	extensions         map[string]string
}

func ask(path string, lines ...[2]string) question {
	return question{method: "GET", host: "edge.example.com", path: path, lines: lines}
}

func authorization(token string) [2]string { return [2]string{"authorization", "Bearer " + token} }

// message renders a question with the header as lines or as a map, the two encodings that Envoy has.
func (q question) message(raw bool) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{Id: "1", Method: q.method, Path: q.path, Host: q.host, Scheme: "https", Protocol: "HTTP/1.1"}
	lines := append([][2]string{{":method", q.method}, {":path", q.path}, {":authority", q.host}, {":scheme", "https"}, {"x-forwarded-proto", "https"}}, q.lines...)
	if raw {
		http.HeaderMap = &corev3.HeaderMap{}
	} else {
		http.Headers = map[string]string{}
	}
	for _, l := range lines {
		if raw {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: l[0], RawValue: []byte(l[1])})
			continue
		}
		name := strings.ToLower(l[0])
		if have, ok := http.Headers[name]; ok {
			l[1] = have + "," + l[1]
		}
		http.Headers[name] = l[1]
	}
	peer := q.peer
	if peer == "" {
		peer = "127.0.0.1"
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: http},
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: peer, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 40000}},
		}}},
		ContextExtensions: q.extensions,
	}}
}

// connect connects to the first replica as the gateway does.
func (e *edge) connect(t *testing.T) authv3.AuthorizationClient {
	t.Helper()
	certificate, err := e.Certificate("gateway")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(e.Replicas[0].Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: e.Authority.Pool(), ServerName: "durward.example.com", Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// answer is what a replica said to a question, and its record.
type answer struct {
	*authv3.CheckResponse
	record record
}

// put puts a question in both encodings, expects the same decision for both, and returns the latter answer.
func (e *edge) put(t *testing.T, client authv3.AuthorizationClient, q question) answer {
	t.Helper()
	joined := e.putOnce(t, client, q.message(false))
	raw := e.putOnce(t, client, q.message(true))
	if joined.outcome() != raw.outcome() {
		t.Errorf("%s %s: %s with headers and %s with header_map", q.host, q.path, joined.outcome(), raw.outcome())
	}
	return raw
}

func (e *edge) putOnce(t *testing.T, client authv3.AuthorizationClient, m *authv3.CheckRequest) answer {
	t.Helper()
	out, err := client.Check(soon(t), m, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("asking: %v", err)
	}
	id := out.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	a := answer{out, e.record(t, id)}
	// Only the status of the response decides; whatever else it holds must say the same.
	if passed := out.GetStatus() != nil && out.GetStatus().GetCode() == 0; passed != (a.record.text("effect") == "allow") || passed != (out.GetOkResponse() != nil) {
		t.Errorf("response %v, record %s", out, a.outcome())
	}
	return a
}

// outcome is the decision in one line.
func (a answer) outcome() string {
	return fmt.Sprintf("%s %s %s", a.record.text("effect"), a.record.text("status"), a.record.text("reason"))
}

func (a answer) want(t *testing.T, name, outcome string) {
	t.Helper()
	if a.outcome() != outcome {
		t.Errorf("%s: %s (%s), want %s", name, a.outcome(), a.record.text("detail"), outcome)
	}
}
