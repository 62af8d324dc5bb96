package introspection

import (
	"container/list"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// Answer is what an authorization server says of a token. The zero Answer says that it is not active.
type Answer struct {
	// Active says that the token is good, Claims what for. They are shared: nothing in them may be changed.
	Active bool
	Claims token.Claims
}

// cache holds answers until they are too old, the least recently used ones leaving first where there are too many.
type cache struct {
	maxEntries int
	maxBytes   int64

	mu      sync.Mutex
	bytes   int64
	order   *list.List // of *entry, most recently used first
	entries map[key]*list.Element
}

type entry struct {
	key    key
	answer Answer
	size   int64
	// from is when the server was asked, until when the answer is not used any more.
	from, until time.Time
}

func newCache(maxEntries int, maxBytes int64) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, order: list.New(), entries: map[key]*list.Element{}}
}

// get returns an answer that holds at the instant. A clock that was put back finds nothing: how old an answer is would be
// unknown.
func (c *cache) get(k key, now time.Time) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.entries[k]
	if !ok {
		return Answer{}, false
	}
	e := at.Value.(*entry) //nolint:errcheck // the list holds nothing else
	if now.Before(e.from) || !now.Before(e.until) {
		c.remove(at, e)
		return Answer{}, false
	}
	c.order.MoveToFront(at)
	return e.answer, true
}

func (c *cache) put(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.entries[e.key]; ok {
		c.remove(at, at.Value.(*entry)) //nolint:errcheck // the list holds nothing else
	}
	if e.size > c.maxBytes || c.maxEntries == 0 {
		return
	}
	c.entries[e.key] = c.order.PushFront(e)
	c.bytes += e.size
	for c.bytes > c.maxBytes || len(c.entries) > c.maxEntries {
		oldest := c.order.Back()
		c.remove(oldest, oldest.Value.(*entry)) //nolint:errcheck // the list holds nothing else
	}
}

func (c *cache) remove(at *list.Element, e *entry) {
	c.order.Remove(at)
	delete(c.entries, e.key)
	c.bytes -= e.size
}

// use returns how much is held.
func (c *cache) use() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.bytes
}

// overhead is about what an entry takes beside its claims.
const overhead = 512

// sizeOf estimates the memory of a claim's value, rather too much than too little.
func sizeOf(value any) int64 {
	size := int64(32)
	switch v := value.(type) {
	case map[string]any:
		size += 256 // a map has room for eight members from the start
		for name, member := range v {
			size += 96 + int64(len(name)) + sizeOf(member)
		}
	case []any:
		for _, element := range v {
			size += 32 + sizeOf(element)
		}
	case string:
		size += int64(len(v))
	}
	return size
}
