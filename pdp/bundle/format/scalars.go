package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written "30s", "10min", "24h" or "30d".
type Duration time.Duration

// Size is a number of bytes, written "64KiB", "1MiB" or a plain number.
type Size int64

// Rate is a count in a window, written "100/min", "5/30s" or "1000000/30d"; for quotas also "5000/month" or "5000/year".
type Rate struct {
	Count int64
	// Window is the length, of the longest where a calendar bounds it.
	Window time.Duration
	// Calendar is month or year, and empty for windows of one length.
	Calendar string
}

const (
	day         = 24 * time.Hour
	maxDuration = 3660 * day
	maxWindow   = 366 * day
	maxCount    = 1_000_000_000
	maxSize     = 1 << 40
)

// UnmarshalText reads a whole number with one unit: ms, s, min (or m), h or d.
func (d *Duration) UnmarshalText(text []byte) error {
	number, unit := splitUnit(string(text))
	length, ok := unitLength(unit)
	if !ok {
		return fmt.Errorf("%q is no duration; write a whole number and a unit, as in 30s (ms, s, min, h, d)", text)
	}
	n, ok := wholeNumber(number)
	if !ok || n > int64(maxDuration/length) {
		return fmt.Errorf("%q is no duration; write a whole number and a unit, at most %dd", text, maxDuration/day)
	}
	*d = Duration(n) * Duration(length)
	return nil
}

// UnmarshalText reads a whole number, alone or with the unit B, KiB, MiB or GiB.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := splitUnit(string(text))
	shift, ok := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[unit]
	if !ok {
		return fmt.Errorf("%q is no size; write a number of bytes, alone or with KiB, MiB or GiB", text)
	}
	n, ok := wholeNumber(number)
	if !ok || n > maxSize>>shift {
		return fmt.Errorf("%q is no size; write a number of bytes, alone or with KiB, MiB or GiB, at most 1024GiB", text)
	}
	*s = Size(n << shift)
	return nil
}

// UnmarshalText reads N/WINDOW, where WINDOW is a unit, or a number with a unit, of s, min, h or d; or month or year.
func (r *Rate) UnmarshalText(text []byte) error {
	count, window, ok := strings.Cut(string(text), "/")
	if !ok {
		return fmt.Errorf("%q is no rate; write a count and a window, as in 100/min or 5/30s", text)
	}
	n, ok := wholeNumber(count)
	if !ok || n < 1 || n > maxCount {
		return fmt.Errorf("the count of the rate %q is not a whole number from 1 to %d", text, maxCount)
	}
	if length, ok := map[string]time.Duration{"month": 31 * day, "year": 366 * day}[window]; ok {
		*r = Rate{Count: n, Window: length, Calendar: window}
		return nil
	}
	number, unit := splitUnit(window)
	length, ok := unitLength(unit)
	if !ok || unit == "m" || unit == "ms" {
		return fmt.Errorf("the window of the rate %q has no unit of s, min, h or d", text)
	}
	times := int64(1)
	if number != "" {
		times, ok = wholeNumber(number)
	}
	if !ok || times < 1 || times > int64(maxWindow/length) {
		return fmt.Errorf("the window of the rate %q is not from 1s to %dd", text, maxWindow/day)
	}
	*r = Rate{Count: n, Window: time.Duration(times) * length}
	return nil
}

func splitUnit(text string) (number, unit string) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return text[:i], text[i:]
}

func unitLength(unit string) (time.Duration, bool) {
	switch unit {
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	case "m", "min":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return day, true
	}
	return 0, false
}

// wholeNumber reads decimal digits without a leading zero, a sign, an exponent or a separator.
func wholeNumber(text string) (int64, bool) {
	if text == "" || len(text) > 18 || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
