package ratelimit

import (
	"errors"
	"io"
	"net/http"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxJSON bounds a body. The largest message that is taken, 256 descriptors of 64 entries, is far larger than what gateways
// send.
const maxJSON = 1 << 20

// JSON returns the service as a handler: POST of a RateLimitRequest in the JSON form of protobuf, answered by a
// RateLimitResponse with status 200, or 429 where it is over a limit, as envoyproxy/ratelimit's /json does. Errors are
// text: 400 for what cannot have been meant, 403 for a caller that nobody knows, 500 for an outage.
func (s *Server) JSON() http.Handler { return http.HandlerFunc(s.serveJSON) }

func (s *Server) serveJSON(w http.ResponseWriter, r *http.Request) {
	in := &rlsv3.RateLimitRequest{}
	name, known := s.options.Caller(r.Context())
	if known { // nobody else makes us read
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			s.refuseJSON(w, r, name, http.StatusRequestEntityTooLarge, "the body has more than 1 MiB")
			return
		case err != nil || protojson.Unmarshal(body, in) != nil:
			s.refuseJSON(w, r, name, http.StatusBadRequest, "the body is no RateLimitRequest in the JSON form of protobuf")
			return
		}
	}
	out, err := s.ShouldRateLimit(r.Context(), in)
	if err != nil {
		writeText(w, httpStatus(err), status.Convert(err).Message())
		return
	}
	body, err := protojson.Marshal(out)
	if err != nil {
		writeText(w, http.StatusInternalServerError, string(verdict.Internal))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if out.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, _ = w.Write(body)
}

// refuseJSON answers and records a message that could not be read. The text holds nothing of it.
func (s *Server) refuseJSON(w http.ResponseWriter, r *http.Request, caller string, code int, text string) {
	s.options.Decider.Decide(r.Context(), &request.Request{Adapter: Name, Caller: caller, Invalid: string(verdict.MalformedRequest)})
	writeText(w, code, text)
}

func httpStatus(err error) int {
	code := status.Code(err)
	if code == codes.InvalidArgument {
		return http.StatusBadRequest
	}
	if code == codes.PermissionDenied {
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}
