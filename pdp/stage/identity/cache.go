package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/token"
)

// cacheShards are how many locks the cache has.
const cacheShards = 16

// cacheKey names a token under one set of definitions.
type cacheKey [sha256.Size]byte

// cached is what a signature proved about a token, and nothing that time, a request, an operator or a key set can change.
type cached struct {
	issuer   string
	verified *token.Verified
	who      proven
	size     int64
}

// tokenCache keeps tokens that were verified. Failures are not kept: whoever sends garbage must not push out what is good. It is
// bounded in bytes, safe for concurrent use, and a hit allocates nothing. A nil cache keeps nothing.
type tokenCache struct {
	shards       [cacheShards]cacheShard
	most         int64 // bytes of one generation of one shard
	hits, misses atomic.Uint64
}

// cacheShard holds two generations: what was used since the older one was begun is in the younger one. When that is full the
// older one is forgotten whole, so that what nobody uses goes first and nobody keeps lists in order.
type cacheShard struct {
	mu              sync.Mutex
	younger, older  map[cacheKey]*cached
	size, olderSize int64
}

// newTokenCache returns a cache of at most so many bytes; nil for none.
func newTokenCache(size int64) *tokenCache {
	if size <= 0 {
		return nil
	}
	c := &tokenCache{most: size / cacheShards / 2}
	for i := range c.shards {
		c.shards[i].younger = map[cacheKey]*cached{}
	}
	return c
}

// mayBeKept says whether a text could be a token that verifies: what cannot is not worth a look.
func mayBeKept(raw string) bool {
	return len(raw) <= token.DefaultMaxLength && strings.Count(raw, ".") == 2
}

// keyOf hashes everything that a proven subject depends on beside time, request and keys: the definitions of all authenticators that
// the service accepts, and the token. Both parts have a fixed length, so that no two pairs make the same text.
func keyOf(definitions, token [sha256.Size]byte) cacheKey {
	var text [2 * sha256.Size]byte
	copy(text[copy(text[:], definitions[:]):], token[:])
	return sha256.Sum256(text[:])
}

// definitionsOf hashes the definitions of the authenticators that a service accepts, names and bundle included, each behind its length.
func definitionsOf(b *format.Bundle, names []string) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	write := func(text []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		h.Write(length[:])
		h.Write(text)
	}
	write([]byte(b.Name))
	for _, name := range names {
		definition, err := json.Marshal(b.Authenticators[name])
		if err != nil {
			return sum, err
		}
		write([]byte(name))
		write(definition)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

func (c *tokenCache) shard(key cacheKey) *cacheShard { return &c.shards[key[0]%cacheShards] }

// get returns what is known of a token, nil for nothing.
func (c *tokenCache) get(key cacheKey) *cached {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.younger[key]
	if found == nil {
		if found = s.older[key]; found != nil {
			delete(s.older, key)
			s.olderSize -= found.size
			s.add(key, found, c.most)
		}
	}
	if found == nil {
		c.misses.Add(1)
	} else {
		c.hits.Add(1)
	}
	return found
}

// put keeps what is known of a token. An entry that is no good can be taken away by drop.
func (c *tokenCache) put(key cacheKey, entry *cached) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.younger[key] == nil && s.older[key] == nil {
		s.add(key, entry, c.most)
	}
}

func (s *cacheShard) add(key cacheKey, entry *cached, most int64) {
	if entry.size > most {
		return
	}
	if s.size+entry.size > most {
		s.older, s.olderSize = s.younger, s.size
		s.younger, s.size = map[cacheKey]*cached{}, 0
	}
	s.younger[key] = entry
	s.size += entry.size
}

// drop forgets a token.
func (c *tokenCache) drop(key cacheKey) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.younger[key]; found != nil {
		s.size -= found.size
		delete(s.younger, key)
	}
	if found := s.older[key]; found != nil {
		s.olderSize -= found.size
		delete(s.older, key)
	}
}

// CacheStats say how the cache of verified tokens does.
type CacheStats struct {
	// Hits and Misses count looks since the start; Entries and Bytes are what is held now, Bytes an estimate that is not too low.
	Hits, Misses uint64
	Entries      int
	Bytes        int64
}

// CacheStats returns the state of the cache of verified tokens, zero where there is none.
func (s *Stage) CacheStats() CacheStats {
	c := s.cache
	if c == nil {
		return CacheStats{}
	}
	out := CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load()}
	for i := range c.shards {
		shard := &c.shards[i]
		shard.mu.Lock()
		out.Entries += len(shard.younger) + len(shard.older)
		out.Bytes += shard.size + shard.olderSize
		shard.mu.Unlock()
	}
	return out
}

// The estimate of an entry, beside the texts of its claims, which a JWS holds in base64 and so longer than they are: what all have,
// and what objects, their members, arrays and their elements take.
const (
	entryBytes   = 768
	objectBytes  = 320
	memberBytes  = 96
	arrayBytes   = 48
	elementBytes = 48
)

func sizeOf(raw string, claims map[string]any) int64 {
	return int64(entryBytes + len(raw) + sizeOfValue(claims))
}

// sizeOfValue goes through claims at all levels: a token is at most 8 KiB long, and 32 levels deep.
func sizeOfValue(value any) int {
	size := 0
	switch v := value.(type) {
	case map[string]any:
		size = objectBytes
		for _, member := range v {
			size += memberBytes + sizeOfValue(member)
		}
	case []any:
		size = arrayBytes
		for _, element := range v {
			size += elementBytes + sizeOfValue(element)
		}
	}
	return size
}
