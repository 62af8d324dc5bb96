package introspection

import (
	"context"
	"errors"
	"time"
)

// A server is asked at most maxCalls things at a time; so many more may wait for their turn as makes maxFlights. What comes on top is
// refused at once.
const (
	maxCalls   = 16
	maxFlights = 80
)

// margin is kept free before the end of a decision, so that the reason of its denial is this one and not the lateness.
const margin = 2 * time.Millisecond

// flight is one question to a server, for all decisions that want its answer.
type flight struct {
	done   chan struct{}
	result result // once done is closed
}

// wait returns the answer of a call that somebody has begun, or of a new one.
func (e *Endpoint) wait(ctx context.Context, k key, raw string) (Answer, error) {
	f, source, refused := e.join(ctx, k, raw)
	if refused.err != nil {
		e.report(None, refused, 0)
		return Answer{}, refused.err
	}
	if f == nil { // answered between two looks
		e.report(Cached, refused, 0)
		return refused.answer, nil
	}
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-margin))
		defer cancel()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return Answer{}, ctx.Err()
		}
		late := failed(Timeout, "the authorization server did not answer within the decision's time")
		e.report(None, late, 0)
		return Answer{}, late.err
	}
	if source == Joined {
		e.report(Joined, f.result, 0)
	}
	if f.result.err != nil {
		return Answer{}, f.result.err
	}
	return f.result.answer, nil
}

// join returns the flight for a key, a new one where there is none, or why there can be none. It returns no flight where the answer
// is there by now.
func (e *Endpoint) join(ctx context.Context, k key, raw string) (*flight, Source, result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.flights[k]; f != nil {
		return f, Joined, result{}
	}
	// Whoever ends a flight remembers its answer first.
	if a, ok := e.client.lookup(k); ok {
		return nil, Cached, result{answer: a}
	}
	if len(e.flights) >= maxFlights {
		return nil, None, failed(Busy, "too many tokens wait for the authorization server")
	}
	probe, wait, ok := e.breaker.enter(e.client.options.Clock())
	if !ok {
		r := failed(Open, "the authorization server failed too often and is left alone for a while")
		r.err.Retry = wait
		return nil, None, r
	}
	f := &flight{done: make(chan struct{})}
	e.flights[k] = f
	go e.fly(context.WithoutCancel(ctx), f, k, raw, probe)
	return f, Call, result{}
}

// fly asks the server and ends the flight, whatever happens.
func (e *Endpoint) fly(ctx context.Context, f *flight, k key, raw string, probe bool) {
	clock := e.client.options.Clock
	asked := clock()
	if !e.client.options.Patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, e.config.Timeout)
		defer cancel()
	}
	f.result = e.ask(ctx, raw)
	ended := clock()
	retry := time.Duration(0)
	if f.result.err != nil {
		retry = f.result.err.Retry
	} else {
		e.client.remember(k, &e.config, f.result.answer, asked)
	}
	e.breaker.leave(probe, f.result.outcome(), retry, ended)
	e.mu.Lock()
	delete(e.flights, k)
	e.mu.Unlock()
	e.report(Call, f.result, ended.Sub(asked))
	close(f.done)
}

// ask waits for a slot and makes the call. A panic is a failure of this question alone.
func (e *Endpoint) ask(ctx context.Context, raw string) (r result) {
	defer func() {
		if recover() != nil {
			r = failed(Unready, "an internal fault while asking the authorization server")
		}
	}()
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return failed(Busy, "too many tokens wait for the authorization server")
	}
	defer func() { <-e.slots }()
	return e.call(ctx, raw)
}
