package audit

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// maxText bounds a text, in bytes before escaping; maxLong texts that are longer by nature.
	maxText = 256
	maxLong = 1024
	// maxItems bounds every list. maxListed is the size of a line beyond which lists take no more.
	maxItems  = 128
	maxListed = 32 << 10
	// maxLine bounds a line: the lists, and all single texts at their bounds with every byte escaped.
	maxLine = 128 << 10
)

// lineWriter writes one object of JSON. It writes what it is asked to: what may be written is the encoder's matter.
type lineWriter struct {
	buf       []byte
	truncated bool
}

func (w *lineWriter) key(name string) {
	if last := w.buf[len(w.buf)-1]; last != '{' && last != '[' {
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '"', ':')
}

func (w *lineWriter) text(name, s string, limit int) {
	if s != "" {
		w.key(name)
		w.quote(s, limit)
	}
}

func (w *lineWriter) number(name string, n int64) {
	if n != 0 {
		w.key(name)
		w.buf = strconv.AppendInt(w.buf, n, 10)
	}
}

func (w *lineWriter) flag(name string, set bool) {
	if set {
		w.key(name)
		w.buf = append(w.buf, "true"...)
	}
}

// instant writes RFC 3339 in UTC. Years that the format cannot hold are left out: they come from tokens.
func (w *lineWriter) instant(name string, t time.Time) {
	t = t.UTC()
	if year := t.Year(); t.IsZero() || year < 1 || year > 9999 {
		return
	}
	w.key(name)
	w.buf = append(w.buf, '"')
	w.buf = t.AppendFormat(w.buf, "2006-01-02T15:04:05.000000Z")
	w.buf = append(w.buf, '"')
}

func (w *lineWriter) address(name string, a netip.Addr) {
	if a.IsValid() {
		w.key(name)
		w.buf = append(w.buf, '"')
		w.buf = a.WithZone("").AppendTo(w.buf)
		w.buf = append(w.buf, '"')
	}
}

func (w *lineWriter) texts(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.key(name)
	w.buf = append(w.buf, '[')
	for i, s := range list {
		if !w.room(i) {
			break
		}
		w.comma()
		w.quote(s, maxText)
	}
	w.buf = append(w.buf, ']')
}

// room reports whether a list with n items may have one more.
func (w *lineWriter) room(n int) bool {
	if n < maxItems && len(w.buf) < maxListed {
		return true
	}
	w.truncated = true
	return false
}

func (w *lineWriter) open(bracket byte)  { w.buf = append(w.buf, bracket) }
func (w *lineWriter) close(bracket byte) { w.buf = append(w.buf, bracket) }

// comma separates the items of a list.
func (w *lineWriter) comma() {
	if w.buf[len(w.buf)-1] != '[' {
		w.buf = append(w.buf, ',')
	}
}

// object writes a member that fill makes; one that stays empty is taken back.
func (w *lineWriter) object(name string, fill func()) {
	before := len(w.buf)
	w.key(name)
	w.buf = append(w.buf, '{')
	opened := len(w.buf)
	if fill(); len(w.buf) == opened {
		w.buf = w.buf[:before]
		return
	}
	w.buf = append(w.buf, '}')
}

// quote writes a string of at most limit bytes. Whatever could end a line, move a terminal's cursor or turn the reading
// direction is escaped, and what is no UTF-8 is replaced, so that a line in a log shows what it holds.
func (w *lineWriter) quote(s string, limit int) {
	if len(s) > limit {
		for i := 1; i < utf8.UTFMax && limit > 0 && !utf8.RuneStart(s[limit]); i++ {
			limit--
		}
		s, w.truncated = s[:limit], true
	}
	w.buf = append(w.buf, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			w.buf = append(w.buf, s[start:i]...)
			if c == '"' || c == '\\' {
				w.buf = append(w.buf, '\\', c)
			} else {
				w.escape(rune(c))
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if !(r == utf8.RuneError && size == 1) && !steers(r) {
			i += size
			continue
		}
		w.buf = append(w.buf, s[start:i]...)
		w.escape(r)
		i += size
		start = i
	}
	w.buf = append(w.buf, s[start:]...)
	w.buf = append(w.buf, '"')
}

func (w *lineWriter) escape(r rune) {
	const digits = "0123456789abcdef"
	w.buf = append(w.buf, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// steers reports whether a character acts on a terminal or editor instead of being seen: C1 controls, line and paragraph
// separators, marks of direction.
func steers(r rune) bool {
	switch {
	case 0x80 <= r && r <= 0x9f, 0x200b <= r && r <= 0x200f, 0x2028 <= r && r <= 0x202e, 0x2060 <= r && r <= 0x2069, r == 0xfeff:
		return true
	}
	return false
}

// reset makes the writer ready for another line and keeps its buffer.
func (w *lineWriter) reset() {
	w.buf = slices.Grow(w.buf[:0], 2<<10)
	w.truncated = false
}
