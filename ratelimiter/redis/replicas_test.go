package redis_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// deployment is some replicas by one clock, which the test moves.
type deployment struct {
	t      *testing.T
	server *redistest.Server
	at     time.Time
}

func newDeployment(t *testing.T) *deployment {
	return &deployment{t: t, server: redistest.Start(t), at: time.Unix(1_790_000_000, 0)}
}

// join returns a new replica, with a client of its own. Its expiry is 15 s.
func (f *deployment) join() *redis.Replica {
	f.t.Helper()
	s := newRedis(f.t, f.server.URL(), func(o *redis.Options) {
		o.Now = func() time.Time { return f.at }
		o.ScriptTime = o.Now
	})
	r, err := s.Replica(redis.ReplicaOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// expect beats for some replicas, each of which is to count so many.
func (f *deployment) expect(live int, replicas ...*redis.Replica) {
	f.t.Helper()
	for i, r := range replicas {
		if got, err := r.Beat(context.Background()); err != nil || got != live {
			f.t.Errorf("replica %d counts %d, %v; want %d", i, got, err, live)
		}
	}
}

// kept returns how many replicas the server has.
func (f *deployment) kept() int {
	f.t.Helper()
	reply := f.server.Do("ZCARD", redis.ReplicasKey)
	n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(reply), ":"))
	if err != nil {
		f.t.Fatalf("%q: %v", reply, err)
	}
	return n
}

func (f *deployment) wait(d time.Duration) { f.at = f.at.Add(d) }

func TestReplicasAreCounted(t *testing.T) {
	f := newDeployment(t)
	a, b, c := f.join(), f.join(), f.join()
	f.expect(1, a)
	f.expect(2, b)
	f.expect(3, c, a, b, c)

	// c dies. It leaves the set within its expiry, and counts for as long again.
	f.wait(15*time.Second - time.Millisecond)
	f.expect(3, a, b)
	if got := f.kept(); got != 3 {
		t.Errorf("%d replicas kept before the expiry", got)
	}
	f.wait(time.Millisecond)
	f.expect(3, a, b)
	if got := f.kept(); got != 2 {
		t.Errorf("%d replicas kept after the expiry", got)
	}
	f.wait(15*time.Second - time.Millisecond)
	f.expect(3, a, b)
	f.wait(time.Millisecond)
	f.expect(2, a, b)

	f.expect(3, f.join()) // one more counts at once
	f.expect(3, a, b)
}

// A Redis that comes back empty has not heard of all replicas yet: the first beats must not make shares large.
func TestReplicasOutliveRedis(t *testing.T) {
	f := newDeployment(t)
	a, b := f.join(), f.join()
	f.expect(1, a)
	f.expect(2, b, a)
	f.server.Kill()
	for range 5 {
		f.wait(5 * time.Second)
		if _, err := a.Beat(context.Background()); err == nil {
			t.Fatal("a beat without Redis")
		}
	}
	f.server.Restart()
	within(t, "a beat", func() bool { _, err := a.Beat(context.Background()); return err == nil })
	f.expect(2, a)
	f.wait(14 * time.Second)
	f.expect(2, a)
	f.expect(2, b, a)
}

// After an outage what was lower before it counts no more.
func TestFewerReplicasMustBeSeenInOneRow(t *testing.T) {
	f := newDeployment(t)
	a, b := f.join(), f.join()
	f.expect(1, a)
	f.expect(2, b, a)
	f.wait(20 * time.Second)
	f.expect(2, a) // b is gone, and not yet for long
	f.server.Kill()
	if _, err := a.Beat(context.Background()); err == nil {
		t.Fatal("a beat without Redis")
	}
	f.wait(10 * time.Second)
	f.server.Restart()
	within(t, "a beat", func() bool { _, err := a.Beat(context.Background()); return err == nil })
	f.wait(14 * time.Second)
	f.expect(2, a)
	f.wait(time.Second)
	f.expect(1, a)
}

// The number falls to the most that was seen while it was lower, not to what is seen at the end.
func TestFewerReplicasAreTheMostThatWereSeen(t *testing.T) {
	f := newDeployment(t)
	a, b, c := f.join(), f.join(), f.join()
	f.expect(1, a)
	f.expect(2, b)
	f.expect(3, c, a)
	f.wait(15 * time.Second)
	f.expect(3, a) // alone
	f.expect(2, b)
	f.wait(5 * time.Second)
	f.expect(3, a) // b is there
	f.wait(10 * time.Second)
	f.expect(2, a) // b is gone again
	f.wait(time.Second)
	f.expect(2, a)
	f.wait(15 * time.Second)
	f.expect(1, a)
}

// A clock of the server that is set back makes nobody look dead, and keeps nobody alive for longer than from then on.
func TestReplicasWhenTheClockIsSetBack(t *testing.T) {
	f := newDeployment(t)
	a, b, c := f.join(), f.join(), f.join()
	f.expect(1, a)
	f.expect(2, b)
	f.expect(3, c)
	f.wait(-time.Hour)
	f.expect(3, a, b)
	f.wait(15 * time.Second)
	f.expect(3, a)
	if got := f.kept(); got != 1 {
		t.Errorf("%d replicas kept", got)
	}
}

func TestReplicasAreBounded(t *testing.T) {
	f := newDeployment(t)
	a := f.join()
	at := strconv.FormatInt(f.at.UnixMilli(), 10)
	f.server.Do("EVAL", "for i = 1, 10050 do redis.call('ZADD', KEYS[1], ARGV[1] - 1, 'r' .. i) end", "1", redis.ReplicasKey, at)
	f.expect(10_000, a)
	if reply := f.server.Do("PTTL", redis.ReplicasKey); strings.Contains(reply, "-") {
		t.Errorf("the set never expires: %q", reply)
	}
}

func TestReplicaRuns(t *testing.T) {
	f := newDeployment(t)
	s := newRedis(t, f.server.URL(), nil)
	beats := make(chan int, 100)
	r, err := s.Replica(redis.ReplicaOptions{Interval: 20 * time.Millisecond, OnBeat: func(live int, err error) {
		if err == nil {
			beats <- live
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	for range 3 {
		if got := <-beats; got != 1 {
			t.Errorf("%d replicas", got)
		}
	}
	cancel()
	<-done
	if got := f.kept(); got != 0 {
		t.Errorf("%d replicas kept after the only one left", got)
	}
	if _, err := s.Replica(redis.ReplicaOptions{Interval: -1}); err == nil {
		t.Error("a negative interval")
	}
}

// TestReplicasOfACluster: replicas that began at different nodes find the one set, and find it again when its slot has moved.
func TestReplicasOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, nil)
	var replicas []*redis.Replica
	for i := range 3 {
		r, err := newCluster(t, c, func(o *redis.Options) { o.Addresses = c.Addrs()[i : i+1] }).Replica(redis.ReplicaOptions{})
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, r)
	}
	for i, r := range replicas {
		if got, err := r.Beat(context.Background()); err != nil || got != i+1 {
			t.Fatalf("replica %d counts %d, %v", i, got, err)
		}
	}
	from, slot := c.OwnerOf(redis.ReplicasKey), c.SlotOf(redis.ReplicasKey)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	c.BeginMove(slot, from, to)
	c.MoveKeys(slot, 10, from, to)
	c.EndMove(slot, from, to)
	for i, r := range replicas {
		var got int
		var err error
		for range 50 { // a beat that meets the old node fails; the next ones go where the set is
			if got, err = r.Beat(context.Background()); err == nil && got == 3 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if got != 3 {
			t.Errorf("replica %d counts %d, %v after the slot has moved", i, got, err)
		}
	}
}

// TestReplicasOfSentinels: beats follow the master that sentinels name.
func TestReplicasOfSentinels(t *testing.T) {
	t.Parallel()
	servers := redistest.StartSentinel(t, nil, nil)
	r, err := newSentinel(t, servers, nil).Replica(redis.ReplicaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	beats := func() bool { n, err := r.Beat(context.Background()); return err == nil && n == 1 }
	within(t, "a beat", beats)
	servers.Failover()
	within(t, "the replica is the master", func() bool { return servers.Replica.Role() == "master" })
	servers.Replica.Do("DEL", redis.ReplicasKey) // what was copied does not count
	within(t, "the new master counts", func() bool {
		beats()
		return servers.Replica.Do("ZCARD", redis.ReplicasKey) == "1"
	})
}

// A user of Redis that may use what docs/guide/operate.md lists, and nothing else, can count replicas.
func TestReplicasNeedNoMoreThanIsDocumented(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(guide), " Needs: ")
	list, _, ok := strings.Cut(rest, ", on keys `rl:*`")
	if !ok {
		t.Fatal("the guide lists no commands")
	}
	args := []string{"--user", "durward", "on", ">secret", "~rl:*"}
	for command := range strings.SplitSeq(list, ",") {
		args = append(args, "+"+strings.ReplaceAll(strings.ToLower(strings.TrimSpace(command)), " ", "|"))
	}
	server := redistest.Start(t, args...)
	s := newRedis(t, server.URL(), func(o *redis.Options) { o.Username, o.Password = "durward", "secret" })
	r, err := s.Replica(redis.ReplicaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Beat(t.Context()); err != nil || got != 1 {
		t.Errorf("%d replicas, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Run(ctx) // which takes it out
	if reply := server.Do("ZCARD", redis.ReplicasKey); reply != ":0" && reply != "0" {
		t.Errorf("after it left: %q", reply)
	}
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 10, Window: time.Minute}), "k", 1)}
	if err := s.Prepare(t.Context()); err != nil {
		t.Error(err)
	}
	for range 2 { // the second overwrites
		if d, err := s.Take(t.Context(), charges); err != nil || !d.Allowed {
			t.Errorf("%+v, %v", d, err)
		}
	}
}
