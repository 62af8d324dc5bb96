package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// drain is where a FIFO's reader keeps what came out.
type drain struct {
	pipe *os.File
	done sync.WaitGroup
	text output
}

// audited starts a server with a small queue of records before a sink.
func audited(t *testing.T, sink, mode string, stdout *os.File) *server {
	t.Helper()
	path, _ := write(t, tiny("shop", "orders.example.com", "/health"))
	s := run(t, fmt.Sprintf("bundles:\n  - {dir: %s}\nbudget: 50ms\naudit: {%s, queue: 16, on_full: %s}\n", path, sink, mode), stdout)
	s.ready(t)
	return s
}

// fifo returns the path of a pipe that nobody reads yet.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// empty begins to read a FIFO, until the test ends.
func empty(t *testing.T, path string) *drain {
	t.Helper()
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &drain{pipe: pipe}
	d.done.Go(func() { _, _ = io.Copy(&d.text, pipe) })
	t.Cleanup(func() {
		_ = pipe.Close()
		d.done.Wait()
	})
	return d
}

// most is more decisions than a pipe of 64 KiB and the queue take the records of.
const most = 1000

// flood asks until the answer is another one than an allow, or the metric counts something. It returns the last answer
// and how many came before.
func (s *server) flood(t *testing.T, metric string) (status int, code string, before int) {
	t.Helper()
	for n := range most {
		if status, code = s.ask(t, checkRequest("/health")); status != http.StatusOK || metric != "" && metrics(t, s.admin)[metric] > 0 {
			return status, code, n
		}
	}
	t.Fatalf("%d decisions were recorded by a sink that takes nothing", most)
	return 0, "", 0
}

const (
	droppedAllow  = `durward_records_dropped_total{why="full_allow"}`
	droppedDenial = `durward_records_dropped_total{why="full_denial"}`
)

// TestAuditDropsAllows lets decisions go on when the sink is blocked: allows are dropped and counted, and denials have
// room of their own.
func TestAuditDropsAllows(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	s := audited(t, "sink: file, path: "+path, "drop_allows", nil)
	if status, _, _ := s.flood(t, droppedAllow); status != http.StatusOK {
		t.Errorf("status %d of a decision whose record is dropped", status)
	}
	before := metrics(t, s.admin)[droppedAllow]
	for range 10 {
		if status, _ := s.ask(t, checkRequest("/health")); status != http.StatusOK {
			t.Errorf("status %d of a decision whose record is dropped", status)
		}
	}
	if after := metrics(t, s.admin)[droppedAllow]; after != before+10 {
		t.Errorf("%v records dropped, then 10 more allows, %v", before, after)
	}
	if status, _ := s.ask(t, checkRequest("/secret")); status != http.StatusForbidden || metrics(t, s.admin)[droppedDenial] != 0 {
		t.Errorf("a denial: status %d, %v denials dropped", status, metrics(t, s.admin)[droppedDenial])
	}
	reader := empty(t, path)
	eventually(t, "the denial's record", func() bool { return strings.Contains(reader.text.String(), `"reason":"no_route"`) })
	after := metrics(t, s.admin)[droppedAllow]
	s.recovers(t)
	if now := metrics(t, s.admin)[droppedAllow]; now != after {
		t.Errorf("%v records dropped although the sink takes them again", now-after)
	}
	if err := s.terminate(t); err != nil {
		t.Errorf("it ends: %v", err)
	}
}

// recovers waits until the sink took all, and asks once more.
func (s *server) recovers(t *testing.T) {
	t.Helper()
	eventually(t, "an empty queue", func() bool { return metrics(t, s.admin)["durward_records_queue_length"] == 0 })
	if status, _ := s.ask(t, checkRequest("/health")); status != http.StatusOK {
		t.Errorf("status %d although the sink takes records again", status)
	}
}

// TestAuditDenies makes denials of what cannot be recorded, and ends in spite of a sink that never takes anything.
func TestAuditDenies(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	s := audited(t, "sink: file, path: "+path, "deny", nil)
	status, code, allowed := s.flood(t, "")
	if status != http.StatusServiceUnavailable || code != "temporarily_unavailable" {
		t.Errorf("status %d, %s of an allow that cannot be recorded", status, code)
	}
	if n := metrics(t, s.admin)[`durward_decisions_total{adapter="ext_authz",decision="deny",mode="enforce",reason="audit_unavailable",route="",stage="audit"}`]; n != 1 {
		t.Errorf("%v denials for audit_unavailable are counted, want 1", n)
	}
	reader := empty(t, path)
	eventually(t, "the record of the denial", func() bool { return strings.Contains(reader.text.String(), `"reason":"audit_unavailable"`) })
	s.recovers(t)
	// What was allowed is recorded, all of it, and so is the one denial in its place.
	eventually(t, "the last record", func() bool { return strings.Count(reader.text.String(), `"effect":"allow"`) == allowed+1 })
	if n := strings.Count(reader.text.String(), `"reason":"audit_unavailable"`); n != 1 {
		t.Errorf("%d records of decisions that could not be recorded, want 1", n)
	}
}

// TestAuditWaits holds decisions while the sink is blocked, and no longer than the budget.
func TestAuditWaits(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	s := audited(t, "sink: file, path: "+path, "wait", nil)
	if status, _, _ := s.flood(t, droppedAllow); status != http.StatusOK { // an answer came, and no deadline of ours
		t.Errorf("status %d of a decision that waited for room", status)
	}
	if err := s.terminate(t); err == nil {
		t.Error("records are lost and it ends as if nothing were wrong")
	}
	if !strings.Contains(s.log.String(), "records were not written") {
		t.Error("it does not say that records are lost")
	}
}

// TestAuditFullDisk writes to a full disk.
func TestAuditFullDisk(t *testing.T) {
	t.Parallel()
	s := audited(t, "sink: file, path: /dev/full", "drop_allows", nil)
	if status, _, _ := s.flood(t, droppedAllow); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if !s.logged("records cannot be written", "no space left on device") {
		t.Error("the log does not say that the disk is full")
	}
	if n := metrics(t, s.admin)["durward_records_written_total"]; n != 0 {
		t.Errorf("%v records written to a full disk", n)
	}
}

// TestAuditClosedPipe writes to standard output when nobody reads it any more: that ends many programs, not this one.
func TestAuditClosedPipe(t *testing.T) {
	t.Parallel()
	read, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	s := audited(t, "sink: stdout", "drop_allows", stdout)
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := s.flood(t, droppedAllow); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if !s.logged("records cannot be written", "broken pipe") {
		t.Error("the log does not say that nobody reads the records")
	}
}
