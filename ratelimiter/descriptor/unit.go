package descriptor

import (
	"strings"
	"time"
)

// Unit is a length of time that limits are given in. The zero Unit is none.
type Unit uint8

// The units of envoy.service.ratelimit.v3. A month has 30 days and a year 365, as in envoyproxy/ratelimit
// (src/utils/utilities.go), and a week is seven days that begin with the epoch.
const (
	Second Unit = iota + 1
	Minute
	Hour
	Day
	Week
	Month
	Year
)

const day = 24 * time.Hour

// units are the units in the order of their constants.
var units = [...]struct {
	name   string
	length time.Duration
}{
	{"", 0}, {"second", time.Second}, {"minute", time.Minute}, {"hour", time.Hour},
	{"day", day}, {"week", 7 * day}, {"month", 30 * day}, {"year", 365 * day},
}

// ParseUnit reads a unit's name in any case.
func ParseUnit(name string) (Unit, bool) {
	for u := Second; u <= Year; u++ {
		if strings.EqualFold(units[u].name, name) {
			return u, true
		}
	}
	return 0, false
}

// String returns the unit's name; "" for none.
func (u Unit) String() string {
	if u > Year {
		return ""
	}
	return units[u].name
}

// Duration returns the unit's length; 0 for none.
func (u Unit) Duration() time.Duration {
	if u > Year {
		return 0
	}
	return units[u].length
}
