package redis

import (
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

const (
	defaultMarkTimeout  = 250 * time.Millisecond
	defaultTableTimeout = 2 * time.Second
	defaultPool         = 32
	defaultMarks        = 256
	defaultMost         = 250_000
	dialTimeout         = time.Second
)

// Options configure a Store.
type Options struct {
	// Target is where Redis is.
	Target connection.Target
	// MarkTimeout bounds a mark, 250 ms by default; TableTimeout each call for a table, 2 s by default.
	MarkTimeout, TableTimeout time.Duration
	// PoolSize bounds the connections to a server, 32 by default.
	PoolSize int
	// MaxMarks bounds the marks that wait for an answer, 256 by default. Beyond it a mark is [ErrBusy] at once.
	MaxMarks int
	// MaxRecords bounds the records that one question for changes returns, 250,000 by default. Beyond it it is [state.ErrFull].
	MaxRecords int
}

func (o *Options) complete() error {
	if o.MarkTimeout < 0 || o.TableTimeout < 0 || o.PoolSize < 0 || o.MaxMarks < 0 || o.MaxRecords < 0 {
		return errors.New("state in Redis: a negative bound")
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.MarkTimeout, defaultMarkTimeout}, {&o.TableTimeout, defaultTableTimeout}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	for _, n := range []struct {
		value *int
		usual int
	}{{&o.PoolSize, defaultPool}, {&o.MaxMarks, defaultMarks}, {&o.MaxRecords, defaultMost}} {
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	return nil
}

// connect returns a client for the target, and its address without credentials. Nothing is sent again by the client: whoever
// calls knows what may be repeated.
func (o *Options) connect() (client goredis.UniversalClient, address string, err error) {
	base := &goredis.Options{
		Protocol:                 2,
		MaxRetries:               -1,
		ContextTimeoutEnabled:    true,
		DialTimeout:              dialTimeout,
		DialerRetries:            1,
		ReadTimeout:              o.TableTimeout,
		WriteTimeout:             o.TableTimeout,
		PoolTimeout:              o.TableTimeout,
		PoolSize:                 o.PoolSize,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if err := o.Target.Fill(base); err != nil {
		return nil, "", err
	}
	connection.Silence()
	address = o.Target.Address(base.Addr)
	switch o.Target.Mode {
	case connection.Sentinel:
		return goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: o.Target.Master, SentinelAddrs: o.Target.Addresses,
			SentinelUsername: o.Target.SentinelUsername, SentinelPassword: o.Target.SentinelPassword,
			Username: base.Username, Password: base.Password, TLSConfig: base.TLSConfig,
			Protocol: base.Protocol, MaxRetries: base.MaxRetries, ContextTimeoutEnabled: true, DialTimeout: base.DialTimeout,
			DialerRetries: base.DialerRetries, ReadTimeout: base.ReadTimeout, WriteTimeout: base.WriteTimeout, PoolTimeout: base.PoolTimeout,
			PoolSize: base.PoolSize, DisableIdentity: true,
		}), address, nil
	case connection.Cluster:
		return goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: o.Target.Addresses, Username: base.Username, Password: base.Password, TLSConfig: base.TLSConfig,
			Protocol: base.Protocol, MaxRetries: base.MaxRetries, ContextTimeoutEnabled: true, DialTimeout: base.DialTimeout,
			DialerRetries: base.DialerRetries, ReadTimeout: base.ReadTimeout, WriteTimeout: base.WriteTimeout, PoolTimeout: base.PoolTimeout,
			PoolSize: base.PoolSize, DisableIdentity: true, MaintNotificationsConfig: base.MaintNotificationsConfig,
			DisableRoutingPolicies: true, // which would ask for the server's commands, that a user with few rights may not
		}), address, nil
	case connection.Single:
	}
	return goredis.NewClient(base), address, nil
}
