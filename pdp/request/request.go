// Package request holds the one shape in which a question reaches the engine, free of any wire type.
//
// An adapter fills a Request once, from its own protocol; every later package reads it and none changes it.
// The package depends on the standard library only, and any package may import it. It does not judge: what is
// allowed is decided by the pipeline's stages.
package request

import (
	"net/netip"
	"time"
)

// Mode says what a decision may change outside the process.
type Mode uint8

const (
	// Enforce charges limits and marks one-time proofs as used. It is the zero value.
	Enforce Mode = iota
	// Dry answers as Enforce would, and changes nothing.
	Dry
)

// Explain says how much of an explanation is wanted.
type Explain uint8

const (
	// ExplainNone wants the deciding rule alone. It is the zero value and costs nothing.
	ExplainNone Explain = iota
	// ExplainDecision wants the reasons: role paths for an allow, the nearest misses for a denial.
	ExplainDecision
	// ExplainAll wants every matching rule besides.
	ExplainAll
)

// Request is one question: may this call pass? It is immutable after the adapter handed it over.
type Request struct {
	// Adapter names the wire protocol that brought the question ("ext_authz", "native").
	Adapter string
	// Caller names who asked: a gateway or a service, as its listener knows it.
	Caller string
	// CorrelationID is the caller's own id of the call (x-request-id), for the record only; it may be forged.
	CorrelationID string
	// Time is when the request reached the gateway, as the caller says, for the record only; the engine's clock decides.
	Time time.Time
	// Mode is Enforce unless a caller that may ask for it wants a dry run.
	Mode Mode
	// Releases is set for a caller that gives the permits of an allow back when the request has ended.
	Releases bool
	// Explain is how much is wanted besides the answer; the answer is the same. Only callers that may ask get more.
	Explain Explain

	// Method is the HTTP method, exactly as sent.
	Method string
	// Scheme is "https" or "http" as the gateway saw the client's connection; "" when unknown.
	Scheme string
	// Host is the authority, exactly as sent: case, port and trailing dot included.
	Host string
	// Target is the raw request target: path and query, no decoding done.
	Target string
	// Protocol is "HTTP/1.1", "HTTP/2" and so on.
	Protocol string
	// Header holds the client's header fields without pseudo headers, in the order received where the wire keeps it.
	Header Header
	// Body is what the gateway forwarded of the body.
	Body Body

	// Peer is the other end of the gateway's own connection.
	Peer Peer
	// Client is the address that the listener's address rule found; the zero value when it could not.
	Client netip.Addr
	// SNI is the server name of the client's TLS handshake; "" when unknown.
	SNI string
	// Certificate is the client's verified TLS certificate, nil without one.
	Certificate *Certificate
	// Extensions are attributes that the gateway's configuration adds to a route; clients cannot set them.
	Extensions map[string]string
	// SelectExtension takes the service that the extension durward.service names, whatever the host is, and no service
	// without it. Listeners set it for gateways that route every host to one API, where a client could else choose the
	// laxer service.
	SelectExtension bool

	// Operation asks about an action on a resource without an HTTP request; nil for HTTP requests.
	Operation *Operation

	// Descriptors asks for limits alone; nil for all other requests.
	Descriptors *Descriptors
	// Failure is set where there is nothing to decide: the API behind let the request fail, and says so. Nil for questions.
	Failure *Failure
	// Invalid says why the adapter could not turn the wire message into a sound request; "" when it could.
	// It is a reason code of package verdict, and the engine denies with it before any stage.
	Invalid string
}

// Operation is a question without an HTTP request: may the bearer of Credential do Action on a resource?
type Operation struct {
	// Service is the name of the service that declares the action.
	Service string
	// Action is the name of the action, as routes declare it.
	Action string
	// ResourceType, ResourceID and Properties describe the resource.
	ResourceType, ResourceID string
	Properties               map[string]string
	// Credential is a bearer token; "" asks as anonymous.
	Credential string
}

// Failure is what an API tells of a request that was allowed and then failed for a reason that only the API could see, such as a
// wrong password.
type Failure struct {
	// DecisionID is the id of the decision that allowed it, as the caller says.
	DecisionID string
}

// Peer is an end of a transport connection.
type Peer struct {
	// Address is the IP address and port; the zero value for a Unix socket or when unknown.
	Address netip.AddrPort
	// Principal is the peer's name as the gateway verified it, for the record only: its kind is not known.
	Principal string
}

// Body is the part of a request body that the gateway forwarded.
type Body struct {
	// Bytes is the forwarded prefix; nil when the gateway does not forward bodies or there was none.
	Bytes []byte
	// Partial is set when the gateway cut the body off.
	Partial bool
	// Size is the size in bytes as the gateway counts it; -1 when unknown.
	Size int64
}
