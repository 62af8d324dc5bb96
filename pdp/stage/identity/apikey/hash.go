package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
)

// MinHashKey is the least length of a hash key's secret in bytes: 256 bits in base64.
const MinHashKey = 43

// HashKey is a secret by which keys are hashed. Whoever has the records and not this secret can try no guesses.
type HashKey struct {
	// Name stands in the records of keys.
	Name   string
	Secret []byte
}

// Hasher hashes keys. It is immutable and safe for concurrent use.
type Hasher struct {
	first string
	pools map[string]*sync.Pool // of *scratch
}

// scratch is one HMAC with room for its input and result.
type scratch struct {
	mac hash.Hash
	in  []byte
	sum []byte
}

// NewHasher returns a hasher. New keys are hashed with the first hash key; the others are for keys that were made before.
func NewHasher(keys ...HashKey) (*Hasher, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("a hash key is missing")
	}
	h := &Hasher{first: keys[0].Name, pools: make(map[string]*sync.Pool, len(keys))}
	for _, k := range keys {
		switch {
		case !isHashKeyName(k.Name):
			return nil, fmt.Errorf("%q is no name of a hash key: 1 to 63 lower-case letters, digits and hyphens", k.Name)
		case h.pools[k.Name] != nil:
			return nil, fmt.Errorf("two hash keys are named %q", k.Name)
		case len(k.Secret) < MinHashKey:
			return nil, fmt.Errorf("the hash key %q has fewer than %d characters", k.Name, MinHashKey)
		}
		secret := slices.Clone(k.Secret)
		h.pools[k.Name] = &sync.Pool{New: func() any {
			return &scratch{mac: hmac.New(sha256.New, secret), in: make([]byte, 0, 256), sum: make([]byte, 0, sha256.Size)}
		}}
	}
	return h, nil
}

func isHashKeyName(name string) bool {
	return name != "" && len(name) <= 63 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// Knows reports whether there is a hash key of that name.
func (h *Hasher) Knows(name string) bool { return h != nil && h.pools[name] != nil }

// Hash hashes a new key of an authenticator, and names the hash key.
func (h *Hasher) Hash(bundle, authenticator, text string) (sum [sha256.Size]byte, hashKey string) {
	return h.sum(h.first, bundle, authenticator, text), h.first
}

// sum is HMAC-SHA-256 over the bundle, the authenticator and the whole key, so that a record is good for no other authenticator
// than its own. The hash key must be a known one.
func (h *Hasher) sum(hashKey, bundle, authenticator, text string) (out [sha256.Size]byte) {
	pool := h.pools[hashKey]
	s, ok := pool.Get().(*scratch)
	if !ok {
		return out // the pool holds nothing else
	}
	s.in = append(s.in[:0], "durward api key 1\x00"...)
	s.in = append(append(s.in, bundle...), 0)
	s.in = append(append(s.in, authenticator...), 0)
	s.in = append(s.in, text...)
	s.mac.Reset()
	_, _ = s.mac.Write(s.in) // a hash takes everything
	s.sum = s.mac.Sum(s.sum[:0])
	copy(out[:], s.sum)
	clear(s.in)
	clear(s.sum)
	s.mac.Reset()
	pool.Put(s)
	return out
}
