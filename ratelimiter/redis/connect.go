package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrURL is wrapped by every error about a Redis URL. Their texts never hold any part of the URL but its host.
var ErrURL = errors.New("invalid Redis URL")

// ErrMode is wrapped by the errors of options that contradict their mode.
var ErrMode = errors.New("the settings do not fit the mode of Redis")

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
	if err := o.fitsMode(); err != nil {
		return err
	}
	if o.Mode == Single {
		if err := parse(o.base, o.URL, o.TLS); err != nil {
			return err
		}
		o.addr = o.base.Addr
	} else if o.base.Network = "tcp"; o.TLS != nil {
		o.base.TLSConfig = o.TLS.Clone()
	}
	if o.Username != "" {
		o.base.Username = o.Username
	}
	if o.Password != "" {
		o.base.Password = o.Password
	}
	return nil
}

func (o *Options) fitsMode() error {
	refuse := func(why string) error { return fmt.Errorf("%w %s: %s", ErrMode, o.Mode, why) }
	switch {
	case o.Mode > Cluster:
		return refuse("there is no such mode")
	case o.Mode == Single && len(o.Addresses) > 0:
		return refuse("a single server has a URL and no addresses")
	case o.Mode != Single && o.URL != "":
		return refuse("it has addresses and no URL")
	case o.Mode != Single && len(o.Addresses) == 0:
		return refuse("no addresses")
	case (o.Mode == Sentinel) != (o.Master != ""):
		return refuse("sentinels, and they alone, want the name of a master")
	case o.Mode != Sentinel && (o.SentinelUsername != "" || o.SentinelPassword != ""):
		return refuse("a login at sentinels")
	}
	for _, addr := range o.Addresses {
		if err := CheckAddress(addr); err != nil {
			return refuse(err.Error())
		}
	}
	return nil
}

// CheckAddress reports what is wrong with host:port. Its errors hold no part of it.
func CheckAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
		return errors.New("an address is host:port, without a scheme or a login")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port of an address is a number up to 65535")
	}
	return nil
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
