package limits

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// concurrency is algorithm for a definition that counts what goes on at a time.
func (c *compiler) concurrency(d *definition, made *ratelimiter.Definition) {
	l := &d.source
	made.Algorithm, made.Counting = ratelimiter.Concurrency, ratelimiter.CountAllowed
	made.Count, made.Burst = l.Concurrency, 0
	for _, other := range []struct {
		set       bool
		key, text string
	}{
		{l.Rate.Count != 0, ".rate", "concurrency stands in the place of rate: write two limits"},
		{l.ByClass != nil, ".by_class", "concurrency has no classes: write a limit for each, under when"},
		{l.Distinct != nil, ".distinct", "concurrency counts requests, and distinct counts values: write two limits"},
		{l.Algorithm != "", ".algorithm", "concurrency has no algorithm: leave it out"},
		{l.Burst != 0, ".burst", "concurrency has no burst: leave it out"},
		{l.Cost != nil, ".cost", "each request holds one permit: leave cost out"},
		{l.At != "", ".at", "a permit is for requests that pass, which the gate does not know: leave at out"},
		{l.Count != "" && l.Count != "allowed", ".count", "a permit is for requests that pass: leave count out"},
	} {
		if other.set {
			c.add(d, other.key, "%s", other.text)
		}
	}
	if l.Expires != nil {
		made.Window = time.Duration(*l.Expires)
	} else {
		c.add(d, "", "concurrency needs expires: for how long a request counts whose end nobody tells, longer than any should take, as in 30s")
		made.Window = time.Second // what is wrong has been said
	}
	if l.WithoutRelease != "" && l.WithoutRelease != "deny" && l.WithoutRelease != "expire" {
		c.add(d, ".without_release", "without_release is deny or expire, not %q", l.WithoutRelease)
	}
}

// draw gives each charge of a limit on concurrency the id of the permit that it would acquire.
func (s *Stage) draw(charges []ratelimiter.Charge) error {
	for i := range charges {
		if c := &charges[i]; c.Limit.Algorithm() == ratelimiter.Concurrency {
			if _, err := io.ReadFull(s.random, c.Permit[:]); err != nil {
				return fmt.Errorf("draw a permit: %w", err)
			}
		}
	}
	return nil
}

// held returns the permits that a decision acquired, or may have acquired where the store did not answer.
func held(charges []ratelimiter.Charge, d *ratelimiter.Decision) (permits []string) {
	for i := range d.Limits {
		if c := &charges[i]; (d.Limits[i].Charged || d.Limits[i].Degraded) && c.Limit.Algorithm() == ratelimiter.Concurrency {
			permits = append(permits, ratelimiter.Permit{Key: c.Key, ID: c.Permit}.String())
		}
	}
	return permits
}

// parse reads the permits of one decision.
func parse(texts []string) ([]ratelimiter.Permit, error) {
	if len(texts) > ratelimiter.MaxCharges {
		return nil, fmt.Errorf("%w: a decision has at most %d", verdict.ErrPermit, ratelimiter.MaxCharges)
	}
	permits := make([]ratelimiter.Permit, len(texts))
	for i, text := range texts {
		p, err := ratelimiter.ParsePermit(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", verdict.ErrPermit, err)
		}
		for _, other := range permits[:i] {
			if other.Key == p.Key {
				return nil, fmt.Errorf("%w: two of one counter", verdict.ErrPermit)
			}
		}
		permits[i] = p
	}
	return permits, nil
}

// Release gives the permits of one decision back. Permits that are not held any more are no error. The error wraps
// verdict.ErrPermit where they cannot be ones of a decision; else the counters cannot be reached, and the permits expire.
func (s *Stage) Release(ctx context.Context, permits []string) error {
	parsed, err := parse(permits)
	if err != nil {
		return err
	}
	ctx, cancel := ahead(ctx)
	defer cancel()
	return s.limiter.Release(ctx, parsed)
}

// ReleaseLater is Release without waiting, for a decision that became a denial. Permits that it cannot give back expire, and
// Dropped is told.
func (s *Stage) ReleaseLater(permits []string) {
	parsed, err := parse(permits)
	switch {
	case err != nil:
		s.dropped()
	case s.wait:
		if err := s.limiter.Release(context.Background(), parsed); err != nil { //nolint:forbidigo // stores have deadlines of their own
			s.dropped()
		}
	case !s.limiter.ReleaseLater(parsed):
		s.dropped()
	}
}
