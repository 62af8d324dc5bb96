package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

const (
	leaseReplicas = 4
	leaseKeys     = 4
	leasePace     = 5000 // decisions a second of the steady load
	leasePlenty   = 1_000_000
	pacedPart     = 6 // the requests of a paced round are as many times fewer
)

// runLeases compares limits that take units in advance with those that ask Redis for each decision, in four replicas with a few
// busy counters: under a steady load at half of the limit, under all that the callers can ask far below it, and far above it. A round in
// which a counter passed more than burst + rate·t has no figure.
func runLeases(ctx context.Context, s Setup) (rows []Row, err error) {
	server, address, err := startRedis(ctx, s)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	client := goredis.NewClient(&goredis.Options{Addr: address, ReadTimeout: patience})
	defer func() { err = errors.Join(err, client.Close()) }()
	paced := Load{Requests: max(leaseKeys*leaseReplicas, s.Load.Requests/pacedPart), Callers: s.Load.Callers}
	var matches []match
	for _, c := range []struct {
		name  string
		load  Load
		pace  int64
		limit ratelimiter.Definition
	}{
		{"steady", paced, leasePace, ratelimiter.Definition{Count: 2 * leasePace / leaseKeys, Window: time.Second}},
		{"busy", s.Load, 0, ratelimiter.Definition{Count: leasePlenty, Window: time.Second}},
		{"over", s.Load, 0, ratelimiter.Definition{Count: 1000, Window: time.Second}},
	} {
		m := match{name: "leases/" + c.name, rounds: s.Rounds}
		for _, lease := range []int64{0, 25, 250} {
			subject := "exact"
			if lease > 0 {
				subject = fmt.Sprint("lease_", lease)
			}
			c.limit.Name, c.limit.Lease = c.name, lease
			p, err := newPlayers(ctx, address, subject, c.limit)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, p.close(ctx)) }()
			p.pace, p.strict, p.client = c.pace, c.name != "over", client
			m.contenders = append(m.contenders, contender{subject: subject, round: func(ctx context.Context) (sample, error) { return p.round(ctx, c.load, server.processorTime) }})
		}
		matches = append(matches, m)
	}
	return runAll(ctx, matches)
}

// players are the replicas of one contender.
type players struct {
	limiters []*ratelimiter.Limiter
	stores   []*redis.Store
	charges  [][]ratelimiter.Charge
	client   *goredis.Client
	limit    ratelimiter.Definition
	pace     int64
	strict   bool // nothing may be refused

	first  sync.Once
	began  time.Time // of the first round
	passed [leaseKeys]atomic.Int64
}

func newPlayers(ctx context.Context, address, subject string, d ratelimiter.Definition) (*players, error) {
	p := &players{limit: d}
	limit, err := ratelimiter.NewLimit(d)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", d.Name, err)
	}
	space := ratelimiter.NewKeySpace("bench", subject, d.Name)
	for i := range leaseKeys {
		p.charges = append(p.charges, []ratelimiter.Charge{{Limit: limit, Key: space.Key(ratelimiter.Value{Text: strconv.Itoa(i)}), Cost: 1}})
	}
	local, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("making the counters in memory: %w", err)
	}
	for range leaseReplicas {
		store, err := redis.New(redis.Options{URL: "redis://" + address, Timeout: patience, Now: time.Now})
		if err != nil {
			return nil, fmt.Errorf("making the counters in Redis: %w", err)
		}
		p.stores = append(p.stores, store)
		if err := store.Prepare(ctx); err != nil {
			return nil, err
		}
		limiter, err := ratelimiter.New(ratelimiter.Options{Local: local, Shared: store, Now: time.Now, Replicas: leaseReplicas})
		if err != nil {
			return nil, fmt.Errorf("making the limiter in Redis: %w", err)
		}
		p.limiters = append(p.limiters, limiter)
	}
	return p, nil
}

func (p *players) close(ctx context.Context) (err error) {
	for i := range p.stores {
		err = errors.Join(err, p.limiters[i].Close(ctx), p.stores[i].Close())
	}
	return err
}

// round lets the callers ask, each time another replica about another counter.
func (p *players) round(ctx context.Context, load Load, redisTime meter) (sample, error) {
	before, err := p.calls(ctx)
	if err != nil {
		return nil, err
	}
	p.first.Do(func() { p.began = time.Now() })
	start := time.Now()
	out, err := measured(load, redisTime, func(ctx context.Context, i int) error {
		if p.pace > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(int64(i) * int64(time.Second) / p.pace))))
		}
		return p.ask(ctx, i)
	})(ctx)
	if err != nil {
		return nil, err
	}
	after, err := p.calls(ctx)
	if err != nil {
		return nil, err
	}
	out[metric{"calls_per_decision", "count"}] = (after - before) / float64(load.Requests)
	out[metric{"passed_of_cap", "part"}], err = p.capped()
	return out, err
}

func (p *players) ask(ctx context.Context, i int) error {
	key := i / leaseReplicas % leaseKeys
	d, err := p.limiters[i%leaseReplicas].Take(ctx, p.charges[key])
	switch {
	case err != nil:
		return err
	case d.Degraded || p.strict && !d.Allowed:
		return fmt.Errorf("%w: allowed is %t, degraded %t", errAnswer, d.Allowed, d.Degraded)
	case d.Allowed:
		p.passed[key].Add(1)
	}
	return nil
}

// capped returns the largest part of burst + rate·t that a counter has let pass since the first round.
func (p *players) capped() (float64, error) {
	worst, most := 0.0, float64(p.limit.Count)*(1+time.Since(p.began).Seconds()/p.limit.Window.Seconds())
	for i := range p.passed {
		worst = max(worst, float64(p.passed[i].Load())/most)
	}
	if worst > 1 {
		return 0, fmt.Errorf("%w: a counter passed %v times its cap", errAnswer, worst)
	}
	return worst, nil
}

// calls returns how many script calls Redis has had.
func (p *players) calls(ctx context.Context) (float64, error) {
	info, err := p.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for its statistics: %w", err)
	}
	_, stats, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
	count, _, _ := strings.Cut(stats, ",")
	if count == "" {
		return 0, nil
	}
	return strconv.ParseFloat(count, 64)
}
