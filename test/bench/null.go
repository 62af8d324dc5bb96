package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// alwaysOK is the yardstick: a stock grpc-go ext_authz server that always says OK. It costs what the transport costs.
type alwaysOK struct {
	authv3.UnimplementedAuthorizationServer
}

func (alwaysOK) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &rpc.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

// ServeNull is the whole of the null server's process: it listens on a free loopback port, writes where, and serves until it is
// told to end.
func ServeNull(ctx context.Context, out io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the null server: %w", err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, alwaysOK{})
	defer context.AfterFunc(ctx, server.Stop)()
	if err := json.NewEncoder(out).Encode(map[string]any{"msg": "listening", "addresses": []string{listener.Addr().String()}}); err != nil {
		return fmt.Errorf("telling the null server's address: %w", err)
	}
	if err := server.Serve(listener); err != nil {
		return fmt.Errorf("serving null: %w", err)
	}
	return nil
}
