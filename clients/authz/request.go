package authz

import (
	"unicode/utf8"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

const (
	// maxMessage bounds a question, below the 4 MiB that servers take by default. A longer one would be an RPC error, and
	// so something that a client could make FailOpen allow.
	maxMessage = 3 << 20
	// lineOverhead is what a header line costs besides its bytes, at most.
	lineOverhead = 16
)

// Request is one question: HTTP or Operation, not both.
type Request struct {
	// HTTP asks about a whole HTTP request.
	HTTP *HTTP
	// Operation asks about an action on a resource.
	Operation *Operation
	// DryRun asks for the answer alone: nothing is charged. The server must permit it.
	DryRun bool
	// Releases says that the program calls Decision.Release when what was allowed has ended, as the middleware does. Without it
	// limits on concurrency deny, unless the policy lets their permits expire.
	Releases bool
	// Explain asks for the reasons in Explanation.Policies; the answer stays the same. The server must permit it.
	Explain Explain
	// CorrelationID is the program's own name of the call, for the decision log.
	CorrelationID string
}

// Explain is how much of an explanation is wanted.
type Explain uint8

const (
	// ExplainNone wants the deciding rule alone. It is the zero value.
	ExplainNone Explain = iota
	// ExplainDecision wants the reasons: role paths for an allow, the nearest misses for a denial.
	ExplainDecision
	// ExplainAll wants every matching rule besides.
	ExplainAll
)

// HTTP is an HTTP request as it arrived: nothing is decoded, normalised or merged.
type HTTP struct {
	// Method, Host and Target are exactly as sent; Target is path and query.
	Method, Host, Target string
	// Scheme is "https" or "http", as the client's connection was; Protocol is "HTTP/1.1", "HTTP/2" and so on.
	Scheme, Protocol string
	// Header holds the header lines; lines of one name stay apart.
	Header []Field
	// Body is what is forwarded of the body; BodySize is all of it, -1 when unknown; BodyPartial says that Body is cut.
	Body        []byte
	BodySize    int64
	BodyPartial bool
	// PeerAddress is the other end of the client's connection, "address:port"; "" where there is none. The server must
	// permit this program to assert it, and Certificate and Service.
	PeerAddress string
	// ServerName is the server name of the client's TLS handshake.
	ServerName string
	// Certificate is the client's certificate in DER form, verified by this program.
	Certificate []byte
	// Service names the service instead of the host.
	Service string
}

// Field is one header line.
type Field struct {
	Name, Value string
}

// Operation is an action on a resource.
type Operation struct {
	// Service declares Action.
	Service, Action string
	// ResourceType, ResourceID and Properties describe the resource.
	ResourceType, ResourceID string
	Properties               map[string]string
	// Credential is the bearer token of whoever wants it done; "" asks as anonymous.
	Credential string
}

// message returns the wire form, or a denial for what cannot be sent. Such a denial is made here and in no failure mode's
// hands: clients choose these bytes.
func (r *Request) message() (*durwardv1.CheckRequest, *Decision) {
	out := &durwardv1.CheckRequest{DryRun: r.DryRun, Releases: r.Releases, CorrelationId: r.CorrelationID, Explain: durwardv1.Explain(r.Explain)}
	texts := []string{r.CorrelationID}
	size := 0
	if h := r.HTTP; h != nil && r.Operation == nil {
		out.Question = &durwardv1.CheckRequest_Http{Http: h.message()}
		texts = append(texts, h.Method, h.Host, h.Target, h.Scheme, h.Protocol, h.PeerAddress, h.ServerName, h.Service)
		size = len(h.Body) + len(h.Certificate)
		for i := range h.Header {
			texts = append(texts, h.Header[i].Name)
			size += len(h.Header[i].Value) + lineOverhead
		}
	}
	if op := r.Operation; op != nil && r.HTTP == nil {
		out.Question = &durwardv1.CheckRequest_Operation{Operation: op.message()}
		texts = append(texts, op.Service, op.Action, op.ResourceType, op.ResourceID, op.Credential)
		for name, value := range op.Properties {
			texts = append(texts, name, value)
			size += lineOverhead
		}
	}
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return nil, &Decision{Status: 400, Reason: "malformed_request", PublicReason: "invalid_request"}
		}
		size += len(s)
	}
	if size > maxMessage {
		return nil, &Decision{Status: 413, Reason: "body_too_large", PublicReason: "request_too_large"}
	}
	return out, nil
}

func (h *HTTP) message() *durwardv1.HTTPRequest {
	out := &durwardv1.HTTPRequest{
		Method:      h.Method,
		Scheme:      h.Scheme,
		Host:        h.Host,
		Target:      h.Target,
		Protocol:    h.Protocol,
		Headers:     make([]*durwardv1.HeaderLine, len(h.Header)),
		Body:        &durwardv1.Body{Content: h.Body, Size: h.BodySize, Partial: h.BodyPartial},
		PeerAddress: h.PeerAddress,
		ServerName:  h.ServerName,
		Certificate: h.Certificate,
		Service:     h.Service,
	}
	for i := range h.Header {
		out.Headers[i] = &durwardv1.HeaderLine{Name: h.Header[i].Name, Value: []byte(h.Header[i].Value)}
	}
	return out
}

func (o *Operation) message() *durwardv1.Operation {
	return &durwardv1.Operation{
		Service:    o.Service,
		Action:     o.Action,
		Resource:   &durwardv1.Resource{Type: o.ResourceType, Id: o.ResourceID, Properties: o.Properties},
		Credential: o.Credential,
	}
}
