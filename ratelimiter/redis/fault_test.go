package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// within calls f until it reports true; a test that depends on another process has no other way to wait.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patient, what)
		}
	}
}

// observed collects what a store reports.
type observed struct {
	mu      sync.Mutex
	longest time.Duration
	asked   int
	states  []redis.State
}

func (o *observed) call(c redis.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.longest = max(o.longest, c.Duration)
	if !errors.Is(c.Err, redis.ErrOpen) {
		o.asked++
	}
}

func (o *observed) health(h redis.Health) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states = append(o.states, h.State)
}

func (o *observed) reset() (longest time.Duration, asked int, states []redis.State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	longest, asked, states = o.longest, o.asked, o.states
	o.longest, o.asked, o.states = 0, 0, nil
	return longest, asked, states
}

func TestServerTroubleAndRecovery(t *testing.T) {
	for _, c := range []struct {
		name       string
		hurt, heal func(*redistest.Server)
	}{
		{"killed and restarted", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"hung and resumed", (*redistest.Server).Stop, (*redistest.Server).Cont},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, seen := redistest.Start(t), new(observed)
			s := newRedis(t, server.URL(), func(o *redis.Options) {
				o.Timeout, o.OnCall, o.OnHealth = 0, seen.call, seen.health // 0: the default deadline
				o.Breaker.MaxPause = 200 * time.Millisecond
			})
			charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 1_000_000, Window: time.Second}), "k", 1)}
			take := func() bool { _, err := s.Take(context.Background(), charges); return err == nil }
			within(t, "a first answer", take)
			seen.reset()

			c.hurt(server)
			within(t, "the breaker opens", func() bool { take(); return s.Health().State == redis.Open })
			if s.Health().Cause == nil {
				t.Error("open without a cause")
			}
			longest, asked, _ := seen.reset()
			t.Logf("until it opened: %d calls asked, the longest took %v", asked, longest)
			const calls = 2000
			for range calls {
				if take() {
					t.Fatal("an answer from a server that cannot give one")
				}
			}
			within(t, "an error that says that nothing was charged", func() bool {
				var known interface{ Uncharged() bool }
				_, err := s.Take(context.Background(), charges)
				return errors.Is(err, redis.ErrOpen) && errors.As(err, &known) && known.Uncharged()
			})
			longest, asked, _ = seen.reset()
			t.Logf("%d calls without Redis: %d asked it, the longest took %v", calls, asked, longest)
			if asked > calls/2 {
				t.Errorf("%d of %d calls went to a server that is known to be down", asked, calls)
			}

			c.heal(server)
			within(t, "recovery", take)
			within(t, "the breaker closes", func() bool { take(); return s.Health().State == redis.Closed })
			longest, asked, states := seen.reset()
			t.Logf("recovery: %d calls asked, the longest took %v, states %v", asked, longest, states)
		})
	}
}

// Connections from before a restart must not fail one call each.
func TestRestartUnderIdleConnections(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 1_000_000, Window: time.Second}), "k", 1)}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { _, _ = s.Take(context.Background(), charges) })
	}
	wg.Wait()
	server.Restart()
	for i := range 32 {
		if _, err := s.Take(context.Background(), charges); err != nil {
			t.Errorf("call %d after the restart: %v", i, err)
		}
	}
}

func TestCallersThatLeaveDoNotOpenTheBreaker(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), func(o *redis.Options) { o.Timeout = time.Minute })
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 1, Window: time.Second}), "k", 1)}
	must(t)(s.Peek(context.Background(), charges))
	server.Stop()
	defer server.Cont()
	for range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if _, err := s.Take(ctx, charges); err == nil {
			t.Error("an answer from a hung server")
		}
		cancel()
		gone, leave := context.WithCancel(context.Background())
		leave()
		if _, err := s.Take(gone, charges); err == nil {
			t.Error("an answer to a cancelled call")
		}
	}
	if h := s.Health(); h.State != redis.Closed {
		t.Fatalf("%v: %v", h.State, h.Cause)
	}
}

// A script that was sent may have run, whatever became of the connection: the store must not send it again.
func TestUnknownOutcomeIsNotRepeated(t *testing.T) {
	server := redistest.Start(t)
	var once sync.Once
	cut := make(chan struct{})
	addr := proxy(t, server.Addr(), nil, func(reply []byte) bool {
		select {
		case <-cut: // the script's reply: drop it, and the connection
			dropped := false
			once.Do(func() { dropped = true })
			return !dropped
		default:
			return true
		}
	})
	s := newRedis(t, "redis://"+addr, nil)
	c := charge(limit(t, ratelimiter.Definition{Count: 10, Window: 24 * time.Hour}), "k", 1)
	must(t)(s.Take(context.Background(), []ratelimiter.Charge{c}))
	close(cut)
	var known interface{ Uncharged() bool }
	if _, err := s.Take(context.Background(), []ratelimiter.Charge{c}); err == nil || errors.As(err, &known) {
		t.Fatalf("the lost reply was no error, or one that says that nothing was charged: %v", err)
	}
	d := must(t)(s.Peek(context.Background(), []ratelimiter.Charge{c}))
	if d.Limits[0].Remaining != 8 {
		t.Fatalf("%d left of 10 after one answered and one lost take", d.Limits[0].Remaining)
	}
}

func TestLoginAndTLS(t *testing.T) {
	const password = "p/#s:w@rd"
	server := redistest.Start(t, "--requirepass", "other")
	client := func(url string, change func(*redis.Options)) error {
		s := newRedis(t, url, change)
		return s.Prepare(context.Background())
	}
	admin := newRedis(t, server.URL(), func(o *redis.Options) { o.Password = "other" })
	if err := admin.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	host := server.Addr()
	if err := client("redis://:other@"+host, nil); err != nil {
		t.Errorf("password in the URL: %v", err)
	}
	err := client("redis://:wrong-secret@"+host, nil)
	if err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("wrong password: %v", err)
	}
	acl := redistest.Start(t, "--user", "app", "on", ">"+password, "~rl:*", "+@all")
	if err := client("redis://app:p%2F%23s%3Aw%40rd@"+acl.Addr()+"/0", nil); err != nil {
		t.Errorf("ACL user: %v", err)
	}
	if err := client(acl.URL(), func(o *redis.Options) { o.Username, o.Password = "app", password }); err != nil {
		t.Errorf("ACL user in options: %v", err)
	}

	cert, roots := certificate(t)
	front := proxy(t, acl.Addr(), &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil)
	if err := client("rediss://"+front, func(o *redis.Options) { o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13} }); err != nil {
		t.Errorf("TLS: %v", err)
	}
	if err := client("rediss://"+acl.Addr(), func(o *redis.Options) { o.Timeout = time.Second }); err == nil || !strings.Contains(err.Error(), "a port without TLS") {
		t.Errorf("TLS with a port that has none: %v", err)
	}
	if err := client("rediss://"+front, nil); err == nil {
		t.Error("a certificate of an unknown authority was accepted")
	}
}

// proxy forwards connections to a server, behind TLS if conf is set, asking pass about each reply.
func proxy(t *testing.T, to string, conf *tls.Config, pass func([]byte) bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go forward(in, to, pass)
		}
	}()
	return addr
}

func forward(in net.Conn, to string, pass func([]byte) bool) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := out.Read(buf)
		if err != nil || pass != nil && !pass(buf[:n]) {
			return
		}
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
