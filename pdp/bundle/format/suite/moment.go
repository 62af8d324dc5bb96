package suite

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// longest bounds offsets.
	longest = 3660 * 24 * time.Hour
	// firstYear bounds instants: no clock of a server stands before it. Among what it keeps out is the zero time, which
	// would be taken for an offset.
	firstYear = 1970
)

// Moment is an instant: an offset from the suite's now, written with its sign (+5min, -1s), or a time of RFC 3339.
type Moment struct {
	// At is the instant; where it is zero, Offset counts from now.
	At     time.Time
	Offset time.Duration
}

// UnmarshalText reads a moment.
func (m *Moment) UnmarshalText(text []byte) error {
	written := string(text)
	if rest := strings.TrimLeft(written, "+-"); len(written)-len(rest) == 1 {
		length, ok := parseDuration(rest)
		if !ok {
			return fmt.Errorf("%q is no offset; write a sign, a whole number and a unit, as in +5min or -1s", text)
		}
		if written[0] == '-' {
			length = -length
		}
		*m = Moment{Offset: length}
		return nil
	}
	at, err := time.Parse(time.RFC3339, written)
	if err != nil || at.UTC().Year() < firstYear {
		return fmt.Errorf("%q is no instant; write an offset such as +5min, or a time such as 2026-01-01T12:00:00Z", text)
	}
	*m = Moment{At: at.UTC()}
	return nil
}

// After returns the instant, offsets counted from now. A nil moment is now itself.
func (m *Moment) After(now time.Time) time.Time {
	switch {
	case m == nil:
		return now
	case m.At.IsZero():
		return now.Add(m.Offset)
	}
	return m.At
}

func parseDuration(text string) (time.Duration, bool) {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	unit, ok := units[text[digits:]]
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if !ok || err != nil || n > int64(longest/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
