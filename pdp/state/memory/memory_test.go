package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
)

// clock is a clock that tests set.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func replica(t *testing.T, s state.Store, c *clock, most int) *state.Table {
	t.Helper()
	table, err := state.NewTable(state.TableOptions{Store: s, Name: "t", Clock: c.Now, Most: most})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func write(t *testing.T, table *state.Table, r state.Record, ifAbsent bool) bool {
	t.Helper()
	written, err := table.Write(t.Context(), r, ifAbsent)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func held(table *state.Table) []string {
	ids := []string{}
	for _, r := range table.All() {
		ids = append(ids, r.ID+"="+string(r.Value))
	}
	slices.Sort(ids)
	return ids
}

func want(t *testing.T, table *state.Table, ids ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, ids...), held(table)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func sync(t *testing.T, tables ...*state.Table) {
	t.Helper()
	for _, table := range tables {
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTablesFollowTheStore(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	one, two := replica(t, s, c, 0), replica(t, s, c, 0)
	write(t, one, state.Record{ID: "a", Value: []byte("1")}, false)
	write(t, one, state.Record{ID: "b", Value: []byte("1"), Expires: c.now.Add(time.Minute)}, false)
	want(t, one, "a=1", "b=1")
	want(t, two)
	sync(t, two)
	want(t, two, "a=1", "b=1")
	if write(t, two, state.Record{ID: "a", Value: []byte("2")}, true) {
		t.Error("wrote over what was there")
	}
	write(t, two, state.Record{ID: "a", Value: []byte("2")}, false)
	write(t, two, state.Record{ID: "b", Deleted: true, Expires: c.now.Add(time.Hour)}, false)
	if !write(t, two, state.Record{ID: "b", Value: []byte("3"), Expires: c.now.Add(time.Minute)}, true) {
		t.Error("a trace of what was deleted is no record")
	}
	sync(t, one)
	want(t, one, "a=2", "b=3")
	c.now = c.now.Add(time.Minute)
	want(t, one, "a=2")
	if _, ok := one.Get("b"); ok {
		t.Error("found what has ended")
	}
	if !one.Synced().Before(c.now) {
		t.Errorf("synced at %v", one.Synced())
	}
}

// TestSyncedIsAfterChanged: who asks whether the copy may be believed relies on what Changed was told.
func TestSyncedIsAfterChanged(t *testing.T) {
	c := newClock()
	store := memory.New(c.Now)
	other := replica(t, store, c, 0)
	write(t, other, state.Record{ID: "a", Value: []byte("1")}, false)
	var table *state.Table
	var seen []time.Time
	var err error
	table, err = state.NewTable(state.TableOptions{Store: store, Name: "t", Clock: c.Now, Changed: func([]state.Record, bool) { seen = append(seen, table.Synced()) }})
	if err != nil {
		t.Fatal(err)
	}
	began := c.now
	sync(t, table)
	c.now = c.now.Add(time.Minute)
	write(t, other, state.Record{ID: "b", Value: []byte("2")}, false)
	sync(t, table)
	if diff := cmp.Diff([]time.Time{{}, began}, seen); diff != "" || !table.Synced().Equal(c.now) {
		t.Errorf("synced at %v (-want +got)\n%s", table.Synced(), diff)
	}
}

// TestLostTablesComeBack: a store that forgets is filled again by those who remember, and whoever knew nothing learns it.
func TestLostTablesComeBack(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	one, two, fresh := replica(t, s, c, 0), replica(t, s, c, 0), replica(t, s, c, 0)
	write(t, one, state.Record{ID: "a", Value: []byte("1")}, false)
	write(t, one, state.Record{ID: "gone", Value: []byte("1")}, false)
	sync(t, two)
	write(t, one, state.Record{ID: "gone", Deleted: true, Expires: c.now.Add(time.Hour)}, false)
	write(t, one, state.Record{ID: "short", Value: []byte("1"), Expires: c.now.Add(time.Second)}, false)
	sync(t, two)
	s.Lose()
	c.now = c.now.Add(time.Second)
	sync(t, fresh)
	want(t, fresh)
	sync(t, one, two, fresh)
	want(t, one, "a=1")
	want(t, two, "a=1")
	want(t, fresh, "a=1")
}

// TestLateReplicaBringsNothingBack: what was taken away after a loss is not written back by a replica that was away meanwhile.
func TestLateReplicaBringsNothingBack(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	one, late := replica(t, s, c, 0), replica(t, s, c, 0)
	write(t, one, state.Record{ID: "a", Value: []byte("1")}, false)
	write(t, one, state.Record{ID: "b", Value: []byte("1")}, false)
	sync(t, late)
	s.Lose()
	sync(t, one)
	write(t, one, state.Record{ID: "a", Deleted: true, Expires: c.now.Add(time.Hour)}, false)
	sync(t, late, one)
	want(t, late, "b=1")
	want(t, one, "b=1")
}

func TestTableIsBounded(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	one := replica(t, s, c, 2)
	for i := range 2 {
		write(t, one, state.Record{ID: fmt.Sprint(i), Expires: c.now.Add(time.Second)}, false)
	}
	if _, err := one.Write(t.Context(), state.Record{ID: "2"}, false); !errors.Is(err, state.ErrFull) {
		t.Errorf("error %v", err)
	}
	want(t, one, "0=", "1=")
	write(t, one, state.Record{ID: "1", Value: []byte("new"), Expires: c.now.Add(time.Second)}, false)
	want(t, one, "0=", "1=new")
	c.now = c.now.Add(time.Second) // what has ended makes room
	write(t, one, state.Record{ID: "2"}, false)
	want(t, one, "2=")
	for _, r := range []state.Record{{}, {ID: string(make([]byte, state.MaxID+1))}, {ID: "x", Value: make([]byte, state.MaxValue+1)}, {ID: "x", Deleted: true}} {
		if _, err := one.Write(t.Context(), r, false); !errors.Is(err, state.ErrRecord) {
			t.Errorf("%.20q: error %v", r.ID, err)
		}
	}
}

// TestTableThatOutgrows: writers that race go a little beyond the bound; beyond that nothing of a change is taken over, and the next
// one that fits is.
func TestTableThatOutgrows(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	var changed int
	one, err := state.NewTable(state.TableOptions{Store: s, Name: "t", Clock: c.Now, Most: 8, Changed: func(records []state.Record, _ bool) { changed += len(records) }})
	if err != nil {
		t.Fatal(err)
	}
	direct := func(r state.Record) {
		t.Helper()
		if _, err := s.Write(t.Context(), "t", r, false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 9 {
		direct(state.Record{ID: fmt.Sprint(i)})
	}
	sync(t, one)
	if len(held(one)) != 9 || changed != 9 {
		t.Fatalf("%q, %d changes", held(one), changed)
	}
	before := one.Synced()
	c.now = c.now.Add(time.Second)
	direct(state.Record{ID: "0", Deleted: true, Expires: c.now.Add(time.Hour)})
	direct(state.Record{ID: "9"})
	direct(state.Record{ID: "10"})
	if err := one.Sync(t.Context()); !errors.Is(err, state.ErrFull) || len(held(one)) != 9 || changed != 9 || !one.Synced().Equal(before) {
		t.Errorf("error %v, %q, %d changes, synced %v", err, held(one), changed, one.Synced())
	}
	direct(state.Record{ID: "1", Deleted: true, Expires: c.now.Add(time.Hour)})
	c.now = c.now.Add(time.Hour) // traces count until they end
	sync(t, one)
	want(t, one, "10=", "2=", "3=", "4=", "5=", "6=", "7=", "8=", "9=")
}

// TestRunIsWoken: with a poll of an hour, a change arrives by the wake-up alone.
func TestRunIsWoken(t *testing.T) {
	s := memory.New(time.Now)
	seen := make(chan string, 8)
	table, err := state.NewTable(state.TableOptions{Store: s, Name: "t", Clock: time.Now, Poll: time.Hour, Changed: func(records []state.Record, _ bool) {
		for _, r := range records {
			seen <- r.ID
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		table.Run(ctx)
	}()
	// Until the table listens, a change may go unnoticed.
	deadline := time.After(10 * time.Second)
	for found := false; !found; {
		if _, err := s.Write(ctx, "t", state.Record{ID: "x", Value: []byte("1")}, false); err != nil {
			t.Fatal(err)
		}
		select {
		case <-seen:
			found = true
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("nobody noticed")
		}
	}
	cancel()
	<-done
}

// storm is a store that wakes without end, and counts the questions.
type storm struct {
	*memory.Store
	asked atomic.Int64
}

func (s *storm) Changes(ctx context.Context, table string, since state.Cursor) (state.Changes, error) {
	s.asked.Add(1)
	return s.Store.Changes(ctx, table, since)
}

func (s *storm) Listen(ctx context.Context, _ string, wake func()) error {
	for ctx.Err() == nil {
		wake()
	}
	return ctx.Err()
}

// TestStormOfWakes: however often a table is woken, it asks its store a bounded number of times a second.
func TestStormOfWakes(t *testing.T) {
	s := &storm{Store: memory.New(time.Now)}
	table, err := state.NewTable(state.TableOptions{Store: s, Name: "t", Clock: time.Now, Poll: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, began := make(chan struct{}), time.Now()
	go func() {
		defer close(done)
		table.Run(ctx)
	}()
	for s.asked.Load() < 5 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if n, most := s.asked.Load(), 2+int64(time.Since(began)/(20*time.Millisecond)); n > most {
		t.Errorf("asked %d times, at most %d in that time", n, most)
	}
}

func TestMarks(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	mark := func(key string) bool {
		t.Helper()
		first, err := s.Mark(t.Context(), key, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	got := []bool{mark("a"), mark("a"), mark("b")}
	c.now = c.now.Add(time.Second)
	got = append(got, mark("a"))
	if want := []bool{true, false, true, true}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// b has ended, and makes room when it is needed.
	for i := range memory.MaxMarks - 1 {
		if first, err := s.Mark(t.Context(), fmt.Sprint(i), time.Minute); !first || err != nil {
			t.Fatal(i, first, err)
		}
	}
	if first, err := s.Mark(t.Context(), "beyond", time.Minute); first || !errors.Is(err, state.ErrFull) {
		t.Errorf("beyond the bound: %v, error %v", first, err)
	}
	c.now = c.now.Add(time.Minute)
	if first, err := s.Mark(t.Context(), "beyond", time.Minute); !first || err != nil {
		t.Errorf("when all have ended: %v, error %v", first, err)
	}
}
