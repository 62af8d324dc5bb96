package ratelimiter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/concurrency"
)

// permit is a charge for one of three permits that expire after a minute.
func permit(t testing.TB, n int, change func(*ratelimiter.Definition)) ratelimiter.Charge {
	t.Helper()
	d := ratelimiter.Definition{Count: 3, Window: time.Minute, Algorithm: ratelimiter.Concurrency}
	if change != nil {
		change(&d)
	}
	c := charge(t, d, "k")
	c.Permit = concurrency.ID{byte(n), 1}
	return c
}

func (b *bench) release(charges ...ratelimiter.Charge) {
	b.t.Helper()
	var permits []ratelimiter.Permit
	for _, c := range charges {
		permits = append(permits, ratelimiter.Permit{Key: c.Key, ID: c.Permit})
	}
	if err := b.limiter.Release(b.t.Context(), permits); err != nil {
		b.t.Fatal(err)
	}
}

func TestPermits(t *testing.T) {
	b := newBench(t, nil)
	for n := range 3 {
		if d := b.take(permit(t, n, nil)); !d.Allowed || !d.Limits[0].Charged || d.Limits[0].Remaining != int64(2-n) {
			t.Fatalf("permit %d: %+v", n, d)
		}
	}
	d := b.take(permit(t, 3, nil))
	if s := d.Limits[0]; d.Allowed || s.Retry != time.Second || s.Full != time.Minute || s.Never {
		t.Fatalf("%+v", d)
	}
	if b.limiter.Remembered() != 0 {
		t.Error("a refusal is remembered, though a permit may be released")
	}
	b.release(permit(t, 1, nil))
	b.release(permit(t, 1, nil)) // again is no harm
	if !b.limiter.Gate([]ratelimiter.Charge{permit(t, 3, nil)}).Allowed || !b.take(permit(t, 3, nil)).Allowed || b.take(permit(t, 4, nil)).Allowed {
		t.Error("one was released, so one passes")
	}
	b.at = b.at.Add(time.Minute)
	if got := b.take(permit(t, 5, nil)).Limits[0].Remaining; got != 2 {
		t.Errorf("%d remain when all have expired and one was acquired", got)
	}
}

// A permit is acquired with all limits of a decision or not at all.
func TestPermitsTogether(t *testing.T) {
	b := newBench(t, nil)
	tight := charge(t, ratelimiter.Definition{Name: "tight", Count: 1, Window: time.Hour}, "k")
	b.take(tight)
	if d := b.take(tight, permit(t, 1, nil)); d.Allowed {
		t.Fatal("the other limit had no room")
	}
	d, err := b.limiter.Peek(t.Context(), []ratelimiter.Charge{permit(t, 2, nil)})
	if err != nil || d.Limits[0].Remaining != 3 {
		t.Errorf("a refusal holds a permit: %+v, %v", d, err)
	}
}

// In an outage a replica gives its part, one permit until all that could be held have expired; they are released in memory.
func TestPermitsWithoutStore(t *testing.T) {
	six := func(d *ratelimiter.Definition) { d.Count = 6 }
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 3 })
	for n := range 5 {
		b.take(permit(t, n, six))
	}
	b.shared.down = true
	if first := b.take(permit(t, 10, six)); !first.Allowed || !first.Degraded || b.take(permit(t, 11, six)).Allowed {
		t.Fatal("a share begins with one permit")
	}
	if err := b.limiter.Release(t.Context(), []ratelimiter.Permit{{Key: permit(t, 0, six).Key, ID: permit(t, 10, six).Permit}}); !errors.Is(err, errDown) {
		t.Errorf("released without the store: %v", err)
	}
	if !b.take(permit(t, 12, six)).Allowed {
		t.Error("the local permit was not released")
	}
	b.at = b.at.Add(time.Minute)
	for n := 20; n < 22; n++ {
		if !b.take(permit(t, n, six)).Allowed {
			t.Errorf("permit %d of 2", n)
		}
	}
	if b.take(permit(t, 22, six)).Allowed {
		t.Error("a third of six is two")
	}
	b.shared.down = false
	b.at = b.at.Add(time.Hour)
	b.take(permit(t, 30, six))
	b.shared.down = true
	if !b.take(permit(t, 31, six)).Allowed || b.take(permit(t, 32, six)).Allowed {
		t.Error("the next failure begins with one permit too")
	}
}

func TestReleaseLater(t *testing.T) {
	b := newBench(t, nil)
	var permits [3]ratelimiter.Permit
	for n := range permits {
		c := permit(t, n, nil)
		b.take(c)
		permits[n] = ratelimiter.Permit{Key: c.Key, ID: c.Permit}
	}
	for _, p := range permits { // of one counter, so that the worker must not take them for one
		if !b.limiter.ReleaseLater([]ratelimiter.Permit{p}) {
			t.Fatal("not queued")
		}
	}
	b.close(b.limiter)
	if d, err := b.limiter.Peek(t.Context(), []ratelimiter.Charge{permit(t, 9, nil)}); err != nil || d.Limits[0].Remaining != 3 {
		t.Errorf("%+v, %v", d, err)
	}
	if b.limiter.ReleaseLater(permits[:1]) {
		t.Error("queued after the limiter was closed")
	}
	if b.limiter.ReleaseLater([]ratelimiter.Permit{permits[0], permits[1]}) || b.limiter.Release(t.Context(), permits[:]) == nil {
		t.Error("two permits of one counter belong to no decision")
	}
}

// Permits that are given back while the store is away take none of those that the replica gives out.
func TestReleaseLaterWithoutStore(t *testing.T) {
	day := func(d *ratelimiter.Definition) { d.Window = 24 * time.Hour }
	b := newBench(t, nil)
	c := permit(t, 1, day)
	b.take(c)
	b.shared.down = true
	first := permit(t, 9, day)
	b.take(first) // the failure begins
	b.at = b.at.Add(12 * time.Hour)
	_ = b.limiter.Release(t.Context(), []ratelimiter.Permit{{Key: first.Key, ID: first.Permit}}) // in memory
	if !b.limiter.ReleaseLater([]ratelimiter.Permit{{Key: c.Key, ID: c.Permit}}) {
		t.Fatal("not queued")
	}
	b.close(b.limiter)
	b.at = b.at.Add(12 * time.Hour) // what could be held then has expired
	for n := 2; n < 5; n++ {
		if !b.take(permit(t, n, day)).Allowed {
			t.Errorf("permit %d of 3", n-1)
		}
	}
}

// A call that got no answer may have acquired a permit. Where the decision is refused, nobody else could give it back.
func TestAbandonedPermits(t *testing.T) {
	for name, c := range map[string]struct {
		onError ratelimiter.OnError
		cause   error
		left    int64
	}{
		"denied":                 {ratelimiter.Deny, errLost, 3},
		"allowed":                {ratelimiter.Allow, errLost, 2},
		"the share is empty":     {ratelimiter.LocalShare, errLost, 3},
		"nothing can be charged": {ratelimiter.Deny, errDown, 2}, // here it was, which shows that nothing is sent
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			first, lost := permit(t, 1, nil), permit(t, 2, func(d *ratelimiter.Definition) { d.OnError = c.onError })
			b.shared.down = true
			if c.onError == ratelimiter.LocalShare {
				b.take(first) // all that a share gives at first
			}
			b.shared.cause = c.cause
			b.shared.slow = func() {
				if d, err := b.shared.Store.Take(t.Context(), []ratelimiter.Charge{lost}); err != nil || !d.Allowed {
					t.Error(d, err)
				}
				b.shared.down = false
			}
			if d := b.take(lost); d.Allowed != (c.onError == ratelimiter.Allow) || !d.Degraded {
				t.Fatalf("%+v", d)
			}
			b.close(b.limiter)
			d, err := b.limiter.Peek(t.Context(), []ratelimiter.Charge{permit(t, 3, nil)})
			if err != nil || d.Degraded || d.Limits[0].Remaining != c.left {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

func TestReleaseIsForPermits(t *testing.T) {
	c := charge(t, ratelimiter.Definition{Count: 3, Window: time.Minute}, "k")
	c.Release = true
	two := permit(t, 1, nil)
	two.Cost = 2
	for _, c := range []ratelimiter.Charge{c, two} {
		if err := ratelimiter.Check([]ratelimiter.Charge{c}); !errors.Is(err, ratelimiter.ErrCharges) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func permitKey(scope string, values ...string) ratelimiter.Key {
	space := ratelimiter.NewKeySpace(scope, "orders", "exports").For(ratelimiter.Concurrency)
	var all []ratelimiter.Value
	for _, v := range values {
		all = append(all, ratelimiter.Value{Text: v})
	}
	return space.Key(all...)
}

func TestPermitText(t *testing.T) {
	p := ratelimiter.Permit{Key: permitKey("acme", "user:corp:alice"), ID: concurrency.ID{1, 2, 255}}
	if got, err := ratelimiter.ParsePermit(p.String()); err != nil || got != p {
		t.Errorf("%+v, %v", got, err)
	}
	long := ratelimiter.Permit{Key: permitKey(strings.Repeat("s", 500), strings.Repeat("x", 5000)), ID: concurrency.ID{1}}
	if got, err := ratelimiter.ParsePermit(long.String()); err != nil || got != long || len(long.String()) > 500 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"empty": "", "no base64": "***", "short": p.String()[:20], "padded": p.String() + "=", "no key": p.String()[:22],
		"another counter": ratelimiter.Permit{Key: ratelimiter.NewKeySpace("acme", "", "l").Key(), ID: p.ID}.String(),
		"another's key":   ratelimiter.Permit{Key: "sessions+concurrency", ID: p.ID}.String(),
		"no id":           ratelimiter.Permit{Key: p.Key}.String(),
		"long":            strings.Repeat("A", 501),
		"line break":      p.String() + "\n",
		"another's value": ratelimiter.Permit{Key: ratelimiter.NewKeySpace("acme", "", "l").Key(ratelimiter.Value{Text: "+concurrency"}), ID: p.ID}.String(),
		"a stray bit":     ratelimiter.Permit{Key: p.Key + "x", ID: p.ID}.String()[:len(p.String())] + "/",
	} {
		if got, err := ratelimiter.ParsePermit(text); !errors.Is(err, ratelimiter.ErrCharges) || got != (ratelimiter.Permit{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// FuzzParsePermit: what can be read is read in one way.
func FuzzParsePermit(f *testing.F) {
	f.Add(ratelimiter.Permit{Key: permitKey("acme", "a"), ID: concurrency.ID{7}}.String())
	f.Add("")
	f.Add(ratelimiter.Permit{Key: permitKey("acme", "a"), ID: concurrency.ID{7}}.String() + "\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ratelimiter.ParsePermit(text)
		if err == nil && p.String() != text {
			t.Errorf("%q is read as %q", text, p.String())
		}
	})
}
