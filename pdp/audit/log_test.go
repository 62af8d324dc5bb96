package audit

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// gate is a sink that takes nothing until it is opened, and fails when told to.
type gate struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	calls int
	hold  chan struct{} // nil: open
	begun chan struct{} // gets a token per call
	fail  func(call int, p []byte) (int, error)
}

func (g *gate) Write(p []byte) (int, error) {
	if g.begun != nil {
		g.begun <- struct{}{}
	}
	if g.hold != nil {
		<-g.hold
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	if g.fail != nil {
		if n, err := g.fail(g.calls, p); err != nil {
			g.buf.Write(p[:n])
			return n, err
		}
	}
	return g.buf.Write(p)
}

func (g *gate) lines() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.SplitAfter(strings.TrimSuffix(g.buf.String(), "\n"), "\n")
}

// counts is an Observer.
type counts struct {
	mu      sync.Mutex
	written int
	failed  int
	dropped map[Drop]int
}

func (c *counts) observer() Observer {
	c.dropped = map[Drop]int{}
	return Observer{
		Written: func(n int) { c.mu.Lock(); c.written += n; c.mu.Unlock() },
		Failed:  func(error) { c.mu.Lock(); c.failed++; c.mu.Unlock() },
		Dropped: func(n int, why Drop) { c.mu.Lock(); c.dropped[why] += n; c.mu.Unlock() },
	}
}

func (c *counts) get(why Drop) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped[why]
}

func deny() *Entry {
	e := allowEntry()
	e.Verdict = &verdict.Verdict{Reason: verdict.NoRoute, DecisionID: "d3"}
	return e
}

// start returns a log whose writer hangs in its first write, with that one record in hand.
func start(t *testing.T, mode OnFull) (*Log, *gate, *counts) {
	t.Helper()
	g := &gate{hold: make(chan struct{}), begun: make(chan struct{}, 1000)}
	c := &counts{}
	l, err := NewLog(Options{Sink: g, Queue: 16, OnFull: mode, Observe: c.observer()})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), deny()); err != nil {
		t.Fatal(err)
	}
	<-g.begun
	return l, g, c
}

func closeLog(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no sink": {Queue: 16}, "short queue": {Sink: &gate{}, Queue: 15}, "long queue": {Sink: &gate{}, Queue: maxQueue + 1}, "mode": {Sink: &gate{}, Queue: 16, OnFull: 3},
	} {
		if _, err := NewLog(o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: NewLog = %v, want ErrOptions", name, err)
		}
	}
	for s, want := range map[string]OnFull{"": DropAllows, "drop_allows": DropAllows, "wait": Wait, "deny": DenyDecision} {
		if got, err := ParseOnFull(s); err != nil || got != want {
			t.Errorf("ParseOnFull(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := ParseOnFull("Drop"); !errors.Is(err, ErrOnFull) {
		t.Errorf("ParseOnFull = %v, want ErrOnFull", err)
	}
}

func TestDropAllows(t *testing.T) {
	l, g, c := start(t, DropAllows)
	for range 20 {
		if err := l.Record(t.Context(), allowEntry()); err != nil {
			t.Fatal(err)
		}
	}
	// One record is being written: eleven allows fill three quarters of sixteen.
	if got := c.get(DroppedAllow); got != 20-11 {
		t.Errorf("%d allows dropped, want 9", got)
	}
	for range 6 {
		if err := l.Record(t.Context(), deny()); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.get(DroppedDenial); got != 2 {
		t.Errorf("%d denials dropped, want 2: a quarter is theirs", got)
	}
	if got := l.Queued(); got != 16 {
		t.Errorf("%d queued, want 16", got)
	}
	close(g.hold)
	closeLog(t, l)
	if got := len(g.lines()); got != 16 || c.written != 16 {
		t.Errorf("%d lines written, %d counted, want 16", got, c.written)
	}
	for _, line := range g.lines() {
		parsed(t, strings.TrimSuffix(line, "\n")+"\n")
	}
}

func TestWait(t *testing.T) {
	l, g, c := start(t, Wait)
	for range 11 {
		if err := l.Record(t.Context(), allowEntry()); err != nil {
			t.Fatal(err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Record(over, allowEntry()); err != nil || c.get(DroppedAllow) != 1 {
		t.Errorf("Record = %v with %d dropped, want nil and 1: its time was over", err, c.get(DroppedAllow))
	}
	if err := l.Record(over, deny()); err != nil || c.get(DroppedDenial) != 0 {
		t.Errorf("a denial that has room was dropped because its time is over: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- l.Record(t.Context(), allowEntry()) }()
	select {
	case err := <-waited:
		t.Fatalf("Record = %v before there was room", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(g.hold)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	closeLog(t, l)
	if got := len(g.lines()); got != 14 {
		t.Errorf("%d lines, want 14", got)
	}
}

func TestWaitEndsWithTheLog(t *testing.T) {
	l, g, c := start(t, Wait)
	for range 11 {
		_ = l.Record(t.Context(), allowEntry())
	}
	waited := make(chan error, 1)
	go func() { waited <- l.Record(t.Context(), allowEntry()) }()
	closed := make(chan error, 1)
	go func() { closed <- l.Close(t.Context()) }()
	if err := <-waited; err != nil || c.get(DroppedClosed) != 1 {
		t.Errorf("Record = %v, %d dropped, want nil and 1", err, c.get(DroppedClosed))
	}
	close(g.hold)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestDenyDecision(t *testing.T) {
	l, g, c := start(t, DenyDecision)
	for i := range 11 {
		if err := l.Record(t.Context(), allowEntry()); err != nil {
			t.Fatalf("allow %d: %v", i, err)
		}
	}
	entry := allowEntry()
	for i := range 5 {
		if err := l.Record(t.Context(), entry); !errors.Is(err, ErrNotRecorded) {
			t.Fatalf("allow without room %d: %v, want ErrNotRecorded", i, err)
		}
	}
	if !entry.Verdict.Allowed() {
		t.Error("Record changed the engine's verdict")
	}
	if got := c.get(DroppedAllow); got != 1 {
		t.Errorf("%d dropped, want 1: four became denials in the room for those", got)
	}
	if err := l.Record(t.Context(), deny()); !errors.Is(err, ErrNotRecorded) || c.get(DroppedDenial) != 1 {
		t.Errorf("denial without room: %v", err)
	}
	close(g.hold)
	closeLog(t, l)
	unrecorded := 0
	for _, line := range g.lines() {
		if strings.Contains(line, `"effect":"deny","status":503,"reason":"audit_unavailable","stage":"audit","degraded":true`) {
			unrecorded++
		}
	}
	if unrecorded != 4 {
		t.Errorf("%d records of denials for want of a record, want 4", unrecorded)
	}
	if err := l.Record(t.Context(), allowEntry()); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("after Close: %v, want ErrNotRecorded", err)
	}
}

// TestFailingSink loses nothing and repeats nothing while the sink fails, whole or in the middle of a line.
func TestFailingSink(t *testing.T) {
	failure := errors.New("disk full")
	g := &gate{fail: func(call int, p []byte) (int, error) {
		switch call {
		case 1:
			return 0, failure
		case 2:
			return len(p) / 3, failure
		}
		return 0, nil
	}}
	c := &counts{}
	l, err := NewLog(Options{Sink: g, Queue: 1024, Observe: c.observer()})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		_ = l.Record(t.Context(), allowEntry())
	}
	closeLog(t, l)
	if got := len(g.lines()); got != 50 || c.written != 50 || c.failed != 2 {
		t.Errorf("%d lines, %d counted, %d failures; want 50, 50, 2", got, c.written, c.failed)
	}
	for _, line := range g.lines() {
		parsed(t, strings.TrimSuffix(line, "\n")+"\n")
	}
}

func TestCloseGivesUp(t *testing.T) {
	g := &gate{fail: func(int, []byte) (int, error) { return 0, errors.New("never") }}
	c := &counts{}
	l, err := NewLog(Options{Sink: g, Queue: 16, Observe: c.observer()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_ = l.Record(t.Context(), deny())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, ErrUnwritten) || !strings.HasSuffix(err.Error(), ": 3") {
		t.Errorf("Close = %v, want ErrUnwritten and 3", err)
	}
	<-l.done
	if got := c.get(DroppedUnwritten); got != 3 {
		t.Errorf("%d counted as unwritten, want 3", got)
	}
	if err := l.Close(ctx); !errors.Is(err, ErrUnwritten) {
		t.Errorf("second Close = %v", err)
	}
}

// TestByteBound holds the memory of a queue of long records.
func TestByteBound(t *testing.T) {
	l, g, c := start(t, DropAllows)
	for range 16 {
		_ = l.Record(t.Context(), hostileEntry(strings.Repeat("\x00", 1<<12), 200))
	}
	l.mu.Lock()
	held := len(l.pending) + l.handed
	l.mu.Unlock()
	if held > l.maxBytes || c.get(DroppedDenial) == 0 {
		t.Errorf("%d bytes held of %d, %d dropped", held, l.maxBytes, c.get(DroppedDenial))
	}
	close(g.hold)
	closeLog(t, l)
}

func TestConcurrent(t *testing.T) {
	g, c := &gate{}, &counts{}
	l, err := NewLog(Options{Sink: g, Queue: 256, OnFull: Wait, Observe: c.observer()})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				if err := l.Record(t.Context(), allowEntry()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	closeLog(t, l)
	if got := len(g.lines()); got != 1600 {
		t.Errorf("%d lines, want 1600", got)
	}
	for _, line := range g.lines() {
		parsed(t, strings.TrimSuffix(line, "\n")+"\n")
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := NewLog(Options{Sink: &discard{}, Queue: 8192})
	if err != nil {
		b.Fatal(err)
	}
	entry := allowEntry()
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Record(b.Context(), entry)
	}
	_ = l.Close(b.Context())
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }
