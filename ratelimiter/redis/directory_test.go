package redis

import (
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
)

// TestGuestsAreNotCutOff: a node that has no slot is known for as long as calls are sent there by ASK. One that is under way when
// it goes gets its answer: what was cut off may have charged.
func TestGuestsAreNotCutOff(t *testing.T) {
	c := SharedCluster(t)
	s := newStore(t, c.Nodes[0], func(o *Options) { o.URL, o.Mode, o.Addresses, o.Timeout = "", Cluster, c.Addrs(), time.Minute })
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	front := redistest.StartFront(t, c.Nodes[0].Addr(), nil)
	front.Delay(200 * time.Millisecond)
	n, err := s.directory.node(front.Addr())
	if err != nil {
		t.Fatal(err)
	}
	before, answered := c.Nodes[0].Calls("echo"), make(chan error, 1)
	go func() { answered <- n.client.Echo(t.Context(), "guest").Err() }()
	for c.Nodes[0].Calls("echo") == before {
		time.Sleep(time.Millisecond)
	}
	s.directory.install(layout{{last: slotCount - 1, addr: c.Nodes[0].Addr()}})
	if known, err := s.directory.node(front.Addr()); err != nil || known == n {
		t.Errorf("the node is known still, %v: it did not go", err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
