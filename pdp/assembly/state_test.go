package assembly

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/state"
)

func openedState(t *testing.T, redis string, log *logged) (*shared, *metrics) {
	t.Helper()
	s := settings.Defaults()
	s.Redis.URL = settings.Secret(redis)
	m := newMetrics(settings.Metrics{}, Version{})
	out, err := openState(Options{Settings: s, Clock: time.Now, Logger: log.logger()}, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := out.close(); err != nil {
			t.Error(err)
		}
	})
	return out, m
}

func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

// TestSharedTables: two replicas see each other's writes in Redis, an outage is logged once, and so is its end.
func TestSharedTables(t *testing.T) {
	server, log := redistest.Start(t), &logged{}
	one, m := openedState(t, server.URL(), log)
	two, _ := openedState(t, server.URL(), &logged{})
	var told atomic.Int64
	a, err := one.table("blocks", func(records []state.Record, _ bool) { told.Add(int64(len(records))) })
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.table("blocks", nil)
	if err != nil {
		t.Fatal(err)
	}
	one.await(t.Context())
	if a.Synced().IsZero() {
		t.Error("not read after await")
	}
	if _, err := one.table("blocks", nil); err == nil {
		t.Error("one table twice")
	}
	if _, err := b.Write(t.Context(), state.Record{ID: "x", Value: []byte("1")}, false); err != nil {
		t.Fatal(err)
	}
	soon(t, "the other replica knows", func() bool { _, ok := a.Get("x"); return ok && told.Load() == 1 })
	view := one.view()
	if view.Where != "redis "+server.Addr() || len(view.Tables) != 1 || view.Tables[0].Records != 1 || view.Tables[0].Synced == nil {
		t.Errorf("%+v", view)
	}
	server.Kill()
	soon(t, "two attempts failed", func() bool {
		return families(t, m)["durward_state_syncs_total"].samples["outcome=error,table=blocks"] >= 2
	})
	server.Restart()
	soon(t, "what was lost is there again", func() bool {
		return strings.Contains(log.String(), "read again") && server.Do("HLEN", "durward:state:{blocks}:records") == "1"
	})
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("%d lines about one outage:\n%s", n, log)
	}
	shown := families(t, m)
	if shown["durward_state_records"].samples["table=blocks"] != 1 || shown["durward_state_syncs_total"].samples["outcome=ok,table=blocks"] == 0 {
		t.Errorf("%+v", shown)
	}
	if age := shown["durward_state_age_seconds"].samples["table=blocks"]; age < 0 || age > 60 {
		t.Errorf("an age of %v", age)
	}
}

func TestStateInMemory(t *testing.T) {
	s, _ := openedState(t, "", &logged{})
	table, err := s.table("blocks", nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := table.Write(t.Context(), state.Record{ID: "x"}, true); !ok || err != nil || s.view().Where != "memory" {
		t.Errorf("%v, %v, %+v", ok, err, s.view())
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, err := s.table("late", nil); err == nil {
		t.Error("a table after the end")
	}
}

// TestStateWithoutAnswer: a server starts, and says that it is old.
func TestStateWithoutAnswer(t *testing.T) {
	log := &logged{}
	s, m := openedState(t, "redis://127.0.0.1:1", log)
	table, err := s.table("blocks", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.await(t.Context())
	soon(t, "the log hears of it", func() bool { return strings.Contains(log.String(), "cannot be read") })
	if !table.Synced().IsZero() || s.view().Tables[0].Synced != nil {
		t.Error("read from nowhere")
	}
	if _, ok := families(t, m)["durward_state_age_seconds"].samples["table=blocks"]; !ok {
		t.Error("no age of a table that was never read")
	}
}
