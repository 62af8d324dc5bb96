package authz

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// FailMode says what becomes of a call when no server answers.
type FailMode uint8

const (
	// FailClosed denies with 503. It is the zero value and the default.
	FailClosed FailMode = iota
	// FailOpen lets the call pass when no server can be reached or none answers in time. What clients sent under the names
	// of FailOpenHeaders does not pass. Any other failure, and a call that its own caller gave up, is denied.
	FailOpen
)

// defaultTimeout bounds a check.
const defaultTimeout = 250 * time.Millisecond

// Option configures a Client.
type Option func(*options)

type options struct {
	tls      *tls.Config
	insecure bool
	timeout  time.Duration
	mode     FailMode
	strip    []string
	token    string
	dial     []grpc.DialOption
}

// WithTLS sets the TLS configuration, for a private root or a client certificate. Without it the system's roots count.
// Versions below TLS 1.2 are never used.
func WithTLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithInsecure talks in plain text: for Unix sockets and loopback. Whoever can read or change the traffic can forge
// answers and read credentials.
func WithInsecure() Option { return func(o *options) { o.insecure = true } }

// WithTimeout bounds every check; the caller's own deadline counts too. The default is 250 ms.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithFailMode says what becomes of a call when no server answers. The default is FailClosed.
func WithFailMode(mode FailMode) Option { return func(o *options) { o.mode = mode } }

// FailOpenHeaders names the request headers that servers set in this installation. When FailOpen lets a call pass, what the
// client sent under these names, or under any that begins with "x-durward-", is removed.
func FailOpenHeaders(names ...string) Option {
	return func(o *options) { o.strip = append(o.strip, names...) }
}

// WithToken sends a bearer token that names this program to the server.
func WithToken(token string) Option { return func(o *options) { o.token = token } }

// WithDialOptions adds gRPC's own options: interceptors, a stats handler, a dialer. They cannot weaken the transport's
// security, which is set after them.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, opts...) }
}

func (o *options) check() error {
	switch {
	case o.insecure && o.tls != nil:
		return fmt.Errorf("%w: WithTLS and WithInsecure contradict each other", ErrOptions)
	case o.timeout <= 0:
		return fmt.Errorf("%w: timeout %v, want more than 0", ErrOptions, o.timeout)
	case o.mode > FailOpen:
		return fmt.Errorf("%w: unknown fail mode %d", ErrOptions, o.mode)
	}
	for _, name := range o.strip {
		if !validName(name) {
			return fmt.Errorf("%w: %q is not a header name", ErrOptions, name)
		}
	}
	return nil
}

func (o *options) transport() credentials.TransportCredentials {
	if o.insecure {
		return insecure.NewCredentials()
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.tls != nil {
		config = o.tls.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	}
	return credentials.NewTLS(config)
}

// bearer sends the program's own token. Over plain text it does so only where WithInsecure was spelled out.
type bearer struct {
	token    string
	insecure bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return !b.insecure }
