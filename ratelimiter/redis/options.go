package redis

import (
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	defaultTimeout = 20 * time.Millisecond
	defaultPool    = 64
	dialTimeout    = time.Second // dials go on behind the callers, whose own deadline is Timeout
)

// Options configure a Store.
type Options struct {
	// Mode is Single unless it is set.
	Mode Mode
	// URL is that of a Single server: redis://[user[:password]@]host[:port][/db], rediss:// for TLS, or
	// unix://[user[:password]@]/path[?db=n].
	URL string
	// Addresses are host:port of sentinels, or of nodes of a cluster. Database 0 is used there.
	Addresses []string
	// Master is the name that sentinels have for the server and its replicas.
	Master string
	// Username and Password log in at the servers that hold counters. If set, they stand in for those of the URL.
	Username, Password string
	// SentinelUsername and SentinelPassword log in at sentinels.
	SentinelUsername, SentinelPassword string
	// TLS refines rediss://; nil verifies the host's name against the system's roots with TLS 1.2 or later. In the other
	// modes TLS is used for all connections if it is set. An empty ServerName means the host of each address.
	TLS *tls.Config
	// Timeout bounds each decision whatever happens; 0 means 20 ms. One that has waited half of it for a lane is not sent.
	Timeout time.Duration
	// PoolSize bounds the connections to a server; 0 means 64.
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
	// OnBusy, if set, hears of each decision that was not sent because too many waited; it must not block.
	OnBusy func()
	// OnHealth, if set, hears each change of a server's breaker; it must not block. Of several servers it hears at a time.
	OnHealth func(Health)

	addr string           // of a Single server
	base *goredis.Options // of connections to servers that hold counters
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
	if err := o.Breaker.complete(); err != nil {
		return err
	}
	return o.connect()
}
