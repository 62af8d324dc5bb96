package redis

import (
	"crypto/sha256"

	"github.com/durward-pdp/durward/ratelimiter"
)

// home is the Redis key of a counter, in two parts. The counters of GCRA that have a service and values in common share one:
// those of a subject, which most decisions take together.
type home struct{ service, values string }

// together stands between the two parts of a key that counters share. In no key of ratelimiter does it come behind the service.
const together = '*'

// append appends the key as it stands in Redis.
func (h home) append(b []byte) []byte {
	b = append(b, h.service...)
	if h.values == "" { // a key of one counter
		return b
	}
	return append(append(b, together), h.values...)
}

// homeOf returns where the counter of a charge lies: in which key, and in which record of it, "" where the key holds one counter.
func homeOf(c *ratelimiter.Charge) (home, string) {
	if c.Limit.Algorithm() == ratelimiter.GCRA {
		if h, record, ok := homeOfKey(c.Key); ok {
			return h, record
		}
	}
	return home{service: string(c.Key)}, ""
}

// homeOfKey returns where GCRA keeps a counter, and false where that is a key of its own.
func homeOfKey(k ratelimiter.Key) (home, string, bool) {
	service, limit, values, ok := k.Parts()
	return home{service: service, values: values}, limit, ok
}

// recordName returns what stands for a record in its key.
func recordName(record string) [8]byte {
	sum := sha256.Sum256([]byte(record))
	return [8]byte(sum[:8])
}

// keyText is a key as the client sends it. It holds the bytes for the next one.
type keyText struct{ text []byte }

func (k *keyText) set(h home) { k.text = h.append(k.text[:0]) }

func (k *keyText) clear() {
	clear(k.text)
	k.text = k.text[:0]
}

// MarshalBinary implements encoding.BinaryMarshaler, which spares the client a copy.
func (k *keyText) MarshalBinary() ([]byte, error) { return k.text, nil }
