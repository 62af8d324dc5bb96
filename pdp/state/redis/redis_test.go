package redis_test

import (
	"testing"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/internal/statetest"
	"github.com/durward-pdp/durward/pdp/state/redis"
	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

func open(t testing.TB, target connection.Target, change ...func(*redis.Options)) *redis.Store {
	t.Helper()
	o := redis.Options{Target: target}
	for _, f := range change {
		f(&o)
	}
	s, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func single(s *redistest.Server) connection.Target { return connection.Target{URL: s.URL()} }

func TestContract(t *testing.T) {
	server := redistest.Start(t)
	statetest.Run(t, func(t *testing.T) (statetest.Store, func()) {
		server.Do("FLUSHALL")
		return open(t, single(server)), server.Restart
	})
}

func TestContractInACluster(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, nil)
	statetest.Run(t, func(t *testing.T) (statetest.Store, func()) {
		lose := func() {
			for _, s := range cluster.Nodes {
				s.Do("FLUSHALL")
			}
		}
		lose()
		return open(t, connection.Target{Mode: connection.Cluster, Addresses: cluster.Addrs()[:1]}), lose
	})
}

func TestContractWithSentinel(t *testing.T) {
	servers := redistest.StartSentinel(t, nil, nil)
	statetest.Run(t, func(t *testing.T) (statetest.Store, func()) {
		servers.Master.Do("FLUSHALL")
		return open(t, connection.Target{Mode: connection.Sentinel, Addresses: []string{servers.Addr()}, Master: redistest.MasterName}),
			func() { servers.Master.Do("FLUSHALL") }
	})
}
