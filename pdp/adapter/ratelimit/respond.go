package ratelimit

import (
	"math"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// respond renders a verdict. What is neither a yes nor a limit's no is an outage.
func (s *Server) respond(in *rlsv3.RateLimitRequest, v *verdict.Verdict) (*rlsv3.RateLimitResponse, error) {
	out := &rlsv3.RateLimitResponse{}
	switch {
	case v.Allowed():
		out.OverallCode = rlsv3.RateLimitResponse_OK
	case v.Reason == verdict.LimitExceeded:
		out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
	case v.Reason == verdict.MalformedRequest:
		return nil, status.Error(codes.InvalidArgument, v.Explanation.Detail)
	case v.Reason == verdict.NoSnapshot:
		return nil, status.Error(codes.Unavailable, "no rate limit configuration loaded")
	default:
		return nil, status.Error(codes.Unavailable, string(v.Reason))
	}
	if len(v.Descriptors) != len(in.GetDescriptors()) {
		return nil, status.Error(codes.Internal, string(verdict.Internal)) // a gateway expects one status for each
	}
	for i := range v.Descriptors {
		out.Statuses = append(out.Statuses, statusOf(&v.Descriptors[i]))
	}
	if state := closest(v.Descriptors); state != nil {
		out.ResponseHeadersToAdd = s.headers(state)
	}
	if s.options.Metadata {
		metadata, err := metadataOf(in, v.Descriptors)
		if err != nil { // the bundle's, which is made of what the decoder reads
			return nil, status.Error(codes.Internal, string(verdict.Internal))
		}
		out.DynamicMetadata = metadata
	}
	return out, nil
}

func statusOf(state *verdict.DescriptorState) *rlsv3.RateLimitResponse_DescriptorStatus {
	out := &rlsv3.RateLimitResponse_DescriptorStatus{Code: rlsv3.RateLimitResponse_OK}
	if state.Unlimited {
		out.LimitRemaining = math.MaxUint32
	}
	limit := state.Limit
	if limit == nil {
		return out
	}
	if state.Over {
		out.Code = rlsv3.RateLimitResponse_OVER_LIMIT
	}
	unit := rlsv3.RateLimitResponse_RateLimit_Unit_value[strings.ToUpper(limit.Unit)]
	out.CurrentLimit = &rlsv3.RateLimitResponse_RateLimit{
		Name: limit.Name, RequestsPerUnit: clamp(limit.RequestsPerUnit), Unit: rlsv3.RateLimitResponse_RateLimit_Unit(unit),
	}
	out.LimitRemaining = clamp(state.Remaining)
	out.DurationUntilReset = durationpb.New(state.Reset)
	return out
}

func clamp(n int64) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

// closest returns the descriptor that headers tell of: the last that refuses by itself, else the first of those with the
// least left (shouldRateLimitWorker in envoyproxy/ratelimit's src/service/ratelimit.go); nil where nothing is limited.
func closest(states []verdict.DescriptorState) *verdict.DescriptorState {
	var found *verdict.DescriptorState
	refused := false
	for i := range states {
		switch s := &states[i]; {
		case s.Limit == nil:
		case s.Over && !s.Quota:
			found, refused = s, true
		case !refused && (found == nil || s.Remaining < found.Remaining):
			found = s
		}
	}
	return found
}

func (s *Server) headers(state *verdict.DescriptorState) []*corev3.HeaderValue {
	var out []*corev3.HeaderValue
	add := func(name string, value int64) {
		if name != "" {
			out = append(out, &corev3.HeaderValue{Key: name, Value: strconv.FormatInt(value, 10)})
		}
	}
	add(s.options.Headers.Limit, state.Limit.RequestsPerUnit)
	add(s.options.Headers.Remaining, state.Remaining)
	add(s.options.Headers.Reset, int64((state.Reset+time.Second-1)/time.Second))
	return out
}
