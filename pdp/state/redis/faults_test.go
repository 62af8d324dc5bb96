package redis_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/internal/statetest"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/redis"
	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

// moving is a store whose server changes, as one that sentinels name does.
type moving struct{ state.Store }

func newTable(t testing.TB, s state.Store) *state.Table {
	t.Helper()
	table, err := state.NewTable(state.TableOptions{Store: s, Name: "t", Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func held(table *state.Table) map[string]string {
	out := map[string]string{}
	for _, r := range table.All() {
		out[r.ID] = string(r.Value)
	}
	return out
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

// TestAServerThatMissedTheLastWritesTakesOver: replicas write back what it lacks, although somebody wrote to it before they asked.
func TestAServerThatMissedTheLastWritesTakesOver(t *testing.T) {
	master := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	link := redistest.StartFront(t, master.Addr(), nil)
	host, port, err := net.SplitHostPort(link.Addr())
	check(t, err)
	replica := redistest.Start(t, "--replicaof", host, port)
	old, promoted := open(t, single(master)), open(t, single(replica))
	write := func(s state.Store, id, value string) {
		t.Helper()
		_, err := s.Write(t.Context(), "t", state.Record{ID: id, Value: []byte(value)}, false)
		check(t, err)
	}
	store := &moving{old}
	knows, follows := newTable(t, store), newTable(t, store)
	write(old, "a", "1")
	write(old, "gone", "1")
	within(t, "the replica follows", func() bool { return replica.Do("HLEN", "durward:state:{t}:records") == "2" })
	check(t, follows.Sync(t.Context()))
	link.Delay(time.Minute)
	time.Sleep(20 * time.Millisecond) // what is on its way arrives
	write(old, "a", "2")
	write(old, "b", "1")
	_, err = old.Write(t.Context(), "t", state.Record{ID: "gone", Deleted: true, Expires: time.Now().Add(time.Hour)}, false)
	check(t, err)
	check(t, knows.Sync(t.Context()))
	before, err := old.Changes(t.Context(), "t", state.Cursor{})
	check(t, err)
	master.Kill()
	if got := replica.Do("REPLICAOF", "NO", "ONE"); got != "OK" || replica.Do("HLEN", "durward:state:{t}:records") != "2" {
		t.Fatalf("the replica has seen too much: %s", got)
	}
	write(promoted, "c", "1")
	first, err := promoted.Changes(t.Context(), "t", state.Cursor{})
	check(t, err)
	if first.Next.Sequence <= before.Next.Sequence || first.Next.Epoch == before.Next.Epoch {
		t.Errorf("%+v, before it %+v", first.Next, before.Next)
	}
	store.Store = promoted
	for _, table := range []*state.Table{follows, knows, follows} {
		check(t, table.Sync(t.Context()))
	}
	want := fmt.Sprint(map[string]string{"a": "2", "b": "1", "c": "1"})
	for name, table := range map[string]*state.Table{"who knew": knows, "who knew less": follows} {
		if got := fmt.Sprint(held(table)); got != want {
			t.Errorf("%s holds %s, want %s", name, got, want)
		}
	}
}

// TestEvictedKeysAreALoss: a server that ran out of memory threw some of a table's keys away.
func TestEvictedKeysAreALoss(t *testing.T) {
	server := redistest.Start(t)
	for _, part := range []string{"records", "order", "ends", "meta"} {
		server.Do("FLUSHALL")
		s := open(t, single(server))
		table := newTable(t, s)
		for _, id := range []string{"a", "b"} {
			_, err := table.Write(t.Context(), state.Record{ID: id}, false)
			check(t, err)
		}
		server.Do("DEL", "durward:state:{t}:"+part)
		check(t, table.Sync(t.Context()))
		fresh := newTable(t, s)
		check(t, fresh.Sync(t.Context()))
		if len(held(table)) != 2 || len(held(fresh)) != 2 {
			t.Errorf("without %s: %v, and a new replica %v", part, held(table), held(fresh))
		}
	}
}

// TestHungServer: calls end with errors, those that would wait too many are refused, and all is well afterwards.
func TestHungServer(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server), func(o *redis.Options) {
		o.MaxMarks, o.MarkTimeout, o.TableTimeout = 2, 500*time.Millisecond, 500*time.Millisecond
	})
	if first, err := s.Mark(t.Context(), "before", time.Hour); !first || err != nil {
		t.Fatal(first, err)
	}
	server.Stop()
	var unknown, busy, answered atomic.Int64
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			_, err := s.Mark(t.Context(), fmt.Sprint(i), time.Hour)
			switch {
			case errors.Is(err, redis.ErrBusy):
				busy.Add(1)
			case err != nil:
				unknown.Add(1)
			default:
				answered.Add(1)
			}
		})
	}
	if _, err := s.Changes(t.Context(), "t", state.Cursor{}); err == nil {
		t.Error("a hung server answered")
	}
	if _, err := s.Write(t.Context(), "t", state.Record{ID: "a"}, false); err == nil {
		t.Error("a hung server wrote")
	}
	all.Wait()
	if answered.Load() > 0 || busy.Load() == 0 || unknown.Load() < 2 {
		t.Errorf("%d answered, %d busy, %d unknown", answered.Load(), busy.Load(), unknown.Load())
	}
	server.Cont()
	within(t, "it answers again", func() bool {
		first, err := s.Mark(t.Context(), "before", time.Hour)
		return err == nil && !first
	})
}

// TestBrokenConnectionIsNotAsked twice: the first call may have marked, and the second would take our own mark for another's.
func TestBrokenConnectionIsNotAsked(t *testing.T) {
	var armed atomic.Bool
	cluster := redistest.StartCluster(t, 3, func(addr string) string { return breaking(t, addr, &armed) })
	s := open(t, connection.Target{Mode: connection.Cluster, Addresses: []string{breaking(t, cluster.Nodes[0].Addr(), &armed)}})
	for i := range 10 {
		name := fmt.Sprint(i)
		armed.Store(true)
		if first, err := s.Mark(t.Context(), name, time.Hour); err == nil {
			t.Errorf("first %v of an answer that never came", first)
		}
		if armed.Load() {
			t.Fatal("no connection broke")
		}
		if first, err := s.Mark(t.Context(), name, time.Hour); err != nil || first {
			t.Errorf("the mark that was set: first %v, %v", first, err)
		}
	}
}

// breaking passes on what comes, and where it is armed the next mark too, after which it breaks the connection instead of the answer.
func breaking(t *testing.T, to string, armed *atomic.Bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				var broken atomic.Bool
				go func() {
					buf := make([]byte, 1<<16)
					for {
						n, err := out.Read(buf)
						if err != nil || broken.Load() {
							_ = in.Close()
							return
						}
						_, _ = in.Write(buf[:n])
					}
				}()
				buf := make([]byte, 1<<16)
				for {
					n, err := in.Read(buf)
					if err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("durward:mark")) && armed.CompareAndSwap(true, false) {
						broken.Store(true)
					}
					if _, err := io.Copy(out, bytes.NewReader(buf[:n])); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestLargeTablesAreReadInPages of a bounded number of records, and of bytes.
func TestLargeTablesAreReadInPages(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server), func(o *redis.Options) { o.MaxRecords = 3500 })
	fill := func(table string, n, size int) {
		t.Helper()
		for i := range n {
			_, err := s.Write(t.Context(), table, state.Record{ID: fmt.Sprint(i), Value: bytes.Repeat([]byte{'x'}, size)}, false)
			check(t, err)
		}
	}
	read := func(table string, want int) (calls int) {
		t.Helper()
		before := server.Calls("evalsha")
		got, err := s.Changes(t.Context(), table, state.Cursor{})
		check(t, err)
		ids := map[string]bool{}
		for _, r := range got.Records {
			ids[r.ID] = true
		}
		if len(ids) != want || !got.Whole {
			t.Errorf("%d records of %d, whole %v", len(ids), want, got.Whole)
		}
		return server.Calls("evalsha") - before
	}
	fill("many", 3000, 10)
	read("many", 3000) // the server learns the script
	if n := read("many", 3000); n != 3 {
		t.Errorf("3,000 records in %d pages", n)
	}
	fill("more", 3501, 1)
	if _, err := s.Changes(t.Context(), "more", state.Cursor{}); !errors.Is(err, state.ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	fill("heavy", 260, state.MaxValue)
	if n := read("heavy", 260); n != 3 {
		t.Errorf("four megabytes in %d pages", n)
	}
}

// TestMinimalRights: what docs/guide/operate.md gives a user is enough.
func TestMinimalRights(t *testing.T) {
	rights := strings.Fields("on >secret resetkeys ~durward:state:* ~durward:mark:* resetchannels &durward:state:* -@all " +
		"+eval +evalsha +set +subscribe +unsubscribe +ping +time +info +hmget +hget +hset +hdel +hlen +zadd +zcard +zrem +zscore +zrangebyscore +unlink +publish")
	server := redistest.Start(t, append([]string{"--user", "app"}, rights...)...)
	statetest.Run(t, func(t *testing.T) (statetest.Store, func()) {
		server.Do("FLUSHALL")
		target := single(server)
		target.Username, target.Password = "app", "secret"
		return open(t, target), nil
	})
	target := single(server)
	target.Username, target.Password = "app", "hunter2"
	if _, err := open(t, target).Mark(t.Context(), "a", time.Hour); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestForeignBytesAreRefused(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server))
	for _, text := range []string{"", "x", "1 2", "1 0 2 x", "-1 0 0 x", "1 -1 0 x", "1 x 0 x", "1 0 1 "} {
		server.Do("FLUSHALL")
		_, err := s.Write(t.Context(), "t", state.Record{ID: "a"}, false)
		check(t, err)
		server.Do("HSET", "durward:state:{t}:records", "a", text)
		if got, err := s.Changes(t.Context(), "t", state.Cursor{}); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
