package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	defaultTimeout = 20 * time.Millisecond
	defaultPool    = 64
	dialTimeout    = time.Second // dials go on behind the callers, whose own deadline is Timeout
)

// ErrURL is wrapped by every error about a Redis URL. Their texts never hold any part of the URL but its host.
var ErrURL = errors.New("invalid Redis URL")

// Options configure a Store.
type Options struct {
	// URL is redis://[user[:password]@]host[:port][/db], rediss:// for TLS, or unix://[user[:password]@]/path[?db=n].
	URL string
	// Username and Password, if set, stand in for those of the URL.
	Username, Password string
	// TLS refines rediss://; nil verifies the host's name against the system's roots with TLS 1.2 or later.
	TLS *tls.Config
	// Timeout bounds each decision whatever happens; 0 means 20 ms. One that has waited half of it for a lane is not sent.
	Timeout time.Duration
	// PoolSize bounds the connections; 0 means 64.
	PoolSize int
	// Batch says how decisions share calls.
	Batch BatchOptions
	// Breaker says when to stop asking.
	Breaker BreakerOptions
	// Now is the clock of deadlines and of the breaker; it is mandatory. Counters go by the clock of the server.
	Now func() time.Time
	// Random returns numbers in [0,1) for jitter; nil means math/rand/v2.
	Random func() float64
	// ScriptTime, in tests, gives the script its time; nil means the clock of the server.
	ScriptTime func() time.Time
	// OnCall, if set, hears about each call; it must not block.
	OnCall func(Call)
	// OnHealth, if set, hears each change of the breaker's state; it must not block.
	OnHealth func(Health)
}

// Call is what an observer learns of one call.
type Call struct {
	Operation string // take, settle, peek, or mixed
	Decisions int
	Limits    int // of all decisions
	Duration  time.Duration
	Err       error // nil when answered; wraps ErrOpen when not asked
}

func (o *Options) complete() error {
	switch {
	case o.Now == nil:
		return errors.New("redis store of limits: no clock")
	case o.Timeout < 0 || o.PoolSize < 0:
		return errors.New("redis store of limits: negative timeout or pool size")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.PoolSize == 0 {
		o.PoolSize = defaultPool
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if err := o.Batch.complete(o.PoolSize); err != nil {
		return err
	}
	return o.Breaker.complete()
}

// client turns the options into those of the client library. What matters is fixed here: nothing is retried (a script
// whose outcome is unknown may have charged), and the call's deadline bounds the socket.
func (o *Options) client() (*goredis.Options, error) {
	c := &goredis.Options{
		Protocol:              2,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           max(dialTimeout, o.Timeout),
		DialerRetries:         1,
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout,
		PoolSize:              o.PoolSize,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if err := parse(c, o.URL, o.TLS); err != nil {
		return nil, err
	}
	if o.Username != "" {
		c.Username = o.Username
	}
	if o.Password != "" {
		c.Password = o.Password
	}
	return c, nil
}

// parse reads the URL itself because the errors of net/url and of the client library quote what they were given, and
// passwords with it.
func parse(c *goredis.Options, raw string, conf *tls.Config) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: it cannot be parsed (characters of the password such as / # ? @ must be percent-encoded)", ErrURL)
	}
	c.Username = u.User.Username()
	c.Password, _ = u.User.Password()
	switch u.Scheme {
	case "redis", "rediss":
		return parseNetwork(c, u, conf)
	case "unix":
		return parseUnix(c, u, conf)
	default: // a URL without a scheme can carry the password anywhere
		return fmt.Errorf("%w: the scheme is none of redis, rediss, unix", ErrURL)
	}
}

func parseNetwork(c *goredis.Options, u *url.URL, conf *tls.Config) error {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return fmt.Errorf("%w: no host", ErrURL)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return fmt.Errorf("%w: parameters are not accepted", ErrURL)
	}
	if port == "" {
		port = "6379"
	}
	c.Network, c.Addr = "tcp", net.JoinHostPort(host, port)
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		if err := parseDB(c, path); err != nil {
			return err
		}
	}
	if u.Scheme == "redis" {
		if conf != nil {
			return fmt.Errorf("%w: TLS settings want the scheme rediss", ErrURL)
		}
		return nil
	}
	c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if conf != nil {
		c.TLSConfig = conf.Clone()
	}
	if c.TLSConfig.ServerName == "" {
		c.TLSConfig.ServerName = host
	}
	return nil
}

func parseUnix(c *goredis.Options, u *url.URL, conf *tls.Config) error {
	query, err := url.ParseQuery(u.RawQuery)
	db := query.Get("db")
	query.Del("db")
	switch {
	case err != nil || len(query) > 0 || u.Fragment != "":
		return fmt.Errorf("%w: no parameter but db is accepted", ErrURL)
	case u.Host != "" || u.Path == "" || u.Path == "/":
		return fmt.Errorf("%w: a unix URL has an absolute path and no host", ErrURL)
	case conf != nil:
		return fmt.Errorf("%w: TLS settings want the scheme rediss", ErrURL)
	}
	c.Network, c.Addr = "unix", u.Path
	if db == "" {
		return nil
	}
	return parseDB(c, db)
}

func parseDB(c *goredis.Options, s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return fmt.Errorf("%w: the database is not a number", ErrURL)
	}
	c.DB = int(n)
	return nil
}
