package request

import "strings"

// ValidName reports whether s is a token (RFC 9110, section 5.6.2), as the name of a header field must be.
func ValidName(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return true
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// CleanValue reports whether s is free of control characters but the tab (RFC 9110, section 5.5).
func CleanValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// Printable keeps the printable ASCII of s, at most limit bytes, for texts that only records show.
func Printable(s string, limit int) string {
	clean := len(s) <= limit
	for i := 0; clean && i < len(s); i++ {
		clean = Visible(s[i])
	}
	if clean {
		return s
	}
	out := make([]byte, 0, min(len(s), limit))
	for i := 0; i < len(s) && len(out) < limit; i++ {
		if Visible(s[i]) {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// Visible reports whether c is printable ASCII, space included.
func Visible(c byte) bool { return ' ' <= c && c <= '~' }

// SingleCredential reports whether the header holds at most one credential in Authorization. Gateways, and codecs on
// the way, show two lines as one value, so a value with commas must be one scheme and parameters alone. It is split at
// every comma, quoted or not, because two lines may hold one quote each. A second line that is itself a parameter is no
// credential in any scheme; joined, it reads as the first line's.
func (h Header) SingleCredential() bool {
	value, n := h.Get("authorization")
	if n > 1 {
		return false
	}
	first, rest, more := strings.Cut(value, ",")
	if !more {
		return true
	}
	_, member, _ := strings.Cut(strings.TrimLeft(first, " \t"), " ")
	for isParameter(member) {
		if !more {
			return true
		}
		member, rest, more = strings.Cut(rest, ",")
	}
	return false
}

// isParameter reports whether s begins as an auth-param does: token BWS "=" (RFC 9110, section 11.2).
func isParameter(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	return ok && ValidName(strings.Trim(name, " \t"))
}
