package redis

import (
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

// What is wrong with a URL, and with settings that do not fit their mode.
var (
	ErrURL  = connection.ErrURL
	ErrMode = connection.ErrMode
)

// Mode says what stands at the addresses of Options.
type Mode = connection.Mode

// Modes.
const (
	Single   = connection.Single
	Sentinel = connection.Sentinel
	Cluster  = connection.Cluster
)

// connect turns the options into those of the client library. What matters is fixed here: nothing is retried (a script
// whose outcome is unknown may have charged), and the call's deadline bounds the socket.
func (o *Options) connect() error {
	o.base = &goredis.Options{
		Protocol:              2,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           max(dialTimeout, o.Timeout),
		DialerRetries:         1,
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout,
		PoolSize:              o.PoolSize,
		PipelinePoolSize:      -1, // none of its own: of pipelines there are those that follow ASK
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if err := o.target().Fill(o.base); err != nil {
		return err
	}
	o.addr = o.base.Addr
	return nil
}

func (o *Options) target() *connection.Target {
	return &connection.Target{
		Mode: o.Mode, URL: o.URL, Addresses: o.Addresses, Master: o.Master, Username: o.Username, Password: o.Password,
		SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword, TLS: o.TLS,
	}
}

// server returns the options of connections to a server that holds counters.
func (o *Options) server(addr string) *goredis.Options {
	c := *o.base
	c.Addr = addr
	return &c
}

// visit returns the options of a connection that asks a few questions, for which calls have too little time.
func (o *Options) visit(addr string) *goredis.Options {
	c := o.server(addr)
	c.PoolSize = 1
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = lookTimeout, lookTimeout, lookTimeout, lookTimeout
	return c
}
