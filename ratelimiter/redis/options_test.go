package redis_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/redis"
)

func TestURL(t *testing.T) {
	for _, c := range []struct {
		url, addr string // no addr: refused
		tls       *tls.Config
	}{
		{url: "redis://cache.example.com", addr: "cache.example.com:6379"},
		{url: "redis://cache.example.com:6380/3", addr: "cache.example.com:6380"},
		{url: "redis://[2001:db8::1]:6380", addr: "[2001:db8::1]:6380"},
		{url: "rediss://u:hunter2@cache.example.com", addr: "cache.example.com:6379", tls: &tls.Config{MinVersion: tls.VersionTLS13}},
		{url: "unix:///run/redis.sock", addr: "/run/redis.sock"},
		{url: "unix://u:hunter2@/run/redis.sock?db=2", addr: "/run/redis.sock"},
		{url: ""},
		{url: "hunter2@cache.example.com:6379"},
		{url: "http://u:hunter2@cache.example.com"},
		{url: "redis://"},
		{url: "redis://u:hunter2@"},
		{url: "redis://u:hunter2/x@cache.example.com"}, // the slash ends the host: hunter2 looks like a port
		{url: "redis://u:hunter2%zz@cache.example.com"},
		{url: "redis://u:x#hunter2@cache.example.com"},
		{url: "redis://u:hunter2@cache.example.com:port"},
		{url: "redis://cache.example.com/hunter2"},
		{url: "redis://cache.example.com/-1"},
		{url: "redis://cache.example.com?password=hunter2"},
		{url: "redis://cache.example.com?max_retries=3&x=hunter2"},
		{url: "redis://u:hunter2@cache.example.com", tls: &tls.Config{MinVersion: tls.VersionTLS13}},
		{url: "unix://host/hunter2"},
		{url: "unix:///run/redis.sock?db=hunter2"},
		{url: "unix:///run/redis.sock?x=hunter2"},
		{url: "redis://u:hunter2\x7f@cache.example.com"},
	} {
		s, err := redis.New(redis.Options{URL: c.url, TLS: c.tls, Now: time.Now})
		if c.addr == "" {
			if !errors.Is(err, redis.ErrURL) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%q: error %v", c.url, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.url, err)
			continue
		}
		if s.Address() != c.addr {
			t.Errorf("%q: address %q", c.url, s.Address())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("redis://u:", "@h:1/2")
	f.Add("unix://", "@/p?db=1")
	f.Add("redis://h/", "")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2hunter2"
		s, err := redis.New(redis.Options{URL: before + secret + after, Now: time.Now})
		if err == nil {
			_ = s.Close()
		} else if strings.Contains(err.Error(), secret) {
			t.Fatalf("the error shows the secret: %v", err)
		}
	})
}

func TestOptionsRefused(t *testing.T) {
	for name, o := range map[string]redis.Options{
		"no clock":         {},
		"negative timeout": {Now: time.Now, Timeout: -1},
		"negative pool":    {Now: time.Now, PoolSize: -1},
		"ratio":            {Now: time.Now, Breaker: redis.BreakerOptions{Ratio: 1.5}},
		"pauses":           {Now: time.Now, Breaker: redis.BreakerOptions{MinPause: time.Minute}},
	} {
		o.URL = "redis://localhost"
		if _, err := redis.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
