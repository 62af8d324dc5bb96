package ratelimiter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

func TestNewLimit(t *testing.T) {
	good := ratelimiter.Definition{Name: "l", Count: 5, Window: 15 * time.Minute}
	l, err := ratelimiter.NewLimit(good)
	if err != nil {
		t.Fatal(err)
	}
	if d := l.Definition(); d.Burst != 5 || l.Rate().Burst() != 5 {
		t.Errorf("burst %d", d.Burst)
	}
	for name, change := range map[string]func(*ratelimiter.Definition){
		"no name":        func(d *ratelimiter.Definition) { d.Name = "" },
		"long name":      func(d *ratelimiter.Definition) { d.Name = strings.Repeat("n", 129) },
		"no count":       func(d *ratelimiter.Definition) { d.Count = 0 },
		"large count":    func(d *ratelimiter.Definition) { d.Count = ratelimiter.MaxCost + 1 },
		"negative burst": func(d *ratelimiter.Definition) { d.Burst = -1 },
		"no window":      func(d *ratelimiter.Definition) { d.Window = 0 },
		"long window":    func(d *ratelimiter.Definition) { d.Window = ratelimiter.MaxWindow + time.Microsecond },
		"nanoseconds":    func(d *ratelimiter.Definition) { d.Window = time.Second + 1 },
		"on error":       func(d *ratelimiter.Definition) { d.OnError = 3 },
		"counting":       func(d *ratelimiter.Definition) { d.Counting = 3 },
		"algorithm":      func(d *ratelimiter.Definition) { d.Algorithm = 7 },
		"burst":          func(d *ratelimiter.Definition) { d.Algorithm, d.Burst = ratelimiter.FixedWindow, 5 },
		"long log":       func(d *ratelimiter.Definition) { d.Algorithm, d.Count = ratelimiter.SlidingLog, 1001 },
		"no calendar":    func(d *ratelimiter.Definition) { d.Algorithm, d.Window = ratelimiter.Quota, 0 },
		"both windows":   func(d *ratelimiter.Definition) { d.Algorithm, d.Calendar = ratelimiter.Quota, window.Day },
		"distinct":       func(d *ratelimiter.Definition) { d.Algorithm, d.Burst = ratelimiter.Distinct, 5 },
		"denied permits": func(d *ratelimiter.Definition) {
			d.Algorithm, d.Counting = ratelimiter.Concurrency, ratelimiter.CountDenied
		},
		"no quota": func(d *ratelimiter.Definition) { d.Calendar = window.Day },
	} {
		d := good
		change(&d)
		if _, err := ratelimiter.NewLimit(d); !errors.Is(err, ratelimiter.ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	for a := range ratelimiter.Concurrency + 1 {
		d := ratelimiter.Definition{Name: "l", Count: 5, Window: time.Hour, Algorithm: a}
		if a == ratelimiter.Quota {
			d.Window, d.Calendar = 0, window.Month
		}
		l, err := ratelimiter.NewLimit(d)
		if err != nil {
			t.Fatal(err)
		}
		want := map[ratelimiter.Algorithm]bool{ratelimiter.GCRA: l.Rate().Count() == 5, ratelimiter.SlidingLog: l.Log().Count() == 5, ratelimiter.Distinct: l.Distinct().Count() == 5, ratelimiter.Concurrency: l.Concurrency().Count() == 5}
		if is, ok := want[a]; l.Algorithm() != a || ok && !is || !ok && l.Window().Count() != 5 {
			t.Errorf("%v: %+v", a, l)
		}
		if got := l.Definition(); got.Burst != 5 || a == ratelimiter.Quota && got.Window != 31*24*time.Hour {
			t.Errorf("%v: %+v", a, got)
		}
	}
}

func TestWords(t *testing.T) {
	for v, want := range map[interface{ String() string }]string{
		ratelimiter.CountAllowed: "allowed", ratelimiter.CountDenied: "denied", ratelimiter.CountAll: "all", ratelimiter.Counting(9): "invalid",
		ratelimiter.LocalShare: "local_share", ratelimiter.Allow: "allow", ratelimiter.Deny: "deny", ratelimiter.OnError(9): "invalid",
		ratelimiter.GCRA: "gcra", ratelimiter.FixedWindow: "fixed_window", ratelimiter.SlidingWindow: "sliding_window",
		ratelimiter.SlidingLog: "sliding_log", ratelimiter.Quota: "quota", ratelimiter.Distinct: "distinct", ratelimiter.Concurrency: "concurrency", ratelimiter.Algorithm(9): "invalid",
	} {
		if v.String() != want {
			t.Errorf("%T: %q, want %q", v, v, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{-time.Second: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 366 * 24 * time.Hour: 31_622_400} {
		if got := ratelimiter.Seconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
