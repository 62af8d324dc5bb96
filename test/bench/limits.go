package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

const (
	subjects     = 10_000 // each has a counter of its own in every limit
	window       = time.Minute
	poolSize     = 64
	memoryFactor = 50 // as many decisions in a round as against Redis
	portTries    = 5  // another program may take the port between finding and using it
	// patience is longer than production's 20 ms: here a slow call is a figure, not an outage.
	patience = 5 * time.Second
)

// runLimits compares taking one and three limits, in memory and in Redis, with what fixed windows on Redis cost at the least: a
// pipeline of one INCRBY and one EXPIRE per limit, which charges a limit even where another refuses.
func runLimits(ctx context.Context, s Setup) (rows []Row, err error) {
	server, address, err := startRedis(ctx, s)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	arena, err := newArena(ctx, s.Load, address, server)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, arena.close(ctx)) }()
	var matches []match
	for _, limits := range []int{1, 3} {
		charges, err := newCharges(limits)
		if err != nil {
			return nil, err
		}
		matches = append(matches, match{name: fmt.Sprintf("limits/take_%d", limits), rounds: s.Rounds, contenders: []contender{
			{subject: "durward_memory", round: arena.takeLocal(charges)},
			{subject: "durward_redis", round: arena.takeShared(charges)},
			{subject: "incrby_expire", round: arena.increase(charges)},
		}})
	}
	return runAll(ctx, matches)
}

// startRedis starts a Redis that keeps nothing on disk.
func startRedis(ctx context.Context, s Setup) (*program, string, error) {
	path, err := find("redis-server", s.Root)
	if err != nil {
		return nil, "", err
	}
	for range portTries {
		var free net.Listener
		if free, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return nil, "", fmt.Errorf("looking for a port for Redis: %w", err)
		}
		address := free.Addr().String()
		_ = free.Close()
		_, port, _ := net.SplitHostPort(address)
		var server *program
		if server, err = start(ctx, "redis", s.Dir, path, "--port", port, "--bind", "127.0.0.1", "--dir", s.Dir, "--save", "", "--appendonly", "no"); err != nil {
			return nil, "", err
		}
		client := goredis.NewClient(&goredis.Options{Addr: address})
		err = server.await(ctx, func(ctx context.Context) error { return client.Ping(ctx).Err() })
		_ = client.Close()
		if err == nil {
			return server, address, nil
		}
		server.stop()
	}
	return nil, "", err
}

// arena is what the limits' contenders share.
type arena struct {
	load          Load
	redisTime     meter
	store         *redis.Store
	local, shared *ratelimiter.Limiter
	client        *goredis.Client
}

func newArena(ctx context.Context, load Load, address string, server *program) (*arena, error) {
	a := &arena{load: load, redisTime: server.processorTime}
	counters, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("making the counters in memory: %w", err)
	}
	if a.local, err = ratelimiter.New(ratelimiter.Options{Local: counters, Now: time.Now}); err != nil {
		return nil, fmt.Errorf("making the limiter in memory: %w", err)
	}
	a.store, err = redis.New(redis.Options{URL: "redis://" + address, Timeout: patience, PoolSize: poolSize, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("making the counters in Redis: %w", err)
	}
	if err := a.store.Prepare(ctx); err != nil {
		return nil, err
	}
	// It wants counters for when Redis does not answer; such an answer is an error here.
	if a.shared, err = ratelimiter.New(ratelimiter.Options{Local: counters, Shared: a.store, Now: time.Now}); err != nil {
		return nil, fmt.Errorf("making the limiter in Redis: %w", err)
	}
	a.client = goredis.NewClient(&goredis.Options{Addr: address, PoolSize: poolSize, ReadTimeout: patience, PoolTimeout: patience})
	return a, nil
}

func (a *arena) close(ctx context.Context) error {
	return errors.Join(a.client.Close(), a.local.Close(ctx), a.shared.Close(ctx), a.store.Close())
}

// newCharges are a decision's limits for each subject. None is ever exhausted.
func newCharges(limits int) ([][]ratelimiter.Charge, error) {
	all := make([][]ratelimiter.Charge, subjects)
	for n := range limits {
		name := fmt.Sprint("limit-", n)
		limit, err := ratelimiter.NewLimit(ratelimiter.Definition{Name: name, Count: 100_000_000, Window: window})
		if err != nil {
			return nil, fmt.Errorf("making %s: %w", name, err)
		}
		space := ratelimiter.NewKeySpace("bench", strconv.Itoa(limits), name)
		for i := range all {
			key := space.Key(ratelimiter.Value{Text: fmt.Sprint("user:corp:user-", i)})
			all[i] = append(all[i], ratelimiter.Charge{Limit: limit, Key: key, Cost: 1})
		}
	}
	return all, nil
}

// takeLocal counts in memory. Its rounds are longer, because a decision is so short that the start of the callers would show.
func (a *arena) takeLocal(charges [][]ratelimiter.Charge) func(context.Context) (sample, error) {
	load := a.load
	load.Requests *= memoryFactor
	return measured(load, nil, take(a.local, charges))
}

func (a *arena) takeShared(charges [][]ratelimiter.Charge) func(context.Context) (sample, error) {
	return measured(a.load, a.redisTime, take(a.shared, charges))
}

// take asks a limiter of ours.
func take(limiter *ratelimiter.Limiter, charges [][]ratelimiter.Charge) func(context.Context, int) error {
	return func(ctx context.Context, i int) error {
		decision, err := limiter.Take(ctx, charges[i%subjects])
		if err == nil && (!decision.Allowed || decision.Degraded) {
			err = fmt.Errorf("%w: allowed is %t, degraded %t", errAnswer, decision.Allowed, decision.Degraded)
		}
		return err
	}
}

// increase counts with plain commands, under keys of the same length.
func (a *arena) increase(charges [][]ratelimiter.Charge) func(context.Context) (sample, error) {
	keys := make([][]string, len(charges))
	for i := range charges {
		for _, c := range charges[i] {
			keys[i] = append(keys[i], "fw"+string(c.Key[2:]))
		}
	}
	return measured(a.load, a.redisTime, func(ctx context.Context, i int) error {
		pipe := a.client.Pipeline()
		counts := make([]*goredis.IntCmd, len(keys[i%subjects]))
		for n, key := range keys[i%subjects] {
			counts[n] = pipe.IncrBy(ctx, key, 1)
			pipe.Expire(ctx, key, window)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for _, c := range counts {
			if c.Val() < 1 {
				return fmt.Errorf("%w: a counter at %d", errAnswer, c.Val())
			}
		}
		return nil
	})
}

// measured is a round of decisions; without Redis there is no time of Redis.
func measured(load Load, redisTime meter, ask func(context.Context, int) error) func(context.Context) (sample, error) {
	meters := map[string]meter{"client_processor_time": ownTime}
	if redisTime != nil {
		meters["redis_processor_time"] = redisTime
	}
	return func(ctx context.Context) (sample, error) { return load.measure(ctx, "wall_per_decision", meters, ask) }
}
