package ratelimiter

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/durward-pdp/durward/ratelimiter/distinct"
)

const (
	maxKeyPart = 128 // a longer part of a key is replaced by its hash
	maxScope   = 64
)

// Key names one counter: rl:{scope}: followed by the definition and the values. Two different lists of scope, service,
// limit and values never share a key (long ones as surely as SHA-256 has no collisions), whatever bytes they hold, and
// a key is never longer than 350 bytes. The braces are Redis Cluster's hash tag: all keys of a scope lie in one slot.
// A key holds values of requests: it is not for logs.
type Key string

// Value is one attribute's part of a key.
type Value struct {
	Text    string
	Missing bool // the attribute is absent, which differs from empty
}

// KeySpace makes the keys of one limit. The zero KeySpace belongs to no limit; use NewKeySpace.
type KeySpace struct {
	prefix string
}

// NewKeySpace returns the keys of a limit in a scope (a bundle's name). The service is empty for a limit that several
// services share. The limit's name is an author's: what clients send belongs into values, for stores may keep counters of
// several limits that have the same values together.
func NewKeySpace(scope, service, limit string) KeySpace {
	definition := appendText(appendText(nil, service), limit)
	prefix := append([]byte("rl:{"), tag(scope)...)
	prefix = append(prefix, "}:"...)
	return KeySpace{prefix: string(append(prefix, bounded(definition)...))}
}

// For returns the keys of the limit when it counts by an algorithm: what one has kept means nothing to another, so no two
// share a key. Those of GCRA are the plain ones. No value begins with the '+' that marks the word.
func (s KeySpace) For(a Algorithm) KeySpace {
	if a == GCRA {
		return s
	}
	return KeySpace{prefix: s.prefix + "+" + a.String()}
}

// Member returns what stands for the value in a counter of distinct values. It tells nobody what the value was who does
// not know it, and a missing value is one too.
func (v Value) Member() uint64 { return distinct.Member(appendValue(nil, v)) }

// Key returns the counter of the given values, which are told apart by their order and number.
func (s KeySpace) Key(values ...Value) Key {
	length := 0
	for _, v := range values {
		length += len(v.Text) + 4
	}
	if length > maxKeyPart {
		return s.hashed(values)
	}
	var buf [512]byte
	b := append(buf[:0], s.prefix...)
	for _, v := range values {
		b = appendValue(b, v)
	}
	return Key(b)
}

func (s KeySpace) hashed(values []Value) Key {
	h := sha256.New()
	var b []byte
	for _, v := range values {
		b = appendValue(b[:0], v)
		_, _ = h.Write(b) // a hash never fails
	}
	return Key(appendHash([]byte(s.prefix), h.Sum(nil)))
}

func appendValue(b []byte, v Value) []byte {
	if v.Missing {
		return append(b, '-')
	}
	return appendText(b, v.Text)
}

// appendText appends a length and the bytes: concatenations of these can be read back in one way only.
func appendText(b []byte, s string) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	return append(append(b, ':'), s...)
}

// bounded returns the encoded part, or its hash where it is long. No part starts with the '=' that marks a hash.
func bounded(part []byte) []byte {
	if len(part) <= maxKeyPart {
		return part
	}
	sum := sha256.Sum256(part)
	return appendHash(nil, sum[:])
}

func appendHash(b, sum []byte) []byte {
	return hex.AppendEncode(append(b, '='), sum)
}

// tag returns a scope as it stands in the hash tag. An empty tag, or one with a brace, would scatter or merge slots.
func tag(scope string) string {
	plain := scope != "" && len(scope) <= maxScope
	for i := 0; plain && i < len(scope); i++ {
		c := scope[i]
		plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	if plain {
		return scope
	}
	sum := sha256.Sum256([]byte(scope))
	return string(appendHash(nil, sum[:]))
}
