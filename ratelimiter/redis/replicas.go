package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	_ "embed" // the script
)

//go:embed replicas.lua
var replicasText string

const (
	// ReplicasKey is the sorted set of the replicas that live. No limit's key is like it: those begin with "rl:{".
	ReplicasKey = "rl:replicas"
	// maxReplicas bounds that set.
	maxReplicas = 10_000

	defaultInterval = 5 * time.Second
	beatsToExpiry   = 3 // a replica that misses so many is gone
)

// ReplicaOptions say how a replica lets others know that it lives. Zero values mean the defaults.
type ReplicaOptions struct {
	// Interval is the time between two beats, of which up to a quarter is added or taken off by chance, so that replicas
	// that began together do not stay together; 5 s. A replica that was not heard of for three of them is gone.
	Interval time.Duration
	// OnBeat, if set, hears how many replicas live, or why a beat failed. It must not block.
	OnBeat func(live int, err error)
}

// Replica is one of the programs that share the counters of a Redis. It lets the others know that it lives and counts
// them. Its beats are calls of their own, which neither wait for decisions nor move the breaker.
type Replica struct {
	store  *Store
	id     string
	opt    ReplicaOptions
	expiry time.Duration
	script *goredis.Script
	seen   liveCount
}

// Replica returns a new replica under an id of its own, which nobody knows of before Run or Beat.
func (s *Store) Replica(o ReplicaOptions) (*Replica, error) {
	if o.Interval < 0 {
		return nil, errors.New("replicas by heartbeat: negative interval")
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.OnBeat == nil {
		o.OnBeat = func(int, error) {}
	}
	r := &Replica{store: s, id: rand.Text(), opt: o, expiry: beatsToExpiry * o.Interval, script: goredis.NewScript(replicasText)}
	r.seen.settle = r.expiry
	return r, nil
}

// Run beats until ctx ends, and then takes the replica out of the set. A beat that fails is not repeated before the next one
// is due: a Redis that comes back is not met by all replicas at once.
func (r *Replica) Run(ctx context.Context) {
	for {
		if live, err := r.Beat(ctx); ctx.Err() == nil {
			r.opt.OnBeat(live, err)
		}
		timer := time.NewTimer(time.Duration((0.75 + r.store.opt.Random()/2) * float64(r.opt.Interval)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			r.leave(context.WithoutCancel(ctx))
			return
		}
	}
}

// Beat lets the others know that the replica lives and returns how many do. More replicas count at once. Fewer count only
// when no beat of a whole expiry has seen more: a Redis that came back empty has not heard of all of them yet. Run calls
// it; it is not safe for concurrent use.
func (r *Replica) Beat(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.store.opt.Timeout)
	defer cancel()
	at := ""
	if r.store.opt.ScriptTime != nil {
		at = strconv.FormatInt(r.store.opt.ScriptTime().UnixMilli(), 10)
	}
	live, err := r.beat(ctx, at)
	if err != nil {
		r.seen.lost()
		return 0, fmt.Errorf("count the replicas in Redis at %s: %w", r.store.Address(), err)
	}
	return r.seen.see(live, r.store.opt.Now()), nil
}

// beat tells the server that has the set. One that has it no longer is asked no more: the next beat goes to the one that has.
func (r *Replica) beat(ctx context.Context, at string) (int, error) {
	n, err := r.node(ctx)
	if err != nil {
		return 0, err
	}
	live, err := r.script.Run(ctx, n.client, []string{ReplicasKey}, at, r.id, r.expiry.Milliseconds(), maxReplicas).Int()
	if err != nil {
		r.store.directory.doubt()
	}
	return live, err //nolint:wrapcheck // Beat says what failed
}

// node returns the server that has the set.
func (r *Replica) node(ctx context.Context) (*node, error) {
	slot := 0
	if r.store.directory.clustered() {
		slot = slotOf(ReplicasKey)
	}
	return r.store.directory.route(ctx, slot)
}

// leave takes the replica out of the set. Where that fails it expires.
func (r *Replica) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.store.opt.Timeout)
	defer cancel()
	if n, err := r.node(ctx); err == nil {
		_ = n.client.ZRem(ctx, ReplicasKey, r.id).Err()
	}
}

// liveCount follows the numbers that beats see: up at once, down when they were lower for long enough.
type liveCount struct {
	settle time.Duration
	count  int
	lower  int       // the most that was seen since; 0 while not less than count was
	since  time.Time // of the first lower number
}

func (c *liveCount) see(n int, now time.Time) int {
	switch {
	case n >= c.count:
		c.count, c.lower = n, 0
	case c.lower == 0:
		c.lower, c.since = n, now
	default:
		c.lower = max(c.lower, n)
		if now.Sub(c.since) >= c.settle {
			c.count, c.lower = c.lower, 0
		}
	}
	return c.count
}

// lost forgets what was lower: the count holds until it was lower for long enough again.
func (c *liveCount) lost() { c.lower = 0 }
