package faults

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// slack is how long after a signal its effect may come.
const slack = 100 * time.Millisecond

// threeLimits sends to the routes of the three limits in turn, each request for an order that nobody asked for before.
func threeLimits(client, n int) call {
	order := fmt.Sprintf("%d-%d", client, n)
	return []call{
		{http.MethodGet, "/orders/" + order},
		{http.MethodPut, "/orders/" + order},
		{http.MethodPost, "/orders/" + order + "/refund"},
	}[n%3]
}

// TestRedisFails kills Redis, and then hangs it, under load. Each limit does what its on_error says, every request gets
// a verdict of Durward's own, and nobody has to help when Redis is back.
func TestRedisFails(t *testing.T) {
	g := start(t, stack.Options{})
	l := g.load(16, 5*time.Millisecond, threeLimits)
	ended := sync.OnceValue(l.end)
	defer ended()
	client := g.Client(nil)
	g.awaitHealthy(t, time.Now())

	outages := []*outage{
		{name: "killed", begin: g.Redis.Kill, end: func() error { return g.Redis.Start(within(t, 30*time.Second)) }, forgets: true},
		{name: "hung", begin: g.Redis.Pause, end: g.Redis.Resume},
	}
	for _, o := range outages {
		g.outage(t, client, o)
	}
	answers := ended()
	for _, a := range answers {
		if !a.own() {
			t.Errorf("at %s: not Durward's verdict: status %d, %v, %s", a.at.Format(time.TimeOnly+".000"), a.status, a.err, a.body)
		}
	}
	g.recordsOf(t, answers)
	g.checkEnvoy(t)
	for _, o := range outages {
		checkOutage(t, o, g.records(t))
	}
	t.Logf("%d requests; longest time in limits with Redis: %v", len(answers), longest(g.records(t), func(r *record) bool {
		return !slices.ContainsFunc(outages, func(o *outage) bool { return r.end().After(o.from) && r.Time.Before(o.to.Add(time.Second)) })
	}))
}

// outage is a time without Redis.
type outage struct {
	name       string
	begin, end func() error
	forgets    bool // its counters
	from, to   time.Time
}

// outage takes Redis away, asks each limit what it does then, and gives Redis back.
func (g *gateway) outage(t *testing.T, client *http.Client, o *outage) {
	t.Helper()
	spent, fresh := "/orders/spent-"+o.name, "/orders/fresh-"+o.name
	// The open limit lets two pass in a day.
	for i, want := range []int{200, 200, 429} {
		if a := g.send(client, http.MethodPut, spent); a.status != want {
			t.Fatalf("%s: request %d with Redis: status %d, want %d: %v %s", o.name, i+1, a.status, want, a.err, a.body)
		}
	}
	if err := o.begin(); err != nil {
		t.Fatal(err)
	}
	o.from = time.Now().Add(slack)
	time.Sleep(slack)

	// deny: no counter, no access. allow: what was spent passes, once the replicas forget that it was.
	if a := g.send(client, http.MethodPost, fresh+"/refund"); a.status != http.StatusServiceUnavailable || a.code != "temporarily_unavailable" {
		t.Errorf("%s: on_error deny: status %d, %v, %s", o.name, a.status, a.err, a.body)
	}
	eventually(t, "an allow of on_error: allow", func() bool { return g.send(client, http.MethodPut, spent).status == http.StatusOK })
	for range 5 {
		if a := g.send(client, http.MethodPut, fresh); a.status != http.StatusOK {
			t.Errorf("%s: on_error allow: status %d, %v, %s", o.name, a.status, a.err, a.body)
		}
	}
	// local_share: the share of each replica holds one unit when the failure begins, and fills slowly: 50 in a day.
	shares := make([]answer, 20)
	for i := range shares {
		shares[i] = g.send(client, http.MethodGet, fresh)
	}
	g.checkShares(t, o.name, shares)

	g.awaitLoad(t, o.from)
	time.Sleep(slack)
	o.to = time.Now().Add(-slack)
	if err := o.end(); err != nil {
		t.Fatal(err)
	}
	g.awaitHealthy(t, time.Now())
	want := http.StatusTooManyRequests
	if o.forgets {
		want = http.StatusOK
	}
	eventually(t, fmt.Sprintf("status %d of a spent limit after Redis %s", want, o.name), func() bool {
		a := g.send(client, http.MethodPut, spent)
		return a.status == want && !g.recordsOf(t, []answer{a})[a.id()].Degraded
	})
}

// checkShares wants one allow of each replica that was asked, and all others refused.
func (g *gateway) checkShares(t *testing.T, name string, answers []answer) {
	t.Helper()
	found := g.recordsOf(t, answers)
	allowed, asked := map[int]int{}, map[int]bool{}
	for _, a := range answers {
		r := found[a.id()]
		asked[r.replica] = true
		if a.status == http.StatusOK {
			allowed[r.replica]++
		} else if a.status != http.StatusTooManyRequests || r.Reason != "limit_exceeded" {
			t.Errorf("%s: on_error local_share: status %d, %s, %v, %s", name, a.status, r.Reason, a.err, a.body)
		}
	}
	for replica := range asked {
		if allowed[replica] != 1 {
			t.Errorf("%s: on_error local_share: replica %d let %d requests of %d pass, want 1", name, replica, allowed[replica], len(answers))
		}
	}
}

// awaitLoad waits until the load met each limit often since an instant.
func (g *gateway) awaitLoad(t *testing.T, since time.Time) {
	t.Helper()
	eventually(t, "load on every route", func() bool {
		counts := map[string]int{}
		for _, r := range g.records(t) {
			if r.Time.After(since) {
				counts[r.Route]++
			}
		}
		return min(counts["share"], counts["open"], counts["closed"]) >= 50
	})
}

// awaitHealthy waits until each replica made a decision with Redis that began after an instant.
func (g *gateway) awaitHealthy(t *testing.T, after time.Time) {
	t.Helper()
	eventually(t, "decisions of all replicas with Redis", func() bool {
		seen := map[int]bool{}
		for _, r := range g.records(t) {
			if r.Time.After(after) && !r.Degraded && r.Effect == "allow" {
				seen[r.replica] = true
			}
		}
		return len(seen) == len(g.Replicas)
	})
}

// checkOutage wants every decision that began and ended without Redis to be marked, and made as its limit says.
func checkOutage(t *testing.T, o *outage, records []record) {
	t.Helper()
	counts := map[string]int{}
	for _, r := range records {
		if r.Time.Before(o.from) || r.end().After(o.to) || strings.HasPrefix(r.key(), "spent-") {
			continue // what the deny cache still knows of a spent limit is no failure
		}
		if strings.HasPrefix(r.key(), "fresh-") && r.Reason == "limit_exceeded" {
			continue // the second and later of the local shares: counted above
		}
		counts[r.Route+" "+r.Effect+" "+r.Reason]++
		if !r.Degraded || len(r.Limits) != 1 || !r.Limits[0].Degraded {
			t.Errorf("%s: decision %s at %s, route %s, is not marked as degraded", o.name, r.Decision, r.Time.Format(time.TimeOnly+".000"), r.Route)
		}
	}
	want := []string{"closed deny limits_unavailable", "open allow allowed", "share allow allowed"}
	if got := slices.Sorted(maps.Keys(counts)); !slices.Equal(got, want) {
		t.Errorf("%s: decisions %v, want all of %v", o.name, counts, want)
	}
	t.Logf("Redis %s: decisions %v; longest time in limits %v", o.name, counts,
		longest(records, func(r *record) bool { return r.end().After(o.from.Add(-slack)) && r.Time.Before(o.to.Add(slack)) }))
}

func longest(records []record, take func(*record) bool) time.Duration {
	var most time.Duration
	for i := range records {
		if take(&records[i]) {
			most = max(most, records[i].limits())
		}
	}
	return most
}
