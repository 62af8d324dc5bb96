package authz

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/health" // health checks of replicas are done only where this is linked in
	"google.golang.org/grpc/status"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// serviceConfig spreads checks over all replicas that say they serve. There is no retry policy: a check that a server may
// have seen may have charged limits. What surely reached no server gRPC sends again by itself.
const serviceConfig = `{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"durward.v1.DecisionService"}}`

// ownPrefix begins the names of headers that servers set by default.
const ownPrefix = "x-durward-"

// Client asks Durward servers. It is safe for concurrent use.
type Client struct {
	options options
	conn    *grpc.ClientConn
	service durwardv1.DecisionServiceClient
}

// New returns a client for the servers at a gRPC target: "dns:///host:port" for all addresses of a name, "host:port", or
// "unix:PATH". It does not wait for a connection. It talks TLS unless WithInsecure is given.
func New(target string, opts ...Option) (*Client, error) {
	o := options{timeout: defaultTimeout}
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	dial := append(o.dial[:len(o.dial):len(o.dial)],
		grpc.WithTransportCredentials(o.transport()),
		// What a name server says must not add retries.
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithDefaultServiceConfig(serviceConfig),
	)
	if o.token != "" {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer{token: o.token, insecure: o.insecure}))
	}
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, fmt.Errorf("authz client for %q: %w", target, err)
	}
	return &Client{options: o, conn: conn, service: durwardv1.NewDecisionServiceClient(conn)}, nil
}

// Close ends the client's connections.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("closing the authz client: %w", err)
	}
	return nil
}

// Check asks one question. The error is nil if, and only if, the decision is an allow; see ErrDenied and its companions.
// The decision is filled in either case.
func (c *Client) Check(ctx context.Context, r Request) (Decision, error) {
	message, refused := r.message()
	if refused != nil {
		return *refused, denied(refused, nil)
	}
	bounded, cancel := context.WithTimeout(ctx, c.options.timeout)
	defer cancel()
	answer, err := c.service.Check(bounded, message)
	if err != nil {
		code := status.Code(err)
		d, err := c.unanswered(&r, code, isOutage(ctx, bounded, code))
		c.remember(&d, message)
		return d, err
	}
	d := decision(answer)
	if held := answer.GetPermits(); len(held) > 0 {
		d.Permits = &Permits{client: c, held: held}
	}
	if !d.Allowed {
		_ = d.Release(ctx) // of an allow that cannot be carried out; else they expire
		return d, denied(&d, nil)
	}
	c.remember(&d, message)
	return d, nil
}

// isOutage reports whether a check failed for want of a server, and not because its caller gave up. Where a deadline of
// the caller's own ends the check, that is the caller's doing before it has come, too: server and transport may see it a
// little earlier, and in a gRPC server it is the client's word.
func isOutage(caller, bounded context.Context, code codes.Code) bool {
	if caller.Err() != nil {
		return false
	}
	own, hasOwn := caller.Deadline()
	end, _ := bounded.Deadline()
	return code == codes.Unavailable || code == codes.DeadlineExceeded && (!hasOwn || own.After(end))
}

// unanswered follows the failure mode. It opens for nothing that the program's own clients could bring about.
func (c *Client) unanswered(r *Request, code codes.Code, outage bool) (Decision, error) {
	if c.options.mode == FailOpen && outage {
		d := Decision{Allowed: true, FailedOpen: true, Degraded: true, Status: http.StatusOK, Reason: "failed_open"}
		d.RemoveUpstream = c.forgeable(r.HTTP)
		return d, nil
	}
	d := Decision{Status: http.StatusServiceUnavailable, Degraded: true, Reason: "unanswered", PublicReason: "temporarily_unavailable"}
	// The server's own words stay out of the text, since error texts travel; the code says enough.
	return d, denied(&d, fmt.Errorf("asking the authz server: %w", status.Error(code, code.String())))
}

// forgeable returns the names of the request's headers that only a server may set, in every spelling that some programs
// take for the same: servers remove as many.
func (c *Client) forgeable(h *HTTP) []string {
	if h == nil {
		return nil
	}
	var out []string
	for i := range h.Header {
		name := folded(h.Header[i].Name)
		own := strings.HasPrefix(name, ownPrefix)
		for _, other := range c.options.strip {
			own = own || name == folded(other)
		}
		if own {
			out = append(out, strings.ToLower(h.Header[i].Name))
		}
	}
	return out
}

// folded returns the form that all spellings of a header name share in CGI-style environments: lower case, and whatever
// is neither letter nor digit the same.
func folded(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + ('a' - 'A')
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			return c
		}
		return '-'
	}, name)
}
