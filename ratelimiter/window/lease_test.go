package window

import (
	"testing"
	"time"
)

// A lease is charged like a cost, within its part of what is left.
func TestLease(t *testing.T) {
	fixed, err := NewFixed(100, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	sliding, err := NewSliding(100, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	const minute = int64(60_000_000)
	for name, row := range map[string]struct {
		rate        Rate
		found       Counter
		want, share int64
		units, used int64
	}{
		"all that is wanted":    {fixed, Counter{Until: minute, Used: 10}, 20, 4, 20, 30},
		"its part":              {fixed, Counter{Until: minute, Used: 41}, 20, 4, 14, 55},
		"less than one":         {fixed, Counter{Until: minute, Used: 97}, 20, 4, 0, 97},
		"nothing left":          {fixed, Counter{Until: minute, Used: 100}, 20, 4, 0, 100},
		"nothing wanted":        {fixed, Counter{Until: minute, Used: 10}, 0, 4, 0, 10},
		"the window before too": {sliding, Counter{Until: 2 * minute, Used: 10, Before: 80}, 20, 4, 12, 22}, // 40 of the 80 count
	} {
		next, n := row.rate.Lease(row.found, minute/2, row.want, row.share)
		if n != row.units || next.Used != row.used || next.Until != row.found.Until {
			t.Errorf("%s: %d units, %+v; want %d and %d used", name, n, next, row.units, row.used)
		}
	}
}
