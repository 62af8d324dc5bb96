package redis

import (
	"os"
	"slices"
	"testing"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
)

// StoredKey returns the key of Redis in which the counter of a charge lies.
func StoredKey(c ratelimiter.Charge) string {
	h, _ := homeOf(&c)
	return string(h.append(nil))
}

// RecordName returns what stands for the counter of a charge in that key.
func RecordName(c ratelimiter.Charge) string {
	_, record := homeOf(&c)
	name := recordName(record)
	return string(name[:])
}

// SharedCluster returns a cluster of three nodes, without keys, for tests that leave it as it is and do not run side by side:
// nodes wait for two seconds before they serve.
func SharedCluster(t testing.TB) *redistest.Cluster {
	t.Helper()
	shared.TB = t
	if shared.cluster == nil {
		shared.cluster = redistest.StartCluster(&shared, 3, nil)
	}
	for _, s := range shared.cluster.Nodes {
		if got := s.Do("FLUSHALL"); got != "OK" {
			t.Fatal(got)
		}
	}
	return shared.cluster
}

// process is the test that uses it at the moment, but what it starts lives as long as the process.
type process struct {
	testing.TB
	cluster  *redistest.Cluster
	cleanups []func()
}

var shared process

func (p *process) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *process) TempDir() string {
	dir, err := os.MkdirTemp("", "durward-redis-")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(shared.cleanups) {
		f()
	}
	os.Exit(code)
}
