package authz_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/durward-pdp/durward/clients/authz"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

func ExampleClient_Check() {
	// A server that allows reads and nothing else; a program would name a real one.
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	durwardv1.RegisterDecisionServiceServer(server, readsOnly{})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	client, err := authz.New("passthrough:///durward", authz.WithInsecure(), authz.WithDialOptions(
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	for _, action := range []string{"orders:read", "orders:refund"} {
		_, err := client.Check(context.Background(), authz.Request{Operation: &authz.Operation{
			Service: "orders", Action: action, ResourceType: "order", ResourceID: "7",
		}})
		switch {
		case err == nil:
			fmt.Println(action, "may pass")
		case errors.Is(err, authz.ErrUnavailable):
			fmt.Println(action, "could not be decided")
		default:
			fmt.Println(action, err)
		}
	}
	// Output:
	// orders:read may pass
	// orders:refund denied: access_denied (decision 8f2a)
}

type readsOnly struct {
	durwardv1.UnimplementedDecisionServiceServer
}

func (readsOnly) Check(_ context.Context, in *durwardv1.CheckRequest) (*durwardv1.CheckResponse, error) {
	if in.GetOperation().GetAction() == "orders:read" {
		return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW}, nil
	}
	return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_DENY, HttpStatus: 403, PublicReason: "access_denied", DecisionId: "8f2a"}, nil
}
