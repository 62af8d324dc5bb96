package native

import "strings"

// validName reports whether s is a token (RFC 9110, section 5.6.2).
func validName(s string) bool {
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

// cleanValue reports whether s is free of control characters but the tab (RFC 9110, section 5.5).
func cleanValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// cleanText reports whether s is free of all control characters, the tab among them.
func cleanText(s string) bool { return cleanValue(s) && strings.IndexByte(s, '\t') < 0 }

// visible reports whether c is printable ASCII, space included.
func visible(c byte) bool { return ' ' <= c && c <= '~' }

// printable keeps the printable ASCII of s, at most limit bytes, for texts that only records show.
func printable(s string, limit int) string {
	clean := len(s) <= limit
	for i := 0; clean && i < len(s); i++ {
		clean = visible(s[i])
	}
	if clean {
		return s
	}
	out := make([]byte, 0, min(len(s), limit))
	for i := 0; i < len(s) && len(out) < limit; i++ {
		if visible(s[i]) {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// clip bounds a text and makes it UTF-8: any other string would fail the encoding of the whole response, which the
// caller would take for an outage.
func clip(s string) string {
	const limit = 512
	return strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
}
