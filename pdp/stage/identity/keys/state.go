package keys

import (
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// State is how a source stands, for people.
type State struct {
	Place
	// Host is that of the URL that the set was fetched from, or will be; "" where it is not found yet.
	Host string
	// Set holds the keys, usable or not; nil before the first good answer.
	Set *token.KeySet
	// Fetched is when the set was last fetched or confirmed, Fresh until when it needs no renewal, Due when it will be fetched again.
	Fetched, Fresh, Due time.Time
	// Trouble is why the last fetch failed, "" where it did not, in printable ASCII and bounded; Failing since when fetches fail.
	Trouble string
	Failing time.Time
}

// maxTrouble bounds what is said of a failure: some errors quote what the other side sent.
const maxTrouble = 300

// state words what is known.
func (s *Source) state(k *Known) State {
	out := State{Place: s.place, Due: k.due, Failing: k.failing}
	if u, err := ParseURL(s.place.URL); err == nil {
		out.Host = u.Host
	}
	if k.err != nil {
		out.Trouble = printable(k.err.Error())
	}
	if k.last != nil {
		out.Host, out.Set, out.Fetched, out.Fresh = k.last.url.Host, k.last.set, k.fetched, k.fetched.Add(k.last.fresh)
	}
	return out
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text[:min(len(text), maxTrouble)])
}
