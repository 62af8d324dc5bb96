package assembly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
	stateredis "github.com/durward-pdp/durward/pdp/state/redis"
	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

// firstSync bounds how long a start waits for the tables. Who uses one says what it means that it was never read.
const firstSync = 2 * time.Second

// leastMarkTimeout bounds a mark: nothing can stand in for it as shares stand in for counters, so it may take longer than those.
const leastMarkTimeout = 250 * time.Millisecond

// stateStore keeps tables.
type stateStore interface {
	state.Store
	state.Marks
}

// shared is what replicas share beside counters: in Redis where there is one, else in memory. Tables run until it is closed.
type shared struct {
	stateStore
	where  string // for people
	clock  func() time.Time
	logger *slog.Logger
	m      *metrics
	shut   func() error

	ctx     context.Context //nolint:containedctx // the tables' life, which close ends
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	tables map[string]*sharedTable
	closed bool
}

// sharedTable is a table that runs.
type sharedTable struct {
	*state.Table
	tried chan struct{} // closed after the first attempt to read it
	first sync.Once
	began time.Time

	logger  *slog.Logger
	failing bool // of the goroutine that syncs
}

// openState connects what replicas share.
func openState(o Options, m *metrics) (*shared, error) {
	s := &shared{where: "memory", clock: o.Clock, logger: o.Logger, m: m, shut: func() error { return nil }, tables: map[string]*sharedTable{}}
	if o.Settings.Redis.Shared() {
		target, err := redisTarget(&o.Settings.Redis)
		if err != nil {
			return nil, err
		}
		store, err := stateredis.New(stateredis.Options{Target: target, MarkTimeout: max(leastMarkTimeout, time.Duration(o.Settings.Redis.Timeout))})
		if err != nil {
			return nil, fmt.Errorf("%w: redis: %w", settings.ErrInvalid, err)
		}
		s.stateStore, s.shut, s.where = store, store.Close, "redis "+store.Address()
	} else {
		s.stateStore = memory.New(o.Clock)
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	m.registry.MustRegister(stateCollector{s})
	return s, nil
}

// table returns a table that is kept fresh until the server ends. Changed is as in [state.TableOptions].
func (s *shared) table(name string, changed func(records []state.Record, whole bool)) (*state.Table, error) {
	t := &sharedTable{tried: make(chan struct{}), logger: s.logger.With("table", name), began: s.clock()}
	var err error
	if t.Table, err = state.NewTable(state.TableOptions{
		Store: s.stateStore, Name: name, Clock: s.clock, Changed: changed,
		Trouble: func(err error) {
			s.m.stateSyncs.WithLabelValues(name, syncOutcome(err)).Inc()
			t.synced(err)
		},
	}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.tables[name] != nil {
		return nil, fmt.Errorf("the table %s is there already, or the server ends", name)
	}
	s.tables[name] = t
	s.running.Go(func() { t.Run(s.ctx) })
	return t.Table, nil
}

func syncOutcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, state.ErrFull):
		return "full"
	}
	return "error"
}

// synced tells the log of changes, not of each attempt.
func (t *sharedTable) synced(err error) {
	t.first.Do(func() { close(t.tried) })
	switch failing := err != nil; {
	case failing == t.failing:
	case failing:
		t.failing = true
		t.logger.Error("what replicas share cannot be read: what was read last stays in force", "error", err.Error())
	default:
		t.failing = false
		t.logger.Info("what replicas share is read again", "records", t.Len())
	}
}

// await waits until there was an attempt to read each table, within limits.
func (s *shared) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstSync)
	defer cancel()
	for _, t := range s.all() {
		select {
		case <-t.tried:
		case <-ctx.Done():
			return
		}
	}
}

func (s *shared) all() map[string]*sharedTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]*sharedTable, len(s.tables))
	for name, t := range s.tables {
		out[name] = t
	}
	return out
}

// age is how old the copy is at most.
func (t *sharedTable) age(now time.Time) time.Duration {
	if at := t.Synced(); !at.IsZero() {
		return now.Sub(at)
	}
	return now.Sub(t.began)
}

func (s *shared) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	return s.shut()
}

// stateView is what configz shows of what replicas share.
type stateView struct {
	Where  string      `json:"where"`
	Tables []tableView `json:"tables"`
}

type tableView struct {
	Name    string `json:"name"`
	Records int    `json:"records"`
	// Synced is when the copy was last known to be whole; none for never.
	Synced *time.Time `json:"synced,omitempty"`
}

func (s *shared) view() stateView {
	out := stateView{Where: s.where, Tables: []tableView{}}
	for name, t := range s.all() {
		v := tableView{Name: name, Records: t.Len()}
		if at := t.Synced().UTC(); !at.IsZero() {
			v.Synced = &at
		}
		out.Tables = append(out.Tables, v)
	}
	slices.SortFunc(out.Tables, func(a, b tableView) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// redisTarget is where the settings say that Redis is.
func redisTarget(configured *settings.Redis) (connection.Target, error) {
	secrets, err := configured.Secrets()
	if err != nil {
		return connection.Target{}, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
	}
	target := connection.Target{
		Mode:             map[string]connection.Mode{"sentinel": connection.Sentinel, "cluster": connection.Cluster}[configured.Mode],
		URL:              secrets.URL.Reveal(),
		Addresses:        configured.Addresses,
		Master:           configured.Master,
		Username:         configured.User,
		Password:         secrets.Password.Reveal(),
		SentinelUsername: configured.SentinelUser,
		SentinelPassword: secrets.SentinelPassword.Reveal(),
	}
	target.TLS, err = redisTLS(configured)
	return target, err
}
