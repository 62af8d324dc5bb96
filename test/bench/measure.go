package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// roundTime ends a round that one caller runs, however few decisions it had: 20 s for the five rounds of one cell.
const roundTime = 4 * time.Second

var (
	errLoad   = errors.New("a load needs a request and a caller")
	errAnswer = errors.New("wrong answer")
)

// Load is one round of a contest with many callers.
type Load struct {
	// Requests is how many a round has, Callers how many of them are in flight at a time.
	Requests, Callers int
}

// meter reads a clock that counts processor time.
type meter func() (time.Duration, error)

// measure asks the load's requests, numbered from 0, and returns per request the wall time of the whole round, in which all callers
// share, and what each meter counted.
func (l Load) measure(ctx context.Context, wall string, meters map[string]meter, ask func(ctx context.Context, i int) error) (sample, error) {
	if l.Requests < 1 || l.Callers < 1 {
		return nil, fmt.Errorf("%w: %+v", errLoad, l)
	}
	before, err := read(meters)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := l.run(ctx, ask); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := read(meters)
	if err != nil {
		return nil, err
	}
	perRequest := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(l.Requests) }
	out := sample{{wall, "us"}: perRequest(took)}
	for name := range meters {
		out[metric{name, "us"}] = perRequest(after[name] - before[name])
	}
	return out, nil
}

// run asks every request once. The first failure ends it.
func (l Load) run(ctx context.Context, ask func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range l.Callers {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= l.Requests {
					return
				}
				if err := ask(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func read(meters map[string]meter) (map[string]time.Duration, error) {
	values := map[string]time.Duration{}
	for name, m := range meters {
		value, err := m()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		values[name] = value
	}
	return values, nil
}

// ownTime is what this process has used.
func ownTime() (time.Duration, error) { return processorTime(os.Getpid()) }

// repeat lets one caller decide for at least span, three times or more unless that takes too long, and returns time and
// allocations of a decision.
func repeat(ctx context.Context, span time.Duration, decide func(context.Context) error) (sample, error) {
	runtime.GC() // nobody pays for the garbage of the one before
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	decisions, begin := 0, time.Now()
	var took time.Duration
	// The batches grow, so that reading the clock costs nothing against them.
	for batch := 1; decisions == 0 || took < roundTime && (decisions < 3 || took < span); batch *= 2 {
		for range batch {
			if err := decide(ctx); err != nil {
				return nil, err
			}
		}
		decisions += batch
		took = time.Since(begin)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	runtime.ReadMemStats(&after)
	return sample{
		{"time", "ns"}:      float64(took.Nanoseconds()) / float64(decisions),
		{"allocs", "count"}: float64(after.Mallocs-before.Mallocs) / float64(decisions),
	}, nil
}
