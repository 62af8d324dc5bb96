package grpcauthz

import (
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/durward-pdp/durward/clients/authz"
)

// errorDomain is the domain of the reasons in ErrorInfo.
const errorDomain = "durward"

// failure is the status of a denial. It holds what the client may know: the public reason and the decision's id.
func failure(d *authz.Decision) error {
	code := grpcCode(d.Status)
	public := d.PublicReason
	switch {
	case public != "":
	case code == codes.Unavailable:
		public = "temporarily_unavailable"
	default:
		public = "access_denied"
	}
	text := public
	info := &errdetails.ErrorInfo{Reason: public, Domain: errorDomain}
	if d.ID != "" {
		text += "; decision " + d.ID
		info.Metadata = map[string]string{"decision_id": d.ID}
	}
	details := []protoadapt.MessageV1{info}
	if d.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(d.RetryAfter)})
	}
	plain := status.New(code, text)
	if full, err := plain.WithDetails(details...); err == nil {
		return full.Err()
	}
	return plain.Err()
}

// grpcCode maps the status of a denial to a gRPC code, which is never OK.
func grpcCode(status int) codes.Code {
	switch status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusRequestHeaderFieldsTooLarge:
		return codes.InvalidArgument
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusMethodNotAllowed:
		return codes.Unimplemented
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	}
	if status >= http.StatusInternalServerError {
		return codes.Unavailable
	}
	return codes.PermissionDenied
}
