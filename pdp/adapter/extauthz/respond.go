package extauthz

import (
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// decisionHeader carries the decision's id to the client of a denied request.
const decisionHeader = "x-durward-decision-id"

// respond is the one place that makes a CheckResponse. It starts from a denial, because a response without a
// status allows, and turns it into an allow in one line. On an error the response is a denial without the
// verdict's obligations.
func respond(v *verdict.Verdict, r *request.Request) (*authv3.CheckResponse, error) {
	denied := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: http.StatusForbidden}}
	out := &authv3.CheckResponse{
		Status:          &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: metadata(v),
	}
	fields, err := responseOptions(v.Obligations.SetResponse)
	if err != nil {
		return out, err
	}
	if v.Allowed() {
		ok, err := okResponse(&v.Obligations)
		if err != nil {
			return out, err
		}
		ok.ResponseHeadersToAdd = fields
		out.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: ok}
		out.Status.Code = int32(codes.OK)
		return out, nil
	}
	code := v.HTTPStatus()
	out.Status.Code = int32(grpcCode(code)) //nolint:gosec // codes end at 16
	out.Status.Message = string(publicReason(v))
	denied.Status.Code = typev3.StatusCode(code) //nolint:gosec // 300 to 599
	own, body := explain(v, r, code)
	for _, f := range own {
		if !setsName(v.Obligations.SetResponse, f.Name) {
			denied.Headers = append(denied.Headers, option(f, overwrite))
		}
	}
	denied.Headers = append(denied.Headers, fields...)
	denied.Body = body
	return out, nil
}

// explain returns the adapter's own headers of a denial, and its body.
func explain(v *verdict.Verdict, r *request.Request, code int) ([]verdict.Field, string) {
	fields := []verdict.Field{{Name: "cache-control", Value: "no-store"}}
	id := safeID(v.DecisionID)
	if id != "" {
		fields = append(fields, verdict.Field{Name: decisionHeader, Value: id})
	}
	if isGRPC(r.Header) {
		// Envoy puts the body into grpc-message where that is not set, so it is plain text, and short.
		text := grpcText(v, id)
		return append(fields,
			verdict.Field{Name: "grpc-status", Value: grpcStatus(code)},
			verdict.Field{Name: "grpc-message", Value: percentEncode(text)}), text
	}
	if code < http.StatusBadRequest {
		return fields, ""
	}
	// HEAD gets the body too: the gateway keeps it back, and sends the headers that GET would get (RFC 9110, section 9.3.2).
	return append(fields, verdict.Field{Name: "content-type", Value: "application/problem+json"}), problem(v, code, id)
}

// describesBody lists the headers that belong to whoever writes the body: the adapter on a denial, the API on an allow.
func describesBody(name string) bool {
	switch name {
	case "content-type", "content-encoding", "grpc-status", "grpc-message":
		return true
	}
	return false
}

// okResponse carries the request headers of an allow. Every action overwrites, and says so: its zero value would
// append to what the client sent.
func okResponse(o *verdict.Obligations) (*authv3.OkHttpResponse, error) {
	if len(o.SetUpstream) > maxFields || len(o.RemoveUpstream) > maxRemovals {
		return nil, errUnsafe
	}
	out := &authv3.OkHttpResponse{Headers: make([]*corev3.HeaderValueOption, 0, len(o.SetUpstream))}
	total := 0
	for i, f := range o.SetUpstream {
		// Two values for one name leave the winner to the gateway.
		if !mayBeSet(f) || setsName(o.SetUpstream[:i], f.Name) {
			return nil, errUnsafe
		}
		if total += len(f.Name) + len(f.Value); total > maxFieldBytes {
			return nil, errUnsafe
		}
		out.Headers = append(out.Headers, option(f, overwrite))
	}
	for _, name := range o.RemoveUpstream {
		if !mayBeRemoved(name) {
			return nil, errUnsafe
		}
		// Envoy removes after it sets, without regard to case: a name in both lists would be gone.
		if !setsName(o.SetUpstream, strings.ToLower(name)) {
			out.HeadersToRemove = append(out.HeadersToRemove, name)
		}
	}
	return out, nil
}

// responseOptions carries the headers of the client's response. A name with several values keeps them as lines of
// their own, which only appending does; cookies append always, so that the API's own stay.
func responseOptions(fields []verdict.Field) ([]*corev3.HeaderValueOption, error) {
	if len(fields) > maxFields {
		return nil, errUnsafe
	}
	out := make([]*corev3.HeaderValueOption, 0, len(fields))
	total := 0
	for i, f := range fields {
		if !mayBeSet(f) || describesBody(f.Name) {
			return nil, errUnsafe
		}
		if total += len(f.Name) + len(f.Value); total > maxFieldBytes {
			return nil, errUnsafe
		}
		action := overwrite
		if f.Name == "set-cookie" || setsName(fields[:i], f.Name) || setsName(fields[i+1:], f.Name) {
			action = appendLine
		}
		out = append(out, option(f, action))
	}
	return out, nil
}

const (
	overwrite  = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	appendLine = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
)

// option uses value, never raw_value: Envoy 1.40 sets the header to nothing for the latter.
func option(f verdict.Field, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: f.Name, Value: f.Value},
		AppendAction: action,
	}
}

func setsName(fields []verdict.Field, name string) bool {
	for i := range fields {
		if fields[i].Name == name {
			return true
		}
	}
	return false
}
