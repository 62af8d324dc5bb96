// Package unary is what the adapters share of gRPC: methods that answer messages which cannot be read, too, and the decider of a
// server that was given none.
//
// Only adapters import it. It knows no message of any protocol, decides nothing, and never turns what a client sent into an
// RPC error: to a gateway that is an outage, which its clients must not bring about.
package unary

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Handler returns a method of a service description, by its full name. answer gets nil for a message with text that is not
// UTF-8, or that cannot be read for another reason; gRPC itself would answer it with an RPC error. What is no message of protobuf
// at all never reaches it.
func Handler[In any, Message interface {
	*In
	proto.Message
}, Out any](fullMethod string, answer func(context.Context, Message) (Out, error)) grpc.MethodHandler {
	return func(server any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		// A message without fields of its own keeps all bytes, unread.
		var sent emptypb.Empty
		if err := decode(&sent); err != nil {
			return nil, err // the answer is on its way
		}
		in := Message(new(In))
		if proto.Unmarshal(sent.ProtoReflect().GetUnknown(), in) != nil {
			in = nil // what was read before the fault is not all
		}
		if intercept == nil {
			return answer(ctx, in)
		}
		info := &grpc.UnaryServerInfo{Server: server, FullMethod: fullMethod}
		return intercept(ctx, in, info, func(ctx context.Context, _ any) (any, error) { return answer(ctx, in) })
	}
}

// Refuser is the decider of a server that was given none: an incomplete server refuses everything.
type Refuser struct{}

// Decide denies.
func (Refuser) Decide(context.Context, *request.Request) verdict.Verdict {
	return verdict.Verdict{Reason: verdict.Internal, Degraded: true}
}
