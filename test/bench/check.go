package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

// clients is how many addresses the requests come from, so that there is more than one counter.
const clients = 200

// checkCase is one kind of request. The null server says OK to all of them.
type checkCase struct {
	name, method, path, bearer string
	status                     int32 // of Durward's answer: 0 or the HTTP status of a denial
}

// runCheck compares whole servers: the one built from this tree (rules, an ES256 token that it has seen before, one limit in
// memory, records to a file) and a stock grpc-go server that always says OK. Each has a process of its own, so that its processor
// time can be told from the client's.
func runCheck(ctx context.Context, s Setup) (rows []Row, err error) {
	now := time.Now()
	i, err := newIssuer("ES256", now)
	if err != nil {
		return nil, err
	}
	durward, err := startDurward(ctx, s, i.keys)
	if err != nil {
		return nil, err
	}
	defer durward.close()
	null, err := startNull(ctx, s)
	if err != nil {
		return nil, err
	}
	defer null.close()

	cases := []checkCase{
		{name: "allow_with_token", method: "GET", path: "/orders/7?expand=lines", bearer: i.bearer},
		{name: "deny_without_token", method: "GET", path: "/orders/7?expand=lines", status: 401},
		{name: "public_route", method: "GET", path: "/health"},
	}
	matches := make([]match, len(cases))
	for n, c := range cases {
		requests := c.requests()
		matches[n] = match{name: "ext_authz_check/" + c.name, rounds: s.Rounds, contenders: []contender{
			{subject: "durward", round: durward.round(s.Load, requests, c.status)},
			{subject: "null", round: null.round(s.Load, requests, 0)},
		}}
	}
	if rows, err = runAll(ctx, matches); err != nil {
		return nil, err
	}
	return rows, durward.recorded(len(cases) * s.Rounds * s.Load.Requests)
}

// server is a process that answers Check.
type server struct {
	*program
	conn    *grpc.ClientConn
	records string // file, of Durward
}

func connect(p *program, address string) (*server, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("connecting to %s: %w", p.name, err)
	}
	return &server{program: p, conn: conn}, nil
}

func startNull(ctx context.Context, s Setup) (*server, error) {
	p, err := start(ctx, "null", s.Dir, s.Null...)
	if err != nil {
		return nil, err
	}
	addresses, err := p.addresses(ctx)
	if err != nil {
		p.stop()
		return nil, err
	}
	return connect(p, addresses[0])
}

func (s *server) close() {
	_ = s.conn.Close()
	s.stop()
}

// round asks the requests in turn.
func (s *server) round(load Load, requests []*authv3.CheckRequest, status int32) func(context.Context) (sample, error) {
	client := authv3.NewAuthorizationClient(s.conn)
	meters := map[string]meter{"server_processor_time": s.processorTime, "client_processor_time": ownTime}
	return func(ctx context.Context) (sample, error) {
		return load.measure(ctx, "wall_per_request", meters, func(ctx context.Context, i int) error {
			response, err := client.Check(ctx, requests[i%len(requests)])
			if err != nil {
				return err
			}
			code, denied := codes.Code(response.GetStatus().GetCode()), response.GetDeniedResponse()
			if (code == codes.OK) != (status == 0) || int32(denied.GetStatus().GetCode()) != status {
				return fmt.Errorf("%w: %s, HTTP status %d", errAnswer, code, denied.GetStatus().GetCode())
			}
			return nil
		})
	}
}

// recorded ends the server and reports decisions without a record: a server that drops records has done less than the others.
func (s *server) recorded(decisions int) error {
	s.close()
	text, err := os.ReadFile(s.records)
	if err != nil {
		return fmt.Errorf("reading the records: %w", err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines != decisions {
		return fmt.Errorf("%w: %d records of %d decisions", errRecords, lines, decisions)
	}
	return nil
}

var errRecords = errors.New("records are missing")

// requests are what a gateway sends for a call, from several clients.
func (c checkCase) requests() []*authv3.CheckRequest {
	address := func(ip string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	headers := map[string]string{
		":authority": "orders.example.com", ":method": c.method, ":path": c.path, ":scheme": "https",
		"accept": "application/json", "user-agent": "curl/8.9.1", "x-request-id": "0b5c9d1e-6f0a-4e0c-9a55-5d8c1f1e2a30",
		"x-forwarded-proto": "https",
	}
	if c.bearer != "" {
		headers["authorization"] = "Bearer " + c.bearer
	}
	requests := make([]*authv3.CheckRequest, clients)
	for i := range requests {
		requests[i] = &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Source:      address(fmt.Sprint("198.51.100.", i+1), 40123),
			Destination: address("192.0.2.10", 8443),
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Id: "1", Method: c.method, Scheme: "https", Host: "orders.example.com", Path: c.path, Protocol: "HTTP/2", Headers: headers,
			}},
			ContextExtensions: map[string]string{"durward.service": "orders"},
		}}
	}
	return requests
}
