package suite

import (
	"testing"
	"time"
)

// TestMoment reads what suites may write, and refuses what two readers would read differently.
func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		text string
		want time.Time // zero: refused
	}{
		{"+5min", now.Add(5 * time.Minute)},
		{"+5m", now.Add(5 * time.Minute)},
		{"-1s", now.Add(-time.Second)},
		{"+250ms", now.Add(250 * time.Millisecond)},
		{"+0s", now},
		{"+3660d", now.Add(3660 * 24 * time.Hour)},
		{"2026-01-02T03:04:05+01:00", time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)},
		{"1970-01-01T00:00:00Z", time.Unix(0, 0).UTC()},
		{"9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"5min", time.Time{}},
		{"+5", time.Time{}},
		{"+min", time.Time{}},
		{"+-5s", time.Time{}},
		{"+1.5h", time.Time{}},
		{"+5 min", time.Time{}},
		{"+3661d", time.Time{}},
		{"+9999999999999999999s", time.Time{}},
		{"2026-01-01", time.Time{}},
		{"2026-13-01T00:00:00Z", time.Time{}},
		{"0001-01-01T00:00:00Z", time.Time{}}, // the zero time, which would be taken for now
		{"1969-12-31T23:59:59Z", time.Time{}},
		{"", time.Time{}},
	} {
		var m Moment
		err := m.UnmarshalText([]byte(tc.text))
		if refused := tc.want.IsZero(); refused != (err != nil) {
			t.Errorf("%q: %v", tc.text, err)
		} else if got := m.After(now); !refused && !got.Equal(tc.want) {
			t.Errorf("%q is %v, want %v", tc.text, got, tc.want)
		}
	}
	if got := (*Moment)(nil).After(now); !got.Equal(now) {
		t.Errorf("nothing is %v", got)
	}
}
