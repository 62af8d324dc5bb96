package introspection

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
)

// held is a server whose answers wait until they are released.
func held(w *world) (arrived chan string, release chan struct{}) {
	arrived, release = make(chan string, 1000), make(chan struct{})
	w.replies(func(out http.ResponseWriter, r *http.Request) {
		arrived <- r.PostForm.Get("token")
		<-release
		out.Header().Set("Content-Type", "application/json")
		_, _ = out.Write([]byte(`{"active":true,"sub":"alice"}`))
	})
	return arrived, release
}

// waitFor polls until something holds; the test's own time limit ends it.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatal("never")
		}
	}
}

// TestSingleFlight: 64 decisions with one token are one question.
func TestSingleFlight(t *testing.T) {
	w := newWorld(t)
	w.config.TTL = 0 // nothing but the call itself is shared
	e := w.open(t)
	arrived, release := held(w)
	var group sync.WaitGroup
	started := make(chan struct{}, 64)
	for range 64 {
		group.Go(func() {
			started <- struct{}{}
			w.wantActive(t, e, "tok-1")
		})
	}
	for range 64 {
		<-started
	}
	<-arrived
	w.mu.Lock()
	before := len(w.asked)
	w.mu.Unlock()
	// All of them wait for the one call: none has an answer, and none asked for itself.
	if before != 1 || len(arrived) != 0 {
		t.Errorf("%d calls", before)
	}
	time.Sleep(20 * time.Millisecond) // who has not looked yet finds the call still going on
	close(release)
	group.Wait()
	if n := w.count(Call, Active) + w.count(Joined, Active); n != 64 {
		t.Errorf("%d events", n)
	}
	if calls := w.count(Call, Active); calls != len(w.calls()) || calls != 1 {
		t.Errorf("%d calls observed, %d made", calls, len(w.calls()))
	}
}

// TestFlood: many tokens that nobody knows are asked about a few at a time, some wait, and the others are refused at once.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	w.config.TTL = time.Minute
	e := w.open(t)
	w.wantActive(t, e, "known")
	arrived, release := held(w)
	var group sync.WaitGroup
	const flood = 500
	for i := range flood {
		group.Go(func() { _, _ = w.ask(t, e, tokenName(i)) })
	}
	waitFor(t, func() bool { return w.count(None, Busy) == flood-maxFlights && len(arrived) == maxCalls })
	w.wantActive(t, e, "known") // whoever is known goes on
	e.mu.Lock()
	flights := len(e.flights)
	e.mu.Unlock()
	if flights != maxFlights {
		t.Errorf("%d wait", flights)
	}
	close(release)
	group.Wait()
	if n := w.count(Call, Active); n != maxFlights+1 {
		t.Errorf("%d calls", n)
	}
	if e.CircuitOpen() {
		t.Error("a flood opened the circuit")
	}
}

// TestCircuit: a server that fails is left alone, then probed by one question at a time, until it is well.
func TestCircuit(t *testing.T) {
	w := newWorld(t)
	e := w.open(t)
	w.wantActive(t, e, "known")
	fail := func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusBadGateway) }
	w.replies(fail)
	for i := range failures {
		w.wantError(t, e, tokenName(i), Failed)
	}
	if !e.CircuitOpen() {
		t.Fatal("the circuit is closed")
	}
	if refused := w.wantError(t, e, "more", Open); refused.Retry <= 0 || refused.Retry > minPause {
		t.Errorf("retry after %v", refused.Retry)
	}
	w.wantActive(t, e, "known")
	w.wantCalls(t, failures+1)
	// A probe that fails doubles the pause, up to its bound.
	for i, pause := range []time.Duration{minPause, 2 * minPause, 4 * minPause, 8 * minPause, 16 * minPause, maxPause, maxPause} {
		w.advance(pause - time.Nanosecond)
		w.wantError(t, e, "more", Open)
		w.advance(time.Nanosecond)
		w.wantError(t, e, "more", Failed)
		w.wantCalls(t, failures+2+i)
	}
	// One probe at a time.
	w.advance(maxPause)
	arrived, release := held(w)
	var group sync.WaitGroup
	group.Go(func() { w.wantActive(t, e, "probe") })
	<-arrived
	w.wantError(t, e, "another", Open)
	close(release)
	group.Wait()
	if e.CircuitOpen() {
		t.Error("the circuit is open")
	}
	// From the beginning again.
	w.replies(fail)
	for i := range failures - 1 {
		w.wantError(t, e, "again-"+tokenName(i), Failed)
	}
	if e.CircuitOpen() {
		t.Error("opened too soon")
	}
}

// TestOddTokensOpenNothing: nobody can have the server left alone by sending tokens that it does not like.
func TestOddTokensOpenNothing(t *testing.T) {
	for _, row := range []struct {
		answer http.HandlerFunc
		want   Outcome
	}{
		{func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusBadRequest) }, Refused},
		{func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusForbidden) }, Forbidden},
		{func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write([]byte("<html>")) }, Malformed},
	} {
		w := newWorld(t)
		e := w.open(t)
		w.replies(row.answer)
		for i := range 3 * failures {
			w.wantError(t, e, tokenName(i), row.want)
		}
		w.wantCalls(t, 3*failures)
	}
}

// TestThrottled: a server that wants to be left alone is, at once and for as long as it says, within a minute.
func TestThrottled(t *testing.T) {
	for _, row := range []struct {
		after string
		want  time.Duration
	}{
		{"7", 7 * time.Second}, {"", minPause}, {"x", minPause}, {"0", minPause}, {"-1", minPause}, {"86400", time.Minute}, {"99999999999999999999", minPause},
		{testNow.Add(20 * time.Second).Format(http.TimeFormat), 20 * time.Second}, {testNow.Add(-time.Hour).Format(http.TimeFormat), minPause},
	} {
		w := newWorld(t)
		e := w.open(t)
		w.replies(func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Retry-After", row.after)
			out.WriteHeader(http.StatusTooManyRequests)
		})
		if told := w.wantError(t, e, "tok-1", Throttled).Retry; told > maxRetry {
			t.Errorf("Retry-After: %s: clients are told to wait for %v", row.after, told)
		}
		w.answers(`{"active":true,"sub":"alice"}`)
		w.advance(row.want - time.Nanosecond)
		w.wantError(t, e, "tok-1", Open)
		w.advance(time.Nanosecond)
		w.wantActive(t, e, "tok-1")
		w.wantCalls(t, 2)
	}
}

// TestThrottledTwice: of several answers the longest pause holds.
func TestThrottledTwice(t *testing.T) {
	var b breaker
	for range 2 {
		if _, _, ok := b.enter(testNow); !ok {
			t.Fatal("closed at once")
		}
	}
	b.leave(false, Throttled, 20*time.Second, testNow)
	b.leave(false, Throttled, 0, testNow)
	if _, wait, ok := b.enter(testNow); ok || wait != 20*time.Second {
		t.Errorf("wait %v, entered %v", wait, ok)
	}
}

// TestStragglers: calls that began before the circuit opened and fail after it do not prolong the pause.
func TestStragglers(t *testing.T) {
	var b breaker
	for range 16 {
		if _, _, ok := b.enter(testNow); !ok {
			t.Fatal("closed at once")
		}
	}
	for range 16 {
		b.leave(false, Timeout, 0, testNow)
	}
	if _, wait, ok := b.enter(testNow); ok || wait != minPause {
		t.Errorf("wait %v, entered %v", wait, ok)
	}
	b.leave(false, Active, 0, testNow)
	if !b.isOpen() {
		t.Error("a straggler closed the circuit")
	}
	probe, _, ok := b.enter(testNow.Add(minPause))
	if !ok || !probe {
		t.Fatal("no probe")
	}
	b.leave(true, Busy, 0, testNow.Add(minPause)) // the probe was never made
	if probe, _, ok := b.enter(testNow.Add(minPause)); !ok || !probe {
		t.Error("no other probe")
	}
}

// broken is a way out that panics.
type broken struct{ Fetcher }

func (broken) Do(*http.Request, string, int64) (*egress.Response, error) { panic("evil") }

// TestPanic: a fault of ours is an outage of one question, and ends neither the process nor the next question.
func TestPanic(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.Fetcher = broken{o.Fetcher} })
	e := w.open(t)
	for i := range 3 * maxCalls {
		w.wantError(t, e, tokenName(i), Unready)
	}
}

// TestNothingAround: without a way out, or without secrets, nothing is asked and nothing is known.
func TestNothingAround(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.Fetcher = nil })
	w.wantError(t, w.open(t), "tok-1", Unready)
	bare := newWorld(t, func(_ *world, o *Options) { o.Secrets = nil })
	bare.wantError(t, bare.open(t), "tok-1", Unready)
	bare.wantCalls(t, 0)
	w.client = New(Options{})
	w.wantError(t, w.open(t), "tok-1", Unready)
}
