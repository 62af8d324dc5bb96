package assembly

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/ratelimiter"
)

// TestRedisAsItIsConfigured: each mode, with TLS, a user of the servers and one of the sentinels, from durward.yaml to a
// charge in a real Redis.
func TestRedisAsItIsConfigured(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	ca.issue(t, dir, "redis", "redis.example.com")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "redis.crt"), filepath.Join(dir, "redis.key"))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	front := func(addr string) string { return redistest.StartFront(t, addr, conf).Addr() }
	user := []string{"--user", "app", "on", ">hunter2", "~rl:*", "+@all"}
	single := redistest.Start(t, user...)
	sentinel := redistest.StartSentinel(t, front, []string{"user watcher on >hunter3 +@all"}, user...)
	cluster := redistest.StartCluster(t, 3, front, user...)
	for _, s := range append(cluster.Nodes, single, sentinel.Master) {
		s.Do("ACL", "SETUSER", "default", "-evalsha", "-eval")
	}
	sentinel.Do("ACL", "SETUSER", "default", "off")
	base := settings.Redis{
		User: "app", PasswordFile: write("password", "hunter2\n"), ServerName: "redis.example.com", CA: filepath.Join(dir, "ca.crt"),
		Timeout: format.Duration(5 * time.Second), Replicas: 1,
	}
	limit, err := ratelimiter.NewLimit(ratelimiter.Definition{Name: "l", Count: 5, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	charges := []ratelimiter.Charge{{Limit: limit, Key: ratelimiter.NewKeySpace("acme", "", "l").Key(), Cost: 1}}
	for name, change := range map[string]func(*settings.Redis){
		"single": func(r *settings.Redis) { r.URL = settings.Secret("rediss://" + front(single.Addr())) },
		"sentinel": func(r *settings.Redis) {
			r.Addresses, r.Master, r.TLS = []string{front(sentinel.Addr())}, redistest.MasterName, true
			r.SentinelUser, r.SentinelPasswordFile = "watcher", write("sentinel", "hunter3\n")
		},
		"cluster": func(r *settings.Redis) { r.Addresses, r.TLS = []string{front(cluster.Nodes[0].Addr())}, true },
	} {
		t.Run(name, func(t *testing.T) {
			log := &logged{}
			s := settings.Defaults()
			s.Redis = base
			s.Redis.Mode = name
			change(&s.Redis)
			open := func() (ratelimiter.Decision, error) {
				store, err := openRedis(Options{Settings: s, Logger: log.logger(), Clock: time.Now}, newMetrics(settings.Metrics{}, Version{}))
				if err != nil {
					return ratelimiter.Decision{}, err
				}
				d, err := store.Take(t.Context(), charges)
				return d, errors.Join(err, store.Close())
			}
			if d, err := open(); err != nil || !d.Allowed || d.Limits[0].Remaining != 4 || !strings.Contains(log.String(), "Redis answers") {
				t.Errorf("%+v, %v\n%s", d, err, log)
			}
			s.Redis.PasswordFile = write("wrong", "hunter4\n")
			if d, err := open(); err == nil || strings.Contains(err.Error()+log.String(), "hunter") {
				t.Errorf("a wrong password: %+v, %v\n%s", d, err, log)
			}
			s.Redis.PasswordFile = "none"
			if _, err := open(); !errors.Is(err, settings.ErrInvalid) {
				t.Errorf("no password file: %v", err)
			}
		})
	}
}
