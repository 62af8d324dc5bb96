package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-redis/redis_rate/v10"
	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

const (
	subjects     = 10_000    // each has a counter of its own, where none is shared
	perTenant    = 100       // subjects of a tenant
	window       = time.Hour // so that counters outlive the time between two of their requests, as they do in production
	poolSize     = 64
	plenty       = 10_000 // more than a round asks of a counter
	shareAlone   = 4      // the requests of a lone caller are as many times fewer
	memoryFactor = 50     // as many decisions in a round as against Redis
	portTries    = 5      // another program may take the port between finding and using it
	// patience is longer than production's 20 ms: here a slow call is a figure, not an outage.
	patience = 5 * time.Second
)

// runLimits compares taking one limit, three, and three as an API has them (of a subject, of its tenant, of the service), by many callers and by one alone: Durward in memory, in Redis as it is and with a
// call for each decision, and what others do in Redis. incrby_expire is what fixed windows cost at the least: a pipeline of one
// INCRBY and one EXPIRE per limit, which charges a limit even where another refuses. redis_rate is a script call for each limit.
func runLimits(ctx context.Context, s Setup) (rows []Row, err error) {
	server, address, err := startRedis(ctx, s)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	arena, err := newArena(ctx, address, server)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, arena.close(ctx)) }()
	alone := Load{Requests: max(1, s.Load.Requests/shareAlone), Callers: 1}
	var matches []match
	for _, c := range []struct {
		name    string
		sharers []int
	}{
		{"limits/take_1", []int{1}},
		{"limits/take_3", []int{1, 1, 1}},
		{"limits/take_3_shared", []int{1, perTenant, subjects}},
	} {
		charges, err := newCharges(c.name, c.sharers)
		if err != nil {
			return nil, err
		}
		name := c.name
		matches = append(matches,
			match{name: name, rounds: s.Rounds, contenders: arena.contenders(s.Load, charges)},
			match{name: name + "_alone", rounds: s.Rounds, contenders: arena.contenders(alone, charges)})
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
	redisTime                meter
	stores                   []*redis.Store
	local, batched, oneByOne *ratelimiter.Limiter
	client                   *goredis.Client
}

func newArena(ctx context.Context, address string, server *program) (*arena, error) {
	a := &arena{redisTime: server.processorTime}
	counters, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("making the counters in memory: %w", err)
	}
	if a.local, err = ratelimiter.New(ratelimiter.Options{Local: counters, Now: time.Now}); err != nil {
		return nil, fmt.Errorf("making the limiter in memory: %w", err)
	}
	if a.batched, err = a.limiter(ctx, address, counters, redis.BatchOptions{}); err != nil {
		return nil, err
	}
	if a.oneByOne, err = a.limiter(ctx, address, counters, redis.BatchOptions{Decisions: 1, Lanes: poolSize}); err != nil {
		return nil, err
	}
	a.client = goredis.NewClient(&goredis.Options{Addr: address, PoolSize: poolSize, ReadTimeout: patience, PoolTimeout: patience})
	return a, nil
}

// limiter returns one with a store of its own in Redis. It wants local counters for when Redis does not answer; such an answer is an
// error here.
func (a *arena) limiter(ctx context.Context, address string, local ratelimiter.Store, batch redis.BatchOptions) (*ratelimiter.Limiter, error) {
	store, err := redis.New(redis.Options{URL: "redis://" + address, Timeout: patience, PoolSize: poolSize, Batch: batch, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("making the counters in Redis: %w", err)
	}
	a.stores = append(a.stores, store)
	if err := store.Prepare(ctx); err != nil {
		return nil, err
	}
	limiter, err := ratelimiter.New(ratelimiter.Options{Local: local, Shared: store, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("making the limiter in Redis: %w", err)
	}
	return limiter, nil
}

func (a *arena) close(ctx context.Context) error {
	err := errors.Join(a.client.Close(), a.local.Close(ctx), a.batched.Close(ctx), a.oneByOne.Close(ctx))
	for _, s := range a.stores {
		err = errors.Join(err, s.Close())
	}
	return err
}

func (a *arena) contenders(load Load, charges [][]ratelimiter.Charge) []contender {
	inMemory := load
	inMemory.Requests *= memoryFactor // a decision is so short that the start of the callers would show
	return []contender{
		{subject: "durward_memory", round: measured(inMemory, nil, take(a.local, charges))},
		{subject: "durward_redis", round: measured(load, a.redisTime, take(a.batched, charges))},
		{subject: "durward_unbatched", round: measured(load, a.redisTime, take(a.oneByOne, charges))},
		{subject: "incrby_expire", round: measured(load, a.redisTime, a.increase(charges))},
		{subject: "redis_rate", round: measured(load, a.redisTime, a.allow(charges))},
	}
}

// newCharges are a decision's limits for each subject: sharers says how many subjects share a counter of each. None is ever
// exhausted.
func newCharges(name string, sharers []int) ([][]ratelimiter.Charge, error) {
	all := make([][]ratelimiter.Charge, subjects)
	for n, share := range sharers {
		definition := ratelimiter.Definition{Name: fmt.Sprint("limit-", n), Count: int64(plenty * share), Window: window}
		limit, err := ratelimiter.NewLimit(definition)
		if err != nil {
			return nil, fmt.Errorf("making %s: %w", definition.Name, err)
		}
		space := ratelimiter.NewKeySpace("bench", name, definition.Name)
		for i := range all {
			key := space.Key(ratelimiter.Value{Text: fmt.Sprint("user:corp:user-", i/share)})
			all[i] = append(all[i], ratelimiter.Charge{Limit: limit, Key: key, Cost: 1})
		}
	}
	return all, nil
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
func (a *arena) increase(charges [][]ratelimiter.Charge) func(context.Context, int) error {
	keys := make([][]string, len(charges))
	for i := range charges {
		for _, c := range charges[i] {
			keys[i] = append(keys[i], "fw"+string(c.Key[2:]))
		}
	}
	return func(ctx context.Context, i int) error {
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
	}
}

// allow asks redis_rate, which knows one limit at a time.
func (a *arena) allow(charges [][]ratelimiter.Charge) func(context.Context, int) error {
	limiter := redis_rate.NewLimiter(a.client)
	return func(ctx context.Context, i int) error {
		for _, c := range charges[i%subjects] {
			count := int(c.Limit.Definition().Count)
			result, err := limiter.Allow(ctx, string(c.Key), redis_rate.Limit{Rate: count, Burst: count, Period: window})
			if err != nil {
				return err
			}
			if result.Allowed != 1 {
				return fmt.Errorf("%w: %d allowed", errAnswer, result.Allowed)
			}
		}
		return nil
	}
}

// measured is a round of decisions; without Redis there is no time of Redis.
func measured(load Load, redisTime meter, ask func(context.Context, int) error) func(context.Context) (sample, error) {
	meters := map[string]meter{"client_processor_time": ownTime}
	if redisTime != nil {
		meters["redis_processor_time"] = redisTime
	}
	return func(ctx context.Context) (sample, error) {
		out, err := load.measure(ctx, "wall_per_decision", meters, ask)
		if err == nil {
			out[metric{"decisions", "1/s"}] = 1e6 / out[metric{"wall_per_decision", "us"}]
		}
		return out, err
	}
}
