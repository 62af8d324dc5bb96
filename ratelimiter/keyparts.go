package ratelimiter

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Limit returns the part of a key that names its limit: the scope, the service and the limit's name. It is the same for all
// counters of the limit, whatever it counts by and by whichever algorithm. It is "" for a text that is no key.
func (k Key) Limit() string { return string(k[:k.limitEnd()]) }

// Values returns the values that a key was made of, in order. It reports false where they were too long to stand in the
// key, which then holds their hash, and for a text that is no key.
func (k Key) Values() ([]Value, bool) {
	end := k.limitEnd()
	if end == 0 {
		return nil, false
	}
	rest := string(k[end:])
	if strings.HasPrefix(rest, "+") { // the word of an algorithm
		rest = rest[1:]
		for rest != "" && !beginsValue(rest[0]) {
			rest = rest[1:]
		}
	}
	var values []Value
	for rest != "" {
		if rest[0] == '-' {
			values, rest = append(values, Value{Missing: true}), rest[1:]
			continue
		}
		text, after, ok := cutText(rest)
		if !ok {
			return nil, false
		}
		values, rest = append(values, Value{Text: text}), after
	}
	return values, true
}

// Parts returns the scope and the service of a key, its limit, and its values, as they stand in it. Joined they are the key. It
// reports false where the key has no values, holds the word of an algorithm or is no key, and where scope, service and limit were
// too long to stand in it.
func (k Key) Parts() (service, limit, values string, ok bool) {
	_, rest, ok := strings.Cut(string(k), "}:")
	if !ok || !strings.HasPrefix(string(k), "rl:{") {
		return "", "", "", false
	}
	_, behind, ok := cutText(rest)
	if !ok {
		return "", "", "", false
	}
	if _, rest, ok = cutText(behind); !ok || rest == "" || !beginsValue(rest[0]) {
		return "", "", "", false
	}
	service, limit = string(k[:len(k)-len(behind)]), behind[:len(behind)-len(rest)]
	return service, limit, rest, true
}

// Under reports whether Parts would tell this limit, as Limit names it, and values from the key.
func (k Key) Under(limit string) bool {
	return len(k) > len(limit) && string(k[:len(limit)]) == limit && beginsValue(k[len(limit)])
}

// Digest returns the SHA-256 of a key in hexadecimal: a name of the counter that shows nothing of its values to whoever does
// not know them already.
func (k Key) Digest() string {
	sum := sha256.Sum256([]byte(k))
	return hex.EncodeToString(sum[:])
}

// Limit returns what Key.Limit returns for the keys of the space.
func (s KeySpace) Limit() string { return Key(s.prefix).Limit() }

// limitEnd returns where the part that names the limit ends; 0 for a text that is no key.
func (k Key) limitEnd() int {
	_, rest, ok := strings.Cut(string(k), "}:") // no scope holds a brace
	if !ok || !strings.HasPrefix(string(k), "rl:{") {
		return 0
	}
	if strings.HasPrefix(rest, "=") {
		if len(rest) < 1+hex.EncodedLen(sha256.Size) {
			return 0
		}
		return len(k) - len(rest) + 1 + hex.EncodedLen(sha256.Size)
	}
	for range 2 { // the service and the limit
		if _, rest, ok = cutText(rest); !ok {
			return 0
		}
	}
	return len(k) - len(rest)
}

func beginsValue(c byte) bool { return c >= '0' && c <= '9' || c == '-' || c == '=' }

// cutText takes what appendText has appended from the front of s.
func cutText(s string) (text, rest string, ok bool) {
	n, digits := 0, 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		if digits == 9 {
			return "", "", false
		}
		n = 10*n + int(s[digits]-'0')
		digits++
	}
	if digits == 0 || digits == len(s) || s[digits] != ':' || len(s)-digits-1 < n {
		return "", "", false
	}
	start := digits + 1
	return s[start : start+n], s[start+n:], true
}
