package redistest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
)

func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, nil)
	slot, owner := c.SlotOf("{a}k"), c.OwnerOf("{a}k")
	to := c.Nodes[0]
	if to == owner {
		to = c.Nodes[1]
	}
	if got := owner.Do("SET", "{a}k", "v"); got != "OK" {
		t.Fatal(got)
	}
	if got := to.Do("GET", "{a}k"); !strings.HasPrefix(got, "-MOVED ") {
		t.Fatal(got)
	}
	c.BeginMove(slot, owner, to)
	if got := owner.Do("GET", "{a}new"); !strings.HasPrefix(got, "-ASK ") {
		t.Fatal(got)
	}
	c.EndMove(slot, owner, to)
	if got := to.Do("GET", "{a}k"); got != "v" {
		t.Fatal(got)
	}
	replica := c.AddReplica(to)
	to.Kill()
	for end := time.Now().Add(30 * time.Second); replica.Do("GET", "{a}k") != "v"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the replica was not promoted: ", replica.Do("GET", "{a}k"))
		}
	}
}

func TestSentinel(t *testing.T) {
	s := redistest.StartSentinel(t, nil, nil)
	s.Master.Kill()
	named := func() string {
		return strings.Join(s.List("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redistest.MasterName), ":")
	}
	for end := time.Now().Add(30 * time.Second); named() != s.Replica.Addr(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the replica was not promoted")
		}
	}
	if got := s.Replica.Do("SET", "k", "v"); got != "OK" {
		t.Fatal(got)
	}
}
