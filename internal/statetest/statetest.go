// Package statetest holds what every state.Store and state.Marks must do. Each store runs it in its own tests.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/state"
)

// Store is what is tested: its clock is the time of day.
type Store interface {
	state.Store
	state.Marks
}

// Run runs all tests. Open returns a store without tables, and a function that loses them all; lose is nil where a store cannot.
func Run(t *testing.T, open func(t *testing.T) (s Store, lose func())) {
	for name, test := range map[string]func(*testing.T, Store, func()){
		"changes": changes, "if absent": ifAbsent, "written back": writtenBack, "ended": endedRecords, "bytes": anyBytes, "bounds": bounds,
		"wakes": wakes, "marks": marks, "replicas": replicas, "lost": lost, "one of many": oneOfMany, "behind": behind,
	} {
		t.Run(name, func(t *testing.T) {
			s, lose := open(t)
			test(t, s, lose)
		})
	}
}

const table = "t"

func put(t *testing.T, s state.Store, r state.Record, ifAbsent, want bool) {
	t.Helper()
	if got, err := s.Write(t.Context(), table, r, ifAbsent); err != nil || got != want {
		t.Fatalf("write %q: %v, %v; want %v", r.ID, got, err, want)
	}
}

func after(t *testing.T, s state.Store, c state.Cursor) state.Changes {
	t.Helper()
	out, err := s.Changes(t.Context(), table, c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ids returns "id=value" of each record, "id!" of a trace, in order.
func ids(records []state.Record) []string {
	out := []string{}
	for _, r := range records {
		if r.Deleted {
			out = append(out, r.ID+"!")
		} else {
			out = append(out, r.ID+"="+string(r.Value))
		}
	}
	slices.Sort(out)
	return out
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func changes(t *testing.T, s Store, _ func()) {
	empty := after(t, s, state.Cursor{})
	if !empty.Whole || len(empty.Records) > 0 {
		t.Errorf("an empty table: %+v", empty)
	}
	if again := after(t, s, empty.Next); again.Whole {
		t.Error("an empty table is read whole again and again")
	}
	hour := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	put(t, s, state.Record{ID: "a", Value: []byte("1"), Expires: hour}, false, true)
	put(t, s, state.Record{ID: "b", Value: []byte("1")}, false, true)
	first := after(t, s, empty.Next)
	same(t, "two", ids(first.Records), "a=1", "b=1")
	for _, r := range first.Records {
		if r.Version == 0 || r.ID == "a" && !r.Expires.Equal(hour) || r.ID == "b" && !r.Expires.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	put(t, s, state.Record{ID: "a", Value: []byte("2"), Expires: hour}, false, true)
	put(t, s, state.Record{ID: "b", Deleted: true, Expires: hour}, false, true)
	second := after(t, s, first.Next)
	if second.Whole || second.Next.Sequence <= first.Next.Sequence {
		t.Errorf("%+v after %+v", second, first)
	}
	same(t, "a change and a trace", ids(second.Records), "a=2", "b!")
	if now := after(t, s, second.Next); now.Whole || len(now.Records) > 0 || now.Next != second.Next {
		t.Errorf("nothing changed: %+v", now)
	}
	for _, c := range []state.Cursor{{}, {Epoch: "another", Sequence: second.Next.Sequence}, {Epoch: second.Next.Epoch, Sequence: second.Next.Sequence + 1}} {
		all := after(t, s, c)
		if !all.Whole {
			t.Errorf("after %+v not whole", c)
		}
		same(t, "all", ids(all.Records), "a=2", "b!")
	}
	if other, err := s.Changes(t.Context(), "other", state.Cursor{}); err != nil || len(other.Records) > 0 {
		t.Errorf("another table: %+v, %v", other, err)
	}
}

func ifAbsent(t *testing.T, s Store, _ func()) {
	put(t, s, state.Record{ID: "a", Value: []byte("1")}, true, true)
	put(t, s, state.Record{ID: "a", Value: []byte("2")}, true, false)
	put(t, s, state.Record{ID: "a", Deleted: true, Expires: time.Now().Add(time.Hour)}, false, true)
	put(t, s, state.Record{ID: "a", Value: []byte("3")}, true, true)
	put(t, s, state.Record{ID: "b", Value: []byte("1"), Expires: time.Now().Add(20 * time.Millisecond)}, true, true)
	time.Sleep(50 * time.Millisecond)
	put(t, s, state.Record{ID: "b", Value: []byte("2")}, true, true)
	same(t, "all", ids(after(t, s, state.Cursor{}).Records), "a=3", "b=2")
}

// writtenBack: a record with a version gives way to what is newer, and others do to it.
func writtenBack(t *testing.T, s Store, _ func()) {
	put(t, s, state.Record{ID: "a", Value: []byte("old")}, false, true)
	old := after(t, s, state.Cursor{})
	put(t, s, state.Record{ID: "a", Value: []byte("new")}, false, true)
	put(t, s, old.Records[0], false, false)
	back := state.Record{ID: "a", Value: []byte("back"), Version: after(t, s, state.Cursor{}).Records[0].Version + 1_000_000_000}
	put(t, s, back, false, true)
	put(t, s, back, false, false)
	seen := after(t, s, old.Next)
	same(t, "a change for all", ids(seen.Records), "a=back")
	if seen.Records[0].Version != back.Version {
		t.Errorf("version %d, want %d", seen.Records[0].Version, back.Version)
	}
	put(t, s, state.Record{ID: "a", Value: []byte("newest")}, false, true)
	if r := after(t, s, seen.Next).Records[0]; r.Version <= back.Version {
		t.Errorf("a new write has the version %d, one before it %d", r.Version, back.Version)
	}
}

func endedRecords(t *testing.T, s Store, _ func()) {
	before := after(t, s, state.Cursor{}).Next
	soon := time.Now().Add(100 * time.Millisecond)
	put(t, s, state.Record{ID: "a", Value: []byte("1"), Expires: soon}, false, true)
	put(t, s, state.Record{ID: "b", Deleted: true, Expires: soon}, false, true)
	put(t, s, state.Record{ID: "c", Value: []byte("1")}, false, true)
	same(t, "all", ids(after(t, s, before).Records), "a=1", "b!", "c=1")
	time.Sleep(time.Until(soon) + 20*time.Millisecond)
	same(t, "later", ids(after(t, s, before).Records), "c=1")
}

// behind: whoever missed that a record was taken away, and its trace ended, learns that the rest is all there is.
func behind(t *testing.T, s Store, _ func()) {
	put(t, s, state.Record{ID: "a", Value: []byte("1")}, false, true)
	put(t, s, state.Record{ID: "b", Value: []byte("1")}, false, true)
	one := replica(t, s)
	catchUp(t, one)
	before := after(t, s, state.Cursor{}).Next
	put(t, s, state.Record{ID: "a", Deleted: true, Expires: time.Now().Add(30 * time.Millisecond)}, false, true)
	time.Sleep(60 * time.Millisecond)
	put(t, s, state.Record{ID: "c", Value: []byte("1")}, false, true) // sweeps
	if late := after(t, s, before); !late.Whole {
		t.Errorf("%+v", late)
	}
	catchUp(t, one)
	same(t, "the replica", ids(one.All()), "b=1", "c=1")
	same(t, "the store", ids(after(t, s, state.Cursor{}).Records), "b=1", "c=1")
}

func anyBytes(t *testing.T, s Store, _ func()) {
	id, value := make([]byte, 256), make([]byte, state.MaxValue)
	for i := range id {
		id[i] = byte(i)
	}
	for i := range value {
		value[i] = byte(i % 251)
	}
	put(t, s, state.Record{ID: string(id), Value: value}, false, true)
	put(t, s, state.Record{ID: "1 2 0 x", Value: []byte(" ")}, false, true)
	put(t, s, state.Record{ID: "empty"}, false, true)
	for _, r := range after(t, s, state.Cursor{}).Records {
		want := map[string]string{string(id): string(value), "1 2 0 x": " "}[r.ID]
		if string(r.Value) != want {
			t.Errorf("%.20q: %d bytes, want %d", r.ID, len(r.Value), len(want))
		}
	}
}

func bounds(t *testing.T, s Store, _ func()) {
	for _, r := range []state.Record{{}, {ID: strings.Repeat("x", state.MaxID+1)}, {ID: "x", Value: make([]byte, state.MaxValue+1)}, {ID: "x", Deleted: true}} {
		if _, err := s.Write(t.Context(), table, r, false); !errors.Is(err, state.ErrRecord) {
			t.Errorf("%.20q: error %v", r.ID, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Listen(ended, table, func() {}); err == nil {
		t.Error("listened after the end")
	}
}

func wakes(t *testing.T, s Store, _ func()) {
	ctx, cancel := context.WithCancel(t.Context())
	woken, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Listen(ctx, table, func() { woken <- struct{}{} })
	}()
	for _, what := range []string{"begins to listen", "hears of a write"} {
		select {
		case <-woken:
		case <-time.After(20 * time.Second):
			t.Fatal("not woken when it " + what)
		}
		put(t, s, state.Record{ID: "a"}, false, true)
	}
	cancel()
	select {
	case <-done:
	case <-time.After(4 * time.Second): // a server that ends waits for it
		t.Error("still listening after the end")
		<-done
	}
}

func marks(t *testing.T, s Store, _ func()) {
	mark := func(key string, lasts time.Duration, want bool) {
		t.Helper()
		if got, err := s.Mark(t.Context(), key, lasts); err != nil || got != want {
			t.Errorf("%.20q: %v, %v; want %v", key, got, err, want)
		}
	}
	mark("a", time.Hour, true)
	mark("a", time.Hour, false)
	mark("b", 30*time.Millisecond, true)
	mark(strings.Repeat("x", 10_000)+"\x00 \r\n", time.Hour, true)
	time.Sleep(60 * time.Millisecond)
	mark("b", time.Hour, true)
	mark("a", time.Hour, false)
	var firsts atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if first, err := s.Mark(t.Context(), "race", time.Hour); err != nil {
				t.Error(err)
			} else if first {
				firsts.Add(1)
			}
		})
	}
	all.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d were first", n)
	}
}

func replica(t *testing.T, s state.Store) *state.Table {
	t.Helper()
	out, err := state.NewTable(state.TableOptions{Store: s, Name: table, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func catchUp(t *testing.T, tables ...*state.Table) {
	t.Helper()
	for _, table := range tables {
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, table *state.Table, r state.Record) {
	t.Helper()
	if _, err := table.Write(t.Context(), r, false); err != nil {
		t.Fatal(err)
	}
}

func replicas(t *testing.T, s Store, _ func()) {
	one, two := replica(t, s), replica(t, s)
	catchUp(t, one, two)
	write(t, one, state.Record{ID: "a", Value: []byte("1")})
	write(t, two, state.Record{ID: "b", Value: []byte("1")})
	same(t, "the first", ids(one.All()), "a=1")
	catchUp(t, one)
	same(t, "the first later", ids(one.All()), "a=1", "b=1")
	write(t, one, state.Record{ID: "b", Deleted: true, Expires: time.Now().Add(time.Hour)})
	catchUp(t, two)
	same(t, "the second", ids(two.All()), "a=1")
	told := [][]string{}
	three, err := state.NewTable(state.TableOptions{Store: s, Name: table, Clock: time.Now, Changed: func(records []state.Record, whole bool) {
		told = append(told, append(ids(records), fmt.Sprint(whole)))
	}})
	if err != nil {
		t.Fatal(err)
	}
	catchUp(t, three, three)
	write(t, two, state.Record{ID: "a", Deleted: true, Expires: time.Now().Add(time.Hour)})
	catchUp(t, three)
	if want := [][]string{{"a=1", "true"}, {"a!", "false"}}; !slices.EqualFunc(told, want, slices.Equal) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

// lost: what a store has lost comes back from those who hold it, what was deleted does not, and the latest stands.
func lost(t *testing.T, s Store, lose func()) {
	if lose == nil {
		return
	}
	one, two, fresh := replica(t, s), replica(t, s), replica(t, s)
	write(t, one, state.Record{ID: "a", Value: []byte("1")})
	write(t, one, state.Record{ID: "gone", Value: []byte("1")})
	catchUp(t, two) // and knows nothing of what follows
	write(t, one, state.Record{ID: "a", Value: []byte("2")})
	write(t, one, state.Record{ID: "gone", Deleted: true, Expires: time.Now().Add(time.Hour)})
	lose()
	catchUp(t, two, one, two, one, two, fresh)
	for name, table := range map[string]*state.Table{"who knew": one, "who knew less": two, "who knew nothing": fresh} {
		same(t, name, ids(table.All()), "a=2")
	}
	write(t, two, state.Record{ID: "b", Value: []byte("1")})
	catchUp(t, one)
	same(t, "later", ids(one.All()), "a=2", "b=1")
}

// oneOfMany: of many who write if absent, one does; and no change is lost between writers and readers.
func oneOfMany(t *testing.T, s Store, _ func()) {
	follower := replica(t, s)
	var written atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if ok, err := s.Write(t.Context(), table, state.Record{ID: "one", Value: fmt.Append(nil, i)}, true); err != nil {
				t.Error(err)
			} else if ok {
				written.Add(1)
			}
			for n := range 20 {
				if _, err := s.Write(t.Context(), table, state.Record{ID: fmt.Sprintf("%d-%d", i, n)}, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	for finished := false; !finished; {
		select {
		case <-done:
			finished = true
		default:
		}
		catchUp(t, follower)
	}
	if n := written.Load(); n != 1 || len(follower.All()) != 401 {
		t.Errorf("%d wrote, %d are held", n, len(follower.All()))
	}
}
