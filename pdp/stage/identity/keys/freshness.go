package keys

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What an issuer says of how long its keys are fresh holds within bounds, and without a word of it a default.
const (
	defaultFresh = 5 * time.Minute
	minFresh     = time.Minute
	maxFresh     = 24 * time.Hour
)

// ParseFreshness reads from an answer's header how long it is fresh (RFC 9111, section 4.2): max-age less Age, within a minute and a day.
// Who forbids to keep it gets the minute.
func ParseFreshness(h http.Header) time.Duration {
	fresh, said := time.Duration(0), false
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return minFresh
			case "max-age":
				seconds, ok := parseSeconds(strings.Trim(value, `"`))
				if !ok {
					return minFresh // RFC 9111, section 4.2.1: what is invalid is stale
				}
				if age := time.Duration(seconds) * time.Second; !said || age < fresh {
					fresh, said = age, true
				}
			}
		}
	}
	if !said {
		return defaultFresh
	}
	if seconds, ok := parseSeconds(strings.TrimSpace(h.Get("Age"))); ok {
		fresh -= time.Duration(seconds) * time.Second
	}
	return min(max(fresh, minFresh), maxFresh)
}

// parseSeconds reads delta-seconds; beyond a day all are the same.
func parseSeconds(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	most := int64(maxFresh / time.Second)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > most {
		return most, true
	}
	return n, true
}
