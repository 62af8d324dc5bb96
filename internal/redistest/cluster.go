package redistest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	slotCount   = 16384
	busDistance = 10000 // from a node's port to that on which nodes talk to each other
)

// Cluster is a running Redis Cluster, without replicas unless a test adds some. Its nodes notice within a second that one
// does not answer, and go on without it.
type Cluster struct {
	Nodes []*Server // masters, with an equal part of the slots each, in order

	tb    testing.TB
	args  []string
	front func(addr string) string
}

// StartCluster starts a cluster of n masters with additional arguments for each. front, if set, gets the address of each
// node and returns that under which clients are told of it, on 127.0.0.1 too.
func StartCluster(tb testing.TB, n int, front func(addr string) string, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, args: args, front: front}
	for i := range n {
		s := c.start()
		c.Nodes = append(c.Nodes, s)
		slots := []string{"CLUSTER", "ADDSLOTS"}
		for slot := i * slotCount / n; slot < (i+1)*slotCount/n; slot++ {
			slots = append(slots, strconv.Itoa(slot))
		}
		c.want("OK", s, slots...)
		c.want("OK", s, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, s := range c.Nodes[1:] {
		c.meet(s)
	}
	c.await("the nodes know each other", func() bool {
		for _, s := range c.Nodes {
			info := s.Do("CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", n)) ||
				!strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", n)) {
				return false
			}
		}
		return true
	})
	return c
}

func (c *Cluster) start() *Server {
	return start(c.tb, freeNodePort, func(dir string, port int) []string {
		args := append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000",
			"--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0",
		}, c.args...)
		if c.front == nil {
			return args
		}
		_, announced, err := net.SplitHostPort(c.front(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))))
		if err != nil {
			c.tb.Fatal(err)
		}
		return append(args, "--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", announced,
			"--cluster-announce-bus-port", strconv.Itoa(port+busDistance))
	})
}

func (c *Cluster) meet(s *Server) {
	c.want("OK", s, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].port), strconv.Itoa(c.Nodes[0].port+busDistance))
}

// AddReplica starts a replica of a master, which has its data when AddReplica returns.
func (c *Cluster) AddReplica(of *Server) *Server {
	c.tb.Helper()
	s := c.start()
	c.meet(s)
	id := of.Do("CLUSTER", "MYID")
	c.await("the replica knows its master", func() bool { return s.Do("CLUSTER", "REPLICATE", id) == "OK" })
	c.await("the replica is known and in step", func() bool {
		for _, n := range c.Nodes {
			if !strings.Contains(n.Do("CLUSTER", "NODES"), "slave "+id) {
				return false
			}
		}
		return strings.Contains(s.Do("INFO", "replication"), "master_link_status:up")
	})
	return s
}

// BeginMove begins to hand a slot over: keys are where they are, and new ones are made at the receiver.
func (c *Cluster) BeginMove(slot int, from, to *Server) {
	c.tb.Helper()
	c.want("OK", to, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "IMPORTING", from.Do("CLUSTER", "MYID"))
	c.want("OK", from, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "MIGRATING", to.Do("CLUSTER", "MYID"))
}

// MoveKeys hands the keys of a slot over, at most n, and returns how many there were.
func (c *Cluster) MoveKeys(slot, n int, from, to *Server) int {
	c.tb.Helper()
	keys := from.List("CLUSTER", "GETKEYSINSLOT", strconv.Itoa(slot), strconv.Itoa(n))
	if len(keys) > 0 {
		c.want("OK", from, append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.port), "", "0", "5000", "KEYS"}, keys...)...)
	}
	return len(keys)
}

// EndMove hands over what is left of a slot, and its ownership.
func (c *Cluster) EndMove(slot int, from, to *Server) {
	c.tb.Helper()
	for c.MoveKeys(slot, 100, from, to) > 0 {
	}
	id := to.Do("CLUSTER", "MYID")
	c.want("OK", to, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", id)
	c.want("OK", from, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", id)
}

// Addrs returns the addresses of the masters.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// OwnerOf returns the master that StartCluster gave a key to.
func (c *Cluster) OwnerOf(key string) *Server {
	c.tb.Helper()
	return c.Nodes[c.SlotOf(key)*len(c.Nodes)/slotCount]
}

// SlotOf returns the slot of a key, as Redis computes it.
func (c *Cluster) SlotOf(key string) int {
	c.tb.Helper()
	slot, err := strconv.Atoi(c.Nodes[len(c.Nodes)-1].Do("CLUSTER", "KEYSLOT", key))
	if err != nil {
		c.tb.Fatal(err)
	}
	return slot
}

func (c *Cluster) want(want string, s *Server, args ...string) {
	c.tb.Helper()
	if got := s.Do(args...); got != want {
		c.tb.Fatalf("redis command %.3q: %s", args, got)
	}
}

func (c *Cluster) await(what string, f func() bool) {
	c.tb.Helper()
	await(c.tb, what, f)
}

func await(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	for end := time.Now().Add(2 * startTimeout); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("not within %v: %s", 2*startTimeout, what)
		}
	}
}

// freeNodePort returns a port whose bus port is free too.
func freeNodePort() (int, error) {
	for range 100 {
		bus, err := freePort()
		if err != nil {
			return 0, err
		}
		port := bus - busDistance
		if port < 1024 {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free pair of ports")
}
