package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

func TestLoadAsksEachRequestOnce(t *testing.T) {
	var asked [500]atomic.Int32
	load := Load{Requests: len(asked), Callers: 16}
	measured, err := load.measure(t.Context(), "wall", map[string]meter{"own": ownTime}, func(_ context.Context, i int) error {
		asked[i].Add(1)
		return nil
	})
	if err != nil || len(measured) != 2 || measured[metric{"wall", "us"}] <= 0 {
		t.Errorf("got %v, %v", measured, err)
	}
	for i := range asked {
		if n := asked[i].Load(); n != 1 {
			t.Errorf("request %d was asked %d times", i, n)
		}
	}
}

func TestLoadFails(t *testing.T) {
	broken := errors.New("broken")
	fine := func(context.Context, int) error { return nil }
	var asked atomic.Int32
	_, err := Load{Requests: 1000, Callers: 4}.measure(t.Context(), "wall", nil, func(context.Context, int) error {
		asked.Add(1)
		return broken
	})
	if !errors.Is(err, broken) || asked.Load() > 4 {
		t.Errorf("after %d requests: %v", asked.Load(), err)
	}
	if _, err := (Load{Requests: 0, Callers: 1}).measure(t.Context(), "wall", nil, fine); !errors.Is(err, errLoad) {
		t.Errorf("without requests: %v", err)
	}
	if _, err := (Load{Requests: 1, Callers: 1}).measure(t.Context(), "wall", map[string]meter{"m": func() (time.Duration, error) { return 0, broken }}, fine); !errors.Is(err, broken) {
		t.Errorf("a meter that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Load{Requests: 1, Callers: 1}).measure(ctx, "wall", nil, fine); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled round: %v", err)
	}
}

func TestRepeat(t *testing.T) {
	decisions := 0
	measured, err := repeat(t.Context(), 0, func(context.Context) error { decisions++; return nil })
	if err != nil || decisions < 3 || len(measured) != 2 {
		t.Errorf("%d decisions, %v, %v", decisions, measured, err)
	}
	if _, err := repeat(t.Context(), 0, func(context.Context) error { return errAnswer }); !errors.Is(err, errAnswer) {
		t.Errorf("a decision that fails: %v", err)
	}
}

// TestWrongAnswers shows that a contender that decides wrongly has no figure.
func TestWrongAnswers(t *testing.T) {
	for _, build := range policyCases {
		c := build(20)
		ours, err := c.stage()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := c.enforcer()
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.questions[:50] {
			q := c.questions[i]
			if err := errors.Join(ours(t.Context(), &q), theirs(t.Context(), &q)); err != nil {
				t.Errorf("%s: the right answer: %v", c.name, err)
			}
			q.allowed = !q.allowed
			if err := ours(t.Context(), &q); !errors.Is(err, errAnswer) {
				t.Errorf("%s, durward: %v", c.name, err)
			}
			if err := theirs(t.Context(), &q); !errors.Is(err, errAnswer) {
				t.Errorf("%s, casbin: %v", c.name, err)
			}
		}
	}
	c := rest(10)
	c.model = "[matchers]\n"
	if _, err := c.stage(); err == nil || !strings.Contains(err.Error(), "model.conf") {
		t.Errorf("a broken model: %v", err)
	}

	expired, err := newIssuer("ES256", time.Now().Add(-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	strictly, err := expired.verifyStrictly()
	if err != nil {
		t.Fatal(err)
	}
	if strictly(t.Context()) == nil || expired.verifyPlainly()(t.Context()) == nil {
		t.Error("an expired token was taken")
	}
}

// TestRefusalIsNoFigure: a limit that is exhausted costs less than one that is charged.
func TestRefusalIsNoFigure(t *testing.T) {
	counters, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimiter.New(ratelimiter.Options{Local: counters, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = limiter.Close(t.Context()) }()
	once, err := ratelimiter.NewLimit(ratelimiter.Definition{Name: "once", Count: 1, Window: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	charges := slices.Repeat([][]ratelimiter.Charge{{{Limit: once, Key: "k", Cost: 1}}}, subjects)
	ask := take(limiter, charges)
	if err := ask(t.Context(), 0); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := ask(t.Context(), 1); !errors.Is(err, errAnswer) {
		t.Errorf("the second: %v", err)
	}
}

// TestNull shows that a server that answers otherwise than it should, or is gone, has no figure.
func TestNull(t *testing.T) {
	null, err := startNull(t.Context(), small(t))
	if err != nil {
		t.Fatal(err)
	}
	defer null.close()
	load, requests := Load{Requests: 3, Callers: 1}, checkCase{method: "GET", path: "/"}.requests()
	if _, err := null.round(load, requests, 0)(t.Context()); err != nil {
		t.Errorf("an OK: %v", err)
	}
	if _, err := null.round(load, requests, 401)(t.Context()); !errors.Is(err, errAnswer) {
		t.Errorf("an OK where a denial is right: %v", err)
	}
	null.stop()
	if _, err := null.round(load, requests, 0)(t.Context()); err == nil {
		t.Error("a round without a server measured something")
	}
	if _, err := null.processorTime(); err == nil {
		t.Error("a process that is gone has processor time")
	}
}

func TestRecords(t *testing.T) {
	null, err := startNull(t.Context(), small(t))
	if err != nil {
		t.Fatal(err)
	}
	null.records = filepath.Join(t.TempDir(), "records.jsonl")
	if err := os.WriteFile(null.records, []byte("{}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := null.recorded(2); err != nil {
		t.Errorf("two records of two decisions: %v", err)
	}
	if err := null.recorded(3); !errors.Is(err, errRecords) {
		t.Errorf("two records of three decisions: %v", err)
	}
}

func TestPrograms(t *testing.T) {
	t.Setenv("DURWARD_TOOLS", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	if _, err := find("redis-server", t.TempDir()); !errors.Is(err, errNoProgram) || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("a missing program: %v", err)
	}
	if _, err := start(t.Context(), "nothing", t.TempDir(), filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a program that is not there was started")
	}
	s := small(t)
	p, err := start(t.Context(), "bad", s.Dir, s.Null[0], "-test.run=^$")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if _, err := p.addresses(t.Context()); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "PASS") {
		t.Errorf("a program that ends at once: %v", err)
	}
	for _, entry := range environment() {
		if strings.HasPrefix(entry, "DURWARD_") {
			t.Errorf("a contender gets %s", entry)
		}
	}
}
