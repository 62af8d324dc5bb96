// Package connection says where a Redis is and how to log in there: a server at a URL, a master that sentinels name, or the nodes of
// a cluster, with or without TLS. Package redis beside it, for counters, and package state/redis, for what replicas share, read the
// same settings with it.
package connection

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// ErrURL is wrapped by every error about a Redis URL. Their texts never hold any part of the URL but its host.
var ErrURL = errors.New("invalid Redis URL")

// ErrMode is wrapped by the errors of a target that contradicts its mode.
var ErrMode = errors.New("the settings do not fit the mode of Redis")

// Mode says what stands at the addresses of a target.
type Mode uint8

// Modes.
const (
	Single   Mode = iota // one server, at a URL
	Sentinel             // sentinels, which name the master
	Cluster              // nodes of a cluster, which name the others
)

// String returns the mode's name in settings.
func (m Mode) String() string {
	switch m {
	case Single:
		return "single"
	case Sentinel:
		return "sentinel"
	case Cluster:
		return "cluster"
	}
	return "invalid"
}

// Target is where Redis is, and who we are there.
type Target struct {
	// Mode is Single unless it is set.
	Mode Mode
	// URL is that of a Single server: redis://[user[:password]@]host[:port][/db], rediss:// for TLS, or
	// unix://[user[:password]@]/path[?db=n].
	URL string
	// Addresses are host:port of sentinels, or of nodes of a cluster. Database 0 is used there.
	Addresses []string
	// Master is the name that sentinels have for the server and its replicas.
	Master string
	// Username and Password log in at the servers that hold data. If set, they stand in for those of the URL.
	Username, Password string
	// SentinelUsername and SentinelPassword log in at sentinels.
	SentinelUsername, SentinelPassword string
	// TLS refines rediss://; nil verifies the host's name against the system's roots with TLS 1.2 or later. In the other
	// modes TLS is used for all connections if it is set. An empty ServerName means the host of each address.
	TLS *tls.Config
}

// Fill sets in the options of the client library what concerns the servers that hold data: network, address of a Single server,
// database, login and TLS.
func (t *Target) Fill(c *goredis.Options) error {
	if err := t.fitsMode(); err != nil {
		return err
	}
	if t.Mode == Single {
		if err := parse(c, t.URL, t.TLS); err != nil {
			return err
		}
	} else if c.Network = "tcp"; t.TLS != nil {
		c.TLSConfig = t.TLS.Clone()
	}
	if t.Username != "" {
		c.Username = t.Username
	}
	if t.Password != "" {
		c.Password = t.Password
	}
	return nil
}

// Address returns whom to ask, without credentials: single is the address of a Single server, as Fill found it.
func (t *Target) Address(single string) string {
	switch t.Mode {
	case Sentinel:
		return t.Master + " of " + strings.Join(t.Addresses, ",")
	case Cluster:
		return strings.Join(t.Addresses, ",")
	case Single:
	}
	return single
}

func (t *Target) fitsMode() error {
	refuse := func(why string) error { return fmt.Errorf("%w %s: %s", ErrMode, t.Mode, why) }
	switch {
	case t.Mode > Cluster:
		return refuse("there is no such mode")
	case t.Mode == Single && len(t.Addresses) > 0:
		return refuse("a single server has a URL and no addresses")
	case t.Mode != Single && t.URL != "":
		return refuse("it has addresses and no URL")
	case t.Mode != Single && len(t.Addresses) == 0:
		return refuse("no addresses")
	case (t.Mode == Sentinel) != (t.Master != ""):
		return refuse("sentinels, and they alone, want the name of a master")
	case t.Mode != Sentinel && (t.SentinelUsername != "" || t.SentinelPassword != ""):
		return refuse("a login at sentinels")
	}
	for _, addr := range t.Addresses {
		if err := checkAddress(addr); err != nil {
			return refuse(err.Error())
		}
	}
	return nil
}

// Silence keeps the library from writing lines of its own to standard error, which is the log of whoever runs us. All that
// they say comes back as errors too. It is done once, for the library looks at its logger without a lock.
var Silence = sync.OnceFunc(func() { goredis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// checkAddress reports what is wrong with host:port. Its errors hold no part of it.
func checkAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
		return errors.New("an address is host:port, without a scheme or a login")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port of an address is a number up to 65535")
	}
	return nil
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
