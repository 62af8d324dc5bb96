package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Sentinel is a sentinel that watches a master and a replica under the name "limits". Within about two seconds after the
// master does not answer it makes the replica the master.
type Sentinel struct {
	*Server         // the sentinel
	Master, Replica *Server

	tb testing.TB
}

// MasterName is the name by which a Sentinel knows its servers.
const MasterName = "limits"

// StartSentinel starts a master, a replica and a sentinel. front, if set, gets the address of each server and returns that
// under which all know it, sentinel and clients alike. The first lines are settings of the sentinel, the arguments those of the servers.
func StartSentinel(tb testing.TB, front func(addr string) string, lines []string, args ...string) *Sentinel {
	tb.Helper()
	if front == nil {
		front = func(addr string) string { return addr }
	}
	s := &Sentinel{tb: tb, Master: Start(tb, append([]string{"--repl-diskless-sync-delay", "0"}, args...)...)}
	host, port, err := net.SplitHostPort(front(s.Master.Addr()))
	if err != nil {
		tb.Fatal(err)
	}
	s.Replica = start(tb, freePort, func(dir string, own int) []string {
		_, announced, err := net.SplitHostPort(front(net.JoinHostPort("127.0.0.1", strconv.Itoa(own))))
		if err != nil {
			tb.Fatal(err)
		}
		return append([]string{
			"--port", strconv.Itoa(own), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
			"--replicaof", host, port, "--replica-announce-ip", "127.0.0.1", "--replica-announce-port", announced,
			"--repl-diskless-sync-delay", "0",
		}, args...)
	})
	s.Server = start(tb, freePort, func(dir string, own int) []string {
		path := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s %s %s 1\n", own, dir, MasterName, host, port) +
			"sentinel down-after-milliseconds " + MasterName + " 500\nsentinel failover-timeout " + MasterName + " 3000\n"
		if err := os.WriteFile(path, []byte(text+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
		return []string{path, "--sentinel"}
	})
	await(tb, "the sentinel knows a replica that is in step", func() bool {
		known := s.Do("INFO", "sentinel")
		return strings.Contains(known, "status=ok") && strings.Contains(known, "slaves=1") &&
			strings.Contains(s.Replica.Do("INFO", "replication"), "master_link_status:up")
	})
	return s
}

// Failover makes the replica the master, and returns when the sentinel has begun to.
func (s *Sentinel) Failover() {
	s.tb.Helper()
	await(s.tb, "a failover", func() bool { return s.Do("SENTINEL", "FAILOVER", MasterName) == "OK" })
}
