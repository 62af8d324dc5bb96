package decisiontest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Defaults of a request. The address is one of those that documentation may use (RFC 5737).
const (
	defaultMethod   = "GET"
	defaultScheme   = "https"
	defaultProtocol = "HTTP/1.1"
	defaultAddress  = "192.0.2.1"
	defaultAdapter  = "ext_authz"
	// noAddress is what a request says whose client's address nobody knows.
	noAddress = "unknown"
	// caller is who asks, for records and metrics.
	caller = "test"
)

// ErrRequest is wrapped by the errors of a request that no gateway could report.
var ErrRequest = errors.New("request")

// Parts are what a request in YAML only names.
type Parts struct {
	// Token is a raw token; "" for none. Scheme is what it comes with, Bearer where it is left out; Proof is its DPoP proof, "" for none.
	Token, Scheme, Proof string
	// Certificate is the client's certificate; nil for none.
	Certificate *request.Certificate
	// BodyFile is the content of the request's body_file.
	BodyFile []byte
	// Time is when the request reached the gateway.
	Time time.Time
}

// NewRequest returns the request that an adapter would hand to the engine for the YAML form in.
func NewRequest(in *suite.Request, parts Parts) (*request.Request, error) {
	r := &request.Request{
		Adapter: orDefault(in.Adapter, defaultAdapter), Caller: caller, Time: parts.Time,
		Method: orDefault(in.Method, defaultMethod), Scheme: orDefault(in.Scheme, defaultScheme), Host: in.Host, Target: in.Path,
		Protocol: orDefault(in.Protocol, defaultProtocol), SNI: in.SNI, Certificate: parts.Certificate, Extensions: maps.Clone(in.Extensions),
	}
	r.Releases = r.Adapter == "native" // as the SDK's middleware does
	switch {
	case in.Operation != nil:
		return r, takeOperation(r, in, parts.Token)
	case in.Domain != "" || len(in.Descriptors) > 0 || in.HitsAddend != 0:
		return takeDescriptors(in, parts.Time)
	}
	if r.Target == "" {
		return nil, fmt.Errorf("%w: it needs a path", ErrRequest)
	}
	if r.Scheme != "https" && r.Scheme != "http" {
		return nil, fmt.Errorf("%w: the scheme is https or http, not %q", ErrRequest, r.Scheme)
	}
	takeHeader(r, in, &parts)
	if err := takeBody(r, in, parts.BodyFile); err != nil {
		return nil, err
	}
	if err := takeAddress(r, in.Address); err != nil {
		return nil, err
	}
	return r, nil
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func takeOperation(r *request.Request, in *suite.Request, token string) error {
	op := in.Operation
	rest := *in
	rest.Token, rest.Certificate, rest.Subject, rest.Address, rest.Adapter, rest.Extensions, rest.Operation = "", "", "", "", "", nil, nil
	if !reflect.ValueOf(rest).IsZero() {
		return fmt.Errorf("%w: an operation is no HTTP request; remove its method, host, path, headers, body and the like", ErrRequest)
	}
	if op.Service == "" || op.Action == "" {
		return fmt.Errorf("%w: an operation needs a service and an action", ErrRequest)
	}
	// Services ask so through the native protocol, which has none of what describes an HTTP request.
	r.Adapter, r.Method, r.Scheme, r.Protocol = orDefault(in.Adapter, "native"), "", "", ""
	r.Operation = &request.Operation{
		Service: op.Service, Action: op.Action, ResourceType: op.ResourceType, ResourceID: op.ResourceID,
		Properties: maps.Clone(op.Properties), Credential: token,
	}
	return takeAddress(r, orDefault(in.Address, noAddress))
}

// takeDescriptors returns a request for limits alone. Nothing that describes a client's request can stand beside them.
func takeDescriptors(in *suite.Request, now time.Time) (*request.Request, error) {
	rest := *in
	rest.Domain, rest.Descriptors, rest.HitsAddend, rest.Adapter = "", nil, 0, ""
	if !reflect.ValueOf(rest).IsZero() {
		return nil, fmt.Errorf("%w: descriptors ask for limits alone; remove method, host, path, token and the like", ErrRequest)
	}
	if in.Domain == "" || len(in.Descriptors) == 0 {
		return nil, fmt.Errorf("%w: limits are asked for by a domain and a list of descriptors", ErrRequest)
	}
	if in.HitsAddend < 0 || in.HitsAddend > math.MaxUint32 {
		return nil, errHits
	}
	out := &request.Descriptors{Domain: in.Domain, Hits: uint32(in.HitsAddend), List: make([]request.Descriptor, len(in.Descriptors))}
	for i := range in.Descriptors {
		if err := takeDescriptor(&out.List[i], &in.Descriptors[i]); err != nil {
			return nil, err
		}
	}
	return &request.Request{Adapter: orDefault(in.Adapter, "ratelimit"), Caller: caller, Time: now, Descriptors: out}, nil
}

// errHits is returned for numbers that the protocol cannot carry.
var errHits = fmt.Errorf("%w: hits and requests_per_unit are from 0 to %d", ErrRequest, uint32(math.MaxUint32))

func takeDescriptor(out *request.Descriptor, in *suite.Descriptor) error {
	for _, e := range in.Entries {
		out.Pairs = append(out.Pairs, request.Pair(e))
	}
	if in.HitsAddend != nil {
		if *in.HitsAddend < 0 {
			return errHits
		}
		hits := uint64(*in.HitsAddend)
		out.Hits = &hits
	}
	if in.Limit != nil {
		if in.Limit.RequestsPerUnit < 0 || in.Limit.RequestsPerUnit > math.MaxUint32 {
			return errHits
		}
		out.Override = &request.Override{RequestsPerUnit: uint32(in.Limit.RequestsPerUnit), Unit: strings.ToLower(in.Limit.Unit)}
	}
	return nil
}

// refuse keeps the first reason for which an adapter would not take the message.
func refuse(r *request.Request, reason verdict.Reason) {
	if r.Invalid == "" {
		r.Invalid = string(reason)
	}
}

// tokenHere stands in a header's value for the request's token, for services that take it from another place than Authorization.
const tokenHere = "{token}"

// takeHeader keeps the lines as an adapter does: names in lower case, the host in its own field.
func takeHeader(r *request.Request, in *suite.Request, parts *Parts) {
	lines := make([]suite.Line, 0, len(in.Headers)+len(in.Lines)+2)
	for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
		lines = append(lines, suite.Line{Name: name, Value: in.Headers[name]})
	}
	lines = append(lines, in.Lines...)
	placed := false
	for i := range lines {
		if parts.Token != "" && strings.Contains(lines[i].Value, tokenHere) {
			placed, lines[i].Value = true, strings.ReplaceAll(lines[i].Value, tokenHere, parts.Token)
		}
	}
	if parts.Token != "" && !placed {
		lines = append(lines, suite.Line{Name: "authorization", Value: orDefault(parts.Scheme, "Bearer") + " " + parts.Token})
	}
	if parts.Proof != "" {
		lines = append(lines, suite.Line{Name: "dpop", Value: parts.Proof})
	}
	hosts := 0
	for _, line := range lines {
		name := strings.ToLower(line.Name)
		switch {
		case !request.ValidName(line.Name) || !request.CleanValue(line.Value):
			refuse(r, verdict.HeaderInvalid)
		case name == "host":
			if hosts++; r.Host == "" && hosts == 1 {
				r.Host = line.Value
			}
			if hosts > 1 || r.Host != line.Value {
				refuse(r, verdict.DuplicateHeader)
			}
		default:
			r.Header = append(r.Header, request.Field{Name: name, Value: line.Value})
		}
	}
	if strings.Contains(r.Host, ",") || !r.Header.SingleCredential() {
		refuse(r, verdict.DuplicateHeader)
	}
	for _, field := range r.Header {
		if field.Name == "x-forwarded-proto" && !strings.EqualFold(strings.Trim(field.Value, " \t"), "https") {
			r.Scheme = "http" // it can lower the scheme, never raise it
		}
	}
	if value, n := r.Header.Get("x-request-id"); n == 1 {
		r.CorrelationID = request.Printable(value, 128)
	}
}

func takeBody(r *request.Request, in *suite.Request, file []byte) error {
	body := &r.Body
	switch {
	case in.Body != nil && in.BodyFile != "":
		return fmt.Errorf("%w: body or body_file, not both", ErrRequest)
	case in.Body != nil:
		body.Bytes = []byte(*in.Body)
	case in.BodyFile != "":
		body.Bytes = slices.Clone(file)
	}
	body.Size = int64(len(body.Bytes))
	if in.Size != nil {
		if *in.Size < body.Size && *in.Size != -1 {
			return fmt.Errorf("%w: a size of %d, and a body of %d bytes; -1 is an unknown size", ErrRequest, *in.Size, body.Size)
		}
		body.Partial = len(body.Bytes) > 0 && *in.Size != body.Size
		body.Size = *in.Size
	}
	if len(body.Bytes) == 0 {
		body.Bytes = nil
		if length, n := r.Header.Get("content-length"); body.Size == 0 && (n > 0 && strings.Trim(length, "0") != "" || r.Header.Count("transfer-encoding") > 0) {
			body.Size = -1 // the client announced a body that the gateway did not forward
		}
	}
	return nil
}

func takeAddress(r *request.Request, written string) error {
	if written == noAddress {
		return nil
	}
	address, err := netip.ParseAddr(orDefault(written, defaultAddress))
	if err != nil {
		return fmt.Errorf("%w: %q is no IP address; write unknown for a client whose address nobody knows", ErrRequest, written)
	}
	r.Client = address.Unmap().WithZone("")
	r.Peer.Address = netip.AddrPortFrom(r.Client, 0)
	return nil
}
