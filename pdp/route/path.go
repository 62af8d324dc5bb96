package route

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest path and query, in bytes as sent.
const (
	maxPath  = 8 << 10
	maxQuery = 16 << 10
)

const upperHex = "0123456789ABCDEF"

// traits are the classes of a path that a service may accept by its path options.
type traits uint8

const (
	hasEncodedSlash traits = 1 << iota
	hasParameters
	hasTrailingSlash
)

// pathOptions relax the canonical form, one class each. The zero value is the strictest.
type pathOptions struct {
	keepEncodedSlash    bool
	keepParameters      bool
	ignoreTrailingSlash bool
	foldCase            bool
}

// splitTarget cuts a request target in origin-form (RFC 9112, section 3.2.1) at its first question mark, before
// anything is decoded. ok is false for other forms and for bytes that have no place in a target.
func splitTarget(target string) (path, query string, ok bool) {
	path, query, _ = strings.Cut(target, "?")
	if path == "" || path[0] != '/' || len(path) > maxPath || len(query) > maxQuery {
		return "", "", false
	}
	for i := 0; i < len(query); i++ {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return "", "", false
		}
	}
	return path, query, true
}

// canonicalPath returns the path with escapes of unreserved characters undone and the hexadecimal digits of the
// others in upper case (RFC 3986, section 6.2.2). ok is false for every path that two servers could read in two
// ways: it is refused and never repaired. What a service may accept by its options is returned in found.
func canonicalPath(raw string) (path string, found traits, ok bool) {
	if raw == "" || raw[0] != '/' || len(raw) > maxPath {
		return "", 0, false
	}
	path, wide, ok := normaliseEscapes(raw)
	if !ok || wide && !soundText(decode(path)) {
		return "", 0, false
	}
	found, ok = checkSegments(path)
	if !ok {
		return "", 0, false
	}
	return path, found, true
}

// normaliseEscapes undoes and spells escapes; wide tells whether an escape stands for a byte beyond ASCII. It
// refuses bytes that RFC 3986 does not allow in a path, broken escapes, and escapes of what must not be there at all.
func normaliseEscapes(raw string) (path string, wide, ok bool) {
	var out strings.Builder
	changed := false // as long as it is not, the result is raw itself
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '%' {
			if !isPathByte(c) {
				return "", false, false
			}
			if changed {
				out.WriteByte(c)
			}
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return "", false, false
		}
		d := unhex(raw[i+1])<<4 | unhex(raw[i+2])
		if d < ' ' || d == 0x7f || d == '\\' {
			return "", false, false
		}
		wide = wide || d > 0x7f
		high, low := upperHex[d>>4], upperHex[d&15]
		plain := isUnreserved(d)
		if !changed && (plain || raw[i+1] != high || raw[i+2] != low) {
			changed = true
			out.Grow(len(raw))
			out.WriteString(raw[:i])
		}
		switch {
		case plain:
			out.WriteByte(d)
		case changed:
			out.WriteByte('%')
			out.WriteByte(high)
			out.WriteByte(low)
		}
		i += 2
	}
	if !changed {
		return raw, wide, true
	}
	return out.String(), wide, true
}

// checkSegments looks at a path whose escapes are normal: no empty segment but the last, no dot segment whatever
// parameters it carries, no escape that decodes to another escape. An escaped slash separates like a slash here,
// since somebody behind may undo it.
func checkSegments(path string) (found traits, ok bool) {
	stem, inParameters := "", false // the segment without its parameters
	begin := 1
	for i := 1; i <= len(path); i++ {
		at := path[i:]
		slash, encoded := i == len(path) || path[i] == '/', strings.HasPrefix(at, "%2F")
		switch {
		case slash || encoded:
			if !inParameters {
				stem = path[begin:i]
			}
			last := i == len(path)
			if last && begin == i && path[i-1] == '/' {
				if i > 1 {
					found |= hasTrailingSlash
				}
				return found, true
			}
			if stem == "" || stem == "." || stem == ".." {
				return 0, false
			}
			inParameters = false
			begin = i + 1
			if encoded {
				found |= hasEncodedSlash
				i += 2
				begin = i + 1
			}
		case at[0] == ';' || strings.HasPrefix(at, "%3B"):
			found |= hasParameters
			if !inParameters {
				stem, inParameters = path[begin:i], true
			}
		case strings.HasPrefix(at, "%25") && len(at) >= 5 && isHex(at[3]) && isHex(at[4]):
			return 0, false
		}
	}
	return found, true
}

// accept applies the options of a service to a canonical path.
func (o pathOptions) accept(path string, found traits) (string, bool) {
	if found&hasEncodedSlash != 0 && !o.keepEncodedSlash || found&hasParameters != 0 && !o.keepParameters {
		return "", false
	}
	if o.ignoreTrailingSlash && found&hasTrailingSlash != 0 {
		path = path[:len(path)-1]
	}
	if o.foldCase {
		return foldPath(path)
	}
	return path, true
}

// foldPath lower-cases the ASCII letters of a path, but not the digits of its escapes. Letters beyond ASCII that
// have a case are refused: servers fold them by different tables.
func foldPath(path string) (string, bool) {
	for _, r := range decode(path) {
		if r > unicode.MaxASCII && unicode.SimpleFold(r) != r {
			return "", false
		}
	}
	if strings.IndexFunc(path, func(r rune) bool { return 'A' <= r && r <= 'Z' }) < 0 {
		return path, true
	}
	out := []byte(path)
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '%':
			i += 2
		case 'A' <= c && c <= 'Z':
			out[i] = c + ('a' - 'A')
		}
	}
	return string(out), true
}

// decode undoes the escapes of a canonical path, once. It allocates only where there is one.
func decode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// decodeRest is decode, but escaped slashes stay as they are: the real slashes of a value of several segments
// must stay apart from them. "%2F" cannot mean anything else there, since double encoding is refused.
func decodeRest(s string) string {
	if !strings.Contains(s, "%2F") {
		return decode(s)
	}
	parts := strings.Split(s, "%2F")
	for i, part := range parts {
		parts[i] = decode(part)
	}
	return strings.Join(parts, "%2F")
}

// soundText refuses broken and overlong UTF-8, and control characters beyond ASCII.
func soundText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// isPathByte reports whether RFC 3986 allows c unescaped in a path: pchar and the slash.
func isPathByte(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("/!$&'()*+,;=:@", c) >= 0
}

func isUnreserved(c byte) bool {
	return isAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
