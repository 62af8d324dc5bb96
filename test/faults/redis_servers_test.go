package faults

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	"github.com/durward-pdp/durward/internal/redistest"
)

// bundleTag is in every key of the stack's bundle, and says in which slot they lie.
const bundleTag = "rl:{acme}:"

// servers returns an option that names the servers of Redis in durward.yaml, and lets decisions wait for them.
func servers(t *testing.T, mode string, addresses ...string) func(string) string {
	url := regexp.MustCompile(`url: redis://[^,]*`)
	return func(text string) string {
		if !url.MatchString(text) {
			t.Error("durward.yaml names no Redis")
		}
		text = url.ReplaceAllString(text, fmt.Sprintf(`mode: %s, addresses: ["%s"], timeout: 250ms`, mode, strings.Join(addresses, `", "`)))
		return strings.Replace(text, "audit:", "budget: 300ms\naudit:", 1)
	}
}

// promotion is a master that dies and the replica that takes over.
type promotion struct {
	name    string
	config  func(string) string
	prepare func() // waits until the replica has what the master has
	kill    func()
}

// promote kills the master under load: each limit does what it says meanwhile, and then the replica decides, by the counters
// that it had.
func (p *promotion) promote(t *testing.T) {
	g := start(t, stack.Options{Settings: p.config})
	l := g.load(8, 5*time.Millisecond, threeLimits)
	ended := sync.OnceValue(l.end)
	defer ended()
	client := g.Client(nil)
	g.awaitHealthy(t, time.Now())
	spent := "/orders/spent-" + strings.ReplaceAll(p.name, " ", "-")
	for i, want := range []int{200, 200, 429} {
		if a := g.send(client, http.MethodPut, spent); a.status != want {
			t.Fatalf("request %d: status %d, want %d: %v %s", i+1, a.status, want, a.err, a.body)
		}
	}
	p.prepare()
	killed := time.Now()
	p.kill()
	eventually(t, "503 of on_error: deny", func() bool {
		a := g.send(client, http.MethodPost, "/orders/fresh/refund")
		return a.status == http.StatusServiceUnavailable && a.code == "temporarily_unavailable"
	})
	if a := g.send(client, http.MethodPut, "/orders/fresh"); a.status != http.StatusOK {
		t.Errorf("on_error allow: status %d, %v, %s", a.status, a.err, a.body)
	}
	eventually(t, "on_error: deny allows again", func() bool {
		return g.send(client, http.MethodPost, "/orders/fresh/refund").status == http.StatusOK
	})
	t.Logf("%s: the replica decided %v after the master died", p.name, time.Since(killed))
	g.awaitHealthy(t, time.Now())
	if a := g.send(client, http.MethodPut, spent); a.status != http.StatusTooManyRequests || g.recordsOf(t, []answer{a})[a.id()].Degraded {
		t.Errorf("the replica does not know what was spent: status %d, %s", a.status, a.body)
	}
	g.checkLoad(t, ended())
}

func (g *gateway) checkLoad(t *testing.T, answers []answer) {
	t.Helper()
	for _, a := range answers {
		if !a.own() {
			t.Errorf("at %s: not Durward's verdict: status %d, %v, %s", a.at.Format(time.TimeOnly+".000"), a.status, a.err, a.body)
		}
	}
	g.recordsOf(t, answers)
	g.checkEnvoy(t)
}

func TestReplicaIsPromotedBySentinel(t *testing.T) {
	s := redistest.StartSentinel(t, nil, nil)
	p := &promotion{name: "sentinel", config: servers(t, "sentinel, master: "+redistest.MasterName, s.Addr()), kill: s.Master.Kill}
	p.prepare = func() { time.Sleep(slack) } // the load goes on, so the replica is never quite in step
	p.promote(t)
}

func TestReplicaIsPromotedInACluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, nil)
	master := c.OwnerOf(bundleTag)
	c.AddReplica(master)
	p := &promotion{name: "cluster", config: servers(t, "cluster", c.Addrs()...), kill: master.Kill}
	p.prepare = func() { time.Sleep(slack) }
	p.promote(t)
}

// TestSlotMoves hands the slot of the bundle from node to node under load: no decision is degraded, and what was spent stays so.
func TestSlotMoves(t *testing.T) {
	c := redistest.StartCluster(t, 3, nil)
	g := start(t, stack.Options{Settings: servers(t, "cluster", c.Addrs()[0])})
	l := g.load(8, 5*time.Millisecond, threeLimits)
	ended := sync.OnceValue(l.end)
	defer ended()
	client := g.Client(nil)
	g.awaitHealthy(t, time.Now())
	for i, want := range []int{200, 200, 429} {
		if a := g.send(client, http.MethodPut, "/orders/spent"); a.status != want {
			t.Fatalf("request %d: status %d, want %d: %v %s", i+1, a.status, want, a.err, a.body)
		}
	}
	from, slot := c.OwnerOf(bundleTag), c.SlotOf(bundleTag)
	begin := time.Now()
	for _, to := range c.Nodes {
		if to == from {
			continue
		}
		c.BeginMove(slot, from, to)
		g.awaitLoad(t, time.Now().Add(-slack))
		c.EndMove(slot, from, to)
		g.awaitLoad(t, time.Now())
		from = to
	}
	end := time.Now()
	if a := g.send(client, http.MethodPut, "/orders/spent"); a.status != http.StatusTooManyRequests {
		t.Errorf("what was spent is not: status %d, %s", a.status, a.body)
	}
	g.checkLoad(t, ended())
	n, degraded := 0, 0
	for _, r := range g.records(t) {
		if r.Time.After(begin) && r.Time.Before(end) {
			n++
			if r.Degraded {
				degraded++
			}
		}
	}
	t.Logf("%d decisions while the slot moved twice", n)
	if degraded > 0 {
		t.Errorf("%d of them degraded", degraded)
	}
}
