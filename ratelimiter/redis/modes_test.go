package redis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// newSentinel returns a store that asks a sentinel, beside one that is not there.
func newSentinel(t testing.TB, s *redistest.Sentinel, change func(*redis.Options)) *redis.Store {
	t.Helper()
	return newRedis(t, "", func(o *redis.Options) {
		o.Mode, o.Addresses, o.Master = redis.Sentinel, []string{"127.0.0.1:1", s.Addr()}, redistest.MasterName
		if change != nil {
			change(o)
		}
	})
}

// TestSentinelFailsOver: the store follows the master, with the counters that the replica had.
func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	for name, hurt := range map[string]func(*redistest.Sentinel){
		"killed":  func(s *redistest.Sentinel) { s.Master.Kill() },
		"hung":    func(s *redistest.Sentinel) { s.Master.Stop() },
		"by hand": (*redistest.Sentinel).Failover,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers, heard := redistest.StartSentinel(t, nil, nil), make(chan redis.Health, 100)
			s := newSentinel(t, servers, func(o *redis.Options) {
				o.Timeout = time.Second
				o.OnHealth = func(h redis.Health) { heard <- h }
			})
			ctx := context.Background()
			charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 100, Window: ratelimiter.MaxWindow}), "k", 1)}
			if err := s.Prepare(ctx); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				must(t)(s.Take(ctx, charges))
			}
			within(t, "the replica has the charges", func() bool {
				return servers.Replica.Do("GET", redis.StoredKey(charges[0])) == servers.Master.Do("GET", redis.StoredKey(charges[0]))
			})
			start := time.Now()
			hurt(servers)
			within(t, "the replica was promoted", func() bool {
				return servers.Replica.Role() == "master"
			})
			answered := 0
			within(t, "the new master answers", func() bool {
				if _, err := s.Take(ctx, charges); err == nil {
					answered++
				}
				return answered > 0 && s.Health().State == redis.Closed
			})
			t.Logf("the new master answered after %v", time.Since(start))
			d := must(t)(s.Peek(ctx, charges))
			if got := d.Limits[0].Remaining; got > 96-int64(answered) || got < 90 {
				t.Errorf("%d left of 100 after 4 and %d decisions", got, answered)
			}
			if name != "killed" {
				return // nobody may have failed often enough to be heard of
			}
			within(t, "the dead master is reported to be gone", func() bool {
				select {
				case h := <-heard:
					if h.Server != servers.Master.Addr() {
						t.Fatalf("health %+v is not that of the dead master", h)
					}
					return h.Gone
				default:
					return false
				}
			})
		})
	}
}

// TestReadOnlyMaster: a master that was made a replica says so, nothing is charged, and the store asks who is the master now.
func TestReadOnlyMaster(t *testing.T) {
	t.Parallel()
	servers := redistest.StartSentinel(t, nil, nil)
	s := newSentinel(t, servers, nil)
	ctx := context.Background()
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 100, Window: ratelimiter.MaxWindow}), "k", 1)}
	must(t)(s.Take(ctx, charges))
	within(t, "the replica has the charge", func() bool { return servers.Replica.Do("GET", redis.StoredKey(charges[0])) != "$-1" })
	servers.Failover()
	within(t, "the replica is the master", func() bool { return servers.Replica.Role() == "master" })
	host, port, err := net.SplitHostPort(servers.Replica.Addr())
	if err != nil {
		t.Fatal(err)
	}
	servers.Master.Do("REPLICAOF", host, port) // as the sentinel does within ten seconds
	var refusals []string
	within(t, "the new master answers", func() bool {
		_, err := s.Take(ctx, charges)
		if err != nil {
			refusals = append(refusals, err.Error())
		}
		return err == nil
	})
	t.Logf("%d refusals before it", len(refusals))
	if len(refusals) == 0 || !strings.Contains(refusals[0], "READONLY") {
		t.Error("the old master was not asked")
	}
	if got := remaining(t, s, charges[0]); got != 98 {
		t.Errorf("%d left of 100 after two answers", got)
	}
}

// TestStaleSentinel: one that names a server which is no master is passed over.
func TestStaleSentinel(t *testing.T) {
	servers := redistest.StartSentinel(t, nil, nil)
	_, port, err := net.SplitHostPort(servers.Replica.Addr())
	if err != nil {
		t.Fatal(err)
	}
	stale, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stale.Close() }()
	var asked atomic.Int64
	go func() {
		for {
			conn, err := stale.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 1<<10)
			_, _ = conn.Read(buf) // HELLO, which old sentinels do not know
			_, _ = conn.Write([]byte("-ERR unknown command\r\n"))
			_, _ = conn.Read(buf)
			_, _ = conn.Write([]byte("*2\r\n$9\r\n127.0.0.1\r\n$" + strconv.Itoa(len(port)) + "\r\n" + port + "\r\n"))
			asked.Add(1)
		}
	}()
	s := newSentinel(t, servers, func(o *redis.Options) { o.Addresses = []string{stale.Addr().String(), servers.Addr()} })
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 5, Window: time.Hour}), "k", 1)}
	if d := must(t)(s.Take(context.Background(), charges)); !d.Allowed || asked.Load() == 0 || s.Health().Server != servers.Master.Addr() {
		t.Errorf("%+v by %s; the stale one was asked %d times", d, s.Health().Server, asked.Load())
	}
}

// TestLoginAndTLSInEveryMode: with a user whom the servers know, through a front that ends TLS.
func TestLoginAndTLSInEveryMode(t *testing.T) {
	t.Parallel()
	const password, sentinelPassword = "p/#s:w@rd", "s3ntinel"
	cert, roots := certificate(t)
	server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	front := func(addr string) string { return redistest.StartFront(t, addr, server).Addr() }
	user := []string{"--user", "app", "on", ">" + password, "~rl:*", "+@all"}
	// What the servers need among themselves they do as the default user; clients that do not log in are turned away.
	lock := func(servers ...*redistest.Server) {
		for _, s := range servers {
			if got := s.Do("ACL", "SETUSER", "default", "-evalsha", "-eval"); got != "OK" {
				t.Fatal(got)
			}
		}
	}
	login := func(o *redis.Options) {
		o.Username, o.Password = "app", password
		o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 100, Window: ratelimiter.MaxWindow}), "k", 1)}
	for name, open := range map[string]func(change func(*redis.Options)) *redis.Store{
		"single": func() func(func(*redis.Options)) *redis.Store {
			s := redistest.Start(t, user...)
			lock(s)
			return func(change func(*redis.Options)) *redis.Store {
				return newRedis(t, "rediss://"+front(s.Addr()), change)
			}
		}(),
		"sentinel": func() func(func(*redis.Options)) *redis.Store {
			s := redistest.StartSentinel(t, front, []string{"user app on >" + sentinelPassword + " +@all"}, user...)
			lock(s.Master)
			s.Do("ACL", "SETUSER", "default", "off")
			addr := front(s.Addr())
			return func(change func(*redis.Options)) *redis.Store {
				return newSentinel(t, s, func(o *redis.Options) {
					o.Addresses = []string{addr}
					o.SentinelUsername, o.SentinelPassword = "app", sentinelPassword
					change(o)
				})
			}
		}(),
		"cluster": func() func(func(*redis.Options)) *redis.Store {
			c := redistest.StartCluster(t, 3, front, user...)
			lock(c.Nodes...)
			addr := front(c.Nodes[0].Addr())
			return func(change func(*redis.Options)) *redis.Store {
				return newCluster(t, c, func(o *redis.Options) { o.Addresses = []string{addr}; change(o) })
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := open(login)
			if err := s.Prepare(ctx); err != nil {
				t.Fatal(err)
			}
			if d := must(t)(s.Take(ctx, charges)); !d.Allowed {
				t.Errorf("%+v", d)
			}
			for why, change := range map[string]func(*redis.Options){
				"nobody":             func(o *redis.Options) { login(o); o.Username, o.Password = "", "" },
				"a wrong password":   func(o *redis.Options) { login(o); o.Password = "wrong-secret" },
				"a stranger's roots": func(o *redis.Options) { login(o); o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} },
			} {
				s := open(func(o *redis.Options) { change(o); o.Timeout = time.Second })
				_, err := s.Take(ctx, charges)
				if err == nil || strings.Contains(err.Error(), "wrong-secret") {
					t.Errorf("%s: %v", why, err)
				}
			}
		})
	}
}

func TestModesRefused(t *testing.T) {
	addresses := []string{"127.0.0.1:1"}
	for name, o := range map[string]redis.Options{
		"a single server with addresses":  {URL: "redis://localhost", Addresses: addresses},
		"a cluster with a URL":            {Mode: redis.Cluster, URL: "redis://localhost", Addresses: addresses},
		"a cluster without addresses":     {Mode: redis.Cluster},
		"a cluster with a master":         {Mode: redis.Cluster, Addresses: addresses, Master: "m"},
		"a cluster with a sentinel login": {Mode: redis.Cluster, Addresses: addresses, SentinelPassword: "hunter2"},
		"sentinels without a master":      {Mode: redis.Sentinel, Addresses: addresses},
		"an address with a scheme":        {Mode: redis.Cluster, Addresses: []string{"redis://hunter2@h:1"}},
		"an address without a port":       {Mode: redis.Cluster, Addresses: []string{"hunter2"}},
		"an address with a login":         {Mode: redis.Cluster, Addresses: []string{"u@hunter2:1"}},
		"a port that is none":             {Mode: redis.Cluster, Addresses: []string{"h:hunter2"}},
		"a mode that is none":             {Mode: 3, Addresses: addresses},
	} {
		o.Now = time.Now
		if _, err := redis.New(o); !errors.Is(err, redis.ErrMode) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
