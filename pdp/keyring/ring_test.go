package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/keyring"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
	"github.com/durward-pdp/durward/pdp/state/redis"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

const day = 24 * time.Hour

// clock is a clock that tests set.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// morning is not at the edge of a day. Tests with a real Redis want a time that is not past there.
func morning() *clock { return &clock{time.Now().UTC().Truncate(day).Add(day + 8*time.Hour)} }

var (
	secretOne = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	secretTwo = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{2}, 32))
)

func sealer(t testing.TB, lines ...string) *keyring.Sealer {
	t.Helper()
	s, err := keyring.ParseSealer(strings.Join(lines, "\n") + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// replica is a ring on a table of its own.
type replica struct {
	*keyring.Ring
	table *state.Table
}

func newReplica(t testing.TB, store state.Store, c *clock, s *keyring.Sealer) *replica {
	t.Helper()
	table, err := state.NewTable(state.TableOptions{Store: store, Name: "signing-keys", Clock: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Options{Table: table, Sealer: s, Period: day, Clock: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return &replica{ring, table}
}

// round is what a second brings: the table catches up, then the ring.
func (r *replica) round(t testing.TB) {
	t.Helper()
	if err := errors.Join(r.table.Sync(t.Context()), r.Refresh(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) ids() (published []string, signs string) {
	for _, i := range r.Infos() {
		published = append(published, i.ID)
		if i.Signs {
			signs = i.ID
		}
	}
	return published, signs
}

// verified says whether a token of one verifies with the published keys of another.
func verified(t testing.TB, from, by *replica) bool {
	t.Helper()
	raw, err := from.Sign("at+jwt", map[string]any{"iss": "https://durward.example.com", "sub": "user:corp:alice", "aud": "orders"})
	if err != nil {
		t.Fatal(err)
	}
	return accepts(t, by, raw)
}

func accepts(t testing.TB, by *replica, raw string) bool {
	t.Helper()
	set, ok := by.KeySet()
	if !ok {
		return false
	}
	return independent(t, set, raw)
}

// TestReplicasShareKeysAndRotate: two replicas on one Redis, through three days.
func TestReplicasShareKeysAndRotate(t *testing.T) {
	server, c := redistest.Start(t), morning()
	store := func() state.Store {
		s, err := redis.New(redis.Options{Target: connection.Target{URL: server.URL()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	one, two := newReplica(t, store(), c, sealer(t, secretOne)), newReplica(t, store(), c, sealer(t, secretOne))
	var both sync.WaitGroup
	for _, r := range []*replica{one, two} {
		both.Go(func() { r.round(t) }) // a race for the first key
	}
	both.Wait()
	one.round(t)
	two.round(t)
	agree := func(what string, published int) (signs string) {
		t.Helper()
		one.round(t)
		two.round(t)
		a, signsA := one.ids()
		b, signsB := two.ids()
		if strings.Join(a, " ") != strings.Join(b, " ") || signsA != signsB || len(a) != published {
			t.Fatalf("%s: %v signs %s; %v signs %s; want %d keys", what, a, signsA, b, signsB, published)
		}
		if !verified(t, one, two) || !verified(t, two, one) {
			t.Fatalf("%s: a token of one replica does not verify with the keys of the other", what)
		}
		return signsA
	}
	first := agree("the first morning", 1)
	midnight := c.now.Truncate(day).Add(day)
	c.now = midnight.Add(-16 * time.Minute)
	agree("before the next is due", 1)
	c.now = midnight.Add(-15 * time.Minute)
	if signs := agree("the next is published", 2); signs != first {
		t.Error("a key signs that nobody has fetched")
	}
	old, err := one.Sign("at+jwt", map[string]any{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	c.now = midnight
	second := agree("midnight", 2)
	if second == first || !accepts(t, two, old) {
		t.Error("the key did not change, or tokens before it are refused")
	}
	c.now = midnight.Add(14 * time.Minute)
	agree("tokens of the day before may still live", 2)
	c.now = midnight.Add(15 * time.Minute)
	agree("they do not", 1)
	if accepts(t, two, old) {
		t.Error("a key that nobody needs is published")
	}

	// A third replica that starts now knows the keys, and one that starts after Redis was emptied too.
	three := newReplica(t, store(), c, sealer(t, secretOne))
	three.round(t)
	if _, signs := three.ids(); signs != second {
		t.Errorf("%s signs in a replica that is new, want %s", signs, second)
	}
	server.Restart()
	one.round(t)
	four := newReplica(t, store(), c, sealer(t, secretOne))
	four.round(t)
	if _, signs := four.ids(); signs != second {
		t.Errorf("%s signs after a restart of Redis, want %s", signs, second)
	}

	// Without Redis the keys go on, past their day; what is made late is published before it signs.
	server.Kill()
	c.now = midnight.Add(day + 8*time.Hour)
	if err := one.Refresh(t.Context()); err == nil {
		t.Error("a key was shared without Redis")
	}
	if _, signs := one.ids(); signs != second || !verified(t, one, one) {
		t.Errorf("%s signs without Redis, want %s", signs, second)
	}
	server.Restart()
	one.round(t)
	if published, signs := one.ids(); signs != second || len(published) != 2 {
		t.Errorf("%v, and %s signs; want %s for a while", published, signs, second)
	}
	c.now = c.now.Add(15 * time.Minute)
	one.round(t)
	if _, signs := one.ids(); signs == second {
		t.Error("the key did not change after the outage")
	}
}

// TestRedisKnowsNoKey: what stands there opens with the sealing key alone, at its own place alone.
func TestRedisKnowsNoKey(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	one := newReplica(t, store, c, sealer(t, secretOne))
	one.round(t)
	_, signs := one.ids()
	records := one.table.All()
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	// A P-256 scalar sealed is as long as the scalar, the time and 37 bytes beside it; the point of it is the tests below.
	if len(records[0].Value) != 1+8+12+8+32+16 {
		t.Errorf("%d bytes", len(records[0].Value))
	}

	wrong := newReplica(t, store, c, sealer(t, secretTwo))
	if err := wrong.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it is told again and again, and makes nothing
		if err := wrong.Refresh(t.Context()); !errors.Is(err, keyring.ErrSealed) || !strings.Contains(err.Error(), records[0].ID) {
			t.Errorf("with a wrong sealing key: %v", err)
		}
	}
	if _, err := wrong.Sign("at+jwt", nil); !errors.Is(err, keyring.ErrNoKey) {
		t.Errorf("a token without a key: %v", err)
	}
	if _, ok := wrong.KeySet(); ok || len(wrong.Infos()) > 0 {
		t.Error("keys are published that cannot sign")
	}

	// A new sealing key beside the old one reads all, and the old one beside the new.
	both := newReplica(t, store, c, sealer(t, secretTwo, secretOne))
	both.round(t)
	if _, s := both.ids(); s != signs {
		t.Errorf("%s signs, want %s", s, signs)
	}
}

// TestForgedRecords: whoever can write to Redis cannot bring a key in.
func TestForgedRecords(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	one := newReplica(t, store, c, sealer(t, secretOne))
	one.round(t)
	genuine := one.table.All()[0]
	published, signs := one.ids()
	flip := func(i int) []byte {
		v := bytes.Clone(genuine.Value)
		v[i] ^= 1
		return v
	}
	elsewhere := memory.New(c.Now) // a key that the attacker sealed
	attacker := newReplica(t, elsewhere, c, sealer(t, secretTwo))
	attacker.round(t)
	for name, forged := range map[string]state.Record{
		"another period":     {ID: genuine.ID[:len(genuine.ID)-1] + "7", Value: genuine.Value},
		"no such name":       {ID: "es256-07", Value: genuine.Value},
		"another algorithm":  {ID: strings.Replace(genuine.ID, "es256", "es384", 1), Value: genuine.Value},
		"a flipped bit":      {ID: genuine.ID, Value: flip(40)},
		"a flipped tag":      {ID: genuine.ID, Value: flip(len(genuine.Value) - 1)},
		"a flipped nonce":    {ID: genuine.ID, Value: flip(12)},
		"another version":    {ID: genuine.ID, Value: flip(0)},
		"another sealer":     {ID: genuine.ID, Value: flip(3)},
		"cut short":          {ID: genuine.ID, Value: genuine.Value[:15]},
		"empty":              {ID: genuine.ID},
		"an attacker's key":  attacker.table.All()[0],
		"a plain key":        {ID: genuine.ID, Value: bytes.Repeat([]byte{7}, 40)},
		"without encryption": {ID: genuine.ID, Value: append(bytes.Clone(genuine.Value[:21]), bytes.Repeat([]byte{7}, 40)...)},
	} {
		t.Run(name, func(t *testing.T) {
			forged.Version = 0
			if _, err := store.Write(t.Context(), "signing-keys", forged, false); err != nil {
				t.Fatal(err)
			}
			fresh := newReplica(t, store, c, sealer(t, secretOne))
			for _, r := range []*replica{one, fresh} {
				if err := errors.Join(r.table.Sync(t.Context()), r.Refresh(t.Context())); err == nil {
					t.Error("nobody noticed")
				}
			}
			if got, s := one.ids(); strings.Join(got, " ") != strings.Join(published, " ") || s != signs {
				t.Errorf("%v, and %s signs", got, s)
			}
			for _, id := range func() []string { ids, _ := fresh.ids(); return ids }() {
				if id != signs {
					t.Errorf("a replica that started publishes %s", id)
				}
			}
			for _, r := range []state.Record{{ID: forged.ID, Deleted: true, Expires: c.now.Add(time.Second)}, genuine} {
				r.Version = 0
				if _, err := store.Write(t.Context(), "signing-keys", r, false); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestSealerRefusals(t *testing.T) {
	short := base64.StdEncoding.EncodeToString(make([]byte, 16))
	for name, text := range map[string]string{
		"nothing": "", "no base64": "hunter2hunter2hunter2hunter2hunter2!!", "short": short, "three": secretOne + "\n" + secretTwo + "\n" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{3}, 32)),
		"twice": secretOne + "\n" + secretOne, "an empty line between": secretOne + "\n\n" + secretTwo,
	} {
		if _, err := keyring.ParseSealer(text); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), secretOne[:8]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := morning()
	table := newReplica(t, memory.New(c.Now), c, sealer(t, secretOne)).table
	for name, o := range map[string]keyring.Options{
		"no table": {Sealer: sealer(t, secretOne), Period: day, Clock: c.Now}, "no sealer": {Table: table, Period: day, Clock: c.Now},
		"no clock": {Table: table, Sealer: sealer(t, secretOne), Period: day}, "a short period": {Table: table, Sealer: sealer(t, secretOne), Clock: c.Now, Period: time.Minute},
	} {
		if _, err := keyring.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseSealer(f *testing.F) {
	f.Add(secretOne + "\n" + secretTwo)
	f.Add("x\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := keyring.ParseSealer(text)
		if (s == nil) == (err == nil) {
			t.Fatal(s, err)
		}
	})
}

// TestRunBringsKeys and ends with its context.
func TestRunBringsKeys(t *testing.T) {
	c := morning()
	r := newReplica(t, memory.New(c.Now), c, sealer(t, secretOne))
	if err := r.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, told := make(chan struct{}), make(chan error, 100)
	go func() {
		defer close(done)
		r.Run(ctx, func(err error) { told <- err })
	}()
	if err := <-told; err != nil || len(r.Infos()) != 1 {
		t.Errorf("%v, %v", err, r.Infos())
	}
	cancel()
	<-done
}

func BenchmarkSign(b *testing.B) {
	c := morning()
	r := newReplica(b, memory.New(c.Now), c, sealer(b, secretOne))
	r.round(b)
	claims := map[string]any{
		"iss": "https://durward.example.com", "sub": "user:corp:alice", "aud": "orders-api", "iat": int64(1_790_000_000), "exp": int64(1_790_000_060),
		"jti": "01JA7Q0Y9Q4Z7N3K", "client_id": "shop", "orig_iss": "https://idp.example.com", "tenant": "acme", "roles": []any{"reader", "writer"}, "scope": "orders:read",
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign("at+jwt", claims); err != nil {
			b.Fatal(err)
		}
	}
}

// independent verifies a token with nothing of ours: the standard library's ECDSA, and its JSON.
func independent(t testing.TB, set []byte, raw string) bool {
	t.Helper()
	if _, err := token.ParseKeySet(set); err != nil {
		t.Fatalf("our own reader refuses the set: %v", err)
	}
	return verifyES256(t, set, raw) == nil
}

// counting counts what a ring writes.
type counting struct {
	keyring.Table
	writes int
}

func (c *counting) Write(ctx context.Context, r state.Record, ifAbsent bool) (bool, error) {
	c.writes++
	return c.Table.Write(ctx, r, ifAbsent)
}

// TestALateReplicaOverwritesNothing: one that has not seen the key of another takes it, and nobody writes without need.
func TestALateReplicaOverwritesNothing(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	one, two := newReplica(t, store, c, sealer(t, secretOne)), newReplica(t, store, c, sealer(t, secretOne))
	if err := two.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.round(t)
	_, first := one.ids()
	count := &counting{Table: two.table}
	late, err := keyring.New(keyring.Options{Table: count, Sealer: sealer(t, secretOne), Period: day, Clock: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := late.Refresh(t.Context()); err != nil { // its table is still empty the first time
			t.Fatal(err)
		}
	}
	one.round(t)
	if infos := late.Infos(); len(infos) != 1 || infos[0].ID != first || count.writes != 1 {
		t.Errorf("%+v after %d writes, want %s", infos, count.writes, first)
	}
	if _, still := one.ids(); still != first {
		t.Errorf("%s signs in the first replica, want %s", still, first)
	}
}

// TestAWrongSealingKeyMakesNoKeys: a replica that can read nothing is not the first at the next period either, where its key would
// sign at once and the others could not publish it.
func TestAWrongSealingKeyMakesNoKeys(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	right, wrong := newReplica(t, store, c, sealer(t, secretOne)), newReplica(t, store, c, sealer(t, secretTwo))
	right.round(t)
	midnight := c.now.Truncate(day).Add(day)
	for _, c.now = range []time.Time{midnight.Add(-15 * time.Minute), midnight, midnight.Add(time.Hour)} {
		if err := errors.Join(wrong.table.Sync(t.Context()), wrong.Refresh(t.Context())); !errors.Is(err, keyring.ErrSealed) {
			t.Errorf("at %v: %v", c.now, err)
		}
		if _, err := wrong.Sign("at+jwt", nil); !errors.Is(err, keyring.ErrNoKey) {
			t.Errorf("at %v it signs: %v", c.now, err)
		}
		right.round(t)
	}
	c.now = c.now.Add(time.Hour)
	right.round(t)
	if published, _ := right.ids(); len(published) != 1 || !verified(t, right, right) {
		t.Errorf("%v are published", published)
	}
}

// TestAnUnreadTableMakesNoKeys: who does not know what stands there would take its key for the first of all, and sign unpublished.
func TestAnUnreadTableMakesNoKeys(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	one := newReplica(t, store, c, sealer(t, secretOne))
	one.round(t)
	_, first := one.ids()
	c.now = c.now.Add(day) // all replicas were away at midnight
	late := newReplica(t, store, c, sealer(t, secretOne))
	if err := late.Refresh(t.Context()); err == nil || len(late.Infos()) > 0 {
		t.Errorf("%v, %+v", err, late.Infos())
	}
	late.round(t)
	if published, signs := late.ids(); signs != first || len(published) != 2 {
		t.Errorf("%v, and %s signs, want %s until its successor was seen by all", published, signs, first)
	}
}

// TestALostKeyGoes: a key that one replica made and the store lost does not sign beside the one that another made in its place.
func TestALostKeyGoes(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	one, two := newReplica(t, store, c, sealer(t, secretOne)), newReplica(t, store, c, sealer(t, secretOne))
	one.round(t)
	two.round(t)
	midnight := c.now.Truncate(day).Add(day)
	for i, at := range []time.Duration{-10 * time.Minute, -9 * time.Minute, time.Minute, 2 * time.Minute} {
		c.now = midnight.Add(at)
		one.round(t)
		for _, r := range one.table.All() {
			if r.ID != "es256-"+strconv.FormatInt(midnight.Unix(), 10) {
				continue
			}
			r.Version, r.Deleted, r.Value, r.Expires = 0, true, nil, c.now.Add(time.Hour)
			if _, err := store.Write(t.Context(), "signing-keys", r, false); err != nil {
				t.Fatal(err)
			}
		}
		two.round(t)
		one.round(t)
		a, signsA := one.ids()
		b, signsB := two.ids()
		if len(a) > 3 || strings.Join(a, " ") != strings.Join(b, " ") || signsA != signsB {
			t.Errorf("round %d: %v and %s signs; %v and %s signs", i, a, signsA, b, signsB)
		}
	}
}

// TestManyBadRecords: an error names a few, in one order, so that a log that tells of changes is not flooded.
func TestManyBadRecords(t *testing.T) {
	c := morning()
	store := memory.New(c.Now)
	r := newReplica(t, store, c, sealer(t, secretOne))
	for i := range 50 {
		if _, err := store.Write(t.Context(), "signing-keys", state.Record{ID: "junk-" + strconv.Itoa(i), Value: []byte("x"), Expires: c.now.Add(day)}, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := r.Refresh(t.Context())
	if want == nil || strings.Count(want.Error(), "junk-") != 3 || !strings.Contains(want.Error(), "and 47 more") {
		t.Fatal(want)
	}
	for range 5 {
		if err := r.Refresh(t.Context()); err == nil || err.Error() != want.Error() {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
