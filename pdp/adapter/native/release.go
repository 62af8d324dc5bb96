package native

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// maxPermits bounds the permits of a message: no answer holds more.
const maxPermits = 32

// releaseMethod is the method as it was generated.
func releaseMethod() grpc.MethodDesc {
	methods := durwardv1.DecisionService_ServiceDesc.Methods
	return methods[slices.IndexFunc(methods, func(m grpc.MethodDesc) bool { return m.MethodName == "Release" })]
}

// Release gives the permits of one answer back. No decision depends on it, so that an error is what it seems; its text holds
// nothing of the message.
func (s *Server) Release(ctx context.Context, in *durwardv1.ReleaseRequest) (out *durwardv1.ReleaseResponse, err error) {
	defer func() {
		if recover() != nil {
			s.options.OnPanic()
			out, err = nil, status.Error(codes.Internal, "an internal fault")
		}
	}()
	switch _, _, known := s.options.Caller(ctx); {
	case !known:
		return nil, status.Error(codes.PermissionDenied, "this listener does not know the caller")
	case s.options.Permits == nil:
		return nil, status.Error(codes.Unimplemented, "this server gives no permits out")
	case len(in.GetPermits()) > maxPermits:
		return nil, status.Errorf(codes.InvalidArgument, "more than %d permits", maxPermits)
	case len(in.GetPermits()) == 0:
		return &durwardv1.ReleaseResponse{}, nil
	}
	switch err := s.options.Permits.Release(ctx, in.GetPermits()); {
	case errors.Is(err, verdict.ErrPermit):
		return nil, status.Error(codes.InvalidArgument, "these are not the permits of one answer")
	case err != nil:
		return nil, status.Error(codes.Unavailable, "the permits could not be given back, and will expire")
	}
	return &durwardv1.ReleaseResponse{}, nil
}
