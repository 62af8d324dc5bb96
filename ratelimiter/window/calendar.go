package window

import "time"

// Calendar names the windows that a calendar bounds, in UTC: without summer time a day is a day everywhere.
type Calendar uint8

// The windows of quotas. The zero value is no calendar: windows of a fixed length, counted from 1970.
const (
	None Calendar = iota
	Day
	Week // of ISO 8601: from Monday
	Month
	Year
)

const (
	day         = 24 * time.Hour
	dayMicros   = int64(day / time.Microsecond)
	weekMicros  = 7 * dayMicros
	firstMonday = 4 * dayMicros // 1970 began on a Thursday
)

// String returns the name of one window.
func (c Calendar) String() string {
	if names := [...]string{"none", "day", "week", "month", "year"}; int(c) < len(names) {
		return names[c]
	}
	return "invalid"
}

// Longest returns the length of the longest window.
func (c Calendar) Longest() time.Duration {
	switch c {
	case Day:
		return day
	case Week:
		return 7 * day
	case Month:
		return 31 * day
	case Year:
		return 366 * day
	case None:
	}
	return 0
}

// Bounds returns the window that now, in microseconds since 1970, lies in: its first microsecond and the first one behind
// it. Without a calendar it is empty.
func (c Calendar) Bounds(now int64) (start, end int64) {
	switch c {
	case Day:
		start = now - now%dayMicros
		return start, start + dayMicros
	case Week:
		start = now - (now+weekMicros-firstMonday)%weekMicros // may lie before 1970
		return start, start + weekMicros
	case Month:
		year, month, _ := time.UnixMicro(now).UTC().Date()
		return date(year, month), date(year, month+1)
	case Year:
		year := time.UnixMicro(now).UTC().Year()
		return date(year, time.January), date(year+1, time.January)
	case None:
	}
	return now, now
}

func date(year int, month time.Month) int64 {
	return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
}
