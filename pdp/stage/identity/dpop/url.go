package dpop

import "strings"

const (
	scheme      = "https://"
	defaultPort = ":443"
)

// sameURL says whether htu names the URL of a request, without query and fragment, after the normalisation of RFC 3986, sections
// 6.2.2 and 6.2.3. The scheme is https, whatever a gateway behind another one saw: no proof is made for plain text.
func sameURL(htu, host, target string) bool {
	if len(htu) < len(scheme) || !strings.EqualFold(htu[:len(scheme)], scheme) || !isURL(htu) {
		return false
	}
	rest := beforeAny(htu[len(scheme):], "?#")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	return sameAuthority(authority, host) && samePath(path, beforeAny(target, "?#"))
}

func beforeAny(s, stops string) string {
	if i := strings.IndexAny(s, stops); i >= 0 {
		return s[:i]
	}
	return s
}

// isURL says whether all characters are ones that a URI may hold (RFC 3986, section 2).
func isURL(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// sameAuthority compares host and port. User information and escapes have no place in the authority of a request.
func sameAuthority(a, b string) bool {
	a, b = withoutDefaultPort(a), withoutDefaultPort(b)
	return a != "" && strings.EqualFold(a, b) && !strings.ContainsAny(a, "@%")
}

func withoutDefaultPort(authority string) string {
	if rest, ok := strings.CutSuffix(authority, defaultPort); ok {
		return rest
	}
	return strings.TrimSuffix(authority, ":")
}

func samePath(a, b string) bool {
	if a == b && a != "" {
		return true
	}
	first, ok := normalisedPath(a)
	second, fine := normalisedPath(b)
	return ok && fine && first == second
}

// normalisedPath spells a path without escapes of unreserved characters, with the other escapes in upper case, and without dot
// segments; false where an escape is broken.
func normalisedPath(path string) (string, bool) {
	var b strings.Builder
	b.Grow(len(path) + 1)
	if path == "" {
		b.WriteByte('/')
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		if i+2 >= len(path) || unhex(path[i+1]) > 15 || unhex(path[i+2]) > 15 {
			return "", false
		}
		if c := unhex(path[i+1])<<4 | unhex(path[i+2]); isUnreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return withoutDots(b.String()), true
}

// withoutDots removes dot segments (RFC 3986, section 5.2.4) from a path that begins with a slash.
func withoutDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path, "/")
	out := segments[:1]
	for i, s := range segments[1:] {
		last := i == len(segments)-2
		switch s {
		case "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return strings.Join(out, "/")
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// unhex returns the value of a hexadecimal digit, 16 for any other character.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
